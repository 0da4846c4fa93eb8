//! `GET /api/spend`: who spent how much.

use std::sync::Arc;

use axum::extract::{Extension, Query, State};
use axum::http::HeaderMap;
use axum::response::IntoResponse;
use fleetgate_wire::spend::{Group, Sums};
use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use super::caller::Peer;
use super::fields::bad;
use super::{Admin, Handled, moment};
use crate::ledger::{Dimension, Spend};
use crate::respond::Refusal;

#[derive(Deserialize)]
pub(super) struct SumsQuery {
    by: Option<String>,
    since: Option<String>,
    until: Option<String>,
}

#[derive(Serialize)]
struct Answer {
    groups: Vec<Group>,
    total: Sums,
    left_off: bool,
}

pub(super) async fn show(
    State(admin): State<Arc<Admin>>,
    Extension(peer): Extension<Peer>,
    headers: HeaderMap,
    Query(query): Query<SumsQuery>,
) -> Handled {
    admin.administrator(peer, &headers)?;
    let span = moment::span(query.since.as_deref(), query.until.as_deref(), Timestamp::now())?;
    let by = dimensions(query.by.as_deref().unwrap_or_default())?;
    let Spend { groups, total, left_off } = admin.ledger.spend(&by, span).await?;
    Ok(axum::Json(Answer { groups, total, left_off }).into_response())
}

/// Words between commas; one that comes twice counts once.
fn dimensions(text: &str) -> Result<Vec<Dimension>, Refusal> {
    let mut all = Vec::new();
    for word in text.split(',').map(str::trim).filter(|word| !word.is_empty()) {
        let dimension = Dimension::parse(word).map_err(|error| bad(error.to_string(), Some("by")))?;
        if !all.contains(&dimension) {
            all.push(dimension);
        }
    }
    Ok(all)
}
