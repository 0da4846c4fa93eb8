//! The sidecar of this machine: is it there, is it the only one, and does a call through it arrive?

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

use fleetgate_wire::header;
use fleetgate_wire::port_owner::PortOwner;
use http::{HeaderMap, HeaderValue};
use serde::Deserialize;

use super::exchange;
use super::processes::Process;
use super::report::Finding;
use crate::VERSION;
use crate::forward::{Answer, GatewayUrl};

const CHECK: &str = "sidecar";

/// What the sidecar says about itself, as far as it is looked at.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(super) struct Described {
    pub(super) gateway: Option<String>,
    key: Option<DescribedKey>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct DescribedKey {
    state: String,
}

impl Described {
    /// Whether the sidecar itself has found its key.
    pub(super) fn has_key(&self) -> bool {
        self.key.as_ref().is_some_and(|key| key.state == "found")
    }
}

/// The sidecar as it was found.
#[derive(Debug)]
pub(super) struct Here {
    pub(super) finding: Finding,
    /// When it answers this user.
    pub(super) described: Option<Described>,
}

/// Asks the sidecar who it is.
pub(super) async fn look(sidecar: &GatewayUrl) -> Here {
    let owner = address_of(sidecar).map(PortOwner::find);
    let at = sidecar.authority();
    let here = |finding| Here { finding, described: None };
    let answer = match exchange::get(sidecar, "/__fleetgate/whoami", HeaderMap::new()).await {
        Ok(answer) => answer,
        Err(problem) => {
            return here(
                Finding::problem(CHECK, "not_running", format!("no sidecar answers at {at}: {problem}"))
                    .cause("it is not running, or listens elsewhere (FLEETGATE_LISTEN)")
                    .next("systemctl --user status fleetgate-sidecar  # or, for the system's: systemctl status fleetgate-sidecar")
                    .next("fleetgate sidecar  # by hand, to see why it does not start"),
            );
        }
    };
    let Some(version) =
        answer.headers.get(header::SIDECAR).map(|value| String::from_utf8_lossy(value.as_bytes()).into_owned())
    else {
        return here(taken(at, owner.as_ref(), &answer));
    };
    let process = owner.map_or_else(String::new, |owner| format!(", {owner}"));
    if !answer.status.is_success() {
        let reason = answer
            .headers
            .get(header::REASON)
            .map_or_else(String::new, |reason| format!(", {}", String::from_utf8_lossy(reason.as_bytes())));
        return here(
            Finding::warning(
                CHECK,
                "not_for_us",
                format!(
                    "a sidecar {version} runs at {at}{process}, but does not talk to this user ({}{reason})",
                    answer.status
                ),
            )
            .cause("it belongs to another user and serves only that one")
            .next("sudo -u USER fleetgate doctor  # as the user who makes the calls"),
        );
    }
    let described: Described = serde_json::from_slice(&answer.body).unwrap_or_default();
    let what = format!("sidecar {version} runs at {at}{process}");
    let finding = if version == VERSION {
        Finding::ok(CHECK, what)
    } else {
        Finding::warning(CHECK, "other_version", format!("{what}; this program is {VERSION}"))
            .cause("it was not started again after an upgrade")
            .next("systemctl --user restart fleetgate-sidecar  # or, for the system's: sudo systemctl restart fleetgate-sidecar")
    };
    Here { finding, described: Some(described) }
}

fn taken(at: &str, owner: Option<&PortOwner>, answer: &Answer) -> Finding {
    if answer.headers.contains_key(header::GATEWAY) {
        return Finding::warning(CHECK, "gateway_instead", format!("the gateway itself listens at {at}, no sidecar"))
            .cause("on the gateway's machine no sidecar is needed, but programs must bring a key of their own then")
            .next("fleetgate doctor --on-gateway");
    }
    let who = owner.map_or_else(|| "another program".to_owned(), ToString::to_string);
    Finding::problem(CHECK, "port_taken", format!("{at} is taken by {who}, which answers {}", answer.status))
        .cause("not a sidecar: LiteLLM's default port is 4000 too")
        .next(format!("lsof -nP -iTCP:{} -sTCP:LISTEN", at.rsplit(':').next().unwrap_or_default()))
}

fn address_of(sidecar: &GatewayUrl) -> Option<SocketAddr> {
    let authority = sidecar.authority();
    let literal =
        authority.strip_prefix("localhost:").map_or_else(|| authority.to_owned(), |port| format!("127.0.0.1:{port}"));
    literal.parse().ok()
}

/// Whether another sidecar runs besides the one that was found, or another program has the port on the other loopback address.
pub(super) fn others(sidecar: &GatewayUrl, all: &[Process]) -> Finding {
    const CHECK: &str = "sidecars";
    let pid_at = |address: SocketAddr| match PortOwner::find(address) {
        PortOwner::Process { pid, .. } => Some(pid),
        PortOwner::OtherUser(_) | PortOwner::Unknown(_) => None,
    };
    let Some(address) = address_of(sidecar) else {
        return Finding::skipped(CHECK, "the sidecar is not on this machine");
    };
    let ours = pid_at(address);
    let twin_ip: IpAddr = if address.is_ipv4() { Ipv6Addr::LOCALHOST.into() } else { Ipv4Addr::LOCALHOST.into() };
    let twin = SocketAddr::new(twin_ip, address.port());
    let is_sidecar = |process: &&Process| process.program() == "fleetgate" && process.has_argument("sidecar");
    let sidecars: Vec<&Process> = all.iter().filter(is_sidecar).collect();
    if let (Some(ours), Some(other)) = (ours, pid_at(twin))
        && ours != other
    {
        let words = format!("{address} belongs to pid {ours}, {twin} to pid {other}: {}", PortOwner::find(twin));
        let finding = if sidecars.iter().any(|process| process.pid == other) {
            Finding::warning(CHECK, "two_sidecars", words)
        } else {
            Finding::problem(CHECK, "port_split", words)
        };
        return finding
            .cause("\"localhost\" means one for some programs and the other for others")
            .next(format!("kill {other}  # if that one is not wanted"));
    }
    let strangers: Vec<String> = sidecars
        .iter()
        .filter(|process| Some(process.pid) != ours)
        .map(|process| format!("pid {} of user {}", process.pid, process.user))
        .collect();
    // Whose port we cannot see is one of them; only a second one is a surplus.
    if strangers.is_empty() || (ours.is_none() && strangers.len() == 1) {
        return Finding::ok(CHECK, "no second sidecar");
    }
    Finding::warning(
        CHECK,
        "two_sidecars",
        format!("more than one sidecar runs here: besides that at {address} {}", strangers.join(", ")),
    )
    .cause("one of the user and one of the system, or one that was started by hand")
    .next("ps -o pid,user,lstart,args -C fleetgate")
}

/// Whether the sidecar forwards to one of the gateways that this shell names.
pub(super) fn same_gateway(described: &Described, gateways: &[GatewayUrl]) -> Option<Finding> {
    let theirs = described.gateway.as_deref()?;
    let ours: Vec<String> = gateways.iter().map(ToString::to_string).collect();
    (!ours.is_empty() && !ours.iter().any(|url| url == theirs)).then(|| {
        let what = format!("the sidecar forwards to {theirs}, but {} was looked at", ours[0]);
        Finding::warning("sidecar_to", "other_gateway", what)
            .cause("FLEETGATE_GATEWAY differs between this shell and the sidecar")
            .next(format!("fleetgate doctor --gateway {theirs}"))
    })
}

/// One call through the sidecar to the gateway that nobody pays for: the list of models.
pub(super) async fn call(sidecar: &GatewayUrl, gateway: &GatewayUrl) -> Finding {
    const CHECK: &str = "call";
    let headers = HeaderMap::from_iter([(header::WORKLOAD, HeaderValue::from_static("fleetgate-doctor"))]);
    let answer = match exchange::get(sidecar, "/v1/models", headers).await {
        Ok(answer) => answer,
        Err(problem) => {
            return Finding::problem(
                CHECK,
                "no_answer",
                format!("a call through the sidecar gets no answer: {problem}"),
            )
            .cause("the sidecar hangs or lost its network")
            .next("systemctl --user restart fleetgate-sidecar");
        }
    };
    let text = |name| {
        answer.headers.get(name).map(|value: &HeaderValue| String::from_utf8_lossy(value.as_bytes()).into_owned())
    };
    let body: serde_json::Value = serde_json::from_slice(&answer.body).unwrap_or_default();
    if answer.status.is_success() && answer.headers.contains_key(header::GATEWAY) {
        let models = body["data"].as_array().map_or(0, Vec::len);
        let id = text(header::REQUEST_ID).map_or_else(|| "no cost, so no row".to_owned(), |id| format!("request {id}"));
        return Finding::ok(
            CHECK,
            format!("a call through the sidecar reaches {gateway}: {models} models for this key ({id})"),
        );
    }
    let message = body.pointer("/error/message").and_then(|message| message.as_str()).unwrap_or("without a reason");
    let reason = text(header::REASON).unwrap_or_default();
    let who = if answer.headers.contains_key(header::GATEWAY) { "the gateway" } else { "the sidecar" };
    Finding::problem(
        CHECK,
        "refused",
        format!("a call through the sidecar is refused by {who} ({} {reason}): {message}", answer.status),
    )
    .cause("the sidecar's key, or who may talk to it")
    .next("curl -s http://127.0.0.1:4000/__fleetgate/whoami  # what the sidecar itself sees")
}
