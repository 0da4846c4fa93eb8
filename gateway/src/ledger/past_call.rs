//! A call in the table, as far as its price depends on it, and whom a change of it concerns.

use std::sync::Arc;

use fleetgate_wire::money::NanoDollars;
use fleetgate_wire::usage::Usage;
use sqlx::{ColumnIndex, Database, Decode, Encode, QueryBuilder, Row, Type};

use super::query::tags;
use super::reprice::Repricing;
use super::rollup::Charged;
use crate::price::{Cost, PriceSource};

/// A call that was counted, with a price that no provider reported.
#[derive(Debug, Clone)]
pub struct PastCall {
    /// Who answered.
    pub provider: String,
    /// The model that answered, or that was asked for when none did.
    pub model: String,
    /// The model that the caller named.
    pub model_requested: String,
    /// The entry of `model_list` that served it.
    pub deployment_id: String,
    /// What it used.
    pub usage: Usage,
    /// The provider's service tier.
    pub service_tier: Option<String>,
    /// What the row says of its cost.
    pub cost: Cost,
    pub(super) place: Place,
    pub(super) reserved_nanousd: Option<i64>,
    host: String,
    workload: String,
    key_hash: String,
    user_id: Option<String>,
    team_id: Option<String>,
    customer: Option<String>,
    tags: Vec<String>,
}

/// A row's place in the order of time: when it began, in microseconds, and its identifier.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Place {
    pub(super) started_at: i64,
    pub(super) id: String,
}

impl Place {
    /// Before all rows.
    pub(super) fn beginning() -> Self {
        Self { started_at: i64::MIN, id: String::new() }
    }
}

impl PastCall {
    /// Shows whom it is charged to.
    pub(super) fn with_charged<R>(&self, show: impl FnOnce(&Charged<'_>) -> R) -> R {
        let tags: Vec<&str> = self.tags.iter().map(String::as_str).collect();
        show(&Charged {
            key_hash: &self.key_hash,
            host: &self.host,
            workload: &self.workload,
            model_requested: &self.model_requested,
            provider: &self.provider,
            deployment_id: &self.deployment_id,
            user_id: self.user_id.as_deref(),
            team_id: self.team_id.as_deref(),
            customer: self.customer.as_deref(),
            tags: &tags,
            started_at: self.place.started_at,
        })
    }
}

/// The next of the rows that may be priced anew, behind a place: what [`read`] reads. Nothing in it is specific to a database.
pub(super) fn list<D: Database>(wanted: &Repricing, behind: &Place, most: usize) -> QueryBuilder<D>
where
    i64: Type<D> + for<'q> Encode<'q, D>,
    String: Type<D> + for<'q> Encode<'q, D>,
{
    let mut sql = QueryBuilder::new(
        "SELECT provider, model, deployment_id, usage, service_tier, cost_nanousd, price_source, price_name, started_at, id, host, \
         workload, key_hash, user_id, team_id, customer, tags, model_requested, reserved_nanousd FROM entry \
         WHERE kind = 'call' AND usage IS NOT NULL AND price_source IN ('override', 'catalogue', 'unpriced')",
    );
    // The first condition alone lets a database find the place in its index of times.
    sql.push(" AND started_at >= ").push_bind(behind.started_at);
    sql.push(" AND (started_at, id) > (")
        .push_bind(behind.started_at)
        .push(", ")
        .push_bind(behind.id.clone())
        .push(")");
    for (condition, time) in [(" AND started_at >= ", wanted.span.since), (" AND started_at < ", wanted.span.until)] {
        if let Some(time) = time {
            sql.push(condition).push_bind(time.as_microsecond());
        }
    }
    if let Some(model) = &wanted.model {
        sql.push(" AND (model = ").push_bind(model.clone());
        sql.push(" OR model_requested = ").push_bind(model.clone()).push(")");
    }
    sql.push(format!(" ORDER BY started_at, id LIMIT {most}"));
    sql
}

/// Reads one row; its call is `None` when this version cannot read what it used or where its price came from.
pub(super) fn read<'r, R: Row>(row: &'r R) -> Result<(Place, Option<PastCall>), sqlx::Error>
where
    usize: ColumnIndex<R>,
    i64: Type<R::Database> + Decode<'r, R::Database>,
    String: Type<R::Database> + Decode<'r, R::Database>,
    &'r str: Type<R::Database> + Decode<'r, R::Database>,
{
    let place = Place { started_at: row.try_get(8)?, id: row.try_get(9)? };
    let usage = serde_json::from_str(row.try_get(3)?);
    let source = PriceSource::parse(row.try_get(6)?);
    let (Ok(usage), Some(source)) = (usage, source) else { return Ok((place, None)) };
    let amount: Option<i64> = row.try_get(5)?;
    let price_name: Option<&str> = row.try_get(7)?;
    let call = PastCall {
        provider: row.try_get(0)?,
        model: row.try_get(1)?,
        deployment_id: row.try_get(2)?,
        usage,
        service_tier: row.try_get(4)?,
        cost: Cost { amount: amount.map(NanoDollars), source, price_name: price_name.map(Arc::from) },
        place: place.clone(),
        host: row.try_get(10)?,
        workload: row.try_get(11)?,
        key_hash: row.try_get(12)?,
        user_id: row.try_get(13)?,
        team_id: row.try_get(14)?,
        customer: row.try_get(15)?,
        tags: tags(row.try_get(16)?),
        model_requested: row.try_get(17)?,
        reserved_nanousd: row.try_get(18)?,
    };
    Ok((place, Some(call)))
}
