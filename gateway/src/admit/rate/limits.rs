//! What a limit allows, read from LiteLLM's limit fields. They have the same names on keys, teams, users, tags and customers.

use std::collections::BTreeMap;

use serde_json::{Map, Value};

use crate::admit::scope::{Scope, ScopeKind};
use crate::config::RateCaps;

/// LiteLLM's `rpm_limit_type` and `tpm_limit_type`. They are kept and shown; each kind is held to the letter here.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LimitType {
    /// `guaranteed_throughput`.
    Guaranteed,
    /// `best_effort_throughput`.
    BestEffort,
    /// `dynamic`.
    Dynamic,
}

/// Everything that the limit fields of one scope say.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Limits {
    /// For the scope itself.
    pub caps: RateCaps,
    /// For each model on a key, on top of that.
    pub models: BTreeMap<String, RateCaps>,
    /// What kind of limit `rpm_limit` is.
    pub rpm_type: Option<LimitType>,
    /// What kind of limit `tpm_limit` is.
    pub tpm_type: Option<LimitType>,
}

impl Limits {
    /// Whether nothing is limited.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.caps.is_empty() && self.models.values().all(RateCaps::is_empty)
    }
}

/// Why limit fields make no limits.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum LimitError {
    /// Not a number of calls or tokens. A negative one would be no limit or a closed door, and nobody could say which.
    #[error("{field} must be a whole number, 0 or more, or null for no limit")]
    Count {
        /// The field's name.
        field: String,
    },
    /// Not a map of models.
    #[error("{field} must be a map of models and whole numbers, such as {{\"gpt-4o\": 60}}")]
    Models {
        /// The field's name.
        field: String,
    },
    /// A kind of limit that LiteLLM does not have.
    #[error("{field} must be guaranteed_throughput, best_effort_throughput or dynamic")]
    Type {
        /// The field's name.
        field: String,
    },
    /// Limits per model are counted per key.
    #[error(
        "{field} works on keys, not on {scope}; limit the model for everyone instead (fleetgate.rates, scope model:NAME)"
    )]
    ModelsOfOther {
        /// The field's name.
        field: String,
        /// Where it stands.
        scope: Scope,
    },
}

/// Reads the limits of a scope. What is missing or null limits nothing. LiteLLM keeps the limits per model in a key's
/// `metadata`, so they are looked for there too.
///
/// # Errors
/// When a field cannot be taken at its word.
pub fn limits(scope: &Scope, fields: &Map<String, Value>) -> Result<Limits, LimitError> {
    let mut limits = Limits {
        caps: RateCaps {
            rpm: count(fields.get("rpm_limit"), "rpm_limit")?,
            tpm: count(fields.get("tpm_limit"), "tpm_limit")?,
            max_parallel: count(fields.get("max_parallel_requests"), "max_parallel_requests")?,
            rpd: count(fields.get("rpd_limit"), "rpd_limit")?,
            tpd: count(fields.get("tpd_limit"), "tpd_limit")?,
        },
        rpm_type: limit_type(fields, "rpm_limit_type")?,
        tpm_type: limit_type(fields, "tpm_limit_type")?,
        ..Limits::default()
    };
    for (model, rpm) in per_model(scope, fields, "model_rpm_limit")? {
        limits.models.entry(model).or_default().rpm = Some(rpm);
    }
    for (model, tpm) in per_model(scope, fields, "model_tpm_limit")? {
        limits.models.entry(model).or_default().tpm = Some(tpm);
    }
    Ok(limits)
}

fn count(value: Option<&Value>, field: &str) -> Result<Option<u64>, LimitError> {
    let Some(value) = value.filter(|value| !value.is_null()) else { return Ok(None) };
    // Some clients write every number with a fraction. Above 2^53 a float no longer knows which number it is.
    #[expect(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "the range is checked in the same line"
    )]
    let from_float = |float: f64| (float.fract() == 0.0 && (0.0..9e15).contains(&float)).then_some(float as u64);
    let number = value.as_u64().or_else(|| value.as_f64().and_then(from_float));
    number.map(Some).ok_or_else(|| LimitError::Count { field: field.to_owned() })
}

fn limit_type(fields: &Map<String, Value>, field: &str) -> Result<Option<LimitType>, LimitError> {
    let wrong = || LimitError::Type { field: field.to_owned() };
    match fields.get(field) {
        None | Some(Value::Null) => Ok(None),
        Some(value) => match value.as_str().ok_or_else(wrong)? {
            "guaranteed_throughput" => Ok(Some(LimitType::Guaranteed)),
            "best_effort_throughput" => Ok(Some(LimitType::BestEffort)),
            "dynamic" => Ok(Some(LimitType::Dynamic)),
            _ => Err(wrong()),
        },
    }
}

fn per_model(scope: &Scope, fields: &Map<String, Value>, field: &str) -> Result<Vec<(String, u64)>, LimitError> {
    let given = |fields: &Map<String, Value>| fields.get(field).filter(|value| !value.is_null()).cloned();
    let in_metadata = || fields.get("metadata").and_then(Value::as_object).and_then(given);
    let Some(models) = given(fields).or_else(in_metadata) else { return Ok(Vec::new()) };
    let models = models.as_object().ok_or_else(|| LimitError::Models { field: field.to_owned() })?;
    if scope.kind() != ScopeKind::Key && !models.is_empty() {
        return Err(LimitError::ModelsOfOther { field: field.to_owned(), scope: scope.clone() });
    }
    let mut limits = Vec::with_capacity(models.len());
    for (model, value) in models {
        if let Some(limit) = count(Some(value), &format!("{field}.{model}"))? {
            limits.push((model.clone(), limit));
        }
    }
    Ok(limits)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn read(fields: &Value) -> Result<Limits, LimitError> {
        limits(&Scope::new(ScopeKind::Key, "abc"), fields.as_object().unwrap())
    }

    #[test]
    fn every_limit_field_of_litellm_is_read() {
        let limits = read(&json!({
            "rpm_limit": 60, "tpm_limit": 1000.0, "rpd_limit": 5, "tpd_limit": 6.0, "max_parallel_requests": 0, "rpm_limit_type": "dynamic", "tpm_limit_type": null,
            "model_rpm_limit": {"gpt-4o": 3, "o3": null}, "metadata": {"model_tpm_limit": {"gpt-4o": 500}}, "max_budget": "x",
        }))
        .unwrap();
        assert_eq!(
            limits.caps,
            RateCaps { rpm: Some(60), tpm: Some(1000), max_parallel: Some(0), rpd: Some(5), tpd: Some(6) }
        );
        let models =
            BTreeMap::from([("gpt-4o".to_owned(), RateCaps { rpm: Some(3), tpm: Some(500), ..RateCaps::default() })]);
        assert_eq!((limits.models, limits.rpm_type, limits.tpm_type), (models, Some(LimitType::Dynamic), None));
    }

    #[test]
    fn null_and_nothing_limit_nothing() {
        assert!(read(&json!({})).unwrap().is_empty());
        assert!(read(&json!({"rpm_limit": null, "model_rpm_limit": {}, "metadata": null})).unwrap().is_empty());
    }

    #[test]
    fn what_is_no_count_is_refused_by_name() {
        for value in [json!(-1), json!(1.5), json!("60"), json!(true), json!(1e18)] {
            let error = read(&json!({ "rpm_limit": value })).unwrap_err();
            assert_eq!(error, LimitError::Count { field: "rpm_limit".into() }, "{value}");
        }
        let error = read(&json!({"model_tpm_limit": {"o3": -5}})).unwrap_err();
        assert_eq!(error, LimitError::Count { field: "model_tpm_limit.o3".into() });
        assert!(matches!(read(&json!({"model_rpm_limit": 5})), Err(LimitError::Models { .. })));
        assert!(matches!(read(&json!({"rpm_limit_type": "soft"})), Err(LimitError::Type { .. })));
    }

    #[test]
    fn limits_per_model_stand_on_keys_only() {
        let fields = json!({"model_rpm_limit": {"o3": 5}});
        let error = limits(&Scope::new(ScopeKind::Team, "t"), fields.as_object().unwrap()).unwrap_err();
        assert!(error.to_string().starts_with("model_rpm_limit works on keys, not on team:t"), "{error}");
    }
}
