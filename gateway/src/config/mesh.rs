//! `fleetgate.mesh`.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::time::Duration;

use fleetgate_wire::host::HostLabel;
use fleetgate_wire::mesh::SOCKETS;

use super::report::Report;
use super::section::{Given, Section};
use super::{MeshCheck, MeshDoor, MeshSettings, Origin};

/// A mesh that is asked for at boot is there within seconds, unless somebody has to log in.
const WAIT: Duration = Duration::from_secs(120);
/// As in the example configuration: 4000 of loopback is the sidecar's.
const LOOPBACK_PORT: u16 = 4100;

pub(super) fn read(own: &Section<'_>, report: &mut Report) -> MeshSettings {
    let section = Section::new("fleetgate.mesh", own.get("mesh"));
    let (socket, origin) = match section.text("socket", report) {
        Some(given) => (Some(PathBuf::from(given.value)), given.origin),
        None => (None, Origin::Default),
    };
    let shown = socket.as_ref().map_or_else(|| SOCKETS.join(" or "), |path| path.display().to_string());
    let settings = MeshSettings { check: check(&section, report), socket, names: names(&section, report) };
    report.setting("fleetgate.mesh.socket", shown, origin);
    settings
}

/// How the mesh is listened on, where `listen` says `mesh`.
pub(super) fn door(own: &Section<'_>, port: u16, report: &mut Report) -> MeshDoor {
    let section = Section::new("fleetgate.mesh", own.get("mesh"));
    let interface = section.text("interface", report);
    if let Some(given) = &interface {
        report.setting("fleetgate.mesh.interface", given.value.clone(), given.origin.clone());
    }
    let wait = section.seconds("wait", report).unwrap_or(Given::new(WAIT, Origin::Default));
    report.setting("fleetgate.mesh.wait", wait.value.as_secs_f64().to_string(), wait.origin);
    MeshDoor { port, interface: interface.map(|given| given.value), wait: wait.value }
}

/// The port of 127.0.0.1 that is served beside the mesh, for the command line; `None` for none.
pub(super) fn loopback(own: &Section<'_>, report: &mut Report) -> Option<Given<u16>> {
    let section = Section::new("fleetgate.mesh", own.get("mesh"));
    let Some(given) = section.text("loopback", report) else {
        return Some(Given::new(LOOPBACK_PORT, Origin::Default));
    };
    if matches!(given.value.as_str(), "off" | "false" | "no") {
        report.setting("fleetgate.mesh.loopback", "off", given.origin);
        return None;
    }
    match given.value.parse() {
        Ok(port) => Some(Given::new(port, given.origin)),
        Err(_) => {
            report.error(given.origin, "fleetgate.mesh.loopback must be a port of 127.0.0.1, or off");
            None
        }
    }
}

fn check(section: &Section<'_>, report: &mut Report) -> MeshCheck {
    let (check, origin) = match section.text("check", report) {
        None => (MeshCheck::default(), Origin::Default),
        Some(given) => match given.value.as_str() {
            "off" => (MeshCheck::Off, given.origin),
            "report" => (MeshCheck::Report, given.origin),
            "enforce" => (MeshCheck::Enforce, given.origin),
            _ => {
                report.error(given.origin, "fleetgate.mesh.check must be off, report or enforce");
                (MeshCheck::default(), Origin::Default)
            }
        },
    };
    let word = match check {
        MeshCheck::Off => "off",
        MeshCheck::Report => "report",
        MeshCheck::Enforce => "enforce",
    };
    report.setting("fleetgate.mesh.check", word, origin);
    check
}

/// `LABEL: NAME` for hosts that the mesh knows by another name.
fn names(section: &Section<'_>, report: &mut Report) -> BTreeMap<HostLabel, HostLabel> {
    let Some(node) = section.get("names") else { return BTreeMap::new() };
    let Some(entries) = node.map() else {
        report.error(node.place.origin(), "fleetgate.mesh.names must be a map from host labels to the mesh's names");
        return BTreeMap::new();
    };
    let mut names = BTreeMap::new();
    for entry in entries {
        let name = entry.node.text().and_then(|text| HostLabel::parse(text).ok());
        match (HostLabel::parse(&entry.key), name) {
            (Ok(label), Some(name)) => {
                report.setting(format!("fleetgate.mesh.names.{label}"), name.as_str(), entry.node.origin());
                names.insert(label, name);
            }
            _ => report.error(
                entry.place.origin(),
                "fleetgate.mesh.names takes lines such as 'laptop: johns-macbook', both of them host names",
            ),
        }
    }
    names
}
