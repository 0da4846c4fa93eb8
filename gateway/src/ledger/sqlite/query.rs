//! Reading rows back.

use fleetgate_wire::money::NanoDollars;
use fleetgate_wire::row::Row;
use jiff::Timestamp;
use sqlx::Row as _;
use sqlx::sqlite::SqliteRow;

use super::Sqlite;
use crate::ledger::query::{BucketSpend, DaySpend, Filter, KeySpend};
use crate::ledger::rows;
use crate::ledger::window::{self, HasTag};

const HAS_TAG: HasTag =
    HasTag { before: " AND EXISTS (SELECT 1 FROM json_each(tags) WHERE json_each.value = ", after: ")" };

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
        let rows = rows::list(filter).build().fetch_all(&self.readers).await?;
        rows.iter().map(rows::read).collect()
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

    pub(in crate::ledger) async fn used(&self, scope: &str, since: Timestamp) -> Result<(i64, i64), sqlx::Error> {
        window::used::<sqlx::Sqlite>(scope, since, HAS_TAG).build_query_as().fetch_one(&self.readers).await
    }

    /// What a scope spent by bucket from `since` until `until`, known and held, and what `read` says while nothing can
    /// change.
    pub(in crate::ledger) async fn spent<R>(
        &self,
        scope: &str,
        since: Timestamp,
        until: Option<Timestamp>,
        read: impl FnOnce() -> R,
    ) -> Result<(Vec<BucketSpend>, R), sqlx::Error> {
        let mut writer = self.writer.hold().await?;
        let mut query = window::spent::<sqlx::Sqlite>(scope, since, until, HAS_TAG);
        let rows = query.build().fetch_all(&mut *writer).await?;
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
