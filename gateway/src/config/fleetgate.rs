//! The `fleetgate:` section, apart from `listen` and `database`.

use std::time::Duration;

use super::report::Report;
use super::section::{Given, Section};
use super::{Durability, OnClientGone, Origin};

const LEASE_TTL: Duration = Duration::from_secs(600);
const LEAST_LEASE_TTL: Duration = Duration::from_secs(30);
const MAX_REQUEST_BYTES: usize = 64 << 20;
/// An answer that nobody listens to is read for so long at most.
const FINISH_WITHIN: Duration = Duration::from_secs(600);

/// `fleetgate.durability`.
pub(super) fn durability(own: &Section<'_>, report: &mut Report) -> Durability {
    let (durability, origin) = match own.text("durability", report) {
        None => (Durability::Process, Origin::Default),
        Some(given) => match given.value.as_str() {
            "process" => (Durability::Process, given.origin),
            "power" => (Durability::Power, given.origin),
            _ => {
                report.error(given.origin, "fleetgate.durability must be process or power");
                (Durability::Process, Origin::Default)
            }
        },
    };
    let word = if durability == Durability::Power { "power" } else { "process" };
    report.setting("fleetgate.durability", word, origin);
    durability
}

/// `fleetgate.on_client_gone` and `fleetgate.finish_within`.
pub(super) fn on_client_gone(own: &Section<'_>, report: &mut Report) -> OnClientGone {
    let within = own.seconds("finish_within", report).unwrap_or(Given::new(FINISH_WITHIN, Origin::Default));
    report.setting("fleetgate.finish_within", within.value.as_secs_f64().to_string(), within.origin);
    let within = within.value;
    let (policy, origin) = match own.text("on_client_gone", report) {
        None => (OnClientGone::Abort, Origin::Default),
        Some(given) => match given.value.as_str() {
            "abort" => (OnClientGone::Abort, given.origin),
            "finish" => (OnClientGone::Finish { within }, given.origin),
            _ => {
                report.error(given.origin, "fleetgate.on_client_gone must be abort or finish");
                (OnClientGone::Abort, Origin::Default)
            }
        },
    };
    let word = if policy == OnClientGone::Abort { "abort" } else { "finish" };
    report.setting("fleetgate.on_client_gone", word, origin);
    policy
}

/// `fleetgate.unknown_cost`.
pub(super) fn counts_unknown(own: &Section<'_>, report: &mut Report) -> bool {
    let (counts, origin) = match own.text("unknown_cost", report) {
        None => (true, Origin::Default),
        Some(given) => match given.value.as_str() {
            "reserve" => (true, given.origin),
            "release" => (false, given.origin),
            _ => {
                report.error(given.origin, "fleetgate.unknown_cost must be reserve or release");
                (true, Origin::Default)
            }
        },
    };
    report.setting("fleetgate.unknown_cost", if counts { "reserve" } else { "release" }, origin);
    counts
}

/// `litellm_settings.block_requests_for_models_without_pricing`.
pub(super) fn block_unpriced(litellm: &Section<'_>, report: &mut Report) -> bool {
    const KEY: &str = "block_requests_for_models_without_pricing";
    let given = litellm.truth(KEY, report).unwrap_or(Given::new(false, Origin::Default));
    report.setting(format!("{}.{KEY}", litellm.path), given.value.to_string(), given.origin);
    given.value
}

/// `fleetgate.lease_ttl`.
pub(super) fn lease_ttl(own: &Section<'_>, report: &mut Report) -> Duration {
    let (ttl, origin) = match own.seconds("lease_ttl", report) {
        Some(given) if given.value < LEAST_LEASE_TTL => {
            report.error(
                given.origin,
                "fleetgate.lease_ttl must be 30 seconds or more: a gateway that is busy must not count as gone",
            );
            (LEASE_TTL, Origin::Default)
        }
        Some(given) => (given.value, given.origin),
        None => (LEASE_TTL, Origin::Default),
    };
    report.setting("fleetgate.lease_ttl", ttl.as_secs_f64().to_string(), origin);
    ttl
}

/// `fleetgate.max_request_bytes`.
pub(super) fn max_request_bytes(own: &Section<'_>, report: &mut Report) -> usize {
    size(own, "max_request_bytes", MAX_REQUEST_BYTES, report)
}

/// `fleetgate.metrics.open`, or LiteLLM's setting that says the same the other way round.
pub(super) fn metrics_open(own: &Section<'_>, litellm: &Section<'_>, report: &mut Report) -> bool {
    let section = Section::new("fleetgate.metrics", own.get("metrics"));
    let open = section.truth("open", report).or_else(|| {
        let required = litellm.truth("require_auth_for_metrics_endpoint", report)?;
        Some(Given::new(!required.value, required.origin))
    });
    let (open, origin) = open.map_or((false, Origin::Default), |given| (given.value, given.origin));
    report.setting("fleetgate.metrics.open", open.to_string(), origin);
    open
}

pub(super) fn size(section: &Section<'_>, key: &str, default: usize, report: &mut Report) -> usize {
    let given = section.whole(key, report);
    let (size, origin) = match given {
        Some(given) => (usize::try_from(given.value).unwrap_or(usize::MAX), given.origin),
        None => (default, Origin::Default),
    };
    report.setting(format!("{}.{key}", section.path), size.to_string(), origin);
    size
}
