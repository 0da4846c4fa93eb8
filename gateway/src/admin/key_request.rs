//! The body of `/key/generate` and `/key/update`: LiteLLM's fields, and ours.

use fleetgate_wire::host::HostLabel;
use fleetgate_wire::virtual_key::VirtualKey;
use jiff::Timestamp;
use serde_json::{Map, Value};

use super::duration;
use crate::auth::KeyRecord;
use crate::respond::Refusal;

/// Fields that only steer the request and are not kept.
const NOT_KEPT: [&str; 3] = ["duration", "key", "send_invite_email"];
/// Fields that hold money: a NaN or a negative budget would allow everything or nothing.
const BUDGETS: [&str; 3] = ["max_budget", "soft_budget", "temp_budget_increase"];

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
        if let Some(text) = self.text("duration") {
            record.expires =
                Some(duration::from_now(text, now).map_err(|error| bad(error.to_string(), Some("duration")))?);
        } else if self.fields.get("duration").is_some_and(Value::is_null) {
            record.expires = None;
        }
        for (name, value) in self.fields {
            match name.as_str() {
                "key_alias" => record.key_alias = optional_text(&value, "key_alias")?,
                "user_id" => record.user_id = optional_text(&value, "user_id")?,
                "team_id" => record.team_id = optional_text(&value, "team_id")?,
                "host" => record.host = host(&value)?,
                "models" => record.models = models(&value)?,
                "blocked" => record.blocked = value.as_bool().unwrap_or(false),
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
        match self.text("budget_duration").map(duration::parse) {
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
