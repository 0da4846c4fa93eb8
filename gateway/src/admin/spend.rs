//! `GET /spend/logs`, with LiteLLM's rows and its daily summary.

use std::collections::BTreeMap;
use std::sync::Arc;

use axum::extract::{Extension, Query, State};
use axum::http::HeaderMap;
use fleetgate_wire::money::NanoDollars;
use fleetgate_wire::row::Row;
use jiff::civil::Date;
use jiff::tz::TimeZone;
use jiff::{Timestamp, ToSpan};
use serde::Deserialize;
use serde_json::{Map, Value, json};

use super::caller::Peer;
use super::fields::bad;
use super::{Admin, Handled, json as answer};
use crate::ledger::{DaySpend, Filter};
use crate::respond::Refusal;
use fleetgate_wire::virtual_key::KeyHash;

/// LiteLLM's own limit.
const MAX_ROWS: u32 = 10_000;

#[derive(Deserialize)]
pub(super) struct SpendQuery {
    api_key: Option<String>,
    user_id: Option<String>,
    request_id: Option<String>,
    start_date: Option<String>,
    end_date: Option<String>,
    #[serde(default, deserialize_with = "super::switch")]
    summarize: Option<bool>,
}

pub(super) async fn logs(
    State(admin): State<Arc<Admin>>,
    Extension(peer): Extension<Peer>,
    headers: HeaderMap,
    Query(query): Query<SpendQuery>,
) -> Handled {
    admin.administrator(peer, &headers)?;
    let key_hash = query.api_key.as_deref().map(|key| match KeyHash::parse(key) {
        Ok(hash) => hash.to_string(),
        Err(_) if key == "litellm_proxy_master_key" || key == crate::auth::MASTER_HASH => {
            crate::auth::MASTER_HASH.to_owned()
        }
        Err(_) => KeyHash::digest(key).to_string(),
    });
    let by_dates_only = key_hash.is_none() && query.user_id.is_none() && query.request_id.is_none();
    let filter = Filter {
        key_hash,
        user: query.user_id,
        request_id: query.request_id,
        since: query.start_date.as_deref().map(|text| midnight(text, "start_date")).transpose()?,
        until: query.end_date.as_deref().map(day_after).transpose()?,
        limit: MAX_ROWS,
        ..Filter::default()
    };
    let dated = filter.since.is_some() || filter.until.is_some();
    if by_dates_only && dated && query.summarize != Some(false) {
        return Ok(answer(&summarize(&admin.ledger.spend_by_day(filter.since, filter.until).await?)));
    }
    let rows = admin.ledger.rows(&filter).await?;
    Ok(answer(&rows.iter().map(litellm_row).collect()))
}

fn midnight(text: &str, param: &'static str) -> Result<Timestamp, Refusal> {
    let date: Result<Date, _> = text.get(..10).unwrap_or(text).parse();
    let time = date.and_then(|date| date.to_zoned(TimeZone::UTC)).map(|midnight| midnight.timestamp());
    time.map_err(|_| bad(format!("{param} {text:?} is no date; write YYYY-MM-DD"), Some(param)))
}

/// The end date's whole day counts.
fn day_after(text: &str) -> Result<Timestamp, Refusal> {
    let start = midnight(text, "end_date")?;
    Ok(start.checked_add(24.hours()).unwrap_or(start))
}

/// A row of `LiteLLM_SpendLogs`.
fn litellm_row(row: &Row) -> Value {
    let dollars = row.cost_nanousd.map_or(0.0, |nanos| NanoDollars(nanos).dollars());
    let (input, output) = (row.input_tokens.unwrap_or(0), row.output_tokens.unwrap_or(0));
    let api_key = if row.key_hash == crate::auth::MASTER_HASH { "litellm_proxy_master_key" } else { &row.key_hash };
    json!({
        "request_id": row.upstream_id.as_deref().unwrap_or(&row.request_id),
        "litellm_call_id": row.request_id,
        "call_type": call_type(&row.endpoint),
        "api_key": api_key,
        "spend": dollars,
        "total_tokens": input + output,
        "prompt_tokens": input,
        "completion_tokens": output,
        "startTime": row.started_at,
        "endTime": row.ended_at,
        "completionStartTime": row.first_byte_at,
        "model": row.model,
        "model_group": row.model_requested,
        "custom_llm_provider": row.provider,
        "user": row.user.as_deref().unwrap_or_default(),
        "cache_hit": "False",
        "cache_key": "Cache OFF",
        "request_tags": [],
        "status": if row.status == "success" { "success" } else { "failure" },
        "messages": {},
        "response": {},
        "metadata": {
            "user_api_key": api_key,
            "user_api_key_alias": row.key_alias,
            "user_api_key_user_id": row.user,
            "user_agent": row.user_agent,
            "status": row.status,
            "error_information": row.error.as_ref().map(|error| json!({ "error_message": error, "error_code": row.http_status })),
            "usage_object": {
                "prompt_tokens": row.input_tokens, "completion_tokens": row.output_tokens,
                "cache_read_input_tokens": row.cache_read_tokens, "cache_creation_input_tokens": row.cache_write_tokens,
                "reasoning_tokens": row.reasoning_tokens,
            },
            "fleetgate": {
                "host": row.host, "host_source": row.host_source, "workload": row.workload, "cost_nanousd": row.cost_nanousd,
                "usage_source": row.usage_source, "price_source": row.price_source,
                "destination": row.destination, "address": row.address, "next_proxy": row.next_proxy,
                "bytes_up": row.bytes_up, "bytes_down": row.bytes_down,
            },
        },
    })
}

fn call_type(endpoint: &str) -> &str {
    match endpoint {
        "chat" => "acompletion",
        "completions" => "atext_completion",
        "embeddings" => "aembedding",
        "messages" => "anthropic_messages",
        "responses" => "aresponses",
        other => other,
    }
}

/// `[{"startTime": day, "spend": x, "<key hash>": x, "users": {…}, "models": {…}}]`
fn summarize(rows: &[DaySpend]) -> Value {
    #[derive(Default)]
    struct Day {
        spend: NanoDollars,
        keys: BTreeMap<String, NanoDollars>,
        users: BTreeMap<String, NanoDollars>,
        models: BTreeMap<String, NanoDollars>,
    }
    let mut days: BTreeMap<&str, Day> = BTreeMap::new();
    for row in rows {
        let day = days.entry(&row.day).or_default();
        let cost = NanoDollars(row.cost_nanousd);
        day.spend += cost;
        *day.keys.entry(row.key_hash.clone()).or_default() += cost;
        *day.users.entry(row.user.clone()).or_default() += cost;
        *day.models.entry(row.model.clone()).or_default() += cost;
    }
    let dollars = |sums: BTreeMap<String, NanoDollars>| -> Map<String, Value> {
        sums.into_iter().map(|(name, sum)| (name, sum.dollars().into())).collect()
    };
    let shown = days.into_iter().map(|(date, day)| {
        let mut shown = dollars(day.keys);
        shown.insert("startTime".into(), date.into());
        shown.insert("spend".into(), day.spend.dollars().into());
        shown.insert("users".into(), dollars(day.users).into());
        shown.insert("models".into(), dollars(day.models).into());
        Value::Object(shown)
    });
    shown.collect()
}
