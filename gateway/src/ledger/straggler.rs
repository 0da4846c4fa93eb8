//! Hosts that have no key of their own yet: they live on the fallback key, or on the master key.

use fleetgate_wire::seen::Straggler;
use sqlx::{ColumnIndex, Database, Decode, Encode, QueryBuilder, Row, Type};

use super::rows::time;
use super::spend::{MOST_GROUPS, Span};
use super::sums::{push_span, unsigned};
use super::{Ledger, LedgerError};

impl Ledger {
    /// The hosts whose calls were paid by the fallback key or the master key, those that called last first.
    ///
    /// # Errors
    /// When the database cannot be read.
    pub async fn stragglers(&self, span: Span) -> Result<Vec<Straggler>, LedgerError> {
        self.catch_up().await;
        self.store.stragglers(span).await.map_err(|error| self.unavailable(&error))
    }
}

/// What [`read`] reads. Two halves, so that a database finds each by an index of its own.
pub(super) fn list<D: Database>(span: Span) -> QueryBuilder<D>
where
    i64: Type<D> + for<'q> Encode<'q, D>,
{
    const COLUMNS: &str = "host, host_source, host_seen, key_alias, started_at";
    const IS_FALLBACK: &str = "marks LIKE '%\"fallback_key\"%'";
    let mut sql = QueryBuilder::new(
        "SELECT host, max(host_source), max(host_seen), key_alias, reason, count(*), min(started_at), max(started_at) FROM (",
    );
    sql.push(format!(
        "SELECT {COLUMNS}, 'fallback_key' AS reason FROM entry WHERE marks IS NOT NULL AND {IS_FALLBACK}"
    ));
    push_span(&mut sql, span);
    sql.push(format!(" UNION ALL SELECT {COLUMNS}, 'master_key' FROM entry WHERE key_hash = 'master'"));
    sql.push(format!(" AND (marks IS NULL OR NOT {IS_FALLBACK})"));
    push_span(&mut sql, span);
    sql.push(") AS straggling GROUP BY host, key_alias, reason ORDER BY 8 DESC, 1, 4");
    sql.push(format!(" LIMIT {MOST_GROUPS}"));
    sql
}

/// Reads one.
pub(super) fn read<'r, R: Row>(row: &'r R) -> Result<Straggler, sqlx::Error>
where
    usize: ColumnIndex<R>,
    i64: Type<R::Database> + Decode<'r, R::Database>,
    String: Type<R::Database> + Decode<'r, R::Database>,
{
    Ok(Straggler {
        host: row.try_get(0)?,
        host_source: row.try_get(1)?,
        host_seen: row.try_get(2)?,
        key_alias: row.try_get(3)?,
        reason: row.try_get(4)?,
        calls: unsigned(row.try_get(5)?),
        first_seen: time(row.try_get(6)?),
        last_seen: time(row.try_get(7)?),
    })
}
