//! Rows into the table, and into the sums.
//!
//! Here alone the file is written without sqlx, with a connection of its own: each of sqlx's statements is two changes of thread, each
//! of its values a copy, and rows are most of what a busy gateway writes.

use std::sync::LazyLock;

use rusqlite::{Connection, Statement, ToSql, TransactionBehavior};
use sqlx::sqlite::SqliteConnection;
use uuid::Uuid;

use super::Sqlite;
use crate::ledger::journal::Batch;
use crate::ledger::record::Record;
use crate::ledger::rollup::Rollup;
use crate::ledger::sighting::{LIVE, Place};
use crate::ledger::store::ApplyError;

/// A row that is applied again after a crash changes nothing: its identifier makes that harmless.
static INSERT: LazyLock<String> = LazyLock::new(|| {
    let places = ["?"; COLUMNS.len()].join(", ");
    format!("INSERT INTO entry ({}) VALUES ({places}) ON CONFLICT (id) DO NOTHING", COLUMNS.join(", "))
});

const ADD: &str = "INSERT INTO spend (scope, bucket, cost_nanousd, held_nanousd, calls) VALUES (?, ?, ?, ?, ?) \
                   ON CONFLICT (scope, bucket) DO UPDATE SET cost_nanousd = cost_nanousd + excluded.cost_nanousd, \
                   held_nanousd = held_nanousd + excluded.held_nanousd, calls = calls + excluded.calls";

/// A sighting is the first of its place, or one more.
const SEE: &str = "INSERT INTO sighting (provider, fingerprint, host, workload, process, place, first_seen, last_seen, count) \
                   VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?) ON CONFLICT (fingerprint, provider, host, workload, process, place) \
                   DO UPDATE SET first_seen = min(first_seen, excluded.first_seen), \
                   last_seen = max(last_seen, excluded.last_seen), count = count + excluded.count";

/// Rows between two moments at which the calls may have the core: on two cores, a batch at one go is what the slowest calls wait for.
const YIELD_EVERY: usize = 4;

const COLUMNS: [&str; 46] = [
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
    "address",
    "next_proxy",
];

impl Sqlite {
    /// Writes rows and their sums in one transaction.
    pub(in crate::ledger) async fn apply(
        &self,
        batch: Batch,
        done: impl FnOnce() + Send + 'static,
    ) -> Result<(), ApplyError> {
        let mut held = self.writer.hold_for_rows().await;
        tokio::task::spawn_blocking(move || {
            let mut rows = held.rows()?;
            write(&mut rows, &batch)?;
            // Still held: whoever reads with the writer sees the number with the rows.
            done();
            held.keep(rows);
            Ok(())
        })
        .await?
    }
}

fn write(connection: &mut Connection, batch: &Batch) -> Result<(), ApplyError> {
    let transaction = connection.transaction_with_behavior(TransactionBehavior::Immediate)?;
    let mut insert = transaction.prepare_cached(&INSERT)?;
    let mut new = Vec::with_capacity(batch.len());
    for (at, record) in batch.records().enumerate() {
        let record = record?;
        if at % YIELD_EVERY == YIELD_EVERY - 1 {
            std::thread::yield_now();
        }
        // An earlier process may have applied it before it died; it was counted then.
        if put(&mut insert, &record)? == 1 {
            new.push(record);
        }
    }
    drop(insert);
    let mut rollup = Rollup::default();
    rollup.add_all(new.iter());
    let mut add = transaction.prepare_cached(ADD)?;
    for (scope, bucket, sum) in rollup.iter() {
        add.execute((scope, bucket, sum.cost_nanousd, sum.held_nanousd, sum.calls))?;
    }
    drop(add);
    for (place, seen) in rollup.sightings() {
        let mut add = transaction.prepare_cached(SEE)?;
        let Place { provider, fingerprint, host, workload, process } = place;
        add.execute((provider, fingerprint, host, workload, process, LIVE, seen.first, seen.last, seen.count))?;
    }
    Ok(transaction.commit()?)
}

/// Adds to the sums, in a transaction of sqlx.
pub(super) async fn add_up(rollup: &Rollup, connection: &mut SqliteConnection) -> Result<(), sqlx::Error> {
    for (scope, bucket, sum) in rollup.iter() {
        let add = sqlx::query(ADD).bind(scope).bind(bucket);
        let add = add.bind(sum.cost_nanousd).bind(sum.held_nanousd).bind(sum.calls);
        add.execute(&mut *connection).await?;
    }
    for (place, seen) in rollup.sightings() {
        let add = sqlx::query(SEE).bind(place.provider).bind(place.fingerprint).bind(place.host).bind(place.workload);
        let add = add.bind(place.process).bind(LIVE).bind(seen.first).bind(seen.last).bind(seen.count);
        add.execute(&mut *connection).await?;
    }
    Ok(())
}

/// Inserts a row; its values are in the order of [`COLUMNS`].
fn put(insert: &mut Statement<'_>, record: &Record<'_>) -> rusqlite::Result<usize> {
    let mut id = Uuid::encode_buffer();
    let id = &*Uuid::from_u128(record.id).hyphenated().encode_lower(&mut id);
    let (tags, marks) = (record.tags_text(), record.marks_text());
    let values: [&dyn ToSql; COLUMNS.len()] = [
        &id,
        &record.kind,
        &record.host,
        &record.host_source,
        &record.workload,
        &record.key_alias,
        &record.key_hash,
        &record.user_id,
        &record.team_id,
        &record.customer,
        &tags,
        &record.endpoint,
        &record.model_requested,
        &record.model,
        &record.provider,
        &record.deployment_id,
        &record.status,
        &record.http_status,
        &record.error,
        &record.usage,
        &record.input_tokens.map(signed),
        &record.cache_read_tokens.map(signed),
        &record.cache_write_tokens.map(signed),
        &record.output_tokens.map(signed),
        &record.reasoning_tokens.map(signed),
        &record.cost_nanousd,
        &record.reserved_nanousd,
        &record.usage_source,
        &record.price_source,
        &record.price_name,
        &record.service_tier,
        &record.started_at,
        &record.first_byte_at,
        &record.ended_at,
        &record.user_agent,
        &record.upstream_id,
        &record.destination,
        &record.bytes_up.map(signed),
        &record.bytes_down.map(signed),
        &record.provenance.process,
        &record.provenance.os_user,
        &marks,
        &record.provenance.host_seen,
        &record.provenance.sighting,
        &record.address,
        &record.next_proxy,
    ];
    insert.execute(values.as_slice())
}

/// SQLite's integers are signed; no count comes near the limit.
fn signed(count: u64) -> i64 {
    i64::try_from(count).unwrap_or(i64::MAX)
}
