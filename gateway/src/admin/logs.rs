//! `/api/logs`: rows by our own names.

use std::sync::Arc;

use axum::extract::{Extension, Query, State};
use axum::http::HeaderMap;
use jiff::Timestamp;
use serde::Deserialize;
use serde_json::json;

use super::caller::Peer;
use super::{Admin, Handled, json as answer};
use crate::ledger::Filter;

const DEFAULT_LIMIT: u32 = 100;
const MAX_LIMIT: u32 = 10_000;

#[derive(Deserialize)]
pub(super) struct LogsQuery {
    limit: Option<u32>,
    host: Option<String>,
    key_alias: Option<String>,
    request_id: Option<String>,
    since: Option<Timestamp>,
    until: Option<Timestamp>,
}

pub(super) async fn list(
    State(admin): State<Arc<Admin>>,
    Extension(peer): Extension<Peer>,
    headers: HeaderMap,
    Query(query): Query<LogsQuery>,
) -> Handled {
    admin.administrator(peer, &headers)?;
    let filter = Filter {
        host: query.host,
        key_alias: query.key_alias,
        request_id: query.request_id,
        since: query.since,
        until: query.until,
        limit: query.limit.unwrap_or(DEFAULT_LIMIT).min(MAX_LIMIT),
        ..Filter::default()
    };
    Ok(answer(&json!({ "rows": admin.ledger.rows(&filter).await? })))
}
