//! Names every key that does not do what its author expects.

use super::Origin;
use super::keys::{self, Fate};
use super::node::{Entry, Node};
use super::report::{Cost, Report};
use super::scalar;

/// Sections whose own keys are looked at one by one.
const OPEN: &[&str] = &[
    "litellm_settings",
    "router_settings",
    "general_settings",
    "fleetgate",
    "fleetgate.egress",
    "fleetgate.forward_proxy",
    "fleetgate.metrics",
    "fleetgate.otel",
];

/// Looks at every section but `model_list`.
pub(super) fn review(root: &Node, report: &mut Report) {
    let mut machinery = Vec::new();
    for entry in root.map().unwrap_or_default() {
        look(&entry.key, entry, &mut machinery, report);
    }
    if let Some((_, origin)) = machinery.first() {
        let names: Vec<_> = machinery.iter().map(|(path, _)| path.as_str()).collect();
        let message = format!("switches of LiteLLM's own machinery have no counterpart here: {}", names.join(", "));
        report.notice(origin.clone(), message);
    }
}

fn look(path: &str, entry: &Entry, machinery: &mut Vec<(String, Origin)>, report: &mut Report) {
    let origin = entry.place.origin();
    match keys::fate(path) {
        Some(Fate::Machinery) => machinery.push((path.to_owned(), origin)),
        Some(Fate::Honoured) if OPEN.contains(&path) => look_inside(path, &entry.node, machinery, report),
        Some(Fate::Honoured) => {}
        Some(Fate::Granted(why)) => report.notice(origin, format!("{path} changes nothing: {why}")),
        // Here `false` is what asks for something.
        Some(Fate::Ignored(..) | Fate::Refused(_)) if asks_for_nothing(&entry.node) && entry.key != "ssl_verify" => {}
        Some(Fate::Ignored(cost, consequence)) => {
            report.warn(cost, origin, format!("{path} is not honoured: {consequence}"));
        }
        Some(Fate::Refused(meaning)) => {
            report.error(origin, format!("{path} is not supported: {meaning}. Remove it to go on without it"));
        }
        Some(Fate::Misplaced(home)) => {
            report.warn(
                Cost::Serving,
                origin,
                format!("{path} belongs in {home}; LiteLLM ignores it here, Fleetgate honours it"),
            );
        }
        Some(Fate::Inert(advice)) => inert(path, advice, origin, report),
        None if keys::is_machinery(&entry.key) => machinery.push((path.to_owned(), origin)),
        None => unknown(path, &entry.key, origin, report),
    }
}

fn look_inside(path: &str, node: &Node, machinery: &mut Vec<(String, Origin)>, report: &mut Report) {
    match node.map() {
        Some(entries) => {
            for entry in entries {
                look(&format!("{path}.{}", entry.key), entry, machinery, report);
            }
        }
        None if node.is_null() || node.list().is_some_and(<[Node]>::is_empty) => {}
        None => report.error(node.place.origin(), format!("{path} must be a map; this is {}", node.kind())),
    }
}

/// Whether a value leaves things as they are: null, false, 0, or nothing inside.
fn asks_for_nothing(node: &Node) -> bool {
    node.is_null()
        || node.list().is_some_and(<[Node]>::is_empty)
        || node.map().is_some_and(<[Entry]>::is_empty)
        || node.text().is_some_and(|text| text.is_empty() || scalar::truth(text) == Some(false))
}

fn inert(path: &str, advice: &str, origin: Origin, report: &mut Report) {
    let advice = if advice.is_empty() { String::new() } else { format!("; {advice}") };
    report.warn(Cost::Style, origin, format!("{path} has no effect, LiteLLM ignores it as well{advice}"));
}

fn unknown(path: &str, key: &str, origin: Origin, report: &mut Report) {
    if path.starts_with("fleetgate.") {
        report.warn(Cost::Serving, origin, format!("{path} is unknown and has no effect"));
    } else if let Some(home) = keys::belongs_in(key) {
        inert(path, &format!("it belongs in {home}"), origin, report);
    } else if matches!(keys::fate(key), Some(Fate::Honoured | Fate::Ignored(..))) {
        inert(path, "it belongs at the top level", origin, report);
    } else {
        report.warn(Cost::Style, origin, format!("{path} is unknown and has no effect"));
    }
}
