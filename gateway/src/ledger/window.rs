//! What a scope spent in a window, to the microsecond: whole quarters of an hour from the sums, and the parts of them at its two ends
//! from the rows.

use sqlx::{Database, Encode, QueryBuilder, Type};

use fleetgate_wire::scope::{Scope, ScopeKind};
use jiff::Timestamp;

use super::rollup::BUCKET;

/// How the databases look into a row's tags, a JSON list.
#[derive(Debug, Clone, Copy)]
pub(super) struct HasTag {
    pub(super) before: &'static str,
    pub(super) after: &'static str,
}

/// Nothing was spent before 1970, so a window of all time has no edge.
const EARLIEST: i64 = 0;

/// A window as the sums see it. Moments are microseconds since 1970.
#[derive(Debug, PartialEq, Eq)]
struct Parts {
    /// Buckets that lie wholly in it: the first, and the first behind the last.
    whole: (i64, i64),
    /// A bucket, and the part of it that lies in the window.
    edges: Vec<(i64, i64, i64)>,
}

fn split(since: i64, until: Option<i64>) -> Parts {
    let begins = |bucket: i64| bucket.saturating_mul(BUCKET);
    let until = until.unwrap_or(i64::MAX).max(since);
    let first = since.div_euclid(BUCKET);
    let is_whole = begins(first) >= since;
    // No end is no edge.
    let last = if until == i64::MAX { i64::MAX } else { until.div_euclid(BUCKET) };
    let starts = if is_whole { first } else { first.saturating_add(1) };
    let mut edges = Vec::new();
    if !is_whole {
        edges.push((first, since, begins(first.saturating_add(1)).min(until)));
    }
    if last != i64::MAX && begins(last) < until && last >= starts {
        edges.push((last, begins(last), until));
    }
    Parts { whole: (starts, last.max(starts)), edges }
}

/// Asks for bucket, known cost and held money: a line for each bucket that holds something.
pub(super) fn spent<D: Database>(
    scope: &str,
    since: Timestamp,
    until: Option<Timestamp>,
    has_tag: HasTag,
) -> QueryBuilder<D>
where
    i64: Type<D> + for<'q> Encode<'q, D>,
    String: Type<D> + for<'q> Encode<'q, D>,
{
    let mut sql = QueryBuilder::new("");
    push_spent(&mut sql, scope, since.as_microsecond(), until.map(Timestamp::as_microsecond), has_tag);
    sql
}

/// The same, as a part of a larger question.
pub(super) fn push_spent<D: Database>(
    sql: &mut QueryBuilder<D>,
    scope: &str,
    since: i64,
    until: Option<i64>,
    has_tag: HasTag,
) where
    i64: Type<D> + for<'q> Encode<'q, D>,
    String: Type<D> + for<'q> Encode<'q, D>,
{
    let Parts { whole: (first, behind), edges } = split(since.max(EARLIEST), until);
    sql.push("SELECT bucket, cost_nanousd, held_nanousd FROM spend WHERE scope = ");
    sql.push_bind(scope.to_owned()).push(" AND bucket >= ").push_bind(first);
    sql.push(" AND bucket < ").push_bind(behind);
    for (bucket, since, until) in edges {
        sql.push(" UNION ALL SELECT CAST(").push_bind(bucket).push(
            " AS bigint), CAST(coalesce(sum(cost_nanousd), 0) AS bigint), \
             CAST(coalesce(sum(CASE WHEN cost_nanousd IS NULL THEN reserved_nanousd END), 0) AS bigint) \
             FROM entry WHERE (kind = 'call' OR cost_nanousd > 0) AND started_at >= ",
        );
        sql.push_bind(since).push(" AND started_at < ").push_bind(until);
        among(sql, scope, has_tag);
        sql.push(" HAVING count(*) > 0");
    }
}

/// Whether a window begins or ends within a quarter of an hour, so that the sums alone do not say what was spent in it.
pub(super) fn has_edges(since: i64, until: i64) -> bool {
    !split(since.max(EARLIEST), Some(until)).edges.is_empty()
}

/// Asks for calls and tokens of a scope's rows: one line.
pub(super) fn used<D: Database>(scope: &str, since: Timestamp, has_tag: HasTag) -> QueryBuilder<D>
where
    i64: Type<D> + for<'q> Encode<'q, D>,
    String: Type<D> + for<'q> Encode<'q, D>,
{
    let mut sql = QueryBuilder::new(
        "SELECT count(*), CAST(coalesce(sum(coalesce(input_tokens, 0) + coalesce(output_tokens, 0)), 0) AS bigint) \
         FROM entry WHERE kind = 'call' AND started_at >= ",
    );
    sql.push_bind(since.as_microsecond());
    among(&mut sql, scope, has_tag);
    sql
}

/// Leaves only the rows that count in a scope; the same ones as [`each_scope`](super::rollup::each_scope) names it for.
fn among<D: Database>(sql: &mut QueryBuilder<D>, scope: &str, has_tag: HasTag)
where
    String: Type<D> + for<'q> Encode<'q, D>,
{
    let Ok(scope) = scope.parse::<Scope>() else {
        sql.push(" AND false");
        return;
    };
    let column = match scope.kind() {
        ScopeKind::Global => return,
        ScopeKind::Key => "key_hash",
        ScopeKind::Host => "host",
        ScopeKind::Workload => "workload",
        ScopeKind::Team => "team_id",
        ScopeKind::User => "user_id",
        ScopeKind::Model => "model_requested",
        ScopeKind::Provider => "provider",
        ScopeKind::Deployment => "deployment_id",
        ScopeKind::Customer => "customer",
        ScopeKind::Tag => {
            sql.push(has_tag.before).push_bind(scope.id().to_owned()).push(has_tag.after);
            return;
        }
        ScopeKind::KeyModel => {
            let (hash, model) = scope.id().split_once('/').unwrap_or((scope.id(), ""));
            sql.push(" AND key_hash = ").push_bind(hash.to_owned());
            sql.push(" AND model_requested = ").push_bind(model.to_owned());
            return;
        }
    };
    sql.push(format!(" AND {column} = ")).push_bind(scope.id().to_owned());
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn a_window_on_quarters_has_no_edges_and_one_within_a_quarter_is_all_edge() {
        assert_eq!(split(BUCKET, Some(3 * BUCKET)), Parts { whole: (1, 3), edges: vec![] });
        assert_eq!(split(i64::MIN / BUCKET * BUCKET, None).edges, []);
        assert_eq!(split(BUCKET + 5, Some(BUCKET + 9)).edges, [(1, BUCKET + 5, BUCKET + 9)]);
        assert_eq!(split(BUCKET, Some(BUCKET + 9)), Parts { whole: (1, 1), edges: vec![(1, BUCKET, BUCKET + 9)] });
    }

    proptest! {
        #[test]
        fn each_moment_of_a_window_is_counted_once_and_no_other(
            since in -3 * BUCKET..3 * BUCKET, length in 0..4 * BUCKET, at in -4 * BUCKET..8 * BUCKET, endless: bool,
        ) {
            let until = (!endless).then_some(since + length);
            let Parts { whole: (first, behind), edges } = split(since, until);
            let bucket = at.div_euclid(BUCKET);
            let counted = usize::from((first..behind).contains(&bucket))
                + edges.iter().filter(|(of, from, to)| *of == bucket && (*from..*to).contains(&at)).count();
            let inside = at >= since && until.is_none_or(|until| at < until);
            prop_assert_eq!(counted, usize::from(inside));
        }
    }
}
