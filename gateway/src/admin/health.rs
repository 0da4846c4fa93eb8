//! `/health/*`: is the process alive, and may it spend?

use std::sync::Arc;

use axum::extract::State;
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use jiff::Timestamp;
use serde::Deserialize;
use serde_json::json;

use super::order::Question;
use super::{Admin, Handled, json as answer};
use crate::front::MeshStatus;
use crate::respond::VERSION;

#[derive(Deserialize)]
pub(super) struct DetailsQuery {}

pub(super) async fn alive() -> Response {
    answer(&json!("I'm alive!"))
}

/// 503 while the ledger cannot write: what cannot be written down is not spent. And while the mesh is away that is to be served: who
/// asks then asks from this machine.
pub(super) async fn ready(State(admin): State<Arc<Admin>>) -> Response {
    match admin.ledger.trouble() {
        None if let Some(cause) = mesh_trouble(&admin) => {
            let body = json!({ "status": "unhealthy", "db": "connected", "reason": format!("not reachable through the mesh: {cause}") });
            (StatusCode::SERVICE_UNAVAILABLE, answer(&body)).into_response()
        }
        None => answer(&json!({ "status": "healthy", "db": "connected" })),
        // The journal keeps the rows until the database is back: nothing is refused meanwhile.
        Some(cause) if admin.ledger.takes_calls() => answer(
            &json!({ "status": "healthy", "db": "disconnected", "reason": format!("rows wait in the journal: {cause}") }),
        ),
        Some(cause) => {
            let body = json!({ "status": "unhealthy", "db": "disconnected", "reason": format!("the ledger cannot write: {cause}") });
            (StatusCode::SERVICE_UNAVAILABLE, answer(&body)).into_response()
        }
    }
}

fn mesh_trouble(admin: &Admin) -> Option<String> {
    admin.mesh.as_ref().and_then(MeshStatus::trouble)
}

/// Where the gateway is in the mesh, if it is to be there.
fn mesh(admin: &Admin) -> Option<serde_json::Value> {
    let (interface, listening) = admin.mesh.as_ref()?.place();
    Some(json!({ "interface": interface, "listening": listening, "trouble": mesh_trouble(admin) }))
}

/// What stands behind the one word, for whoever has a key. The status is that of [`ready`].
pub(super) async fn details(Question { admin, .. }: Question<DetailsQuery>) -> Handled {
    let pulse = admin.metrics.ledger().unwrap_or_default();
    let trouble = pulse.trouble.or_else(|| admin.ledger.trouble());
    let takes_calls = trouble.is_none() || admin.ledger.takes_calls();
    let now = Timestamp::now();
    let body = json!({
        "status": if takes_calls && mesh_trouble(&admin).is_none() { "healthy" } else { "unhealthy" },
        "db": if trouble.is_none() { "connected" } else { "disconnected" },
        "reason": trouble.as_ref().map(|cause| format!("the ledger cannot write: {cause}")),
        "cache": null,
        "litellm_version": format!("fleetgate {VERSION}"),
        "version": VERSION,
        "started_at": admin.started_at.to_string(),
        "uptime_seconds": now.duration_since(admin.started_at).as_secs(),
        "calls_in_flight": admin.metrics.in_flight(),
        "spool_depth": pulse.spool_depth,
        "newest_row_age_seconds": pulse.newest_row_at.map(|at| now.duration_since(at).as_secs_f64().max(0.0)),
        "database": admin.ledger.database(),
        "config_warnings": admin.config_warnings,
        "mesh": mesh(&admin),
    });
    let status =
        if takes_calls && mesh_trouble(&admin).is_none() { StatusCode::OK } else { StatusCode::SERVICE_UNAVAILABLE };
    Ok((status, answer(&body)).into_response())
}
