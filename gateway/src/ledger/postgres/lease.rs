//! Slices of budgets and rates, so that several gateways keep to one cap together without asking for each call.
//!
//! What is spent and applied, and all leases, never exceed the cap: a slice is granted under the rule's lock, and what a row cost
//! leaves its gateway's lease in the row's own transaction. So what a gateway holds of a rule is exactly what it was granted, minus
//! what it returned and what it spent; it may spend that without asking anybody.

use std::pin::Pin;

use serde::{Deserialize, Serialize};
use sqlx::postgres::PgArguments;
use sqlx::types::Json;
use sqlx::{Arguments, PgConnection, QueryBuilder};

use super::Postgres;
use super::keys::tell;
use super::listen::Change;
use super::member::Member;
use super::query::HAS_TAG;
use crate::ledger::window::{has_edges, push_spent};

/// The other side of the exchange: a budget or rate engine that spends what it is granted.
pub trait Leasable: std::fmt::Debug + Send + Sync {
    /// What is short, or will be soon: at most one for each rule and window.
    fn wanted(&self) -> Vec<Wish>;
    /// Adds to a rule's funds. An amount of 0 tells what others have. `false` when the rule or its window is gone: then the funds go
    /// back.
    fn grant(&self, share: &Share) -> bool;
    /// Takes back what is neither spent nor reserved, of one rule or of all; with `from_waiting`, although calls here wait for more.
    /// What is taken cannot be spent any more.
    fn take_back(&self, rule: Option<&str>, from_waiting: bool) -> Vec<Return>;
    /// Takes back what will not be used here.
    fn unused(&self) -> Vec<Return>;
    /// Takes back what is neither spent nor reserved of lasting slices, at the end of this gateway; all others return by themselves.
    fn leave(&self) -> Vec<Return> {
        Vec::new()
    }
    /// Resolves when [`Leasable::wanted`] has something new, at once if it had since this was last awaited.
    fn shortage(&self) -> Pin<Box<dyn Future<Output = ()> + Send + '_>>;
}

/// Funds that a gateway needs. Amounts are what the rule counts: nano-dollars, requests, tokens, places.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Wish {
    /// The rule, by the same name on all gateways.
    pub rule: String,
    /// Whose spending counts against the cap (`kind:id`); `None` for a rate, of which a slice is used up when it is granted.
    pub scope: Option<String>,
    /// The window's first microsecond; rows that began in the window are paid out of the lease.
    pub window_start: i64,
    /// The first microsecond after the window; [`i64::MAX`] where it has none.
    pub window_end: i64,
    /// From when on spending counts against the cap: the window's start, or later in a window that rolls.
    pub since: i64,
    /// Windows of the same rule that begin at most so many microseconds before or after this one count against the cap too.
    pub reach: i64,
    /// The cap on all gateways together.
    pub cap: i64,
    /// How much is needed at once.
    pub least: i64,
    /// How much would be good to have, to ask less often.
    pub want: i64,
    /// What was used already without a grant. It is granted on top, whatever the cap says.
    pub owed: i64,
    /// Calls whose cost nobody knows count as what was reserved for them.
    pub counts_held: bool,
    /// Of what is not money: a slice counts as used until its window is over, also after its gateway's end.
    pub lasting: bool,
}

/// The answer to a [`Wish`].
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, sqlx::FromRow)]
pub struct Share {
    /// The rule.
    pub rule: String,
    /// The window.
    pub window_start: i64,
    /// What is granted; may be 0.
    pub amount: i64,
    /// What other gateways have spent of the cap, as far as it is applied.
    pub spent: i64,
    /// What other gateways have leased.
    pub leased: i64,
}

/// Funds that an engine gave up.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Return {
    /// The rule.
    pub rule: String,
    /// The window.
    pub window_start: i64,
    /// How much.
    pub amount: i64,
}

/// Why there was no exchange.
#[derive(Debug, thiserror::Error)]
pub(in crate::ledger) enum LeaseError {
    /// Another process speaks for this gateway now, or its leases were written off.
    #[error("this gateway's leases are not its own any more")]
    Replaced,
    /// The database.
    #[error(transparent)]
    Database(#[from] sqlx::Error),
}

/// Grants each wish what is free, but no more than half of an even share of it: the rest is for those who ask next. Between the two
/// halves stands what was spent in windows that begin or end within a quarter of an hour ([`push_exact`]). All is one statement, so
/// one snapshot: a row that is applied meanwhile is in a lease or in the sums, never in neither.
const ASK: &str = "
WITH wish AS (
    SELECT * FROM unnest($2::text[], $3::text[], $4::bigint[], $5::bigint[], $6::bigint[], $7::bigint[], $8::bigint[], $9::bigint[],
        $10::bigint[], $11::bigint[], $12::boolean[], $13::boolean[])
        AS wish (rule, scope, window_start, window_end, since, reach, cap, least, want, owed, counts_held, lasting)
), live AS (
    SELECT greatest(count(*), 1) AS gateways FROM gateway
    WHERE process IS NOT NULL AND last_seen > now() - interval '15 seconds'
), exact (rule, window_start, amount) AS (";

const GRANT: &str = "
), state AS (
    SELECT wish.*, spend.amount AS spent, taken.leased, taken.elsewhere, taken.paid,
        wish.cap - spend.amount - taken.leased - wish.owed AS free
    FROM wish
    CROSS JOIN LATERAL (
        SELECT coalesce(
            (SELECT amount FROM exact WHERE exact.rule = wish.rule AND exact.window_start = wish.window_start),
            (SELECT sum(cost_nanousd + CASE WHEN wish.counts_held THEN held_nanousd ELSE 0 END) FROM spend
                WHERE spend.scope = wish.scope
                    AND bucket >= floor(wish.since / 900000000.0) AND bucket < ceil(wish.window_end / 900000000.0)),
            0) AS amount
    ) AS spend
    CROSS JOIN LATERAL (
        SELECT coalesce(sum(amount), 0) AS leased,
            coalesce(sum(amount) FILTER (WHERE gateway <> $1), 0) AS elsewhere,
            coalesce(sum(granted - amount) FILTER (WHERE gateway = $1), 0) AS paid
        FROM lease
        WHERE lease.rule = wish.rule
            AND lease.window_start BETWEEN wish.window_start - wish.reach AND wish.window_start + wish.reach
    ) AS taken
), slice AS (
    SELECT state.*, (owed + greatest(0, least(free,
        greatest(state.least, least(want, free / (2 * (SELECT gateways FROM live)))))))::bigint AS amount
    FROM state
), granted AS (
    INSERT INTO lease (rule, window_start, window_end, gateway, scope, counts_held, lasting, granted, amount)
    SELECT rule, window_start, window_end, $1, scope, counts_held, lasting, amount, amount FROM slice WHERE amount > 0
    ON CONFLICT (rule, window_start, gateway) DO UPDATE SET granted = lease.granted + excluded.granted,
        amount = lease.amount + excluded.amount, window_end = excluded.window_end
)
SELECT rule, window_start, amount, (spent - paid)::bigint AS spent, elsewhere::bigint AS leased FROM slice";

const LOCK: &str = "SELECT pg_advisory_xact_lock(key) FROM \
                    (SELECT DISTINCT hashtextextended(rule, 0) AS key FROM unnest($1::text[]) AS rule ORDER BY 1) AS keys";

const TAKE: &str = "UPDATE lease SET granted = lease.granted - returned.amount, amount = lease.amount - returned.amount \
                    FROM unnest($2::text[], $3::bigint[], $4::bigint[]) AS returned (rule, window_start, amount) \
                    WHERE lease.gateway = $1 AND lease.rule = returned.rule AND lease.window_start = returned.window_start";

impl Postgres {
    /// Gives back and asks, in one transaction. Where less is granted than is needed, the other gateways hear of it.
    ///
    /// After an error of the database nobody knows whether it was committed; [`Postgres::outcome`] says it.
    pub(in crate::ledger) async fn exchange(
        &self,
        member: &mut Member,
        wishes: &[Wish],
        returns: &[Return],
    ) -> Result<Vec<Share>, LeaseError> {
        let mut all = self.pool().await?.begin().await?;
        let sql = "SELECT turn FROM gateway WHERE id = $1 AND process = $2 FOR UPDATE";
        let turn: Option<i64> = sqlx::query_scalar(sql)
            .bind(member.gateway.as_str())
            .bind(&member.process)
            .fetch_optional(&mut *all)
            .await?;
        let turn = turn.ok_or(LeaseError::Replaced)? + 1;
        take(member.gateway.as_str(), returns, &mut all).await?;
        let shares = grant(member.gateway.as_str(), wishes, &mut all).await?;
        let sql = "UPDATE gateway SET turn = $2, outcome = $3, last_seen = now() WHERE id = $1";
        let note = sqlx::query(sql).bind(member.gateway.as_str()).bind(turn).bind(Json(&shares));
        note.execute(&mut *all).await?;
        all.commit().await?;
        member.turn = turn;
        Ok(shares)
    }
}

pub(super) async fn take(gateway: &str, returns: &[Return], connection: &mut PgConnection) -> Result<(), sqlx::Error> {
    if returns.is_empty() {
        return Ok(());
    }
    let rules: Vec<&str> = returns.iter().map(|back| back.rule.as_str()).collect();
    let starts: Vec<i64> = returns.iter().map(|back| back.window_start).collect();
    let amounts: Vec<i64> = returns.iter().map(|back| back.amount).collect();
    sqlx::query(TAKE).bind(gateway).bind(rules).bind(starts).bind(amounts).execute(&mut *connection).await?;
    for back in returns {
        tell(&Change::Funds { rule: back.rule.clone() }, connection).await?;
    }
    Ok(())
}

async fn grant(gateway: &str, wishes: &[Wish], connection: &mut PgConnection) -> Result<Vec<Share>, sqlx::Error> {
    if wishes.is_empty() {
        return Ok(Vec::new());
    }
    // What the statement after it sees is what there is once the lock is held.
    sqlx::query(LOCK).bind(column(wishes, |wish| wish.rule.as_str())).execute(&mut *connection).await?;
    let shares: Vec<Share> = question(gateway, wishes)?.build_query_as().fetch_all(&mut *connection).await?;
    for wish in wishes {
        let share = shares.iter().find(|share| share.rule == wish.rule && share.window_start == wish.window_start);
        if share.is_some_and(|share| share.amount < wish.least.saturating_add(wish.owed) && share.leased > 0) {
            tell(&Change::Shortage { gateway: gateway.to_owned(), rule: wish.rule.clone() }, connection).await?;
        }
    }
    Ok(shares)
}

fn column<'a, T>(wishes: &'a [Wish], pick: impl Fn(&'a Wish) -> T) -> Vec<T> {
    wishes.iter().map(pick).collect()
}

fn question(gateway: &str, wishes: &[Wish]) -> Result<QueryBuilder<sqlx::Postgres>, sqlx::Error> {
    let mut arguments = PgArguments::default();
    let bound = (|| {
        arguments.add(gateway)?;
        arguments.add(column(wishes, |wish| wish.rule.as_str()))?;
        arguments.add(column(wishes, |wish| wish.scope.as_deref()))?;
        arguments.add(column(wishes, |wish| wish.window_start))?;
        arguments.add(column(wishes, |wish| wish.window_end))?;
        arguments.add(column(wishes, |wish| wish.since))?;
        arguments.add(column(wishes, |wish| wish.reach))?;
        arguments.add(column(wishes, |wish| wish.cap))?;
        arguments.add(column(wishes, |wish| wish.least.max(0)))?;
        arguments.add(column(wishes, |wish| wish.want.max(0)))?;
        arguments.add(column(wishes, |wish| wish.owed.max(0)))?;
        arguments.add(column(wishes, |wish| wish.counts_held))?;
        arguments.add(column(wishes, |wish| wish.lasting))
    })();
    bound.map_err(sqlx::Error::Encode)?;
    let mut sql = QueryBuilder::with_arguments(ASK, arguments);
    push_exact(&mut sql, wishes);
    sql.push(GRANT);
    Ok(sql)
}

/// What was spent in windows that the sums of quarters of an hour do not show: a line for each of them.
fn push_exact(sql: &mut QueryBuilder<sqlx::Postgres>, wishes: &[Wish]) {
    // For the columns' types.
    sql.push("SELECT NULL::text, NULL::bigint, NULL::numeric WHERE false");
    for wish in wishes {
        let Some(scope) = wish.scope.as_deref().filter(|_| has_edges(wish.since, wish.window_end)) else { continue };
        sql.push(" UNION ALL SELECT ").push_bind(wish.rule.clone()).push("::text, ").push_bind(wish.window_start);
        sql.push("::bigint, coalesce(sum(cost_nanousd + CASE WHEN ").push_bind(wish.counts_held);
        sql.push(" THEN held_nanousd ELSE 0 END), 0) FROM (");
        push_spent(sql, scope, wish.since, Some(wish.window_end), HAS_TAG);
        sql.push(") AS parts");
    }
}
