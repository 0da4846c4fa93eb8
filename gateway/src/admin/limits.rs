//! The fields that limit a key or an entity. Their names are the same on all of them.

use fleetgate_wire::period::Period;
use serde_json::{Map, Value};

use super::fields::{bad, optional_text};
use crate::respond::Refusal;

/// Fields that hold money: a NaN or a negative budget would allow everything or nothing.
const BUDGETS: [&str; 3] = ["max_budget", "soft_budget", "temp_budget_increase"];

/// Fields that limit calls in LiteLLM and not here yet: kept and shown, and never without saying so.
const NOT_ENFORCED: [&str; 13] = [
    "max_budget",
    "budget_limits",
    "model_max_budget",
    "rpm_limit",
    "tpm_limit",
    "tpd_limit",
    "max_parallel_requests",
    "model_rpm_limit",
    "model_tpm_limit",
    "allowed_routes",
    "guardrails",
    "enforced_params",
    "allowed_cache_controls",
];

/// Refuses limits that cannot be meant.
pub(super) fn check_limits(fields: &Map<String, Value>) -> Result<(), Refusal> {
    for name in BUDGETS {
        let fits = match fields.get(name) {
            None | Some(Value::Null) => true,
            Some(value) => value.as_f64().is_some_and(|amount| amount.is_finite() && amount >= 0.0),
        };
        if !fits {
            return Err(bad(format!("{name} must be a number of dollars, 0 or more"), Some(name)));
        }
    }
    let every = fields.get("budget_duration").map(|value| optional_text(value, "budget_duration"));
    match every.transpose()?.flatten().as_deref().map(Period::parse) {
        Some(Err(error)) => Err(bad(error.to_string(), Some("budget_duration"))),
        _ => Ok(()),
    }
}

/// Adds what an administrator should know of limits that are kept and not enforced.
pub(super) fn warn(fields: &Map<String, Value>, shown: &mut Map<String, Value>) {
    let not_enforced = NOT_ENFORCED.iter().filter(|name| fields.contains_key(**name));
    let warnings: Vec<Value> =
        not_enforced.map(|name| format!("{name} is kept, but this version does not enforce it").into()).collect();
    if !warnings.is_empty() {
        shown.insert("fleetgate_warnings".into(), warnings.into());
    }
}
