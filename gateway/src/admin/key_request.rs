//! The body of `/key/generate` and `/key/update`: LiteLLM's fields, and ours.

use fleetgate_wire::host::HostLabel;
use fleetgate_wire::period::Period;
use fleetgate_wire::virtual_key::VirtualKey;
use jiff::Timestamp;
use serde_json::{Map, Value};

use super::duration;
use crate::auth::{KeyRecord, MASTER_ALIAS};
use crate::respond::Refusal;

/// Fields that only steer the request and are not kept.
const NOT_KEPT: [&str; 3] = ["duration", "key", "send_invite_email"];
/// Fields that hold money: a NaN or a negative budget would allow everything or nothing.
const BUDGETS: [&str; 3] = ["max_budget", "soft_budget", "temp_budget_increase"];

const LONGEST_ALIAS: usize = 256;

/// The fields that a request gives. An absent one stays as it is; an explicit null clears it.
pub(super) struct KeyRequest {
    fields: Map<String, Value>,
}

impl KeyRequest {
    /// Reads a body. JSON counts whatever the content type says: `curl -d` announces a form.
    pub(super) fn read(body: &[u8]) -> Result<Self, Refusal> {
        if body.trim_ascii().is_empty() {
            return Ok(Self { fields: Map::new() });
        }
        let fields = serde_json::from_slice(body);
        let fields = fields.map_err(|error| bad(format!("the body is no JSON object: {error}"), None))?;
        Ok(Self { fields })
    }

    /// A text field.
    pub(super) fn text(&self, name: &str) -> Option<&str> {
        self.fields.get(name)?.as_str()
    }

    /// A list of texts.
    pub(super) fn texts(&self, name: &str) -> Vec<String> {
        let list = self.fields.get(name).and_then(Value::as_array);
        list.into_iter().flatten().filter_map(Value::as_str).map(str::to_owned).collect()
    }

    /// The key's own text, when the caller chooses it.
    pub(super) fn chosen_key(&self) -> Result<Option<VirtualKey>, Refusal> {
        let parse = |text| VirtualKey::parse(text).map_err(|error| bad(error.to_string(), Some("key")));
        self.text("key").map(parse).transpose()
    }

    /// Carries the fields over into a record.
    pub(super) fn apply(self, record: &mut KeyRecord, now: Timestamp) -> Result<(), Refusal> {
        self.check_budgets()?;
        match self.fields.get("duration").map(|value| optional_text(value, "duration")).transpose()? {
            Some(Some(text)) => {
                let expires = duration::from_now(&text, now);
                record.expires = Some(expires.map_err(|error| bad(error.to_string(), Some("duration")))?);
            }
            Some(None) => record.expires = None,
            None => {}
        }
        for (name, value) in self.fields {
            match name.as_str() {
                "key_alias" => record.key_alias = alias(&value)?,
                "user_id" => record.user_id = optional_text(&value, "user_id")?,
                "team_id" => record.team_id = optional_text(&value, "team_id")?,
                "host" => record.host = host(&value)?,
                "models" => record.models = models(&value)?,
                "blocked" => record.blocked = blocked(&value)?,
                "metadata" => record.metadata = metadata(value)?,
                name if NOT_KEPT.contains(&name) => {}
                _ if value.is_null() => drop(record.other.remove(&name)),
                _ => drop(record.other.insert(name, value)),
            }
        }
        record.updated_at = now;
        Ok(())
    }

    fn check_budgets(&self) -> Result<(), Refusal> {
        for name in BUDGETS {
            let fits = match self.fields.get(name) {
                None | Some(Value::Null) => true,
                Some(value) => value.as_f64().is_some_and(|amount| amount.is_finite() && amount >= 0.0),
            };
            if !fits {
                return Err(bad(format!("{name} must be a number of dollars, 0 or more"), Some(name)));
            }
        }
        let every = self.fields.get("budget_duration").map(|value| optional_text(value, "budget_duration"));
        match every.transpose()?.flatten().as_deref().map(Period::parse) {
            Some(Err(error)) => Err(bad(error.to_string(), Some("budget_duration"))),
            _ => Ok(()),
        }
    }
}

pub(super) fn bad(message: String, param: Option<&'static str>) -> Refusal {
    Refusal::BadRequest { message, param }
}

fn optional_text(value: &Value, param: &'static str) -> Result<Option<String>, Refusal> {
    match value {
        Value::Null => Ok(None),
        Value::String(text) => Ok(Some(text.clone())),
        _ => Err(bad(format!("{param} must be a text"), Some(param))),
    }
}

/// The name that every row of the key bears.
fn alias(value: &Value) -> Result<Option<String>, Refusal> {
    let alias = optional_text(value, "key_alias")?.filter(|alias| !alias.trim().is_empty());
    match &alias {
        Some(text) if text.chars().count() > LONGEST_ALIAS => {
            Err(bad(format!("key_alias may have {LONGEST_ALIAS} characters"), Some("key_alias")))
        }
        Some(text) if text == MASTER_ALIAS => Err(bad(
            format!("{MASTER_ALIAS} is what rows call the master key; choose another key_alias"),
            Some("key_alias"),
        )),
        _ => Ok(alias),
    }
}

/// Anything but a truth value is refused: guessing would let a key through that somebody meant to stop.
fn blocked(value: &Value) -> Result<bool, Refusal> {
    match value {
        Value::Null => Ok(false),
        Value::Bool(blocked) => Ok(*blocked),
        _ => Err(bad("blocked must be true or false".into(), Some("blocked"))),
    }
}

fn host(value: &Value) -> Result<Option<HostLabel>, Refusal> {
    let Some(text) = optional_text(value, "host")? else { return Ok(None) };
    HostLabel::parse(&text).map(Some).map_err(|error| bad(error.to_string(), Some("host")))
}

fn models(value: &Value) -> Result<Vec<String>, Refusal> {
    match value {
        Value::Null => Ok(Vec::new()),
        _ => serde_json::from_value(value.clone())
            .map_err(|_| bad("models must be a list of texts".into(), Some("models"))),
    }
}

fn metadata(value: Value) -> Result<Map<String, Value>, Refusal> {
    match value {
        Value::Null => Ok(Map::new()),
        Value::Object(map) => Ok(map),
        _ => Err(bad("metadata must be an object".into(), Some("metadata"))),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn record() -> KeyRecord {
        let key = VirtualKey::parse("sk-test-key-of-host-mac").unwrap();
        serde_json::from_value(json!({
            "token": key.hash(), "key_name": key.short_name(), "key_alias": "vk-mac", "blocked": true,
            "expires": "2026-01-01T00:00:00Z", "created_at": "2025-01-01T00:00:00Z", "updated_at": "2025-01-01T00:00:00Z",
            "other": { "rpm_limit": 5 },
        }))
        .unwrap()
    }

    fn changed(body: &Value) -> Result<KeyRecord, String> {
        let mut record = record();
        let request = KeyRequest::read(body.to_string().as_bytes()).map_err(|refusal| refusal.to_string())?;
        request.apply(&mut record, Timestamp::UNIX_EPOCH).map_err(|refusal| refusal.to_string())?;
        Ok(record)
    }

    #[test]
    fn an_absent_field_stays_and_a_null_clears() {
        let same = changed(&json!({})).unwrap();
        assert_eq!((same.key_alias.as_deref(), same.blocked, same.expires.is_some()), (Some("vk-mac"), true, true));
        assert_eq!(same.other["rpm_limit"], 5);
        let cleared =
            changed(&json!({"key_alias": null, "blocked": null, "duration": null, "rpm_limit": null})).unwrap();
        assert_eq!((cleared.key_alias, cleared.blocked, cleared.expires), (None, false, None));
        assert!(cleared.other.is_empty());
        assert_eq!(changed(&json!({"duration": "30s"})).unwrap().expires.unwrap().as_second(), 30);
    }

    #[test]
    fn a_value_of_the_wrong_kind_is_refused_and_never_guessed() {
        for (field, value) in [
            ("blocked", json!("true")),
            ("blocked", json!(1)),
            ("duration", json!(30)),
            ("budget_duration", json!(30)),
            ("max_budget", json!(-1)),
            ("max_budget", json!("5")),
            ("models", json!("gpt-x")),
            ("metadata", json!([])),
            ("key_alias", json!("master-key")),
            ("key_alias", json!("x".repeat(300))),
            ("host", json!("no host")),
        ] {
            assert!(changed(&json!({field: value})).is_err(), "{field}: {value}");
        }
        assert_eq!(changed(&json!({"key_alias": "🦊"})).unwrap().key_alias.as_deref(), Some("🦊"));
        assert_eq!(changed(&json!({"key_alias": " "})).unwrap().key_alias, None, "a row must name its key");
    }
}
