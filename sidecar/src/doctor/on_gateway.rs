//! `fleetgate doctor --on-gateway`: the gateway's half. What its own machine shows, and what it says of itself. No provider is
//! asked anything.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::Duration;

use fleetgate_wire::address::AddressClass;
use fleetgate_wire::{ExposeSecret, SecretString};
use http::header::AUTHORIZATION;
use http::{HeaderMap, HeaderValue, StatusCode};
use serde_json::Value;
use tokio::process::Command;
use tokio::time::timeout;

use super::answer;
use super::exchange;
use super::processes::Process;
use super::report::{Finding, Report};
use super::sockets;
use crate::forward::GatewayUrl;
use crate::settings::Surroundings;

/// What the gateway is asked about, in this order.
const ASKED: [&str; 7] = ["marker", "readiness", "ledger", "disk", "config", "keys", "rows"];
/// Below this share of a disk, or this many bytes, somebody should look.
const LITTLE_SHARE: u64 = 20;
const LITTLE_FREE: u64 = 1 << 30;
/// Below this the ledger stops taking calls soon.
const NO_FREE: u64 = 100 << 20;
/// Rows that wait for the database; more means that it is slow or away.
const MANY_WAITING: u64 = 1000;
/// For `timedatectl`.
const CLOCK_LIMIT: Duration = Duration::from_secs(2);
/// How many of the newest rows are looked at.
const ROWS: &str = "/api/logs?limit=1000";

/// Examines the gateway of this machine.
pub async fn examine(
    gateway: Option<&GatewayUrl>,
    admin: Option<&SecretString>,
    surroundings: &Surroundings,
) -> Report {
    let mut findings = Vec::new();
    let all = Process::all(&surroundings.processes);
    let process = all.iter().find(|process| process.program() == "fleetgate-gateway" && process.has_argument("serve"));
    let addresses =
        process.and_then(|process| sockets::listening_of(&surroundings.processes, process.pid)).unwrap_or_default();
    findings.push(running(process, gateway));
    findings.push(listening(&addresses, process.is_some()));
    let own = addresses.first().and_then(|address| url_of(*address));
    match gateway.cloned().or(own) {
        Some(url) => ask(&url, admin, &mut findings).await,
        None => {
            let why = "nobody says where the gateway is: say --gateway http://ADDRESS:4000";
            findings.extend(ASKED.map(|check| Finding::skipped(check, why)));
        }
    }
    findings.push(synchronised().await);
    Report::new(findings)
}

fn running(process: Option<&Process>, gateway: Option<&GatewayUrl>) -> Finding {
    const CHECK: &str = "process";
    match process {
        Some(process) => {
            Finding::ok(CHECK, format!("fleetgate-gateway runs (pid {}, user {})", process.pid, process.user))
        }
        // Where processes of others are hidden, its answer is what counts.
        None if gateway.is_some() => {
            Finding::skipped(CHECK, "no process fleetgate-gateway is to be seen; its answers tell")
        }
        None => Finding::problem(CHECK, "not_running", "no fleetgate-gateway runs on this machine")
            .cause("it was stopped, or does not start")
            .next("systemctl status fleetgate-gateway; journalctl -u fleetgate-gateway -n 50")
            .next("fleetgate-gateway config check --config /etc/fleetgate/config.yaml"),
    }
}

fn listening(addresses: &[SocketAddr], runs: bool) -> Finding {
    const CHECK: &str = "addresses";
    if addresses.is_empty() {
        let why = if runs {
            "whose sockets are whose can be seen by root only: sudo fleetgate doctor --on-gateway"
        } else {
            "no gateway runs"
        };
        return Finding::skipped(CHECK, why);
    }
    let class = |address: &SocketAddr| match address.ip() {
        ip if ip.is_unspecified() => "every address of this machine",
        ip => AddressClass::of(ip).word(),
    };
    let words: Vec<String> = addresses.iter().map(|address| format!("{address} ({})", class(address))).collect();
    let what = format!("listens at {}", words.join(", "));
    let is = |address: &SocketAddr, class| !address.ip().is_unspecified() && AddressClass::of(address.ip()) == class;
    if addresses.iter().any(|address| address.ip().is_unspecified() || is(address, AddressClass::Public)) {
        return Finding::warning(CHECK, "public", what)
            .cause("not only the mesh reaches it: anyone who does can try keys")
            .next("sudo grep -n 'listen' /etc/fleetgate/config.yaml  # name the mesh address");
    }
    if addresses.iter().all(|address| is(address, AddressClass::Loopback)) {
        return Finding::warning(CHECK, "loopback_only", what)
            .cause("no other machine reaches it: this is what \"connection refused\" on clients comes from")
            .next("sudo grep -n 'listen' /etc/fleetgate/config.yaml  # fleetgate: {listen: \"MESH-ADDRESS:4000\"}");
    }
    Finding::ok(CHECK, what)
}

fn url_of(address: SocketAddr) -> Option<GatewayUrl> {
    let reachable =
        if address.ip().is_unspecified() { format!("127.0.0.1:{}", address.port()) } else { address.to_string() };
    format!("http://{reachable}").parse().ok()
}

async fn ask(url: &GatewayUrl, admin: Option<&SecretString>, findings: &mut Vec<Finding>) {
    let skip = |findings: &mut Vec<Finding>, checks: &[&'static str], why: &str| {
        findings.extend(checks.iter().map(|check| Finding::skipped(check, why)));
    };
    let alive = match exchange::get(url, answer::ALIVE, HeaderMap::new()).await {
        Ok(alive) => alive,
        Err(problem) => {
            findings.push(
                Finding::problem("marker", "no_answer", format!("{url} gives no answer: {problem}"))
                    .cause("the gateway does not listen there, or hangs")
                    .next("ss -ltnp | grep fleetgate; journalctl -u fleetgate-gateway -n 50"),
            );
            return skip(findings, &ASKED[1..], "because of marker");
        }
    };
    match answer::marker(&alive, url) {
        Ok(finding) => findings.push(finding),
        Err(finding) => {
            findings.push(finding);
            return skip(findings, &ASKED[1..], "because of marker");
        }
    }
    findings.push(readiness(url).await);
    let Some(headers) = admin.and_then(bearer) else {
        return skip(findings, &ASKED[2..], "only the administrator may ask: set FLEETGATE_ADMIN_KEY");
    };
    match json(url, "/health/readiness/details", &headers).await {
        Ok(details) => {
            findings.push(ledger(&details));
            findings.push(disk(&details));
            findings.push(config(&details));
        }
        Err(problem) => {
            findings.push(
                Finding::problem("ledger", "no_answer", format!("the gateway does not describe its ledger: {problem}"))
                    .cause("FLEETGATE_ADMIN_KEY is not this gateway's, or its database hangs")
                    .next("journalctl -u fleetgate-gateway -n 50"),
            );
            return skip(findings, &ASKED[3..], "because of ledger");
        }
    }
    findings.push(
        json(url, "/key/list?return_full_object=true&size=100", &headers)
            .await
            .map_or_else(|problem| Finding::skipped("keys", problem), |list| keys(&list)),
    );
    findings.push(
        json(url, ROWS, &headers).await.map_or_else(|problem| Finding::skipped("rows", problem), |rows| marked(&rows)),
    );
}

fn bearer(key: &SecretString) -> Option<HeaderMap> {
    let mut value = HeaderValue::from_str(&format!("Bearer {}", key.expose_secret().trim())).ok()?;
    value.set_sensitive(true);
    Some(HeaderMap::from_iter([(AUTHORIZATION, value)]))
}

async fn json(url: &GatewayUrl, path: &'static str, headers: &HeaderMap) -> Result<Value, String> {
    let answer = exchange::get(url, path, headers.clone()).await?;
    let body = serde_json::from_slice(&answer.body);
    // "Not ready" is described too.
    if answer.status.is_success() || answer.status == StatusCode::SERVICE_UNAVAILABLE {
        return body.map_err(|error| format!("{path}: {error}"));
    }
    Err(format!("{path} answers {}", answer.status))
}

async fn readiness(url: &GatewayUrl) -> Finding {
    const CHECK: &str = "readiness";
    let ready = match json(url, "/health/readiness", &HeaderMap::new()).await {
        Ok(ready) => ready,
        Err(problem) => {
            return Finding::problem(CHECK, "no_answer", problem)
                .cause("the gateway hangs")
                .next("journalctl -u fleetgate-gateway -n 50");
        }
    };
    let reason = ready["reason"].as_str().unwrap_or("it gives no reason");
    match (ready["status"].as_str(), ready["db"].as_str()) {
        (Some("healthy"), Some("connected")) => Finding::ok(CHECK, "ready, and its database is there"),
        (Some("healthy"), _) => Finding::warning(CHECK, "database_away", format!("takes calls, but: {reason}"))
            .cause("the database is away; rows are kept until it is back")
            .next("journalctl -u fleetgate-gateway -n 50; systemctl status postgresql"),
        _ => Finding::problem(CHECK, "not_ready", format!("takes no calls: {reason}"))
            .cause(
                "what cannot be written down is not spent: a full disk, wrong permissions, or a database that is away",
            )
            .next("df -h; journalctl -u fleetgate-gateway -n 50"),
    }
}

fn ledger(details: &Value) -> Finding {
    const CHECK: &str = "ledger";
    let waiting = details["spool_depth"].as_u64().unwrap_or_default();
    let age = details["newest_row_age_seconds"]
        .as_f64()
        .map_or_else(|| "no row yet".to_owned(), |age| format!("newest row {age:.0} s old"));
    let database = details["database"]["kind"].as_str().unwrap_or("unknown");
    let calls = details["calls_in_flight"].as_u64().unwrap_or_default();
    let what = format!("{database}: {age}, {waiting} rows wait to be applied, {calls} calls under way");
    if waiting > MANY_WAITING {
        return Finding::warning(CHECK, "behind", what)
            .cause("the database is slower than the calls, or away")
            .next("journalctl -u fleetgate-gateway -n 50");
    }
    Finding::ok(CHECK, what)
}

fn disk(details: &Value) -> Finding {
    const CHECK: &str = "disk";
    let Some(path) = details["database"]["path"].as_str().map(PathBuf::from) else {
        return Finding::skipped(CHECK, "the ledger is on a server; look at its disk there");
    };
    let directory = path.parent().filter(|parent| !parent.as_os_str().is_empty()).unwrap_or(Path::new("."));
    match rustix::fs::statvfs(directory) {
        Ok(stat) => {
            space(directory, stat.f_bavail.saturating_mul(stat.f_frsize), stat.f_blocks.saturating_mul(stat.f_frsize))
        }
        Err(error) => Finding::skipped(CHECK, format!("{}: {error}", directory.display())),
    }
}

fn space(directory: &Path, free: u64, total: u64) -> Finding {
    const CHECK: &str = "disk";
    let what = format!("{} MiB of {} MiB free at {}", free >> 20, total >> 20, directory.display());
    let next = format!("df -h {0}; sudo du -xh --max-depth=1 {0}", directory.display());
    if free < NO_FREE {
        return Finding::problem(CHECK, "full", what)
            .cause("without room the ledger cannot write, and calls are refused")
            .next(next);
    }
    if free < LITTLE_FREE && free < total / LITTLE_SHARE {
        return Finding::warning(CHECK, "nearly_full", what)
            .cause("without room the ledger cannot write, and calls are refused")
            .next(next);
    }
    Finding::ok(CHECK, what)
}

fn config(details: &Value) -> Finding {
    const CHECK: &str = "config";
    match details["config_warnings"].as_u64() {
        None => Finding::skipped(CHECK, "this gateway does not tell how many warnings its configuration gave"),
        Some(0) => Finding::ok(CHECK, "its configuration gave no warning at the start"),
        Some(count) => {
            Finding::warning(CHECK, "warnings", format!("its configuration gave {count} warning(s) at the start"))
                .cause("settings that are not acted on, or entries that were left out")
                .next("fleetgate-gateway config check --config /etc/fleetgate/config.yaml")
        }
    }
}

fn keys(list: &Value) -> Finding {
    const CHECK: &str = "keys";
    let keys: Vec<&Value> = list["keys"].as_array().into_iter().flatten().collect();
    let hostless: Vec<&str> = keys
        .iter()
        .filter(|key| key["host"].is_null())
        .map(|key| key["key_alias"].as_str().unwrap_or("without a name"))
        .collect();
    let total = list["total_count"].as_u64().unwrap_or(keys.len() as u64);
    let what = format!("{total} keys, {} of the newest {} without a host", hostless.len(), keys.len());
    if hostless.is_empty() {
        return Finding::ok(CHECK, what);
    }
    Finding::warning(CHECK, "without_host", format!("{what}: {}", hostless[..hostless.len().min(8)].join(", ")))
        .cause("calls of such a key are charged to whatever host the caller claims")
        .next("fleetgate keys list")
}

fn marked(rows: &Value) -> Finding {
    const CHECK: &str = "rows";
    let rows: Vec<&Value> = rows["rows"].as_array().into_iter().flatten().collect();
    let has =
        |row: &Value, mark: &str| row["marks"].as_array().is_some_and(|marks| marks.iter().any(|own| own == mark));
    let mut hosts: Vec<&str> =
        rows.iter().filter(|row| has(row, "fallback_key")).filter_map(|row| row["host"].as_str()).collect();
    hosts.sort_unstable();
    hosts.dedup();
    if hosts.is_empty() {
        return Finding::ok(CHECK, format!("none of the newest {} rows was paid by a fallback key", rows.len()));
    }
    Finding::warning(CHECK, "fallback_key", format!("the fallback key pays for {}", hosts.join(", ")))
        .cause("these hosts match nothing in hosts.toml and have no key of their own")
        .next("fleetgate keys create --alias vk-HOST --host HOST --out host.key")
}

async fn synchronised() -> Finding {
    const CHECK: &str = "clock";
    let mut timedatectl = Command::new("timedatectl");
    timedatectl
        .args(["show", "-p", "NTPSynchronized", "--value"])
        .stdin(Stdio::null())
        .stderr(Stdio::null())
        .kill_on_drop(true);
    match timeout(CLOCK_LIMIT, timedatectl.output()).await {
        Ok(Ok(output)) if output.stdout.starts_with(b"yes") => Finding::ok(CHECK, "the clock is synchronised"),
        Ok(Ok(output)) if output.stdout.starts_with(b"no") => {
            Finding::warning(CHECK, "not_synchronised", "the clock is not synchronised (NTP)")
                .cause("rows, budgets and expiry dates go by it")
                .next("sudo timedatectl set-ntp true")
        }
        _ => Finding::skipped(CHECK, "timedatectl does not tell"),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn where_a_gateway_listens_is_judged() {
        let code =
            |texts: &[&str]| listening(&texts.iter().map(|text| text.parse().unwrap()).collect::<Vec<_>>(), true).code;
        assert_eq!(code(&["100.64.0.1:4000", "127.0.0.1:4000"]), "ok");
        assert_eq!(code(&["10.0.0.1:4000"]), "ok");
        assert_eq!(code(&["127.0.0.1:4000"]), "loopback_only");
        assert_eq!(code(&["0.0.0.0:4000"]), "public");
        assert_eq!(code(&["8.8.8.8:4000", "100.64.0.1:4000"]), "public");
        assert_eq!(code(&[]), "skipped");
    }

    #[test]
    fn a_full_disk_is_a_problem_before_the_ledger_stops() {
        let code = |free: u64, total: u64| space(Path::new("/x"), free, total).code;
        assert_eq!(code(50 << 20, 1 << 40), "full");
        assert_eq!(code(800 << 20, 1 << 40), "nearly_full");
        assert_eq!(code(800 << 20, 1 << 30), "ok");
        assert_eq!(code(1 << 39, 1 << 40), "ok");
    }

    #[test]
    fn keys_and_rows_without_a_host_of_their_own_are_named() {
        assert_eq!(keys(&json!({"keys": [{"key_alias": "vk-a", "host": "a"}]})).code, "ok");
        let finding = keys(&json!({"keys": [{"key_alias": "old", "host": null}], "total_count": 7}));
        assert_eq!(
            (finding.code, finding.what.as_str()),
            ("without_host", "7 keys, 1 of the newest 1 without a host: old")
        );
        assert_eq!(marked(&json!({"rows": [{"host": "a"}]})).code, "ok");
        let finding = marked(
            &json!({"rows": [{"host": "b", "marks": ["fallback_key"]}, {"host": "b", "marks": ["fallback_key"]}]}),
        );
        assert_eq!(finding.what, "the fallback key pays for b");
    }
}
