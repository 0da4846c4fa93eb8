//! `/api/config`: each live setting and where it came from.

use std::sync::Arc;

use axum::extract::{Extension, State};
use axum::http::HeaderMap;
use serde_json::json;

use super::caller::Peer;
use super::{Admin, Handled, json as answer};
use crate::respond::VERSION;

pub(super) async fn show(State(admin): State<Arc<Admin>>, Extension(peer): Extension<Peer>, headers: HeaderMap) -> Handled {
    admin.administrator(peer, &headers)?;
    Ok(answer(&json!({
        "version": VERSION,
        "pid": std::process::id(),
        "started_at": admin.started_at,
        "settings": crate::config::settings_json(&admin.settings),
    })))
}
