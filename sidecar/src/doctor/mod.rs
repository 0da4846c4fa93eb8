//! `fleetgate doctor`: why calls do not arrive. Each check depends on the one before it; the first that fails is the cause, and
//! those that depend on it are skipped. Nothing is sent but to the gateway, the sidecar, the configured name servers and, with
//! `--egress`, the address that is given there, and no secret is ever part of a finding.

mod account;
mod answer;
mod egress;
mod exchange;
mod here;
mod launchers;
mod name;
mod name_server;
mod netlink;
mod on_gateway;
mod path;
mod ping;
mod processes;
mod proxies;
mod reach;
mod report;
mod route;
mod segment;
mod size;
mod sockets;
mod watch;

use std::path::PathBuf;
use std::time::Duration;

use fleetgate_wire::host::HostLabel;
use http::HeaderValue;
use tokio::time::timeout;

pub use crate::settings::Surroundings;
pub use answer::Protocol;
pub use egress::{examine as examine_egress, seen_address};
pub use name_server::Reply;
pub use on_gateway::examine as examine_gateway;
pub use report::{Finding, Level, Report};
pub use segment::{Segment, Turn};
pub use watch::{WatchError, watch};

use crate::forward::GatewayUrl;
use crate::identity;
use crate::keystore::{HostKeys, Matched};
use crate::places;
use crate::settings::Wiring;
use here::Here;
use path::Path;
use processes::Process;

/// The whole walk, whatever hangs; with the question to the sidecar before it the whole run stays below 20 seconds.
const LIMIT: Duration = Duration::from_secs(15);

/// What is to be examined.
#[derive(Debug)]
pub struct Subject {
    /// The gateway as somebody said it, or several separated by commas; without one the sidecar is asked.
    pub gateway: Option<String>,
    /// The gateway at which this machine enrolled, where neither is known.
    pub enrolled: Option<String>,
    /// The sidecar of this machine.
    pub sidecar: GatewayUrl,
    /// The label that somebody insists on.
    pub label: Option<String>,
    /// `hosts.toml`, if there is a place for it.
    pub hosts_file: Option<PathBuf>,
    /// This machine.
    pub surroundings: Surroundings,
}

/// Who this host is and what it pays with.
#[derive(Debug, Default)]
struct Us {
    label: Option<HostLabel>,
    bearer: Option<HeaderValue>,
}

/// Examines everything, within [`LIMIT`] and a little.
pub async fn examine(subject: &Subject) -> Report {
    let here = here::look(&subject.sidecar).await;
    let mut findings = Vec::new();
    let us = identify(subject, &here, &mut findings).await;
    let gateways = find_gateways(subject, &here);

    let mut path = Path::default();
    match gateways.as_deref() {
        Ok(all) => {
            findings.extend(left_out(all));
            for gateway in all.iter().take(1) {
                if timeout(LIMIT, path.walk(gateway, &subject.sidecar, &us, &here)).await.is_err() {
                    path.out_of_time();
                }
            }
        }
        Err(finding) => path.stop(finding.clone()),
    }
    findings.extend(path.into_findings());
    findings.extend(examine_machine(subject, &gateways.unwrap_or_default(), here));
    Report::new(findings)
}

/// Identity and key. A key that this user may not read is no problem while the sidecar has it.
async fn identify(subject: &Subject, here: &Here, findings: &mut Vec<Finding>) -> Us {
    let state = places::state_directory();
    let identity = match identity::find(subject.label.as_deref(), state.as_deref()).await {
        Ok(identity) => identity,
        Err(error) => {
            findings.push(
                Finding::problem("identity", "nameless", error.to_string())
                    .cause("the machine has no usable name")
                    .next("fleetgate whoami --host LABEL"),
            );
            findings.push(Finding::skipped("key_file", "because of identity"));
            return Us::default();
        }
    };
    let mut label = identity.label.clone();
    let what = format!("host \"{label}\" ({})", identity.source.words());
    findings.push(Finding::ok("identity", what));
    let Some(hosts_file) = &subject.hosts_file else {
        findings.push(Finding::skipped("key_file", "there is no place for hosts.toml"));
        return Us { label: Some(label), bearer: None };
    };
    let (finding, bearer) = match HostKeys::load(hosts_file, &label).await {
        Ok(keys) => {
            label = keys.label.clone();
            (key_file(&keys, here), keys.credential(None).ok().map(crate::keystore::Credential::bearer))
        }
        Err(error) => {
            let finding = Finding::problem("key_file", "unreadable", error.to_string())
                .cause("hosts.toml cannot be read, or its form is broken")
                .next(format!("${{EDITOR:-vi}} {}", hosts_file.display()));
            (finding, None)
        }
    };
    findings.push(finding);
    Us { label: Some(label), bearer }
}

fn key_file(keys: &HostKeys, here: &Here) -> Finding {
    const CHECK: &str = "key_file";
    let problem = match keys.credential(None) {
        Ok(_) if keys.matched == Matched::Fallback => {
            return Finding::warning(
                CHECK,
                "fallback",
                format!("host \"{}\" matches nothing in hosts.toml and lives on the fallback key", keys.label),
            )
            .cause("its spend cannot be told from that of other such hosts")
            .next("fleetgate whoami");
        }
        Ok(_) => {
            return Finding::ok(
                CHECK,
                format!("the key of \"{}\" was found where hosts.toml says, for its owner only", keys.label),
            );
        }
        Err(problem) => problem.to_string(),
    };
    // The service's own key file is root's; what counts is whether the sidecar can read it.
    if here.described.as_ref().is_some_and(|described| described.has_key()) {
        return Finding::ok(CHECK, format!("the sidecar has its key; this user has none ({problem})"));
    }
    let chmod =
        problem.split_once("run: chmod").map(|(_, rest)| format!("chmod{}", rest.split(" (").next().unwrap_or(rest)));
    let finding = Finding::problem(CHECK, "no_key", problem)
        .cause("no key was made for this host yet, or not where hosts.toml says, or others can read it");
    match chmod {
        Some(command) => finding.next(command),
        None => finding
            .next("fleetgate whoami  # where the key should be")
            .next("fleetgate keys invite --host HOST  # by the administrator")
            .next("fleetgate enroll http://GATEWAY:4000 --token -  # here, with what that prints"),
    }
}

/// The gateways as somebody said them, separated by commas, else the sidecar's, else the one at which this machine enrolled. There is at least one.
fn find_gateways(subject: &Subject, here: &Here) -> Result<Vec<GatewayUrl>, Finding> {
    let said = subject.gateway.as_deref().filter(|text| !text.is_empty());
    let sidecars = || here.described.as_ref().and_then(|described| described.gateway.as_deref());
    let known = said.or_else(sidecars).or(subject.enrolled.as_deref());
    let Some(text) = known else {
        return Err(Finding::problem(
            "gateway",
            "unknown",
            "nobody says where the gateway is: neither --gateway, FLEETGATE_GATEWAY, a running sidecar nor an enrolment",
        )
        .cause("this shell and the sidecar were not set up")
        .next("export FLEETGATE_GATEWAY=http://GATEWAY:4000"));
    };
    let gateways = text.split(',').map(|one| one.trim().parse()).collect::<Result<_, _>>();
    gateways.map_err(|error: crate::forward::GatewayUrlError| {
        Finding::problem("gateway", "bad_address", error.to_string())
            .cause("sidecar and gateway speak plain HTTP, which the mesh encrypts")
            .next("export FLEETGATE_GATEWAY=http://GATEWAY:4000")
    })
}

/// One run examines one gateway; of the others it says how.
fn left_out(gateways: &[GatewayUrl]) -> Option<Finding> {
    let [first, others @ ..] = gateways else { return None };
    let skipped = Finding::skipped("gateway", format!("{first} is examined, the first of {}", gateways.len()));
    let next = |finding: Finding, url: &GatewayUrl| finding.next(format!("fleetgate doctor --gateway {url}"));
    (!others.is_empty()).then(|| others.iter().fold(skipped, next))
}

/// What can be looked at without the gateway.
fn examine_machine(subject: &Subject, gateways: &[GatewayUrl], here: Here) -> Vec<Finding> {
    let surroundings = &subject.surroundings;
    let all = Process::all(&surroundings.processes);
    let wiring = Wiring::new(&subject.sidecar, gateways);
    let mut findings = vec![here.finding];
    if let Some(described) = &here.described {
        findings.extend(here::same_gateway(described, gateways));
    }
    findings.push(here::others(&subject.sidecar, &all));
    findings.push(processes::userspace_mesh(&all));
    let host =
        gateways.first().and_then(|gateway| gateway.authority().rsplit_once(':').map(|(host, _)| host.to_owned()));
    findings.push(proxies::look(&surroundings.environment, host.as_deref()));
    findings.push(processes::own_environment(&surroundings.environment, &wiring));
    findings.extend(launchers::look(surroundings, &wiring));
    let files: Vec<PathBuf> =
        subject.hosts_file.iter().flat_map(|path| [path.clone(), path.with_file_name("sidecar.env")]).collect();
    findings.push(processes::stale(&all, surroundings, &wiring, &files));
    findings
}
