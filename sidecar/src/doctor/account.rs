//! What the gateway says about this host's key: whether it takes it, and what is left on it.

use std::time::Duration;

use fleetgate_wire::header;
use http::header::AUTHORIZATION;
use http::{HeaderMap, HeaderValue, StatusCode};
use serde::Deserialize;

use super::exchange;
use super::report::Finding;
use crate::forward::{Answer, GatewayUrl};

const KEY: &str = "key";
const BUDGET: &str = "budget";
/// The description of the very key that asks. It spends nothing.
const KEY_INFO: &str = "/key/info";
/// Less than this share left is worth a word.
const LITTLE_LEFT: f64 = 0.1;

#[derive(Debug, Deserialize)]
struct Described {
    info: KeyInfo,
}

/// The fields of `/key/info` that are looked at.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct KeyInfo {
    key_alias: Option<String>,
    host: Option<String>,
    expires: Option<String>,
    spend: Option<f64>,
    budget_levels: Vec<Level>,
    rpm_limit: Option<u64>,
    tpm_limit: Option<u64>,
    max_parallel_requests: Option<u64>,
}

/// One budget that calls with this key count in.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct Level {
    scope: String,
    resets_at: Option<String>,
    max_nanousd: Option<i64>,
    spent_nanousd: i64,
    reserved_nanousd: i64,
}

impl Level {
    /// Dollars left, dollars at most, and both in words; nothing when it only warns.
    fn left(&self) -> Option<(f64, f64, String)> {
        // A dollar amount with four digits is all that is shown.
        let dollars = |nanos: i64| nanos as f64 / 1e9;
        let most = self.max_nanousd?;
        let left = dollars(most.saturating_sub(self.spent_nanousd).saturating_sub(self.reserved_nanousd));
        let (kind, id) = self.scope.split_once(':').unwrap_or((&self.scope, ""));
        // The id of a key is its hash, which tells nobody anything.
        let whose = if kind == "key" { "key".to_owned() } else { format!("{kind} {id}") };
        let resets = self.resets_at.as_ref().map_or_else(|| "never resets".to_owned(), |at| format!("resets at {at}"));
        Some((left, dollars(most), format!("${left:.4} of ${:.4} left for this {whose}, {resets}", dollars(most))))
    }
}

/// Asks the gateway about the key. Without one of our own, the sidecar's is asked about through it.
pub(super) async fn ask(asked: &GatewayUrl, bearer: Option<HeaderValue>) -> Result<Answer, String> {
    let headers = bearer.map(|bearer| (AUTHORIZATION, bearer)).into_iter().collect();
    exchange::get(asked, KEY_INFO, headers).await
}

/// Whether the key is taken, and what is left; in this order.
pub(super) fn judge(answer: &Answer, label: &str) -> Result<(Finding, Finding), Finding> {
    if !answer.status.is_success() {
        return Err(refused(answer));
    }
    let described: Described = serde_json::from_slice(&answer.body).map_err(|error| {
        Finding::problem(KEY, "unreadable", format!("the gateway's answer about the key cannot be read ({error})"))
            .cause("the gateway is of another version")
            .next("fleetgate --version; ssh GATEWAY fleetgate-gateway --version")
    })?;
    Ok((key(&described.info, label), budget(&described.info)))
}

fn refused(answer: &Answer) -> Finding {
    let body: serde_json::Value = serde_json::from_slice(&answer.body).unwrap_or_default();
    let words = body.pointer("/error/message").and_then(|message| message.as_str()).unwrap_or("it gives no reason");
    let reason = reason_of(&answer.headers);
    let what = format!("the gateway refuses this host's key ({}, {reason}): {words}", answer.status);
    let says = |word: &str| reason.contains(word) || words.to_ascii_lowercase().contains(word);
    let (code, cause, next) = if says("expired") {
        (
            "expired",
            "the key's date is past",
            "curl -sX POST $FLEETGATE_GATEWAY/key/update -H \"Authorization: Bearer $FLEETGATE_ADMIN_KEY\" -H 'Content-Type: application/json' -d '{\"key_alias\": \"ALIAS\", \"duration\": \"90d\"}'",
        )
    } else if says("blocked") {
        (
            "blocked",
            "an administrator blocked the key, or its team or user",
            "curl -sX POST $FLEETGATE_GATEWAY/key/unblock -H \"Authorization: Bearer $FLEETGATE_ADMIN_KEY\" -H 'Content-Type: application/json' -d '{\"key_alias\": \"ALIAS\"}'",
        )
    } else if answer.status == StatusCode::UNAUTHORIZED {
        (
            "unknown_key",
            "the key was deleted, is of another gateway, or the ledger was set up anew",
            "fleetgate keys create --alias vk-HOST --host HOST --out host.key  # by the administrator; then put it where whoami says",
        )
    } else {
        ("refused", "the key may not do this, or the gateway is in trouble", "fleetgate doctor --on-gateway  # there")
    };
    Finding::problem(KEY, code, what).cause(cause).next(next).next("fleetgate whoami  # where this host's key lies")
}

fn reason_of(headers: &HeaderMap) -> String {
    headers
        .get(header::REASON)
        .map_or_else(|| "no reason".to_owned(), |v| String::from_utf8_lossy(v.as_bytes()).into_owned())
}

fn key(info: &KeyInfo, label: &str) -> Finding {
    let alias = info.key_alias.as_deref().unwrap_or("without a name");
    let expires = info.expires.as_ref().map_or_else(String::new, |at| format!(", expires {at}"));
    match info.host.as_deref() {
        Some(host) if host != label => Finding::warning(
            KEY,
            "other_host",
            format!(
                "the gateway takes the key {alias}, but it belongs to host \"{host}\", and this is \"{label}\"{expires}"
            ),
        )
        .cause("hosts.toml gives this host another host's key: its spend is charged there")
        .next("fleetgate whoami  # which table of hosts.toml matched"),
        Some(_) => Finding::ok(KEY, format!("the gateway takes the key {alias} of host \"{label}\"{expires}")),
        None => {
            Finding::ok(KEY, format!("the gateway takes the key {alias}, which belongs to no particular host{expires}"))
        }
    }
}

/// The gateway says of each budget what was spent in the window that is now. Which level is the narrowest decides.
fn budget(info: &KeyInfo) -> Finding {
    let rates = rates(info);
    let levels: Vec<(f64, f64, String)> = info.budget_levels.iter().filter_map(Level::left).collect();
    let narrowest =
        levels.iter().min_by(|(left, most, _), (other, others, _)| (left / most).total_cmp(&(other / others)));
    let Some((left, most, _)) = narrowest else {
        let spent = info.spend.unwrap_or_default();
        return Finding::ok(BUDGET, format!("${spent:.4} spent, no budget on the key, its host, user or team{rates}"));
    };
    let words: Vec<&str> = levels.iter().map(|(_, _, words)| words.as_str()).collect();
    let what = format!("{}{rates}", words.join("; "));
    let raise = "curl -sX POST $FLEETGATE_GATEWAY/key/update -H \"Authorization: Bearer $FLEETGATE_ADMIN_KEY\" -H 'Content-Type: application/json' -d '{\"key_alias\": \"ALIAS\", \"max_budget\": DOLLARS}'";
    if *left <= 0.0 {
        return Finding::problem(BUDGET, "spent", what)
            .cause("a budget is spent: calls are refused until it resets or is raised")
            .next(raise);
    }
    if *left < most * LITTLE_LEFT {
        return Finding::warning(BUDGET, "nearly_spent", what)
            .cause("less than a tenth of a budget is left")
            .next(raise);
    }
    Finding::ok(BUDGET, what)
}

fn rates(info: &KeyInfo) -> String {
    let limits =
        [(info.rpm_limit, "calls/min"), (info.tpm_limit, "tokens/min"), (info.max_parallel_requests, "calls at once")];
    limits.iter().filter_map(|(limit, unit)| limit.map(|limit| format!(", at most {limit} {unit}"))).collect()
}

/// Apart by more than this, times in the ledger and limits by the hour surprise people.
const SKEW_WARNING: Duration = Duration::from_secs(30);
/// Apart by more than this, certificates and signed tokens fail.
const SKEW_PROBLEM: Duration = Duration::from_secs(300);

/// Compares the gateway's clock with ours.
pub(super) fn clock(headers: &HeaderMap, now: std::time::SystemTime) -> Finding {
    const CHECK: &str = "clock";
    let date = headers.get(http::header::DATE).and_then(|value| value.to_str().ok());
    let Some(theirs) = date.and_then(|text| httpdate::parse_http_date(text).ok()) else {
        return Finding::skipped(CHECK, "the gateway's answer has no date");
    };
    let (skew, word) = match now.duration_since(theirs) {
        Ok(ahead) => (ahead, "ahead of"),
        Err(error) => (error.duration(), "behind"),
    };
    let what = format!("this machine's clock is {} s {word} the gateway's", skew.as_secs());
    let mend = |finding: Finding| {
        finding
            .cause("one of the two machines does not synchronise its clock")
            .next("timedatectl  # here and there; macOS: sntp -sS time.apple.com")
            .next("sudo systemctl restart systemd-timesyncd  # or chronyd, ntpd")
    };
    match skew {
        skew if skew > SKEW_PROBLEM => mend(Finding::problem(CHECK, "skew", what)),
        skew if skew > SKEW_WARNING => mend(Finding::warning(CHECK, "skew", what)),
        _ => Finding::ok(CHECK, what),
    }
}

#[cfg(test)]
mod tests {
    use std::time::UNIX_EPOCH;

    use super::*;

    fn answer(status: u16, body: &str) -> Answer {
        Answer {
            status: StatusCode::from_u16(status).unwrap(),
            headers: HeaderMap::new(),
            body: body.to_owned().into(),
        }
    }

    #[test]
    fn a_refused_key_says_why_and_what_to_do() {
        for (status, message, code) in [
            (401, "Authentication Error, Invalid API key in Authorization", "unknown_key"),
            (401, "Key vk-mac expired at 2026-01-01", "expired"),
            (403, "Key is blocked: vk-mac", "blocked"),
            (500, "oops", "refused"),
        ] {
            let body = format!("{{\"error\": {{\"message\": \"{message}\"}}}}");
            let finding = judge(&answer(status, &body), "mac").unwrap_err();
            assert_eq!(finding.code, code, "{finding:?}");
            assert!(finding.what.contains(message) && !finding.next.is_empty(), "{finding:?}");
        }
    }

    #[test]
    fn what_is_left_and_whose_key_it_is_are_told() {
        let both = |info: &str| judge(&answer(200, &format!("{{\"info\": {info}}}")), "mac").unwrap();
        let level = |spent: i64| {
            format!(
                "{{\"spend\": 9.0, \"rpm_limit\": 9, \"budget_levels\": [{{\"scope\": \"key:ab\", \"max_nanousd\": 5000000000, \"spent_nanousd\": {spent}}}]}}"
            )
        };
        assert_eq!(both("{\"key_alias\": \"vk-mac\", \"host\": \"mac\"}").0.code, "ok");
        let (_, budget) = both(&level(1_000_000_000));
        assert_eq!(
            (budget.code, budget.what.as_str()),
            ("ok", "$4.0000 of $5.0000 left for this key, never resets, at most 9 calls/min")
        );
        assert_eq!(both("{\"host\": \"tower\"}").0.code, "other_host");
        assert_eq!(both(&level(5_000_000_000)).1.code, "spent");
        assert_eq!(both(&level(4_900_000_000)).1.code, "nearly_spent");
    }

    #[test]
    fn clocks_that_are_apart_are_told_in_seconds() {
        let headers = HeaderMap::from_iter([(http::header::DATE, "Thu, 01 Jan 1970 00:20:00 GMT".parse().unwrap())]);
        let at = |seconds| clock(&headers, UNIX_EPOCH + Duration::from_secs(seconds));
        assert_eq!(at(1205).code, "ok");
        assert_eq!(at(1260).what, "this machine's clock is 60 s ahead of the gateway's");
        assert_eq!(
            (at(1260).level, at(600).level),
            (super::super::report::Level::Warning, super::super::report::Level::Problem)
        );
        assert!(at(600).what.contains("600 s behind"));
        assert_eq!(clock(&HeaderMap::new(), UNIX_EPOCH).code, "skipped");
    }
}
