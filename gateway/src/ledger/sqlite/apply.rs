//! Rows into the table, and into the sums.

use std::sync::LazyLock;

use sqlx::query::Query;
use sqlx::sqlite::{SqliteArguments, SqliteConnection};
use sqlx::{Connection, Sqlite as Driver};

use super::Sqlite;
use crate::ledger::record::Record;
use crate::ledger::rollup::Rollup;
use crate::ledger::sighting::LIVE;

/// Rows or sums in one statement at most, as a power of two. Each statement costs two changes of thread; and each is kept
/// prepared, so there is one for every power of two and none for the numbers between.
const MOST_POWER: u32 = 6;

/// The statements for 1, 2, 4 … rows, put together once.
static INSERTS: LazyLock<Vec<String>> = LazyLock::new(|| powers().map(insert_statement).collect());
/// The same for sums.
static ADDITIONS: LazyLock<Vec<String>> = LazyLock::new(|| powers().map(addition_statement).collect());

/// A sighting is the first of its place, or one more.
const SEE: &str = "INSERT INTO sighting (provider, fingerprint, host, workload, process, place, first_seen, last_seen, count) \
                   VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?) ON CONFLICT (fingerprint, provider, host, workload, process, place) \
                   DO UPDATE SET first_seen = min(first_seen, excluded.first_seen), \
                   last_seen = max(last_seen, excluded.last_seen), count = count + excluded.count";

fn powers() -> impl Iterator<Item = usize> {
    (0..=MOST_POWER).map(|power| 1 << power)
}

/// Cuts a list into pieces whose lengths are powers of two, each with that power.
fn pieces<T>(mut rest: &[T]) -> impl Iterator<Item = (usize, &[T])> {
    std::iter::from_fn(move || {
        let power = rest.len().checked_ilog2()?.min(MOST_POWER);
        let (piece, behind) = rest.split_at(1 << power);
        rest = behind;
        Some((power as usize, piece))
    })
}

const COLUMNS: [&str; 44] = [
    "id",
    "kind",
    "host",
    "host_source",
    "workload",
    "key_alias",
    "key_hash",
    "user_id",
    "team_id",
    "customer",
    "tags",
    "endpoint",
    "model_requested",
    "model",
    "provider",
    "deployment_id",
    "status",
    "http_status",
    "error",
    "usage",
    "input_tokens",
    "cache_read_tokens",
    "cache_write_tokens",
    "output_tokens",
    "reasoning_tokens",
    "cost_nanousd",
    "reserved_nanousd",
    "usage_source",
    "price_source",
    "price_name",
    "service_tier",
    "started_at",
    "first_byte_at",
    "ended_at",
    "user_agent",
    "upstream_id",
    "destination",
    "bytes_up",
    "bytes_down",
    "process",
    "os_user",
    "marks",
    "host_seen",
    "sighting",
];

impl Sqlite {
    /// Writes rows and their sums in one transaction.
    pub(in crate::ledger) async fn apply(
        &self,
        records: &[Record<'_>],
        done: impl FnOnce(),
    ) -> Result<(), sqlx::Error> {
        let mut writer = self.writer.hold().await?;
        let mut transaction = writer.begin().await?;
        let mut rollup = Rollup::default();
        let mut all_new = true;
        for (power, piece) in pieces(records) {
            all_new &= insert(&mut transaction, power, piece).await? == piece.len() as u64;
            piece.iter().for_each(|record| rollup.add(record));
        }
        if !all_new {
            // An earlier process had applied some of them before it died, and they were counted then.
            transaction.rollback().await?;
            transaction = writer.begin().await?;
            rollup = Rollup::default();
            for record in records {
                if insert(&mut transaction, 0, std::slice::from_ref(record)).await? == 1 {
                    rollup.add(record);
                }
            }
        }
        add_up(&rollup, &mut transaction).await?;
        transaction.commit().await?;
        // Still held: whoever reads with this connection sees the number with the rows.
        done();
        writer.keep();
        Ok(())
    }
}

/// Adds to the sums.
pub(super) async fn add_up(rollup: &Rollup, connection: &mut SqliteConnection) -> Result<(), sqlx::Error> {
    let sums: Vec<_> = rollup.iter().collect();
    for (power, piece) in pieces(&sums) {
        let mut add = sqlx::query(ADDITIONS[power].as_str());
        for (scope, bucket, sum) in piece {
            add = add.bind(*scope).bind(bucket).bind(sum.cost_nanousd).bind(sum.held_nanousd).bind(sum.calls);
        }
        add.execute(&mut *connection).await?;
    }
    for (place, seen) in rollup.sightings() {
        let add = sqlx::query(SEE).bind(place.provider).bind(place.fingerprint).bind(place.host).bind(place.workload);
        let add = add.bind(place.process).bind(LIVE).bind(seen.first).bind(seen.last).bind(seen.count);
        add.execute(&mut *connection).await?;
    }
    Ok(())
}

fn insert_statement(rows: usize) -> String {
    let places = format!("({})", vec!["?"; COLUMNS.len()].join(", "));
    // A row that is applied again after a crash changes nothing: its identifier makes that harmless.
    format!(
        "INSERT INTO entry ({}) VALUES {} ON CONFLICT (id) DO NOTHING",
        COLUMNS.join(", "),
        vec![places; rows].join(", ")
    )
}

fn addition_statement(sums: usize) -> String {
    format!(
        "INSERT INTO spend (scope, bucket, cost_nanousd, held_nanousd, calls) VALUES {} ON CONFLICT (scope, bucket) DO UPDATE SET \
         cost_nanousd = cost_nanousd + excluded.cost_nanousd, held_nanousd = held_nanousd + excluded.held_nanousd, \
         calls = calls + excluded.calls",
        vec!["(?, ?, ?, ?, ?)"; sums].join(", ")
    )
}

/// Inserts 2 to the power of so many rows.
async fn insert(connection: &mut SqliteConnection, power: usize, records: &[Record<'_>]) -> Result<u64, sqlx::Error> {
    let query = records.iter().fold(sqlx::query(INSERTS[power].as_str()), |query, record| bind(query, record));
    Ok(query.execute(connection).await?.rows_affected())
}

/// One row's values, in the order of [`COLUMNS`].
fn bind<'q>(query: Query<'q, Driver, SqliteArguments>, record: &'q Record<'_>) -> Query<'q, Driver, SqliteArguments> {
    query
        .bind(record.id_text())
        .bind(record.kind)
        .bind(record.host)
        .bind(record.host_source)
        .bind(record.workload)
        .bind(record.key_alias)
        .bind(record.key_hash)
        .bind(record.user_id)
        .bind(record.team_id)
        .bind(record.customer)
        .bind(record.tags_text())
        .bind(record.endpoint)
        .bind(record.model_requested)
        .bind(record.model)
        .bind(record.provider)
        .bind(record.deployment_id)
        .bind(record.status)
        .bind(record.http_status)
        .bind(record.error)
        .bind(record.usage)
        .bind(record.input_tokens.map(signed))
        .bind(record.cache_read_tokens.map(signed))
        .bind(record.cache_write_tokens.map(signed))
        .bind(record.output_tokens.map(signed))
        .bind(record.reasoning_tokens.map(signed))
        .bind(record.cost_nanousd)
        .bind(record.reserved_nanousd)
        .bind(record.usage_source)
        .bind(record.price_source)
        .bind(record.price_name)
        .bind(record.service_tier)
        .bind(record.started_at)
        .bind(record.first_byte_at)
        .bind(record.ended_at)
        .bind(record.user_agent)
        .bind(record.upstream_id)
        .bind(record.destination)
        .bind(record.bytes_up.map(signed))
        .bind(record.bytes_down.map(signed))
        .bind(record.provenance.process)
        .bind(record.provenance.os_user)
        .bind(record.marks_text())
        .bind(record.provenance.host_seen)
        .bind(record.provenance.sighting)
}

/// SQLite's integers are signed; no count comes near the limit.
fn signed(count: u64) -> i64 {
    i64::try_from(count).unwrap_or(i64::MAX)
}
