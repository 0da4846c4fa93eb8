//! `fleetgate status`

use std::fmt::Write;

use bytes::Bytes;
use clap::Args;
use fleetgate_wire::header;
use fleetgate_wire::money::NanoDollars;
use http::uri::PathAndQuery;
use http::{HeaderMap, Method, StatusCode};
use serde_json::Value;

use super::{CliError, print};
use crate::VERSION;
use crate::forward::{self, Failure, GatewayUrl};

#[derive(Debug, Args)]
pub(super) struct StatusArgs {
    /// The sidecar
    #[arg(long, value_name = "URL", default_value = "http://127.0.0.1:4000")]
    url: GatewayUrl,
    /// As one JSON object
    #[arg(long)]
    json: bool,
}

pub(super) async fn run(args: &StatusArgs) -> Result<(), CliError> {
    let no_status = |why: String| CliError::NoStatus { url: args.url.clone(), why };
    let path = PathAndQuery::from_static("/__fleetgate/status");
    let answer = forward::ask(&args.url, Method::GET, path, HeaderMap::new(), Bytes::new()).await;
    let answer = answer.map_err(|failure| no_status(failure_words(&failure)))?;
    if !answer.headers.contains_key(header::SIDECAR) {
        return Err(no_status("something other than a sidecar answers there".to_owned()));
    }
    if answer.status != StatusCode::OK {
        return Err(no_status(format!("it answers {}", answer.status)));
    }
    let status: Value = serde_json::from_slice(&answer.body).map_err(|error| no_status(error.to_string()))?;
    let text = if args.json { format!("{status}\n") } else { for_people(&status) };
    Ok(print(&text)?)
}

/// The refusals of [`Failure`] speak of gateways; this is about the sidecar.
fn failure_words(failure: &Failure) -> String {
    match failure {
        Failure::Dial(problem) => problem.to_string(),
        Failure::Gone(problem) => problem.clone(),
        _ => "it did not answer".to_owned(),
    }
}

/// Read by name and not as a type: the sidecar may be older or younger than this program.
fn for_people(status: &Value) -> String {
    let mut text = String::new();
    let mut line = |name: &str, value: &str| {
        // Writing into a string cannot fail.
        let _ = writeln!(text, "{name:<12} {value}");
    };
    let version = word(&status["version"]);
    let other = if version == VERSION { String::new() } else { format!(" (this program is {VERSION}: restart it)") };
    line("sidecar", &format!("{version}{other}, up for {}", span(&status["uptime_seconds"])));
    for gateway in status["gateways"].as_array().into_iter().flatten() {
        line("gateway", &describe_gateway(gateway, version));
    }
    line("host", word(&status["host"]));
    describe_key(&status["key"], &mut line);
    for name in ["connections", "calls", "tunnels"] {
        let of = &status[name];
        line(name, &format!("{} open, {} since the start", number(&of["open"]), number(&of["total"])));
    }
    let bytes = |of: &str| {
        let way = |way: &str| size(&status["bytes"][format!("{of}_{way}")]);
        format!("{} up, {} down", way("up"), way("down"))
    };
    line("bytes", &format!("calls {}; tunnels {}", bytes("calls"), bytes("tunnels")));
    line(
        "tried again",
        &format!("{} calls; {} waited for a gateway", number(&status["retries"]), number(&status["waits"])),
    );
    let errors = status["errors"].as_object();
    let errors: Vec<String> =
        errors.into_iter().flatten().map(|(reason, count)| format!("{reason} {}", number(count))).collect();
    line("refused", if errors.is_empty() { "none".to_owned() } else { errors.join(", ") }.as_str());
    text
}

fn describe_gateway(gateway: &Value, own_version: &str) -> String {
    let mut text = word(&gateway["url"]).to_owned();
    text += if gateway["is_in_use"] == true { ", in use" } else { ", in reserve" };
    if let Some(problem) = gateway["problem"].as_str().or(gateway["why"].as_str()) {
        let since = gateway["away_seconds"].as_u64().map_or_else(String::new, |_| span(&gateway["away_seconds"]));
        let since = if since.is_empty() { since } else { format!(" for {since}") };
        return format!("{text}, away{since}: {problem}");
    }
    if let Some(latency) = gateway["latency_ms"].as_f64() {
        let _ = write!(text, ", answers in {latency:.1} ms");
    }
    let version = word(&gateway["version"]);
    let _ = write!(text, ", version {version}");
    if version != own_version {
        text += " (not the sidecar's)";
    }
    text
}

fn describe_key(key: &Value, line: &mut impl FnMut(&str, &str)) {
    if let Some(problem) = key["problem"].as_str() {
        line("key", problem);
        return;
    }
    line("key", &format!("{}, for host {}", word(&key["key_alias"]), word(&key["host"])));
    let newest = match key["newest_row"]["started_at"].as_str() {
        Some(at) => format!("{at} ({}, {})", word(&key["newest_row"]["model"]), word(&key["newest_row"]["status"])),
        None => "none".to_owned(),
    };
    line("newest row", &newest);
    let left = key["left_nanousd"].as_i64();
    line("budget", &left.map_or_else(|| "no limit".to_owned(), |left| format!("{} left", NanoDollars(left))));
}

fn word(value: &Value) -> &str {
    value.as_str().unwrap_or("unknown")
}

fn number(value: &Value) -> String {
    value.as_u64().map_or_else(|| "?".to_owned(), |number| number.to_string())
}

fn span(seconds: &Value) -> String {
    let Some(seconds) = seconds.as_u64() else { return "an unknown time".to_owned() };
    match seconds {
        0..60 => format!("{seconds} s"),
        60..3600 => format!("{} min", seconds / 60),
        3600..86400 => format!("{} h {} min", seconds / 3600, seconds % 3600 / 60),
        _ => format!("{} d {} h", seconds / 86400, seconds % 86400 / 3600),
    }
}

fn size(bytes: &Value) -> String {
    let Some(bytes) = bytes.as_u64() else { return "?".to_owned() };
    match bytes {
        0..10_000 => format!("{bytes} B"),
        10_000..10_000_000 => format!("{} kB", bytes / 1000),
        10_000_000..10_000_000_000 => format!("{} MB", bytes / 1_000_000),
        _ => format!("{} GB", bytes / 1_000_000_000),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn what_is_unknown_is_said_so_and_problems_come_through() {
        let status = json!({
            "version": "0.0.9", "uptime_seconds": 3720, "host": "mac", "connections": {"open": 1, "total": 20_000},
            "gateways": [
                {"url": "http://a:4000", "is_in_use": false, "problem": "nothing listens at a:4000", "away_seconds": 5},
                {"url": "http://b:4000", "is_in_use": true, "latency_ms": 1.25, "version": "0.0.9"},
            ],
            "key": {"key_alias": "vk-mac", "host": "mac", "left_nanousd": 1_500_000_000, "newest_row": null},
            "bytes": {"calls_up": 123_456}, "errors": {"no_key": 2},
        });
        let said = for_people(&status);
        for expected in [
            "0.0.9 (this program is ",
            "up for 1 h 2 min",
            "http://a:4000, in reserve, away for 5 s: nothing listens",
            "http://b:4000, in use, answers in 1.2 ms, version 0.0.9\n",
            "vk-mac, for host mac",
            "newest row   none",
            "$1.5",
            "1 open, 20000 since",
            "calls 123 kB up, ? down",
            "no_key 2",
            "? open, ? since",
        ] {
            assert!(said.contains(expected), "{expected} is missing in:\n{said}");
        }
    }
}
