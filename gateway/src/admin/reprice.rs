//! `POST /api/spend/reprice`: old rows by today's prices.

use std::sync::Arc;

use axum::body::Bytes;
use axum::extract::{Extension, State};
use axum::http::HeaderMap;
use axum::response::IntoResponse;
use jiff::Timestamp;
use serde::Deserialize;

use super::caller::Peer;
use super::fields::bad;
use super::served::Served;
use super::{Admin, Handled, moment};
use crate::ledger::{PastCall, Repricing};
use crate::price::PricedRow;

#[derive(Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
struct Request {
    since: Option<String>,
    until: Option<String>,
    model: Option<String>,
    dry_run: bool,
}

pub(super) async fn reprice(
    State(admin): State<Arc<Admin>>,
    Extension(peer): Extension<Peer>,
    headers: HeaderMap,
    body: Bytes,
) -> Handled {
    admin.administrator(peer, &headers)?;
    let request = match body.trim_ascii() {
        b"" => Request::default(),
        body => serde_json::from_slice(body).map_err(|error| bad(format!("the body cannot be read: {error}"), None))?,
    };
    let span = moment::span(request.since.as_deref(), request.until.as_deref(), Timestamp::now())?;
    let wanted = Repricing { span, model: request.model, dry_run: request.dry_run };
    let price = |call: &PastCall| {
        let entry = admin.entry_of(Served {
            deployment_id: &call.deployment_id,
            model_requested: &call.model_requested,
            provider: &call.provider,
            model: &call.model,
        });
        let cost = &call.cost;
        let row = PricedRow {
            provider: &call.provider,
            asked: &call.model,
            answered: Some(&call.model),
            usage: Some(&call.usage),
            service_tier: call.service_tier.as_deref(),
            source: cost.source,
            price_name: cost.price_name.as_deref(),
            amount: cost.amount,
        };
        admin.price_anew(&row, entry.as_deref())
    };
    let repriced = admin.ledger.reprice(&wanted, price, || admin.repriced.0()).await?;
    tracing::info!(
        rows = repriced.rows,
        changed = repriced.changed,
        dry_run = repriced.dry_run,
        before = repriced.before_nanousd,
        after = repriced.after_nanousd,
        "old rows were priced anew"
    );
    Ok(axum::Json(repriced).into_response())
}
