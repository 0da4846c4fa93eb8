//! Where the gateway listens.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};

use fleetgate_wire::address;

use super::node::Node;
use super::report::{Cost, Report};
use super::section::{Given, Section};
use super::{Environment, Origin, Overrides};

const PORT: u16 = 4000;
/// tinyproxy's.
const LOOPBACK: IpAddr = IpAddr::V4(Ipv4Addr::LOCALHOST);

/// Reads the listen addresses. Wildcards and public addresses are refused unless the operator says that he means it.
pub(super) fn read(
    overrides: &Overrides,
    own: &Section<'_>,
    environment: &Environment,
    report: &mut Report,
) -> Vec<SocketAddr> {
    let permission = permission(overrides, own, environment, report);
    if let Some(given) = &permission {
        report.setting("fleetgate.dangerously_listen_publicly", given.value.to_string(), given.origin.clone());
    }
    let permitted = permission.is_some_and(|given| given.value);
    let mut listen: Vec<SocketAddr> = Vec::new();
    for Given { value, origin } in addresses(overrides, own, environment, report) {
        if !permitted {
            refuse_public(value, &origin, report);
        }
        if !listen.contains(&value) {
            report.setting("fleetgate.listen", value.to_string(), origin);
            listen.push(value);
        }
    }
    listen
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

/// The addresses by precedence: `--listen`, `FLEETGATE_LISTEN`, `--host` and `--port`, `fleetgate.listen`, `HOST` and `PORT`.
fn addresses(
    overrides: &Overrides,
    own: &Section<'_>,
    environment: &Environment,
    report: &mut Report,
) -> Vec<Given<SocketAddr>> {
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
            report.error(node.place.origin(), "fleetgate.listen must be ADDRESS:PORT or a list of them");
        }
        let origin = |place: &super::node::Place| {
            if node.reference.is_some() { Node::origin(node) } else { place.origin() }
        };
        return parse_all(texts.into_iter().map(|(text, place)| (text, origin(place))), PORT, report);
    }
    host_and_port(overrides, environment, report)
}

fn parse_all<'a>(
    texts: impl Iterator<Item = (&'a str, Origin)>,
    port: u16,
    report: &mut Report,
) -> Vec<Given<SocketAddr>> {
    let mut addresses = Vec::new();
    for (text, origin) in texts {
        match parse(text.trim(), port) {
            Some(address) => addresses.push(Given::new(address, origin)),
            None => {
                report.error(origin, "a listen address must be ADDRESS:PORT, for example 127.0.0.1:4000 or [::1]:4000");
            }
        }
    }
    addresses
}

/// `ADDRESS:PORT`, an address, or a port; `localhost` is 127.0.0.1.
fn parse(text: &str, default_port: u16) -> Option<SocketAddr> {
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
fn host_and_port(overrides: &Overrides, environment: &Environment, report: &mut Report) -> Vec<Given<SocketAddr>> {
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
    vec![Given::new(SocketAddr::new(host, port), origin)]
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
            assert_eq!(parse(text, PORT), expected.map(|text| text.parse().unwrap()), "{text}");
        }
    }
}
