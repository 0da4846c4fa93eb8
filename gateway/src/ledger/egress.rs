//! What went through tunnels, by host and destination: summed by the database, the same statement for every one.

use fleetgate_wire::egress::{EgressGroup, EgressSums};
use jiff::Timestamp;
use sqlx::{ColumnIndex, Database, Decode, Encode, QueryBuilder, Row, Type};

use super::spend::{MOST_GROUPS, Span};
use super::sums::{push_span, unsigned};
use super::{Ledger, LedgerError};

impl Ledger {
    /// The tunnels of each host to each destination, those with the most bytes first, the sums of all, and whether there are more
    /// groups than these.
    ///
    /// # Errors
    /// When the database cannot be read.
    pub async fn egress(&self, span: Span) -> Result<(Vec<EgressGroup>, EgressSums, bool), LedgerError> {
        self.catch_up().await;
        let (mut groups, total) = self.store.egress(span).await.map_err(|error| self.unavailable(&error))?;
        let left_off = groups.len() > MOST_GROUPS;
        groups.truncate(MOST_GROUPS);
        Ok((groups, total, left_off))
    }
}

/// Whose tunnels.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum TunnelsOf {
    /// A key's, by the hash in rows.
    Key(String),
    /// A host's.
    Host(String),
}

impl Ledger {
    /// Bytes both ways of the tunnels that began at a moment or later.
    ///
    /// # Errors
    /// When the database cannot be read.
    pub async fn tunnel_bytes(&self, of: &TunnelsOf, since: Timestamp) -> Result<u64, LedgerError> {
        self.catch_up().await;
        let bytes = self.store.tunnel_bytes(of, since).await.map_err(|error| self.unavailable(&error))?;
        Ok(unsigned(bytes))
    }
}

/// The statement for that.
pub(super) fn sum_of<D: Database>(of: &TunnelsOf, since: Timestamp) -> QueryBuilder<D>
where
    i64: Type<D> + for<'q> Encode<'q, D>,
    String: Type<D> + for<'q> Encode<'q, D>,
{
    let bytes = "CAST(coalesce(sum(coalesce(bytes_up, 0) + coalesce(bytes_down, 0)), 0) AS BIGINT)";
    let mut sql = QueryBuilder::new(format!("SELECT {bytes} FROM entry WHERE kind = 'tunnel' AND started_at >= "));
    sql.push_bind(since.as_microsecond());
    let (column, id) = match of {
        TunnelsOf::Key(hash) => ("key_hash", hash),
        TunnelsOf::Host(host) => ("host", host),
    };
    sql.push(format!(" AND {column} = ")).push_bind(id.clone());
    sql
}

/// The statement: with `by` each group, without it all of them in one.
pub(super) fn sum_up<D: Database>(by: bool, span: Span) -> QueryBuilder<D>
where
    i64: Type<D> + for<'q> Encode<'q, D>,
{
    let mut sql = QueryBuilder::new("SELECT ");
    if by {
        sql.push("host, coalesce(destination, ''), max(address), count(DISTINCT address), ");
    }
    let cost = "CAST(coalesce(sum(cost_nanousd), 0) AS BIGINT)";
    let bytes = ["bytes_up", "bytes_down"].map(|column| format!("CAST(coalesce(sum({column}), 0) AS BIGINT)"));
    let refused = "count(CASE WHEN status = 'refused' THEN 1 END)";
    sql.push(format!("{}, {}, count(*), {refused}, {cost}", bytes[0], bytes[1]));
    sql.push(" FROM entry WHERE kind = 'tunnel'");
    push_span(&mut sql, span);
    if by {
        let bytes = "coalesce(sum(bytes_up), 0) + coalesce(sum(bytes_down), 0)";
        sql.push(format!(" GROUP BY 1, 2 ORDER BY {bytes} DESC, 1, 2 LIMIT {}", MOST_GROUPS + 1));
    }
    sql
}

/// Reads one group.
pub(super) fn read_group<'r, R: Row>(row: &'r R) -> Result<EgressGroup, sqlx::Error>
where
    usize: ColumnIndex<R>,
    i64: Type<R::Database> + Decode<'r, R::Database>,
    String: Type<R::Database> + Decode<'r, R::Database>,
{
    let (host, destination, address) = (row.try_get(0)?, row.try_get(1)?, row.try_get(2)?);
    Ok(EgressGroup { host, destination, address, addresses: unsigned(row.try_get(3)?), sums: read_sums(row, 4)? })
}

/// Reads the sums that stand from this place on.
pub(super) fn read_sums<'r, R: Row>(row: &'r R, from: usize) -> Result<EgressSums, sqlx::Error>
where
    usize: ColumnIndex<R>,
    i64: Type<R::Database> + Decode<'r, R::Database>,
{
    let count = |place: usize| Ok::<_, sqlx::Error>(unsigned(row.try_get(from + place)?));
    let refused = count(3)?;
    let (bytes_up, bytes_down, cost_nanousd) = (count(0)?, count(1)?, row.try_get(from + 4)?);
    Ok(EgressSums { bytes_up, bytes_down, tunnels: count(2)?.saturating_sub(refused), refused, cost_nanousd })
}
