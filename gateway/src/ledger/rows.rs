//! The table's rows as every output shows them, the same for every database.

use fleetgate_wire::row::{Mark, Row};
use jiff::Timestamp;
use sqlx::{ColumnIndex, Database, Decode, Encode, QueryBuilder, Type};

use super::query::{Filter, tags};

/// The rows that a filter wants, newest first: what [`read`] reads.
pub(super) fn list<D: Database>(filter: &Filter) -> QueryBuilder<D>
where
    i64: Type<D> + for<'q> Encode<'q, D>,
    String: Type<D> + for<'q> Encode<'q, D>,
{
    let mut sql = QueryBuilder::new("SELECT * FROM entry WHERE true");
    let texts = [
        (" AND host = ", &filter.host),
        (" AND key_alias = ", &filter.key_alias),
        (" AND key_hash = ", &filter.key_hash),
        (" AND user_id = ", &filter.user),
    ];
    for (condition, text) in texts {
        if let Some(text) = text {
            sql.push(condition).push_bind(text.clone());
        }
    }
    if let Some(id) = &filter.request_id {
        sql.push(" AND (id = ").push_bind(id.clone()).push(" OR upstream_id = ").push_bind(id.clone()).push(")");
    }
    for (condition, time) in [(" AND started_at >= ", filter.since), (" AND started_at < ", filter.until)] {
        if let Some(time) = time {
            sql.push(condition).push_bind(time.as_microsecond());
        }
    }
    sql.push(" ORDER BY started_at DESC, id DESC LIMIT ").push_bind(i64::from(filter.limit));
    sql
}

/// A column's time as outputs show it.
pub(super) fn time(micros: i64) -> String {
    Timestamp::from_microsecond(micros).map(|time| format!("{time:.6}")).unwrap_or_default()
}

/// Reads one row.
pub(super) fn read<'r, R: sqlx::Row>(row: &'r R) -> Result<Row, sqlx::Error>
where
    for<'n> &'n str: ColumnIndex<R>,
    i32: Type<R::Database> + Decode<'r, R::Database>,
    i64: Type<R::Database> + Decode<'r, R::Database>,
    String: Type<R::Database> + Decode<'r, R::Database>,
    &'r str: Type<R::Database> + Decode<'r, R::Database>,
{
    let count = |name: &str| -> Result<Option<u64>, sqlx::Error> {
        Ok(row.try_get::<Option<i64>, _>(name)?.and_then(|count| u64::try_from(count).ok()))
    };
    let time = |name: &str| -> Result<Option<String>, sqlx::Error> {
        Ok(row.try_get::<Option<i64>, _>(name)?.map(self::time))
    };
    let http_status: Option<i32> = row.try_get("http_status")?;
    Ok(Row {
        request_id: row.try_get("id")?,
        kind: row.try_get("kind")?,
        host: row.try_get("host")?,
        host_source: row.try_get("host_source")?,
        workload: row.try_get("workload")?,
        key_alias: row.try_get("key_alias")?,
        key_hash: row.try_get("key_hash")?,
        user: row.try_get("user_id")?,
        team: row.try_get("team_id")?,
        customer: row.try_get("customer")?,
        tags: tags(row.try_get("tags")?),
        endpoint: row.try_get("endpoint")?,
        model_requested: row.try_get("model_requested")?,
        model: row.try_get("model")?,
        provider: row.try_get("provider")?,
        status: row.try_get("status")?,
        http_status: http_status.and_then(|status| u16::try_from(status).ok()),
        error: row.try_get("error")?,
        input_tokens: count("input_tokens")?,
        cache_read_tokens: count("cache_read_tokens")?,
        cache_write_tokens: count("cache_write_tokens")?,
        output_tokens: count("output_tokens")?,
        reasoning_tokens: count("reasoning_tokens")?,
        cost_nanousd: row.try_get("cost_nanousd")?,
        reserved_nanousd: row.try_get("reserved_nanousd")?,
        cost_before_nanousd: row.try_get("cost_before_nanousd")?,
        usage_source: row.try_get("usage_source")?,
        price_source: row.try_get("price_source")?,
        price_name: row.try_get("price_name")?,
        service_tier: row.try_get("service_tier")?,
        started_at: time("started_at")?.unwrap_or_default(),
        first_byte_at: time("first_byte_at")?,
        ended_at: time("ended_at")?.unwrap_or_default(),
        user_agent: row.try_get("user_agent")?,
        upstream_id: row.try_get("upstream_id")?,
        destination: row.try_get("destination")?,
        address: row.try_get("address")?,
        next_proxy: row.try_get("next_proxy")?,
        bytes_up: count("bytes_up")?,
        bytes_down: count("bytes_down")?,
        process: row.try_get("process")?,
        os_user: row.try_get("os_user")?,
        marks: Mark::read_list(row.try_get("marks")?),
        host_seen: row.try_get("host_seen")?,
        sighting: row.try_get("sighting")?,
    })
}
