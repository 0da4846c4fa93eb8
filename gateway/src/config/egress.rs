//! `fleetgate.egress` and `fleetgate.forward_proxy`: where tunnels may lead, and the port on which nothing else is served.

use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use fleetgate_wire::domain::DomainPattern;
use fleetgate_wire::host::HostLabel;
use fleetgate_wire::money::NanoDollars;
use fleetgate_wire::workload::Workload;
use ipnet::IpNet;

use super::fleetgate::size;
use super::next_proxy::{self, NextProxyRule};
use super::node::Node;
use super::report::{Cost, Report};
use super::section::{Given, Section};
use super::{Environment, Origin, Overrides, listen};

const IDLE: Duration = Duration::from_secs(600);
const HALF_CLOSED: Duration = Duration::from_secs(60);
const DRAIN: Duration = Duration::from_secs(5);
const MAX_TUNNELS: usize = 4096;
const PORTS: &[u16] = &[443];
const PLAIN_HTTP_PORTS: &[u16] = &[80];
/// As tinyproxy.
const HTTP_PORT: u16 = 8888;
/// The port that IANA gave to SOCKS.
const SOCKS5_PORT: u16 = 1080;

/// Where tunnels may lead.
#[derive(Debug, Clone)]
pub struct EgressSettings {
    /// Destination ports.
    pub ports: Vec<u16>,
    /// Networks that are reachable although they are not public.
    pub opened: Vec<IpNet>,
    /// What becomes of a destination that the rules refuse.
    pub mode: EgressMode,
    /// Which names are allowed and refused, and to whom.
    pub rules: Vec<EgressRule>,
    /// Longest silence of a tunnel.
    pub idle: Duration,
    /// The same once one side has finished sending.
    pub half_closed_idle: Duration,
    /// Longest life of a tunnel.
    pub max_lifetime: Option<Duration>,
    /// How long tunnels may go on once the gateway is told to stop.
    pub drain: Duration,
    /// Tunnels at once.
    pub max_tunnels: usize,
    /// Tunnels at once of one key that has no limit of its own.
    pub max_tunnels_per_key: Option<usize>,
    /// How fast the tunnels of one key may be together, both ways together.
    pub bytes_per_second_per_key: Option<u64>,
    /// Bytes in a day (UTC) of one key that has no limit of its own.
    pub bytes_per_day_per_key: Option<u64>,
    /// Bytes in a day (UTC) of one host.
    pub bytes_per_day_per_host: Option<u64>,
}

/// What becomes of a destination that the rules refuse.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum EgressMode {
    /// No tunnel.
    #[default]
    Enforce,
    /// A tunnel, whose row and log line say that it would have been refused.
    Report,
    /// The rules are not looked at.
    Open,
}

impl EgressMode {
    /// As it is written.
    #[must_use]
    pub fn word(self) -> &'static str {
        match self {
            Self::Enforce => "enforce",
            Self::Report => "report",
            Self::Open => "open",
        }
    }
}

/// Names that some callers, or all, may and must not reach.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct EgressRule {
    /// Its path in the file, for messages.
    pub path: String,
    /// Only for the key of this name.
    pub key: Option<String>,
    /// Only for this host.
    pub host: Option<HostLabel>,
    /// Only for this workload.
    pub workload: Option<Workload>,
    /// What they may reach. Where any rule for a caller has such a list, what no list holds is refused.
    pub allow: Vec<DomainPattern>,
    /// What they must not reach.
    pub deny: Vec<DomainPattern>,
}

/// The port that serves tunnels only.
#[derive(Debug, Clone, Default)]
pub struct ForwardProxySettings {
    /// Its addresses.
    pub listen: Vec<SocketAddr>,
    /// Whose connections need no key there.
    pub trust: Vec<Trust>,
    /// Whether its addresses take SOCKS5 as well.
    pub socks5: bool,
    /// Addresses for SOCKS5 alone.
    pub socks5_listen: Vec<SocketAddr>,
    /// Whether the port forwards plain `http://` requests as well.
    pub plain_http: bool,
    /// Where those may lead.
    pub plain_http_ports: Vec<u16>,
    /// Which destinations are reached through another proxy.
    pub upstream: Vec<NextProxyRule>,
    /// What 10⁹ bytes cost, both ways together.
    pub price_per_gb: Option<NanoDollars>,
}

/// Whom the forward proxy believes without a key.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Trust {
    /// Every machine that the mesh knows by the connection's address.
    Mesh,
    /// Every address of a network.
    Network(IpNet),
}

/// `fleetgate.egress`.
pub(super) fn read(own: &Section<'_>, report: &mut Report) -> EgressSettings {
    let section = Section::new("fleetgate.egress", own.get("egress"));
    EgressSettings {
        ports: ports(&section, "ports", PORTS, report),
        opened: networks(&section, report),
        mode: mode(&section, report),
        rules: rules(&section, report),
        idle: seconds(&section, "idle_timeout", IDLE, report),
        half_closed_idle: seconds(&section, "half_closed_timeout", HALF_CLOSED, report),
        max_lifetime: optional(&section, "max_lifetime", section.seconds("max_lifetime", report), report),
        drain: seconds(&section, "drain_timeout", DRAIN, report),
        max_tunnels: size(&section, "max_tunnels", MAX_TUNNELS, report),
        max_tunnels_per_key: whole(&section, "max_tunnels_per_key", report)
            .map(|most| usize::try_from(most).unwrap_or(usize::MAX)),
        bytes_per_second_per_key: whole(&section, "bytes_per_second_per_key", report),
        bytes_per_day_per_key: whole(&section, "bytes_per_day_per_key", report),
        bytes_per_day_per_host: whole(&section, "bytes_per_day_per_host", report),
    }
}

/// `fleetgate.forward_proxy`.
pub(super) fn read_forward_proxy(
    overrides: &Overrides,
    own: &Section<'_>,
    environment: &Environment,
    taken: &[SocketAddr],
    report: &mut Report,
) -> ForwardProxySettings {
    let section = Section::new("fleetgate.forward_proxy", own.get("forward_proxy"));
    let trust = trust(&section, report);
    let price_per_gb = price(&section, report);
    let mut taken = taken.to_vec();
    let mut addresses = |key: &'static str, port: u16| {
        let Some(node) = section.get(key) else { return Vec::new() };
        let path = format!("fleetgate.forward_proxy.{key}");
        let listen = listen::read_proxy(overrides, own, (&path, node), port, environment, report);
        for address in &listen {
            if address.port() != 0 && taken.contains(address) {
                let message = format!("{path} is {address}, where something else is served; take another port");
                report.error(node.place.origin(), message);
            }
            taken.push(*address);
        }
        listen
    };
    let listen = addresses("listen", HTTP_PORT);
    let socks5_listen = addresses("socks5_listen", SOCKS5_PORT);
    if let Some(node) = section.node().filter(|_| !trust.is_empty() && listen.is_empty() && socks5_listen.is_empty()) {
        let message = "fleetgate.forward_proxy.trust has no effect without fleetgate.forward_proxy.listen";
        report.warn(Cost::Serving, node.place.origin(), message);
    }
    let socks5 = section.truth("socks5", report).unwrap_or(Given::new(false, Origin::Default));
    if socks5.value && listen.is_empty() {
        let message = "fleetgate.forward_proxy.socks5 has no effect without fleetgate.forward_proxy.listen";
        report.warn(Cost::Serving, socks5.origin.clone(), message);
    }
    report.setting("fleetgate.forward_proxy.socks5", socks5.value.to_string(), socks5.origin);
    let socks5 = socks5.value;
    let plain_http = section.truth("plain_http", report).unwrap_or(Given::new(false, Origin::Default));
    report.setting("fleetgate.forward_proxy.plain_http", plain_http.value.to_string(), plain_http.origin);
    let plain_http = plain_http.value;
    let plain_http_ports = ports(&section, "plain_http_ports", PLAIN_HTTP_PORTS, report);
    let upstream = next_proxy::read(&section, report);
    ForwardProxySettings { listen, trust, socks5, socks5_listen, plain_http, plain_http_ports, upstream, price_per_gb }
}

fn price(section: &Section<'_>, report: &mut Report) -> Option<NanoDollars> {
    let Given { value, origin } = section.text("price_per_gb", report)?;
    let dollars = value.parse::<f64>().ok().filter(|dollars| dollars.is_finite() && *dollars >= 0.0);
    let Some(price) = dollars.and_then(NanoDollars::from_dollars) else {
        report.error(origin, "fleetgate.forward_proxy.price_per_gb must be dollars for 10\u{2079} bytes, such as 0.05");
        return None;
    };
    report.setting("fleetgate.forward_proxy.price_per_gb", value, origin);
    Some(price)
}

fn seconds(section: &Section<'_>, key: &str, default: Duration, report: &mut Report) -> Duration {
    let Given { value, origin } = section.seconds(key, report).unwrap_or(Given::new(default, Origin::Default));
    report.setting(format!("{}.{key}", section.path), value.as_secs_f64().to_string(), origin);
    value
}

fn optional(section: &Section<'_>, key: &str, given: Option<Given<Duration>>, report: &mut Report) -> Option<Duration> {
    let Given { value, origin } = given?;
    report.setting(format!("{}.{key}", section.path), value.as_secs_f64().to_string(), origin);
    Some(value)
}

fn whole(section: &Section<'_>, key: &str, report: &mut Report) -> Option<u64> {
    let Given { value, origin } = section.whole(key, report)?;
    report.setting(format!("{}.{key}", section.path), value.to_string(), origin);
    Some(value)
}

fn mode(section: &Section<'_>, report: &mut Report) -> EgressMode {
    let (mode, origin) = match section.text("mode", report) {
        None => (EgressMode::default(), Origin::Default),
        Some(given) => match given.value.as_str() {
            "enforce" => (EgressMode::Enforce, given.origin),
            "report" => (EgressMode::Report, given.origin),
            "open" => (EgressMode::Open, given.origin),
            _ => {
                report.error(given.origin, "fleetgate.egress.mode must be enforce, report or open");
                (EgressMode::default(), Origin::Default)
            }
        },
    };
    report.setting("fleetgate.egress.mode", mode.word(), origin);
    mode
}

/// The lists for everyone, then those of `rules`.
fn rules(section: &Section<'_>, report: &mut Report) -> Vec<EgressRule> {
    let everyone = EgressRule {
        path: section.path.to_owned(),
        allow: patterns(section.path, section.get("allow"), "allow", report),
        deny: patterns(section.path, section.get("deny"), "deny", report),
        ..EgressRule::default()
    };
    let mut rules = vec![everyone];
    let Some(node) = section.get("rules") else { return rules };
    let Some(entries) = node.list() else {
        report.error(node.place.origin(), "fleetgate.egress.rules must be a list of maps");
        return rules;
    };
    for (number, entry) in entries.iter().enumerate() {
        rules.push(rule(&format!("{}.rules[{number}]", section.path), entry, report));
    }
    rules
}

/// A rule with a mistake in it is an error of the whole file: without it, callers would reach more than they should.
fn rule(path: &str, node: &Node, report: &mut Report) -> EgressRule {
    let mut rule = EgressRule { path: path.to_owned(), ..EgressRule::default() };
    let Some(entries) = node.map() else {
        report.error(node.place.origin(), format!("{path} must be a map of key, host, workload, allow and deny"));
        return rule;
    };
    for entry in entries {
        let text = entry.node.text();
        let understood = match entry.key.as_str() {
            "key" => text.map(|text| rule.key = Some(text.to_owned())),
            "host" => text.and_then(|text| HostLabel::parse(text).ok()).map(|host| rule.host = Some(host)),
            "workload" => text.and_then(|text| Workload::parse(text).ok()).map(|name| rule.workload = Some(name)),
            "allow" => {
                rule.allow = patterns(path, Some(&entry.node), "allow", report);
                Some(())
            }
            "deny" => {
                rule.deny = patterns(path, Some(&entry.node), "deny", report);
                Some(())
            }
            _ => None,
        };
        if understood.is_none() {
            let message = format!("{path}.{} is none of key, host and workload with a name, allow and deny", entry.key);
            report.error(entry.place.origin(), message);
        }
    }
    if rule.key.is_none() && rule.host.is_none() && rule.workload.is_none() {
        let message =
            format!("{path} names no key, host or workload; what is for everyone stands in fleetgate.egress itself");
        report.error(node.place.origin(), message);
    }
    rule
}

pub(super) fn patterns(path: &str, node: Option<&Node>, key: &str, report: &mut Report) -> Vec<DomainPattern> {
    let Some(node) = node else { return Vec::new() };
    let texts = node.texts();
    // An empty list could be meant as "nothing" as well as "no list".
    if texts.is_empty() || node.list().map_or(1, <[_]>::len) != texts.len() {
        let message = format!("{path}.{key} must be a list of domain patterns; to refuse everything, deny \"*\"");
        report.error(node.place.origin(), message);
    }
    let mut patterns = Vec::new();
    for (text, place) in texts {
        match DomainPattern::parse(text) {
            Ok(pattern) => patterns.push(pattern),
            Err(error) => report.error(place.origin(), format!("{path}.{key}: {error}")),
        }
    }
    let shown: Vec<_> = patterns.iter().map(DomainPattern::to_string).collect();
    report.setting(format!("{path}.{key}"), shown.join(", "), node.origin());
    patterns
}

fn ports(section: &Section<'_>, key: &str, default: &[u16], report: &mut Report) -> Vec<u16> {
    let (ports, origin) = match section.get(key) {
        None => (default.to_vec(), Origin::Default),
        Some(node) => {
            let parsed: Option<Vec<u16>> = node.texts().into_iter().map(|(text, _)| text.parse().ok()).collect();
            let complete = parsed.filter(|ports| ports.len() == node.list().map_or(1, <[_]>::len));
            if complete.is_none() {
                report.error(node.place.origin(), format!("{}.{key} must be a list of ports", section.path));
            }
            (complete.unwrap_or_default(), node.origin())
        }
    };
    let shown: Vec<_> = ports.iter().map(u16::to_string).collect();
    report.setting(format!("{}.{key}", section.path), shown.join(", "), origin);
    ports
}

fn networks(section: &Section<'_>, report: &mut Report) -> Vec<IpNet> {
    const KEY: &str = "dangerously_allow_networks";
    let mut networks = Vec::new();
    let Some(node) = section.get(KEY) else { return networks };
    for (text, place) in node.texts() {
        match network(text) {
            Some(network) => networks.push(network),
            None => {
                report.error(place.origin(), format!("{}.{KEY} takes networks such as 10.9.0.0/16", section.path));
            }
        }
    }
    if node.map().is_some() {
        report.error(node.place.origin(), format!("{}.{KEY} must be a list of networks", section.path));
    }
    let shown: Vec<_> = networks.iter().map(IpNet::to_string).collect();
    report.setting(format!("{}.{KEY}", section.path), shown.join(", "), node.origin());
    networks
}

fn trust(section: &Section<'_>, report: &mut Report) -> Vec<Trust> {
    let Some(node) = section.get("trust") else { return Vec::new() };
    let mut trust = Vec::new();
    for (text, place) in node.texts() {
        match (text, network(text)) {
            ("mesh", _) => trust.push(Trust::Mesh),
            // It would be an open proxy for whoever reaches the port.
            (_, Some(network)) if network.prefix_len() == 0 => report.error(
                place.origin(),
                format!("fleetgate.forward_proxy.trust: {text} is everyone; name the networks, or give keys"),
            ),
            (_, Some(network)) => trust.push(Trust::Network(network)),
            (_, None) => {
                report.error(
                    place.origin(),
                    "fleetgate.forward_proxy.trust takes networks such as 100.64.0.0/10, or mesh",
                );
            }
        }
    }
    if node.list().map_or(1, <[_]>::len) != node.texts().len() || node.map().is_some() {
        report.error(node.place.origin(), "fleetgate.forward_proxy.trust must be a list of networks, or mesh");
    }
    let shown = trust.iter().map(|trust| match trust {
        Trust::Mesh => "mesh".to_owned(),
        Trust::Network(network) => network.to_string(),
    });
    report.setting("fleetgate.forward_proxy.trust", shown.collect::<Vec<_>>().join(", "), node.origin());
    trust
}

fn network(text: &str) -> Option<IpNet> {
    text.parse().ok().or_else(|| text.parse::<IpAddr>().ok().map(IpNet::from))
}
