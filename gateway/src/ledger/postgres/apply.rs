//! Rows into the table, into the sums, and out of this gateway's leases: all in one transaction, so that what was spent and what may
//! still be spent are never counted twice, nor not at all.

use std::collections::{HashMap, HashSet};
use std::sync::LazyLock;

use sqlx::error::BoxDynError;
use sqlx::postgres::PgArguments;
use sqlx::{Arguments, PgConnection};

use super::{LONGEST, Postgres};
use crate::ledger::record::Record;
use crate::ledger::rollup::{Rollup, Sum, each_scope};
use crate::ledger::sighting::LIVE;

/// The columns and the types of their arrays, in the order in which [`arguments`] has them.
const COLUMNS: [(&str, &str); 47] = [
    ("id", "text"),
    ("kind", "text"),
    ("host", "text"),
    ("host_source", "text"),
    ("workload", "text"),
    ("key_alias", "text"),
    ("key_hash", "text"),
    ("user_id", "text"),
    ("team_id", "text"),
    ("customer", "text"),
    ("tags", "text"),
    ("endpoint", "text"),
    ("model_requested", "text"),
    ("model", "text"),
    ("provider", "text"),
    ("deployment_id", "text"),
    ("status", "text"),
    ("http_status", "integer"),
    ("error", "text"),
    ("usage", "text"),
    ("input_tokens", "bigint"),
    ("cache_read_tokens", "bigint"),
    ("cache_write_tokens", "bigint"),
    ("output_tokens", "bigint"),
    ("reasoning_tokens", "bigint"),
    ("cost_nanousd", "bigint"),
    ("reserved_nanousd", "bigint"),
    ("usage_source", "text"),
    ("price_source", "text"),
    ("price_name", "text"),
    ("service_tier", "text"),
    ("started_at", "bigint"),
    ("first_byte_at", "bigint"),
    ("ended_at", "bigint"),
    ("user_agent", "text"),
    ("upstream_id", "text"),
    ("destination", "text"),
    ("bytes_up", "bigint"),
    ("bytes_down", "bigint"),
    ("gateway", "text"),
    ("process", "text"),
    ("os_user", "text"),
    ("marks", "text"),
    ("host_seen", "text"),
    ("sighting", "text"),
    ("address", "text"),
    ("next_proxy", "text"),
];

/// A row that is there already stays as it is; only those that were not come back.
static INSERT: LazyLock<String> = LazyLock::new(|| {
    let names = COLUMNS.map(|(name, _)| name).join(", ");
    let arrays = COLUMNS.iter().enumerate().map(|(index, (_, kind))| format!("${}::{kind}[]", index + 1));
    let arrays = arrays.collect::<Vec<_>>().join(", ");
    format!("INSERT INTO entry ({names}) SELECT * FROM unnest({arrays}) ON CONFLICT (id) DO NOTHING RETURNING id")
});

/// In order, so that two gateways which add to the same sums wait for each other and never in a circle.
const ADD_UP: &str = "INSERT INTO spend (scope, bucket, cost_nanousd, held_nanousd, calls) \
                      SELECT * FROM unnest($1::text[], $2::bigint[], $3::bigint[], $4::bigint[], $5::bigint[]) ORDER BY 1, 2 \
                      ON CONFLICT (scope, bucket) DO UPDATE SET cost_nanousd = spend.cost_nanousd + excluded.cost_nanousd, \
                      held_nanousd = spend.held_nanousd + excluded.held_nanousd, calls = spend.calls + excluded.calls";

/// A sighting is the first of its place, or one more. In order, as the sums.
const SEE: &str = "INSERT INTO sighting (provider, fingerprint, host, workload, process, place, first_seen, last_seen, count) \
                   SELECT provider, fingerprint, host, workload, process, $6, first_seen, last_seen, count \
                   FROM unnest($1::text[], $2::text[], $3::text[], $4::text[], $5::text[], $7::bigint[], $8::bigint[], $9::bigint[]) \
                   AS seen (provider, fingerprint, host, workload, process, first_seen, last_seen, count) ORDER BY 1, 2, 3, 4, 5 \
                   ON CONFLICT (fingerprint, provider, host, workload, process, place) \
                   DO UPDATE SET first_seen = least(sighting.first_seen, excluded.first_seen), \
                   last_seen = greatest(sighting.last_seen, excluded.last_seen), count = sighting.count + excluded.count";

const PAY: &str = "UPDATE lease SET amount = lease.amount - paid.cost \
                   FROM unnest($2::text[], $3::bigint[], $4::bigint[]) AS paid (rule, window_start, cost) \
                   WHERE lease.gateway = $1 AND lease.rule = paid.rule AND lease.window_start = paid.window_start";

impl Postgres {
    /// Writes rows, their sums, and what they paid out of leases. `done` is called with the commit.
    pub(in crate::ledger) async fn apply(
        &self,
        records: &[Record<'_>],
        done: impl FnOnce(),
    ) -> Result<(), sqlx::Error> {
        let _writing = self.writing.lock().await;
        let applied = tokio::time::timeout(LONGEST, Box::pin(self.write(records))).await;
        applied.map_err(|_| sqlx::Error::PoolTimedOut)??;
        done();
        Ok(())
    }

    async fn write(&self, records: &[Record<'_>]) -> Result<(), sqlx::Error> {
        let mut transaction = self.pool().await?.begin().await?;
        let leases = leases(self.gateway.as_str(), &mut transaction).await?;
        let arguments = arguments(records, self.gateway.as_str()).map_err(sqlx::Error::Encode)?;
        let insert = sqlx::query_scalar_with(INSERT.as_str(), arguments);
        let new: HashSet<String> = insert.fetch_all(&mut *transaction).await?.into_iter().collect();
        let new = records.iter().filter(|record| new.contains(&record.id_text()));
        let (mut rollup, mut paid) = (Rollup::default(), vec![0_i64; leases.len()]);
        let by_scope = index(&leases);
        for record in new {
            rollup.add(record);
            pay(record, &leases, &by_scope, &mut paid);
        }
        add_up(&rollup, &mut transaction).await?;
        settle(self.gateway.as_str(), &leases, &paid, &mut transaction).await?;
        transaction.commit().await
    }
}

/// Money that this gateway may spend, and on what.
struct Leased {
    rule: String,
    window_start: i64,
    window_end: i64,
    scope: String,
    counts_held: bool,
}

/// This gateway's leases of money. Whoever grants or takes back some waits until the transaction ends.
async fn leases(gateway: &str, connection: &mut PgConnection) -> Result<Vec<Leased>, sqlx::Error> {
    sqlx::query("SELECT FROM gateway WHERE id = $1 FOR UPDATE").bind(gateway).execute(&mut *connection).await?;
    let sql =
        "SELECT rule, window_start, window_end, scope, counts_held FROM lease WHERE gateway = $1 AND scope IS NOT NULL";
    let rows: Vec<(String, i64, i64, String, bool)> = sqlx::query_as(sql).bind(gateway).fetch_all(connection).await?;
    let lease = |(rule, window_start, window_end, scope, counts_held)| Leased {
        rule,
        window_start,
        window_end,
        scope,
        counts_held,
    };
    Ok(rows.into_iter().map(lease).collect())
}

fn index(leases: &[Leased]) -> HashMap<&str, Vec<usize>> {
    let mut by_scope: HashMap<&str, Vec<usize>> = HashMap::new();
    for (place, lease) in leases.iter().enumerate() {
        by_scope.entry(&lease.scope).or_default().push(place);
    }
    by_scope
}

fn pay(record: &Record<'_>, leases: &[Leased], by_scope: &HashMap<&str, Vec<usize>>, paid: &mut [i64]) {
    let sum = Sum::of_call(record.cost_nanousd, record.reserved_nanousd);
    let (cost, held) = (sum.cost_nanousd, sum.held_nanousd);
    if record.kind != "call" || by_scope.is_empty() || cost + held == 0 {
        return;
    }
    each_scope(&record.charged(), &mut String::new(), |scope| {
        for place in by_scope.get(scope).into_iter().flatten() {
            let lease = &leases[*place];
            if (lease.window_start..lease.window_end).contains(&record.started_at) {
                let due = if lease.counts_held { cost + held } else { cost };
                paid[*place] = paid[*place].saturating_add(due);
            }
        }
    });
}

pub(super) async fn add_up(rollup: &Rollup, connection: &mut PgConnection) -> Result<(), sqlx::Error> {
    see(rollup, connection).await?;
    let sums: Vec<_> = rollup.iter().collect();
    if sums.is_empty() {
        return Ok(());
    }
    let add = sqlx::query(ADD_UP)
        .bind(sums.iter().map(|(scope, ..)| *scope).collect::<Vec<_>>())
        .bind(sums.iter().map(|(_, bucket, _)| *bucket).collect::<Vec<_>>())
        .bind(sums.iter().map(|(.., sum)| sum.cost_nanousd).collect::<Vec<_>>())
        .bind(sums.iter().map(|(.., sum)| sum.held_nanousd).collect::<Vec<_>>())
        .bind(sums.iter().map(|(.., sum)| sum.calls).collect::<Vec<_>>());
    add.execute(connection).await.map(drop)
}

async fn see(rollup: &Rollup, connection: &mut PgConnection) -> Result<(), sqlx::Error> {
    let seen: Vec<_> = rollup.sightings().collect();
    if seen.is_empty() {
        return Ok(());
    }
    let add = sqlx::query(SEE)
        .bind(seen.iter().map(|(place, _)| place.provider).collect::<Vec<_>>())
        .bind(seen.iter().map(|(place, _)| place.fingerprint).collect::<Vec<_>>())
        .bind(seen.iter().map(|(place, _)| place.host).collect::<Vec<_>>())
        .bind(seen.iter().map(|(place, _)| place.workload).collect::<Vec<_>>())
        .bind(seen.iter().map(|(place, _)| place.process).collect::<Vec<_>>())
        .bind(LIVE)
        .bind(seen.iter().map(|(_, seen)| seen.first).collect::<Vec<_>>())
        .bind(seen.iter().map(|(_, seen)| seen.last).collect::<Vec<_>>())
        .bind(seen.iter().map(|(_, seen)| seen.count).collect::<Vec<_>>());
    add.execute(connection).await.map(drop)
}

async fn settle(
    gateway: &str,
    leases: &[Leased],
    paid: &[i64],
    connection: &mut PgConnection,
) -> Result<(), sqlx::Error> {
    let (mut rules, mut starts, mut costs) = (Vec::new(), Vec::new(), Vec::new());
    for (lease, cost) in leases.iter().zip(paid).filter(|(_, cost)| **cost != 0) {
        rules.push(lease.rule.as_str());
        starts.push(lease.window_start);
        costs.push(*cost);
    }
    if rules.is_empty() {
        return Ok(());
    }
    sqlx::query(PAY).bind(gateway).bind(rules).bind(starts).bind(costs).execute(connection).await.map(drop)
}

/// The rows as one array for each of [`COLUMNS`].
fn arguments(records: &[Record<'_>], gateway: &str) -> Result<PgArguments, BoxDynError> {
    fn column<'r, T>(records: &'r [Record<'r>], pick: impl Fn(&'r Record<'r>) -> T) -> Vec<T> {
        records.iter().map(pick).collect()
    }
    let mut all = PgArguments::default();
    all.add(column(records, |record| record.id_text()))?;
    all.add(column(records, |record| record.kind))?;
    all.add(column(records, |record| record.host))?;
    all.add(column(records, |record| record.host_source))?;
    all.add(column(records, |record| record.workload))?;
    all.add(column(records, |record| record.key_alias))?;
    all.add(column(records, |record| record.key_hash))?;
    all.add(column(records, |record| record.user_id))?;
    all.add(column(records, |record| record.team_id))?;
    all.add(column(records, |record| record.customer))?;
    all.add(column(records, |record| record.tags_text()))?;
    all.add(column(records, |record| record.endpoint))?;
    all.add(column(records, |record| record.model_requested))?;
    all.add(column(records, |record| record.model))?;
    all.add(column(records, |record| record.provider))?;
    all.add(column(records, |record| record.deployment_id))?;
    all.add(column(records, |record| record.status))?;
    all.add(column(records, |record| record.http_status.map(i32::from)))?;
    all.add(column(records, |record| record.error))?;
    all.add(column(records, |record| record.usage))?;
    all.add(column(records, |record| record.input_tokens.map(signed)))?;
    all.add(column(records, |record| record.cache_read_tokens.map(signed)))?;
    all.add(column(records, |record| record.cache_write_tokens.map(signed)))?;
    all.add(column(records, |record| record.output_tokens.map(signed)))?;
    all.add(column(records, |record| record.reasoning_tokens.map(signed)))?;
    all.add(column(records, |record| record.cost_nanousd))?;
    all.add(column(records, |record| record.reserved_nanousd))?;
    all.add(column(records, |record| record.usage_source))?;
    all.add(column(records, |record| record.price_source))?;
    all.add(column(records, |record| record.price_name))?;
    all.add(column(records, |record| record.service_tier))?;
    all.add(column(records, |record| record.started_at))?;
    all.add(column(records, |record| record.first_byte_at))?;
    all.add(column(records, |record| record.ended_at))?;
    all.add(column(records, |record| record.user_agent))?;
    all.add(column(records, |record| record.upstream_id))?;
    all.add(column(records, |record| record.destination))?;
    all.add(column(records, |record| record.bytes_up.map(signed)))?;
    all.add(column(records, |record| record.bytes_down.map(signed)))?;
    all.add(column(records, |_| gateway))?;
    all.add(column(records, |record| record.provenance.process))?;
    all.add(column(records, |record| record.provenance.os_user))?;
    all.add(column(records, |record| record.marks_text()))?;
    all.add(column(records, |record| record.provenance.host_seen))?;
    all.add(column(records, |record| record.provenance.sighting))?;
    all.add(column(records, |record| record.address))?;
    all.add(column(records, |record| record.next_proxy))?;
    Ok(all)
}

/// PostgreSQL's integers are signed; no count comes near the limit.
fn signed(count: u64) -> i64 {
    i64::try_from(count).unwrap_or(i64::MAX)
}
