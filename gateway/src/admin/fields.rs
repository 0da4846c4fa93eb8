//! The JSON object in a management request's body.

use serde_json::{Map, Value};

use crate::respond::Refusal;

/// The fields that a request gives. An absent one stays as it is; an explicit null clears it.
#[derive(Debug, Clone, Default)]
pub(super) struct Fields(pub(super) Map<String, Value>);

impl Fields {
    /// Reads a body. JSON counts whatever the content type says: `curl -d` announces a form.
    pub(super) fn read(body: &[u8]) -> Result<Self, Refusal> {
        if body.trim_ascii().is_empty() {
            return Ok(Self::default());
        }
        let fields = serde_json::from_slice(body);
        fields.map(Self).map_err(|error| bad(format!("the body is no JSON object: {error}"), None))
    }

    /// A text field.
    pub(super) fn text(&self, name: &str) -> Option<&str> {
        self.0.get(name)?.as_str()
    }

    /// A text field that must be there, and hold something.
    pub(super) fn required(&self, name: &'static str) -> Result<&str, Refusal> {
        let text = self.text(name).filter(|text| !text.trim().is_empty());
        text.ok_or_else(|| bad(format!("{name} is missing: give it as a text"), Some(name)))
    }

    /// A list of texts.
    pub(super) fn texts(&self, name: &str) -> Vec<String> {
        let list = self.0.get(name).and_then(Value::as_array);
        list.into_iter().flatten().filter_map(Value::as_str).map(str::to_owned).collect()
    }

    /// A list of texts that must be there, and hold some.
    pub(super) fn required_texts(&self, name: &'static str) -> Result<Vec<String>, Refusal> {
        let texts = self.texts(name);
        if texts.is_empty() {
            return Err(bad(format!("{name} is missing: give it as a list of texts"), Some(name)));
        }
        Ok(texts)
    }

    /// Takes these fields only.
    pub(super) fn only(&self, names: &[&str]) -> Self {
        Self(
            self.0
                .iter()
                .filter(|(name, _)| names.contains(&name.as_str()))
                .map(|(n, v)| (n.clone(), v.clone()))
                .collect(),
        )
    }
}

/// A request that makes no sense.
pub(super) fn bad(message: String, param: Option<&'static str>) -> Refusal {
    Refusal::BadRequest { message, param }
}

/// A text, or nothing where the request says null.
pub(super) fn optional_text(value: &Value, param: &'static str) -> Result<Option<String>, Refusal> {
    match value {
        Value::Null => Ok(None),
        Value::String(text) => Ok(Some(text.clone())),
        _ => Err(bad(format!("{param} must be a text"), Some(param))),
    }
}

/// Anything but a truth value is refused: guessing would let a call through that somebody meant to stop.
pub(super) fn blocked(value: &Value) -> Result<bool, Refusal> {
    match value {
        Value::Null => Ok(false),
        Value::Bool(blocked) => Ok(*blocked),
        _ => Err(bad("blocked must be true or false".into(), Some("blocked"))),
    }
}

/// A list of models.
pub(super) fn models(value: &Value) -> Result<Vec<String>, Refusal> {
    match value {
        Value::Null => Ok(Vec::new()),
        _ => serde_json::from_value(value.clone())
            .map_err(|_| bad("models must be a list of texts".into(), Some("models"))),
    }
}
