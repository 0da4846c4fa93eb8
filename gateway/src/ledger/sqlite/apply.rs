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
use crate::ledger::store::ApplyError;

/// A row that is applied again after a crash changes nothing: its identifier makes that harmless.
static INSERT: LazyLock<String> = LazyLock::new(|| {
    let places = ["?"; COLUMNS.len()].join(", ");
    format!("INSERT INTO entry ({}) VALUES ({places}) ON CONFLICT (id) DO NOTHING", COLUMNS.join(", "))
});

const ADD: &str = "INSERT INTO spend (scope, bucket, cost_nanousd, held_nanousd, calls) VALUES (?, ?, ?, ?, ?) \
                   ON CONFLICT (scope, bucket) DO UPDATE SET cost_nanousd = cost_nanousd + excluded.cost_nanousd, \
                   held_nanousd = held_nanousd + excluded.held_nanousd, calls = calls + excluded.calls";

const COLUMNS: [&str; 39] = [
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
    for record in batch.records() {
        let record = record?;
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
    Ok(transaction.commit()?)
}

/// Adds to the sums, in a transaction of sqlx.
pub(super) async fn add_up(rollup: &Rollup, connection: &mut SqliteConnection) -> Result<(), sqlx::Error> {
    for (scope, bucket, sum) in rollup.iter() {
        let add = sqlx::query(ADD).bind(scope).bind(bucket);
        let add = add.bind(sum.cost_nanousd).bind(sum.held_nanousd).bind(sum.calls);
        add.execute(&mut *connection).await?;
    }
    Ok(())
}

/// Inserts a row; its values are in the order of [`COLUMNS`].
fn put(insert: &mut Statement<'_>, record: &Record<'_>) -> rusqlite::Result<usize> {
    let mut id = Uuid::encode_buffer();
    let id = &*Uuid::from_u128(record.id).hyphenated().encode_lower(&mut id);
    let tags = record.tags_text();
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
    ];
    insert.execute(values.as_slice())
}

/// SQLite's integers are signed; no count comes near the limit.
fn signed(count: u64) -> i64 {
    i64::try_from(count).unwrap_or(i64::MAX)
}
