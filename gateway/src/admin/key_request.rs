//! The body of `/key/generate` and `/key/update`: LiteLLM's fields, and ours.

use fleetgate_wire::host::HostLabel;
use fleetgate_wire::scope::{Scope, ScopeKind};
use fleetgate_wire::virtual_key::VirtualKey;
use jiff::Timestamp;
use serde_json::{Map, Value};

use super::duration;
use super::fields::{Fields, bad, blocked, models, optional_text};
use super::limits::check_limits;
use crate::auth::{KeyRecord, MASTER_ALIAS};
use crate::respond::Refusal;

/// Fields that only steer the request and are not kept.
const NOT_KEPT: [&str; 3] = ["duration", "key", "send_invite_email"];
const LONGEST_ALIAS: usize = 256;

/// What a request wants of a key.
pub(super) struct KeyRequest {
    fields: Fields,
}

impl From<Fields> for KeyRequest {
    fn from(fields: Fields) -> Self {
        Self { fields }
    }
}

impl KeyRequest {
    /// Reads a body.
    pub(super) fn read(body: &[u8]) -> Result<Self, Refusal> {
        Fields::read(body).map(Self::from)
    }

    /// All that it says.
    pub(super) fn fields(&self) -> &Fields {
        &self.fields
    }

    /// A text field.
    pub(super) fn text(&self, name: &str) -> Option<&str> {
        self.fields.text(name)
    }

    /// A list of texts.
    pub(super) fn texts(&self, name: &str) -> Vec<String> {
        self.fields.texts(name)
    }

    /// The key's own text, when the caller chooses it.
    pub(super) fn chosen_key(&self) -> Result<Option<VirtualKey>, Refusal> {
        let parse = |text| VirtualKey::parse(text).map_err(|error| bad(error.to_string(), Some("key")));
        self.text("key").map(parse).transpose()
    }

    /// Carries the fields over into a record.
    pub(super) fn apply(self, record: &mut KeyRecord, now: Timestamp) -> Result<(), Refusal> {
        match self.fields.0.get("duration").map(|value| optional_text(value, "duration")).transpose()? {
            Some(Some(text)) => {
                let expires = duration::from_now(&text, now);
                record.expires = Some(expires.map_err(|error| bad(error.to_string(), Some("duration")))?);
            }
            Some(None) => record.expires = None,
            None => {}
        }
        for (name, value) in self.fields.0 {
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
        check_limits(&Scope::new(ScopeKind::Key, record.token.to_string()), &record.other)?;
        record.updated_at = now;
        Ok(())
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

fn host(value: &Value) -> Result<Option<HostLabel>, Refusal> {
    let Some(text) = optional_text(value, "host")? else { return Ok(None) };
    HostLabel::parse(&text).map(Some).map_err(|error| bad(error.to_string(), Some("host")))
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
