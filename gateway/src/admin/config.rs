//! `/api/config`: each live setting and where it came from.

use std::sync::Arc;

use axum::extract::{Extension, State};
use axum::http::HeaderMap;
use axum::response::IntoResponse;

use super::caller::Peer;
use super::{Admin, Handled};
use crate::config::Running;
use crate::respond::VERSION;

pub(super) async fn show(
    State(admin): State<Arc<Admin>>,
    Extension(peer): Extension<Peer>,
    headers: HeaderMap,
) -> Handled {
    admin.administrator(peer, &headers)?;
    let running = Running {
        version: VERSION.to_owned(),
        pid: std::process::id(),
        started_at: admin.started_at.to_string(),
        settings: admin.settings.iter().map(Into::into).collect(),
    };
    Ok(axum::Json(running).into_response())
}
