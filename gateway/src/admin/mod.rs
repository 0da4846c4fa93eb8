//! HTTP to keys, rows, models, health and settings: LiteLLM's management API as far as it goes, and `/api`.

mod caller;
mod config;
mod duration;
mod health;
mod key_request;
mod keys;
mod logs;
mod models;
mod spend;

use std::sync::Arc;

use axum::Router;
use axum::extract::Request;
use axum::response::Response;
use axum::routing::{get, post};
use jiff::Timestamp;
use serde::{Deserialize, Deserializer};
use tokio::sync::Mutex;

pub use caller::Peer;

use crate::auth::Keyring;
use crate::config::Setting;
use crate::ledger::Ledger;
use crate::respond::Refusal;
use crate::route::Router as Models;

/// What the management API works on.
#[derive(Debug)]
pub struct Admin {
    /// The snapshot of keys.
    pub keyring: Arc<Keyring>,
    /// The rows and the stored keys.
    pub ledger: Ledger,
    /// The models.
    pub models: Arc<Models>,
    /// The live settings.
    pub settings: Vec<Setting>,
    /// When this process started.
    pub started_at: Timestamp,
    /// Held while a key is changed: the change is made to the newest record, and the newest snapshot is the last one put in place.
    pub changing: Mutex<()>,
}

/// What a handler gives back.
type Handled = Result<Response, Refused>;

/// A refusal as axum wants it.
struct Refused(Refusal);

impl<E: Into<Refusal>> From<E> for Refused {
    fn from(error: E) -> Self {
        Self(error.into())
    }
}

impl axum::response::IntoResponse for Refused {
    fn into_response(self) -> Response {
        self.0.answer(fleetgate_wire::endpoint::Dialect::OpenAi).map(axum::body::Body::new)
    }
}

/// The routes.
pub fn router(admin: Admin) -> Router {
    Router::new()
        .route("/key/generate", post(keys::generate))
        .route("/key/info", get(keys::info))
        .route("/key/list", get(keys::list))
        .route("/key/update", post(keys::update))
        .route("/key/block", post(keys::block))
        .route("/key/unblock", post(keys::unblock))
        .route("/key/delete", post(keys::delete))
        .route("/spend/logs", get(spend::logs))
        .route("/api/logs", get(logs::list))
        .route("/api/config", get(config::show))
        .route("/v1/models", get(models::list))
        .route("/models", get(models::list))
        .route("/v1/models/{*id}", get(models::one))
        .route("/models/{*id}", get(models::one))
        .route("/health/liveliness", get(health::alive))
        .route("/health/liveness", get(health::alive))
        .route("/health/readiness", get(health::ready))
        .fallback(no_such_path)
        .with_state(Arc::new(admin))
}

async fn no_such_path(request: Request) -> Refused {
    Refusal::NoSuchPath(request.uri().path().to_owned()).into()
}

/// A truth value in a query, in all the forms that Python's and JavaScript's clients write.
fn switch<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<bool>, D::Error> {
    let text = String::deserialize(deserializer)?;
    match text.to_ascii_lowercase().as_str() {
        "true" | "1" | "yes" | "on" => Ok(Some(true)),
        "false" | "0" | "no" | "off" => Ok(Some(false)),
        _ => Err(serde::de::Error::custom(format!("{text:?} is neither true nor false"))),
    }
}

fn json(value: &serde_json::Value) -> Response {
    axum::response::IntoResponse::into_response(axum::Json(value))
}
