//! What a request asks for: the few members that matter, read once.

use std::sync::Arc;

use bytes::Bytes;
use fleetgate_wire::endpoint::Endpoint;

use super::fields::{Fields, FieldsError, Spans};

/// A request's body and what it asks for.
#[derive(Debug, Clone)]
pub struct Ask {
    /// Which API.
    pub endpoint: Endpoint,
    /// The body as it came.
    pub body: Bytes,
    /// The model by its public name.
    pub model: Arc<str>,
    /// Whether the answer shall be a stream.
    pub stream: bool,
    /// Whether the client asked for the usage chunk itself.
    pub wants_usage: bool,
    /// The end user that the client names.
    pub user: Option<String>,
    /// What the client wants the call to be counted under (LiteLLM's `metadata.tags`).
    pub tags: Vec<String>,
    spans: Spans,
}

/// Why a request cannot be understood.
#[derive(Debug, thiserror::Error)]
pub enum AskError {
    /// The body is no JSON object.
    #[error(transparent)]
    Fields(#[from] FieldsError),
    /// There is no `model`, or it is no text.
    #[error("the request names no model: set \"model\" to one that GET /v1/models lists")]
    NoModel,
    /// Longer than any name of a model; answers, headers and rows would bear it.
    #[error("the request's model has more than {LONGEST_MODEL} characters")]
    ModelTooLong,
}

/// In bytes. The longest real names (with a path, a revision and a region) stay below 200.
const LONGEST_MODEL: usize = 512;

#[derive(serde::Deserialize)]
struct StreamOptions {
    #[serde(default)]
    include_usage: Option<bool>,
}

#[derive(serde::Deserialize)]
struct Tagged {
    #[serde(default)]
    tags: Vec<String>,
}

impl Ask {
    /// Reads what matters.
    ///
    /// # Errors
    /// When the body is no JSON object or names no model.
    pub fn read(endpoint: Endpoint, body: Bytes) -> Result<Self, AskError> {
        let fields = Fields::parse(&body)?;
        let escaped = || fields.read::<String>("model").map(Arc::from);
        let model: Arc<str> = fields.read::<&str>("model").map(Arc::from).or_else(escaped).ok_or(AskError::NoModel)?;
        if model.is_empty() {
            return Err(AskError::NoModel);
        }
        if model.len() > LONGEST_MODEL {
            return Err(AskError::ModelTooLong);
        }
        let stream = fields.read("stream").unwrap_or(false);
        let wants_usage =
            fields.read::<StreamOptions>("stream_options").and_then(|options| options.include_usage).unwrap_or(false);
        let user = fields.read("user");
        let tagged = ["metadata", "litellm_metadata"].iter().filter_map(|name| fields.read::<Tagged>(name));
        let tags = tagged.flat_map(|tagged| tagged.tags).collect();
        let spans = fields.spans();
        Ok(Self { endpoint, body, model, stream, wants_usage, user, tags, spans })
    }

    /// The body's members, without reading it again.
    #[must_use]
    pub fn fields(&self) -> Fields<'_> {
        // The spans were found in this very body, which cannot have changed.
        Fields::at(&self.body, &self.spans).unwrap_or_default()
    }
}
