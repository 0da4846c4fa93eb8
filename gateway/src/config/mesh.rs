//! `fleetgate.mesh`.

use std::collections::BTreeMap;
use std::path::PathBuf;

use fleetgate_wire::host::HostLabel;
use fleetgate_wire::mesh::SOCKETS;

use super::report::Report;
use super::section::Section;
use super::{MeshCheck, MeshSettings, Origin};

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
