//! Reading rows back.

use fleetgate_wire::money::NanoDollars;
use fleetgate_wire::row::Row;
use jiff::Timestamp;
use sqlx::sqlite::SqliteRow;
use sqlx::{QueryBuilder, Row as _};

use super::Sqlite;
use crate::ledger::query::{BucketSpend, DaySpend, Filter, KeySpend, tags};
use crate::ledger::rollup::BUCKET_SECONDS;

impl Sqlite {
    pub(in crate::ledger) async fn spend_by_day(
        &self,
        since: Option<Timestamp>,
        until: Option<Timestamp>,
    ) -> Result<Vec<DaySpend>, sqlx::Error> {
        let sql = "SELECT strftime('%Y-%m-%d', started_at / 1000000, 'unixepoch') AS day, key_hash, coalesce(user_id, ''), model, \
                   coalesce(sum(cost_nanousd), 0) FROM entry \
                   WHERE kind = 'call' AND started_at >= ? AND started_at < ? GROUP BY 1, 2, 3, 4 ORDER BY 1";
        let since = since.map_or(i64::MIN, Timestamp::as_microsecond);
        let until = until.map_or(i64::MAX, Timestamp::as_microsecond);
        let rows = sqlx::query(sql).bind(since).bind(until).fetch_all(&self.readers).await?;
        let day = |row: &SqliteRow| DaySpend {
            day: row.get(0),
            key_hash: row.get(1),
            user: row.get(2),
            model: row.get(3),
            cost_nanousd: row.get(4),
        };
        Ok(rows.iter().map(day).collect())
    }

    pub(in crate::ledger) async fn rows(&self, filter: &Filter) -> Result<Vec<Row>, sqlx::Error> {
        let mut sql = QueryBuilder::<sqlx::Sqlite>::new("SELECT * FROM entry WHERE true");
        let texts = [
            (" AND host = ", &filter.host),
            (" AND key_alias = ", &filter.key_alias),
            (" AND key_hash = ", &filter.key_hash),
            (" AND user_id = ", &filter.user),
        ];
        for (condition, text) in texts {
            if let Some(text) = text {
                sql.push(condition).push_bind(text);
            }
        }
        if let Some(id) = &filter.request_id {
            sql.push(" AND (id = ").push_bind(id).push(" OR upstream_id = ").push_bind(id).push(")");
        }
        for (condition, time) in [(" AND started_at >= ", filter.since), (" AND started_at < ", filter.until)] {
            if let Some(time) = time {
                sql.push(condition).push_bind(time.as_microsecond());
            }
        }
        sql.push(" ORDER BY started_at DESC, id DESC LIMIT ").push_bind(filter.limit);
        let rows = sql.build().fetch_all(&self.readers).await?;
        rows.iter().map(read_row).collect()
    }

    pub(in crate::ledger) async fn spend_of(&self, key_hash: &str) -> Result<KeySpend, sqlx::Error> {
        let spent = sqlx::query_scalar("SELECT coalesce(sum(cost_nanousd), 0) FROM spend WHERE scope = 'key:' || ?");
        let cost_nanousd = spent.bind(key_hash).fetch_one(&self.readers).await?;
        let newest = sqlx::query_scalar("SELECT max(started_at) FROM entry WHERE key_hash = ?");
        let newest: Option<i64> = newest.bind(key_hash).fetch_one(&self.readers).await?;
        Ok(KeySpend { cost_nanousd, last_active: newest.and_then(|micros| Timestamp::from_microsecond(micros).ok()) })
    }

    pub(in crate::ledger) async fn newest(&self) -> Result<Option<Timestamp>, sqlx::Error> {
        let newest = sqlx::query_scalar("SELECT ended_at FROM entry ORDER BY started_at DESC LIMIT 1");
        let newest: Option<i64> = newest.fetch_optional(&self.readers).await?;
        Ok(newest.and_then(|micros| Timestamp::from_microsecond(micros).ok()))
    }

    /// Deployment, reservation, cost and start of the newest calls that had a budget.
    pub(in crate::ledger) async fn reserved_and_spent(&self) -> Result<Vec<(String, i64, i64, i64)>, sqlx::Error> {
        let sql = "SELECT deployment_id, reserved_nanousd, cost_nanousd, started_at FROM \
                   (SELECT deployment_id, reserved_nanousd, cost_nanousd, started_at FROM entry ORDER BY started_at DESC LIMIT 2000) \
                   AS newest WHERE reserved_nanousd > 0 AND cost_nanousd > 0";
        sqlx::query_as(sql).fetch_all(&self.readers).await
    }

    pub(in crate::ledger) async fn totals(&self) -> Result<Vec<(String, i64)>, sqlx::Error> {
        let sums = sqlx::query_as("SELECT scope, sum(cost_nanousd) FROM spend GROUP BY scope");
        sums.fetch_all(&self.readers).await
    }

    /// What a scope spent in each bucket from `since` until `until`, known and held, and what `read` says while nothing can
    /// change.
    pub(in crate::ledger) async fn spent<R>(
        &self,
        scope: &str,
        since: Timestamp,
        until: Option<Timestamp>,
        read: impl FnOnce() -> R,
    ) -> Result<(Vec<BucketSpend>, R), sqlx::Error> {
        let mut writer = self.writer.hold().await?;
        let until = until.map_or(i64::MAX, |until| until.as_second().div_euclid(BUCKET_SECONDS));
        let sql =
            "SELECT bucket, cost_nanousd, held_nanousd FROM spend WHERE scope = ? AND bucket >= ? AND bucket <= ?";
        let query = sqlx::query(sql).bind(scope).bind(since.as_second().div_euclid(BUCKET_SECONDS)).bind(until);
        let rows = query.fetch_all(&mut *writer).await?;
        let spend = |row: &SqliteRow| BucketSpend {
            bucket: row.get(0),
            cost: NanoDollars(row.get(1)),
            held: NanoDollars(row.get(2)),
        };
        let read = read();
        writer.keep();
        Ok((rows.iter().map(spend).collect(), read))
    }
}

fn read_row(row: &SqliteRow) -> Result<Row, sqlx::Error> {
    let count = |name: &str| -> Result<Option<u64>, sqlx::Error> {
        Ok(row.try_get::<Option<i64>, _>(name)?.and_then(|count| u64::try_from(count).ok()))
    };
    let time = |name: &str| -> Result<Option<String>, sqlx::Error> {
        let micros: Option<i64> = row.try_get(name)?;
        Ok(micros.and_then(|micros| Timestamp::from_microsecond(micros).ok()).map(|time| format!("{time:.6}")))
    };
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
        http_status: row.try_get("http_status")?,
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
        bytes_up: count("bytes_up")?,
        bytes_down: count("bytes_down")?,
    })
}
