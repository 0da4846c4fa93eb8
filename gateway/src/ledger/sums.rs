//! The statements behind [`Ledger::spend`](super::Ledger::spend), the same for every database but for its [`SqlDialect`].

use fleetgate_wire::spend::{Group, Sums, UnpricedModel};
use jiff::Timestamp;
use serde_json::Map;
use sqlx::{ColumnIndex, Database, Decode, Encode, QueryBuilder, Row, Type};

use super::dimension::Dimension;
use super::spend::{MOST_GROUPS, Span};

/// No call has so many tokens: a provider's absurd count must not overflow the sums.
const MOST_TOKENS: &str = "1000000000000";

/// Tokens are known, and nobody has a price for them.
const IS_UNPRICED: &str = "cost_nanousd IS NULL AND status <> 'interrupted' AND usage_source <> 'none'";
const IS_UNCOUNTED: &str = "cost_nanousd IS NULL AND status <> 'interrupted' AND usage_source = 'none'";
const IS_ESTIMATED: &str = "cost_nanousd IS NOT NULL AND usage_source IN ('partial', 'estimated')";
const IS_INTERRUPTED: &str = "status = 'interrupted'";

/// What each database writes in its own way. Times are those of the column `started_at`, in UTC.
pub(super) struct SqlDialect {
    /// As `2026-11-22T20`.
    pub(super) hour: &'static str,
    /// As `2026-11-22`.
    pub(super) day: &'static str,
    /// As `2026-11`.
    pub(super) month: &'static str,
    /// Joined to `entry`, it gives a row for each tag, and one where there is none.
    pub(super) each_tag: &'static str,
    /// The tag in it.
    pub(super) tag: &'static str,
}

impl SqlDialect {
    /// The expression of an answer's column.
    fn expression(&self, column: &'static str) -> &'static str {
        match column {
            "user" => "user_id",
            "team" => "team_id",
            "tag" => self.tag,
            "hour" => self.hour,
            "day" => self.day,
            "month" => self.month,
            _ => column,
        }
    }
}

/// The sums of each group: its columns, then what [`read_sums`] reads.
pub(super) fn sum_up<D: Database>(by: &[Dimension], span: Span, dialect: &SqlDialect) -> QueryBuilder<D>
where
    i64: Type<D> + for<'q> Encode<'q, D>,
{
    let columns: Vec<_> = by.iter().flat_map(|dimension| dimension.columns()).collect();
    let mut sql = QueryBuilder::new("SELECT ");
    for column in &columns {
        sql.push(dialect.expression(column)).push(", ");
    }
    push_sums(&mut sql);
    sql.push(" FROM entry");
    if by.contains(&Dimension::Tag) {
        sql.push(dialect.each_tag);
    }
    sql.push(" WHERE kind = 'call'");
    push_span(&mut sql, span);
    if columns.is_empty() {
        return sql;
    }
    let places = || (1..=columns.len()).map(|place| place.to_string());
    let is_time = |column: &str| Dimension::parse(column).is_ok_and(Dimension::is_time);
    let times = places().zip(&columns).filter(|(_, column)| is_time(column)).map(|(place, _)| place);
    let cost = format!("{} DESC", columns.len() + 1);
    let order: Vec<String> = times.chain([cost]).chain(places()).collect();
    sql.push(" GROUP BY ").push(places().collect::<Vec<_>>().join(", "));
    sql.push(" ORDER BY ").push(order.join(", ")).push(format!(" LIMIT {}", MOST_GROUPS + 1));
    sql
}

/// The models without a price: what [`read_unpriced`] reads.
pub(super) fn list_unpriced<D: Database>(span: Span) -> QueryBuilder<D>
where
    i64: Type<D> + for<'q> Encode<'q, D>,
{
    let mut sql = QueryBuilder::new("SELECT provider, model, model_requested, deployment_id, count(*), ");
    sql.push(tokens("input_tokens")).push(", ").push(tokens("output_tokens"));
    sql.push(", max(started_at) FROM entry WHERE kind = 'call' AND ").push(IS_UNPRICED);
    push_span(&mut sql, span);
    sql.push(" GROUP BY 1, 2, 3, 4 ORDER BY 5 DESC, 1, 2, 3, 4").push(format!(" LIMIT {MOST_GROUPS}"));
    sql
}

/// In the order in which [`read_sums`] takes them; the known cost comes first, groups are ordered by it.
fn push_sums<D: Database>(sql: &mut QueryBuilder<D>) {
    sql.push("CAST(coalesce(sum(cost_nanousd), 0) AS BIGINT), count(*)");
    for condition in [IS_UNPRICED, IS_UNCOUNTED, IS_ESTIMATED, IS_INTERRUPTED] {
        sql.push(format!(", count(CASE WHEN {condition} THEN 1 END)"));
    }
    sql.push(format!(", CAST(coalesce(sum(CASE WHEN {IS_INTERRUPTED} THEN reserved_nanousd END), 0) AS BIGINT)"));
    for column in ["input_tokens", "cache_read_tokens", "cache_write_tokens", "output_tokens", "reasoning_tokens"] {
        sql.push(", ").push(tokens(column));
    }
}

fn tokens(column: &str) -> String {
    let bounded = format!("CASE WHEN {column} > {MOST_TOKENS} THEN {MOST_TOKENS} ELSE {column} END");
    format!("CAST(coalesce(sum({bounded}), 0) AS BIGINT)")
}

pub(super) fn push_span<D: Database>(sql: &mut QueryBuilder<D>, span: Span)
where
    i64: Type<D> + for<'q> Encode<'q, D>,
{
    for (condition, time) in [(" AND started_at >= ", span.since), (" AND started_at < ", span.until)] {
        if let Some(time) = time {
            sql.push(condition).push_bind(time.as_microsecond());
        }
    }
}

/// Reads one group.
pub(super) fn read_group<'r, R: Row>(row: &'r R, by: &[Dimension]) -> Result<Group, sqlx::Error>
where
    usize: ColumnIndex<R>,
    i64: Type<R::Database> + Decode<'r, R::Database>,
    String: Type<R::Database> + Decode<'r, R::Database>,
{
    let names: Vec<_> = by.iter().flat_map(|dimension| dimension.columns()).collect();
    let mut columns = Map::new();
    for (place, name) in names.iter().enumerate() {
        columns.insert((*name).to_owned(), row.try_get::<Option<String>, _>(place)?.into());
    }
    let sums = read_sums(row, names.len())?;
    Ok(Group { sums, columns })
}

/// Reads the sums that stand from this place on.
pub(super) fn read_sums<'r, R: Row>(row: &'r R, from: usize) -> Result<Sums, sqlx::Error>
where
    usize: ColumnIndex<R>,
    i64: Type<R::Database> + Decode<'r, R::Database>,
{
    let count = |place: usize| Ok::<_, sqlx::Error>(unsigned(row.try_get(from + place)?));
    Ok(Sums {
        cost_nanousd: row.try_get(from)?,
        calls: count(1)?,
        unpriced_calls: count(2)?,
        uncounted_calls: count(3)?,
        estimated_calls: count(4)?,
        interrupted_calls: count(5)?,
        interrupted_reserved_nanousd: row.try_get(from + 6)?,
        input_tokens: count(7)?,
        cache_read_tokens: count(8)?,
        cache_write_tokens: count(9)?,
        output_tokens: count(10)?,
        reasoning_tokens: count(11)?,
    })
}

/// Reads one model without a price.
pub(super) fn read_unpriced<'r, R: Row>(row: &'r R) -> Result<UnpricedModel, sqlx::Error>
where
    usize: ColumnIndex<R>,
    i64: Type<R::Database> + Decode<'r, R::Database>,
    String: Type<R::Database> + Decode<'r, R::Database>,
{
    let newest = Timestamp::from_microsecond(row.try_get(7)?);
    Ok(UnpricedModel {
        provider: row.try_get(0)?,
        model: row.try_get(1)?,
        model_requested: row.try_get(2)?,
        deployment_id: row.try_get(3)?,
        calls: unsigned(row.try_get(4)?),
        input_tokens: unsigned(row.try_get(5)?),
        output_tokens: unsigned(row.try_get(6)?),
        newest: newest.map(|time| format!("{time:.6}")).unwrap_or_default(),
        ..UnpricedModel::default()
    })
}

pub(super) fn unsigned(count: i64) -> u64 {
    u64::try_from(count).unwrap_or(0)
}
