//! The fields that limit a key or an entity. Their names are the same on all of them, and the engines read them.

use fleetgate_wire::period::Period;
use fleetgate_wire::scope::Scope;
use serde_json::{Map, Value};

use super::fields::bad;
use crate::admit::{budget, rate};
use crate::egress::KEY_LIMITS;
use crate::respond::Refusal;

/// Fields that limit calls in LiteLLM and not here yet: kept and shown, and never without saying so.
const NOT_ENFORCED: [&str; 5] =
    ["allowed_routes", "guardrails", "enforced_params", "allowed_cache_controls", "budget_fallbacks"];

/// Refuses limits that cannot be meant. `scope` is whose they are.
pub(super) fn check_limits(scope: &Scope, fields: &Map<String, Value>) -> Result<(), Refusal> {
    budget::rules(scope, fields).map_err(|error| bad(error.to_string(), None))?;
    rate::limits(scope, fields).map_err(|error| bad(error.to_string(), None))?;
    for name in KEY_LIMITS {
        if fields.get(name).is_some_and(|most| !most.is_u64() && !most.is_null()) {
            return Err(bad(format!("{name} must be a whole number, 0 or more"), Some(name)));
        }
    }
    // Also where there is no budget yet that it would count for.
    match fields.get("budget_duration").map(|value| value.as_str().map(Period::parse)) {
        None | Some(Some(Ok(_))) => Ok(()),
        Some(Some(Err(error))) => Err(bad(error.to_string(), Some("budget_duration"))),
        Some(None) => Err(bad("budget_duration must be a text such as 30d".to_owned(), Some("budget_duration"))),
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
