//! The gateway's name: does it resolve, who says no, and is what it resolves to a place where a gateway can be?

use std::net::{IpAddr, SocketAddr};
use std::pin::pin;
use std::time::Duration;

use fleetgate_wire::address::AddressClass;
use tokio::net::lookup_host;
use tokio::time::timeout;

use super::name_server::{self, Reply};
use super::report::Finding;
use crate::forward::GatewayUrl;

const CHECK: &str = "dns";
/// What the system's resolver gets. Its own limit is ten seconds and more for each server.
const LIMIT: Duration = Duration::from_secs(4);
/// No more addresses of one name than this are looked at.
const MAX_ADDRESSES: usize = 4;
/// Tailscale's own name server.
const MAGIC_DNS: &str = "100.100.100.100";

/// What the gateway's address turned out to be.
#[derive(Debug)]
pub(super) struct Resolved {
    pub(super) addresses: Vec<SocketAddr>,
    pub(super) finding: Finding,
    /// The name leads to an address where a gateway would not listen by itself: should nobody answer there, that is why.
    pub(super) suspicion: Option<String>,
}

/// Resolves the gateway's name as the sidecar does.
pub(super) async fn resolve(gateway: &GatewayUrl) -> Result<Resolved, Finding> {
    let authority = gateway.authority();
    if let Ok(literal) = authority.parse::<SocketAddr>() {
        let what = format!("{authority} needs no look-up ({})", AddressClass::of(literal.ip()).word());
        return Ok(Resolved { addresses: vec![literal], finding: Finding::ok(CHECK, what), suspicion: None });
    }
    let name = authority.rsplit_once(':').map_or(authority, |(name, _)| name);
    // The servers are asked at the same time, so that an explanation is there when the system gives up.
    let servers = name_server::configured();
    let mut asking = pin!(name_server::ask_all(&servers, name));
    let mut looking = pin!(timeout(LIMIT, lookup_host(authority)));
    let mut replies = None;
    let system = loop {
        tokio::select! {
            system = &mut looking => break system,
            all = &mut asking, if replies.is_none() => replies = Some(all),
        }
    };
    let why = match system {
        Ok(Ok(found)) => {
            let addresses: Vec<SocketAddr> = found.take(MAX_ADDRESSES).collect();
            if !addresses.is_empty() {
                return Ok(judge(name, addresses));
            }
            "it has no address".to_owned()
        }
        Ok(Err(error)) => error.to_string(),
        Err(_) => "the system's resolver gave no answer in time".to_owned(),
    };
    let replies = match replies {
        Some(replies) => replies,
        None => asking.await,
    };
    Err(fails(name, &why, &replies))
}

fn judge(name: &str, addresses: Vec<SocketAddr>) -> Resolved {
    let words: Vec<String> = addresses
        .iter()
        .map(|address| format!("{} ({})", address.ip(), AddressClass::of(address.ip()).word()))
        .collect();
    let what = format!("{name} is {}", words.join(", "));
    let misplaced = addresses.iter().map(SocketAddr::ip).find(|ip| !is_plausible(name, *ip));
    let suspicion = misplaced.map(|ip| {
        let class = AddressClass::of(ip).word();
        format!("{name} resolves to {ip}, a {class} address; a gateway of a mesh has a mesh or private one")
    });
    Resolved { addresses, finding: Finding::ok(CHECK, what), suspicion }
}

fn is_plausible(name: &str, ip: IpAddr) -> bool {
    match AddressClass::of(ip) {
        AddressClass::Mesh | AddressClass::Loopback => true,
        AddressClass::Private | AddressClass::LinkLocal => !is_of_tailscale(name),
        _ => false,
    }
}

fn is_of_tailscale(name: &str) -> bool {
    name.ends_with(".ts.net") || name.ends_with(".ts.net.")
}

/// Nobody answered at an implausible address: the name is what to mend.
pub(super) fn wrong_address(name: &str, suspicion: &str, evidence: &str) -> Finding {
    let host = name.rsplit_once(':').map_or(name, |(host, _)| host);
    Finding::problem(CHECK, "wrong_address", format!("wrong address: {suspicion}. There, {evidence}"))
        .cause("another name server than the mesh's answered, or the record is out of date")
        .next(format!("getent ahosts {host}"))
        .next("tailscale status  # or: wg show; netbird status; the gateway's address stands there")
}

fn fails(name: &str, system: &str, replies: &[(IpAddr, Reply)]) -> Finding {
    let said: Vec<String> = replies.iter().map(|(server, reply)| format!("{server} says {}", reply.words())).collect();
    let servers = if said.is_empty() { "no name server is configured".to_owned() } else { said.join(", ") };
    let (code, cause) = explain(name, replies);
    Finding::problem(CHECK, code, format!("{name} cannot be resolved ({system}); {servers}"))
        .cause(cause)
        .next(format!("resolvectl query {name}  # macOS: scutil --dns"))
        .next("FLEETGATE_GATEWAY=http://ADDRESS:4000 fleetgate doctor  # the literal address tells whether only the name is broken")
}

fn explain(name: &str, replies: &[(IpAddr, Reply)]) -> (&'static str, String) {
    let is = |wanted: Reply| !replies.is_empty() && replies.iter().all(|(_, reply)| *reply == wanted);
    let any = |wanted: Reply| replies.iter().any(|(_, reply)| *reply == wanted);
    let mesh_server = replies.iter().any(|(server, _)| server.to_string() == MAGIC_DNS || server.is_loopback());
    if is(Reply::Silent) {
        return (
            "no_answer",
            "the name server does not answer: it is down, or the mesh or network that leads to it is".to_owned(),
        );
    }
    if any(Reply::NoSuchName) && is_of_tailscale(name) && !mesh_server {
        return (
            "magic_dns_off",
            format!("MagicDNS is off on this machine: {MAGIC_DNS} is not among its name servers"),
        );
    }
    if any(Reply::NoSuchName) {
        let cause = "NXDOMAIN: the name does not exist for this name server. A typo, MagicDNS is off, or split DNS asks the wrong server";
        return ("nxdomain", cause.to_owned());
    }
    if any(Reply::ServerFailure) || any(Reply::Refuses) {
        return (
            "servfail",
            "the name server itself fails: its own upstream is away, or it does not serve this domain".to_owned(),
        );
    }
    (
        "unresolved",
        "the system's resolver is configured in a way that finds no answer (/etc/nsswitch.conf, /etc/resolv.conf)"
            .to_owned(),
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_mesh_name_at_a_lan_address_and_any_name_at_a_public_one_are_suspicious() {
        let suspicious =
            |name: &str, ip: &str| judge(name, vec![SocketAddr::new(ip.parse().unwrap(), 4000)]).suspicion.is_some();
        assert!(!suspicious("box.tail1.ts.net", "100.64.0.1"));
        assert!(suspicious("box.tail1.ts.net", "192.168.1.4"));
        assert!(!suspicious("box.lan", "192.168.1.4"));
        assert!(suspicious("box.lan", "8.8.8.8"));
    }

    #[test]
    fn each_way_not_to_resolve_has_its_own_word() {
        let one = |reply| [("10.0.0.53".parse().unwrap(), reply)];
        assert_eq!(explain("box.fleet", &one(Reply::NoSuchName)).0, "nxdomain");
        assert_eq!(explain("box.t.ts.net", &one(Reply::NoSuchName)).0, "magic_dns_off");
        assert_eq!(explain("box.fleet", &one(Reply::Silent)).0, "no_answer");
        assert_eq!(explain("box.fleet", &one(Reply::ServerFailure)).0, "servfail");
        assert_eq!(explain("box.fleet", &[]).0, "unresolved");
    }
}
