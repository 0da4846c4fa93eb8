//! Reading rows back.

use fleetgate_wire::money::NanoDollars;
use fleetgate_wire::row::Row;
use jiff::Timestamp;
use sqlx::Row as _;
use sqlx::postgres::PgRow;

use super::Postgres;
use crate::ledger::query::{BucketSpend, DaySpend, Filter, KeySpend};
use crate::ledger::rows;
use crate::ledger::window::{self, HasTag};

pub(super) const HAS_TAG: HasTag = HasTag { before: " AND jsonb_exists(tags::jsonb, ", after: ")" };

impl Postgres {
    pub(in crate::ledger) async fn spend_by_day(
        &self,
        since: Option<Timestamp>,
        until: Option<Timestamp>,
    ) -> Result<Vec<DaySpend>, sqlx::Error> {
        let sql = "SELECT to_char(timestamp 'epoch' + started_at * interval '1 microsecond', 'YYYY-MM-DD'), key_hash, \
                   coalesce(user_id, ''), model, coalesce(sum(cost_nanousd), 0)::bigint FROM entry \
                   WHERE kind = 'call' AND started_at >= $1 AND started_at < $2 GROUP BY 1, 2, 3, 4 ORDER BY 1";
        let since = since.map_or(i64::MIN, Timestamp::as_microsecond);
        let until = until.map_or(i64::MAX, Timestamp::as_microsecond);
        let rows = sqlx::query(sql).bind(since).bind(until).fetch_all(self.pool().await?).await?;
        let day = |row: &PgRow| {
            Ok(DaySpend {
                day: row.try_get(0)?,
                key_hash: row.try_get(1)?,
                user: row.try_get(2)?,
                model: row.try_get(3)?,
                cost_nanousd: row.try_get(4)?,
            })
        };
        rows.iter().map(day).collect()
    }

    pub(in crate::ledger) async fn rows(&self, filter: &Filter) -> Result<Vec<Row>, sqlx::Error> {
        let rows = rows::list(filter).build().fetch_all(self.pool().await?).await?;
        rows.iter().map(rows::read).collect()
    }

    pub(in crate::ledger) async fn spend_of(&self, key_hash: &str) -> Result<KeySpend, sqlx::Error> {
        let sql = "SELECT (SELECT coalesce(sum(cost_nanousd), 0)::bigint FROM spend WHERE scope = 'key:' || $1), \
                   (SELECT max(started_at) FROM entry WHERE key_hash = $1)";
        let (cost_nanousd, newest): (i64, Option<i64>) =
            sqlx::query_as(sql).bind(key_hash).fetch_one(self.pool().await?).await?;
        Ok(KeySpend { cost_nanousd, last_active: newest.and_then(|micros| Timestamp::from_microsecond(micros).ok()) })
    }

    pub(in crate::ledger) async fn newest(&self) -> Result<Option<Timestamp>, sqlx::Error> {
        let newest = sqlx::query_scalar("SELECT ended_at FROM entry ORDER BY started_at DESC LIMIT 1");
        let newest: Option<i64> = newest.fetch_optional(self.pool().await?).await?;
        Ok(newest.and_then(|micros| Timestamp::from_microsecond(micros).ok()))
    }

    /// Deployment, reservation, cost and start of the newest calls that had a budget.
    pub(in crate::ledger) async fn reserved_and_spent(&self) -> Result<Vec<(String, i64, i64, i64)>, sqlx::Error> {
        let sql = "SELECT deployment_id, reserved_nanousd, cost_nanousd, started_at FROM \
                   (SELECT deployment_id, reserved_nanousd, cost_nanousd, started_at FROM entry ORDER BY started_at DESC LIMIT 2000) \
                   AS newest WHERE reserved_nanousd > 0 AND cost_nanousd > 0";
        sqlx::query_as(sql).fetch_all(self.pool().await?).await
    }

    pub(in crate::ledger) async fn totals(&self) -> Result<Vec<(String, i64)>, sqlx::Error> {
        let sums = sqlx::query_as("SELECT scope, sum(cost_nanousd)::bigint FROM spend GROUP BY scope");
        sums.fetch_all(self.pool().await?).await
    }

    pub(in crate::ledger) async fn used(&self, scope: &str, since: Timestamp) -> Result<(i64, i64), sqlx::Error> {
        window::used::<sqlx::Postgres>(scope, since, HAS_TAG).build_query_as().fetch_one(self.pool().await?).await
    }

    /// What a scope spent, by all gateways, in each bucket from `since` until `until`, known and held, and what `read` says while
    /// this gateway writes nothing.
    pub(in crate::ledger) async fn spent<R>(
        &self,
        scope: &str,
        since: Timestamp,
        until: Option<Timestamp>,
        read: impl FnOnce() -> R,
    ) -> Result<(Vec<BucketSpend>, R), sqlx::Error> {
        let _unchanged = self.writing.lock().await;
        let mut query = window::spent::<sqlx::Postgres>(scope, since, until, HAS_TAG);
        let rows: Vec<(i64, i64, i64)> = query.build_query_as().fetch_all(self.pool().await?).await?;
        let spend = |(bucket, cost, held)| BucketSpend { bucket, cost: NanoDollars(cost), held: NanoDollars(held) };
        Ok((rows.into_iter().map(spend).collect(), read()))
    }
}
