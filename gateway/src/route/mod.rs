//! [`Permit`](crate::admit::Permit) to [`Plan`]: which deployments shall serve this model, in which order?

mod health;
mod pattern;
mod table;

use std::sync::Arc;

use crate::config::Deployment;

pub use health::Outcome;
pub use table::{Group, Router};

/// One way to serve a call.
#[derive(Debug, Clone)]
pub struct Choice {
    /// The deployment.
    pub deployment: Arc<Deployment>,
    /// `litellm_params.model` with its stars filled in, prefix included.
    pub model: String,
    /// The group it was chosen from: the caller's, or a fallback.
    pub group: Arc<str>,
}

/// All ways to serve a call, best first. Never empty.
#[derive(Debug, Clone)]
pub struct Plan {
    /// The ways.
    pub choices: Vec<Choice>,
}

/// What another model may not mind.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Complaint {
    /// The prompt does not fit into the model's window.
    ContextWindow,
    /// The provider refused the content, of the prompt or of the answer.
    ContentPolicy,
}

/// Why nothing can serve a model.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum NoRoute {
    /// No entry of `model_list` fits.
    #[error(
        "Invalid model name passed in model={model}: no entry of model_list serves it. GET /v1/models lists what there is"
    )]
    UnknownModel {
        /// What was asked for.
        model: String,
    },
    /// Entries fit, but none speaks the caller's dialect.
    #[error(
        "model={model} is served by {providers}, which is not reached over {asked} here; call it over {spoken}, or add an entry whose \
         provider speaks {asked}"
    )]
    OtherDialect {
        /// What was asked for.
        model: String,
        /// Who serves it.
        providers: String,
        /// The API that the caller used.
        asked: String,
        /// The APIs that would work.
        spoken: String,
    },
}
