//! `GET /api/stragglers` and `GET /api/sightings`: hosts without a key of their own, and providers' keys that are still about.

use std::sync::Arc;

use axum::extract::{Extension, Query, State};
use axum::http::HeaderMap;
use jiff::Timestamp;
use serde::Deserialize;
use serde_json::json;

use super::caller::Peer;
use super::{Admin, Handled, json as answer, moment};

#[derive(Deserialize)]
pub(super) struct StragglersQuery {
    since: Option<String>,
    until: Option<String>,
}

pub(super) async fn stragglers(
    State(admin): State<Arc<Admin>>,
    Extension(peer): Extension<Peer>,
    headers: HeaderMap,
    Query(query): Query<StragglersQuery>,
) -> Handled {
    admin.administrator(peer, &headers)?;
    let span = moment::span(query.since.as_deref(), query.until.as_deref(), Timestamp::now())?;
    Ok(answer(&json!({ "stragglers": admin.ledger.stragglers(span).await? })))
}

pub(super) async fn sightings(
    State(admin): State<Arc<Admin>>,
    Extension(peer): Extension<Peer>,
    headers: HeaderMap,
) -> Handled {
    admin.administrator(peer, &headers)?;
    Ok(answer(&json!({ "sightings": admin.ledger.sightings().await? })))
}
