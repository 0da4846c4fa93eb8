//! `/health/*`: is the process alive, and may it spend?

use std::sync::Arc;

use axum::extract::State;
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use serde_json::json;

use super::{Admin, json as answer};

pub(super) async fn alive() -> Response {
    answer(&json!("I'm alive!"))
}

/// 503 while the ledger cannot write: what cannot be written down is not spent.
pub(super) async fn ready(State(admin): State<Arc<Admin>>) -> Response {
    match admin.ledger.trouble() {
        None => answer(&json!({ "status": "healthy", "db": "connected" })),
        Some(cause) => {
            let body = json!({ "status": "unhealthy", "db": "disconnected", "reason": format!("the ledger cannot write: {cause}") });
            (StatusCode::SERVICE_UNAVAILABLE, answer(&body)).into_response()
        }
    }
}
