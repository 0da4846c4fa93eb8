//! Where the gateway listens.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};

use fleetgate_wire::address;

use super::node::Node;
use super::report::{Cost, Report};
use super::section::{Given, Section};
use super::{Environment, MeshDoor, Origin, Overrides, mesh};

const PORT: u16 = 4000;
/// tinyproxy's.
const LOOPBACK: IpAddr = IpAddr::V4(Ipv4Addr::LOCALHOST);

/// What is to be listened on.
#[derive(Debug, Default)]
pub(super) struct Listen {
    pub(super) addresses: Vec<SocketAddr>,
    pub(super) mesh: Option<MeshDoor>,
}

/// One place to listen.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Door {
    At(SocketAddr),
    /// This port of the mesh's address, whatever that is.
    Mesh(u16),
}

/// Reads the listen addresses. Wildcards and public addresses are refused unless the operator says that he means it.
pub(super) fn read(overrides: &Overrides, own: &Section<'_>, environment: &Environment, report: &mut Report) -> Listen {
    let permission = permission(overrides, own, environment, report);
    if let Some(given) = &permission {
        report.setting("fleetgate.dangerously_listen_publicly", given.value.to_string(), given.origin.clone());
    }
    let permitted = permission.is_some_and(|given| given.value);
    let mut listen = Listen::default();
    for Given { value, origin } in doors(overrides, own, environment, report) {
        match value {
            Door::At(address) => {
                if !permitted {
                    refuse_public(address, &origin, report);
                }
                listen.add(address, origin, report);
            }
            Door::Mesh(_) if listen.mesh.is_some() => {
                report.error(origin, "fleetgate.listen names the mesh twice; one port of it is served");
            }
            Door::Mesh(port) => {
                report.setting("fleetgate.listen", format!("mesh:{port}"), origin);
                listen.mesh = Some(mesh::door(own, port, report));
            }
        }
    }
    // The machine's own programs may not know the mesh, and a mesh that is down must not lock the administrator out.
    let is_alone = !listen.addresses.iter().any(|address| address.ip().to_canonical().is_loopback());
    if listen.mesh.is_some()
        && is_alone
        && let Some(Given { value: port, origin }) = mesh::loopback(own, report)
    {
        listen.add(SocketAddr::new(LOOPBACK, port), origin, report);
    }
    listen
}

impl Listen {
    fn add(&mut self, address: SocketAddr, origin: Origin, report: &mut Report) {
        if !self.addresses.contains(&address) {
            report.setting("fleetgate.listen", address.to_string(), origin);
            self.addresses.push(address);
        }
    }
}

/// The forward proxy's addresses, under the same rules.
pub(super) fn read_proxy(
    overrides: &Overrides,
    own: &Section<'_>,
    (path, given): (&str, &Node),
    port: u16,
    environment: &Environment,
    report: &mut Report,
) -> Vec<SocketAddr> {
    // Its mistakes were reported with the other addresses'.
    let permitted = permission(overrides, own, environment, &mut Report::default()).is_some_and(|given| given.value);
    let texts = given.texts();
    if texts.is_empty() {
        report.error(given.place.origin(), format!("{path} must be ADDRESS:PORT or a list of them"));
    }
    let texts = texts.into_iter().map(|(text, place)| (text, place.origin()));
    let mut listen = Vec::new();
    for Given { value, origin } in parse_all(texts, port, report) {
        let Door::At(value) = value else {
            report.error(origin, "the forward proxy's ports take addresses; only fleetgate.listen finds the mesh");
            continue;
        };
        if !permitted {
            refuse_public(value, &origin, report);
        }
        report.setting(path, value.to_string(), origin);
        listen.push(value);
    }
    listen
}

fn refuse_public(value: SocketAddr, origin: &Origin, report: &mut Report) {
    if address::is_listenable(value.ip()) {
        return;
    }
    let kind = if value.ip().is_unspecified() { "every network" } else { "a public network" };
    let from = if *origin == Origin::Environment("HOST".to_owned()) { "HOST asks to listen" } else { "listening" };
    let message = format!(
        "{from} on {value}: that is {kind}. Take a loopback, mesh or private address, or say that you mean it with \
         --dangerously-listen-publicly or fleetgate.dangerously_listen_publicly: true"
    );
    report.error(origin.clone(), message);
}

fn permission(
    overrides: &Overrides,
    own: &Section<'_>,
    environment: &Environment,
    report: &mut Report,
) -> Option<Given<bool>> {
    const VARIABLE: &str = "FLEETGATE_DANGEROUSLY_LISTEN_PUBLICLY";
    if overrides.dangerously_listen_publicly {
        return Some(Given::new(true, Origin::CommandLine("--dangerously-listen-publicly")));
    }
    if let Some((_, origin)) = environment.given(VARIABLE) {
        return Some(Given::new(environment.is_on(VARIABLE), origin));
    }
    own.truth("dangerously_listen_publicly", report)
}

/// The doors by precedence: `--listen`, `FLEETGATE_LISTEN`, `--host` and `--port`, `fleetgate.listen`, `HOST` and `PORT`.
fn doors(overrides: &Overrides, own: &Section<'_>, environment: &Environment, report: &mut Report) -> Vec<Given<Door>> {
    if !overrides.listen.is_empty() {
        let origin = Origin::CommandLine("--listen");
        return parse_all(overrides.listen.iter().map(|text| (text.as_str(), origin.clone())), PORT, report);
    }
    if let Some((list, origin)) = environment.given("FLEETGATE_LISTEN") {
        return parse_all(list.split(',').map(|text| (text, origin.clone())), PORT, report);
    }
    if overrides.host.is_some() || overrides.port.is_some() {
        return host_and_port(overrides, environment, report);
    }
    if let Some(node) = own.get("listen") {
        let texts = node.texts();
        if texts.is_empty() {
            report.error(
                node.place.origin(),
                "fleetgate.listen must be ADDRESS:PORT, mesh, mesh:PORT, or a list of them",
            );
        }
        let origin = |place: &super::node::Place| {
            if node.reference.is_some() { Node::origin(node) } else { place.origin() }
        };
        return parse_all(texts.into_iter().map(|(text, place)| (text, origin(place))), PORT, report);
    }
    host_and_port(overrides, environment, report)
}

fn parse_all<'a>(texts: impl Iterator<Item = (&'a str, Origin)>, port: u16, report: &mut Report) -> Vec<Given<Door>> {
    let mut doors = Vec::new();
    for (text, origin) in texts {
        match parse(text.trim(), port) {
            Some(door) => doors.push(Given::new(door, origin)),
            None => report.error(
                origin,
                "a listen address must be ADDRESS:PORT, for example 127.0.0.1:4000 or [::1]:4000, or mesh:PORT",
            ),
        }
    }
    doors
}

/// `mesh`, `mesh:PORT`, or an address.
fn parse(text: &str, default_port: u16) -> Option<Door> {
    match text.strip_prefix("mesh") {
        Some("") => Some(Door::Mesh(default_port)),
        Some(rest) => rest.strip_prefix(':')?.parse().ok().map(Door::Mesh),
        None => parse_address(text, default_port).map(Door::At),
    }
}

/// `ADDRESS:PORT`, an address, or a port; `localhost` is 127.0.0.1.
fn parse_address(text: &str, default_port: u16) -> Option<SocketAddr> {
    if let Ok(port) = text.parse::<u16>() {
        return Some(SocketAddr::new(LOOPBACK, port));
    }
    if let Some(address) = parse_ip(text) {
        return Some(SocketAddr::new(address, default_port));
    }
    if let Some(port) = text.strip_prefix("localhost:") {
        return Some(SocketAddr::new(LOOPBACK, port.parse().ok()?));
    }
    text.parse().ok()
}

fn parse_ip(text: &str) -> Option<IpAddr> {
    if text == "localhost" {
        return Some(LOOPBACK);
    }
    text.strip_prefix('[').and_then(|rest| rest.strip_suffix(']')).unwrap_or(text).parse().ok()
}

/// LiteLLM's pair: the flags `--host` and `--port`, each with its variable.
fn host_and_port(overrides: &Overrides, environment: &Environment, report: &mut Report) -> Vec<Given<Door>> {
    let mut origin = Origin::Default;
    let mut port = PORT;
    if let Some(flag) = overrides.port {
        (port, origin) = (flag, Origin::CommandLine("--port"));
    } else if let Some((text, from)) = environment.given("PORT") {
        match text.trim().parse() {
            Ok(variable) => (port, origin) = (variable, from),
            Err(_) => report.error(from, "PORT must be a number from 0 to 65535"),
        }
    }
    let mut host = LOOPBACK;
    if let Some(flag) = &overrides.host {
        origin = Origin::CommandLine("--host");
        match parse_ip(flag) {
            Some(address) => host = address,
            None => report.error(origin.clone(), "--host must be an IP address of this machine, or localhost"),
        }
    } else if let Some((text, from)) = environment.given("HOST") {
        match parse_ip(text.trim()) {
            Some(address) => (host, origin) = (address, from),
            // Many shells export HOST with the machine's name and mean nothing by it.
            None => report.warn(
                Cost::Serving,
                from,
                "HOST is no IP address and is not used; the gateway listens on 127.0.0.1",
            ),
        }
    }
    vec![Given::new(Door::At(SocketAddr::new(host, port)), origin)]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_may_be_short() {
        for (text, expected) in [
            ("127.0.0.1:4001", Some("127.0.0.1:4001")),
            ("[::1]:4001", Some("[::1]:4001")),
            ("localhost:4001", Some("127.0.0.1:4001")),
            ("localhost", Some("127.0.0.1:4000")),
            ("100.64.0.7", Some("100.64.0.7:4000")),
            ("4001", Some("127.0.0.1:4001")),
            ("::1", Some("[::1]:4000")),
            (":4000", None),
            ("host:4000", None),
        ] {
            assert_eq!(parse(text, PORT), expected.map(|text| Door::At(text.parse().unwrap())), "{text}");
        }
    }

    #[test]
    fn the_mesh_has_a_port() {
        for (text, expected) in [
            ("mesh", Some(Door::Mesh(4000))),
            ("mesh:4001", Some(Door::Mesh(4001))),
            ("mesh:0", Some(Door::Mesh(0))),
            ("mesh:", None),
            ("mesh:x", None),
            ("meshes", None),
            ("mesh:70000", None),
        ] {
            assert_eq!(parse(text, PORT), expected, "{text}");
        }
    }
}
