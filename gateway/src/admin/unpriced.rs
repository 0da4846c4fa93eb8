//! `GET /api/spend/unpriced`: the models that nobody has a price for, and what to do about each.

use std::sync::Arc;

use axum::extract::{Extension, Query, State};
use axum::http::HeaderMap;
use axum::response::IntoResponse;
use fleetgate_wire::spend::UnpricedModel;
use fleetgate_wire::usage::Usage;
use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use super::caller::Peer;
use super::served::Served;
use super::{Admin, Handled, moment};
use crate::config::Deployment;
use crate::price::{PriceSource, PricedRow};

#[derive(Deserialize)]
pub(super) struct UnpricedQuery {
    since: Option<String>,
    until: Option<String>,
}

#[derive(Serialize)]
struct Answer {
    unpriced: Vec<UnpricedModel>,
}

pub(super) async fn list(
    State(admin): State<Arc<Admin>>,
    Extension(peer): Extension<Peer>,
    headers: HeaderMap,
    Query(query): Query<UnpricedQuery>,
) -> Handled {
    admin.administrator(peer, &headers)?;
    let span = moment::span(query.since.as_deref(), query.until.as_deref(), Timestamp::now())?;
    let mut unpriced = admin.ledger.unpriced(span).await?;
    for model in &mut unpriced {
        let entry = admin.entry_of(Served {
            deployment_id: &model.deployment_id,
            model_requested: &model.model_requested,
            provider: &model.provider,
            model: &model.model,
        });
        model.entry = entry.as_ref().map(|entry| format!("{} ({})", entry.model_name, entry.origin));
        model.advice = admin.advice(model, entry.as_deref());
    }
    Ok(axum::Json(Answer { unpriced }).into_response())
}

impl Admin {
    fn advice(&self, model: &UnpricedModel, entry: Option<&Deployment>) -> String {
        const PRICES: &str = "input_cost_per_token and output_cost_per_token in its litellm_params";
        const THEN: &str = "then run fleetgate spend reprice";
        let usage = Usage { input: 1, output: 1, ..Usage::default() };
        let row = PricedRow {
            provider: &model.provider,
            asked: &model.model,
            answered: Some(&model.model),
            usage: Some(&usage),
            service_tier: None,
            source: PriceSource::Unpriced,
            price_name: None,
            amount: None,
        };
        if self.price_anew(&row, entry).amount.is_some() {
            return "its tokens have a price by now: run fleetgate spend reprice".to_owned();
        }
        let Some(entry) = entry else {
            return format!(
                "its entry is gone: only a newer price file can name a price (fleetgate.catalogue), {THEN}"
            );
        };
        match &entry.base_model {
            _ if !entry.prices.is_empty() => {
                format!("its own prices are not enough: set {PRICES}, {THEN}")
            }
            Some(base_model) => {
                format!(
                    "the catalogue has no price for its base_model {base_model}: correct it or set {PRICES}, {THEN}"
                )
            }
            None => format!("set {PRICES}, or base_model in its model_info to a model of the catalogue, {THEN}"),
        }
    }
}
