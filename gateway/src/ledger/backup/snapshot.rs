//! The ledger's file and the journal as they stood at one moment.

use std::collections::HashMap;
use std::path::Path;
use std::time::Duration;

use jiff::Timestamp;
use rusqlite::backup::{Backup, StepResult};
use rusqlite::{Connection, OpenFlags, OptionalExtension};
use uuid::Uuid;

use super::archive::Piece;
use super::manifest::{JournalCounts, LedgerCounts};
use super::{BackupError, LEDGER, SPOOL, journal_failed};
use crate::ledger::journal::{self, Copied};

/// How long to wait for a writer; the gateway's own transactions take milliseconds.
const BUSY_TIMEOUT: Duration = Duration::from_secs(30);

/// What was taken.
#[derive(Debug)]
pub(super) struct Taken {
    pub(super) at: Timestamp,
    pub(super) ledger: LedgerCounts,
    pub(super) journal: JournalCounts,
    pub(super) pieces: Vec<Piece>,
}

/// Copies a ledger that is a file into `staging`, and checks the copy.
pub(super) fn of_file(path: &Path, spool: &Path, staging: &Path) -> Result<Taken, BackupError> {
    if !path.is_file() {
        return Err(BackupError::NoLedger { path: path.to_owned() });
    }
    let failed = |cause| BackupError::Ledger { path: path.to_owned(), cause };
    let source = open(path).map_err(failed)?;
    let (at, copied) = {
        let mut gate = open(path).map_err(failed)?;
        // From here to its end nobody writes: no row moves from the journal into the file, and no segment goes away unseen.
        let gate = gate.transaction_with_behavior(rusqlite::TransactionBehavior::Immediate).map_err(failed)?;
        source.execute_batch("BEGIN").map_err(failed)?;
        // A transaction begins to see with its first look.
        let _seen: i64 =
            source.query_row("SELECT count(*) FROM sqlite_schema", [], |row| row.get(0)).map_err(failed)?;
        let at = Timestamp::now();
        let copied = copy_journal(spool, staging)?;
        gate.rollback().map_err(failed)?;
        (at, copied)
    };
    let target = staging.join(LEDGER);
    copy_pages(&source, &target).map_err(failed)?;
    let copy = Connection::open(&target).map_err(failed)?;
    let (ledger, journal) = judge(&copy, &copied).map_err(failed)?;
    let said = check(&copy).map_err(failed)?;
    if said != "ok" {
        return Err(BackupError::DamagedLedger { path: path.to_owned(), said });
    }
    let mut pieces = vec![Piece { name: LEDGER.to_owned(), path: target, origin: None }];
    pieces.extend(journal_pieces(copied));
    Ok(Taken { at, ledger, journal, pieces })
}

/// Copies a journal whose rows go to a server.
pub(super) fn of_journal(spool: &Path, staging: &Path) -> Result<(JournalCounts, Vec<Piece>), BackupError> {
    let copied = copy_journal(spool, staging)?;
    let counts = JournalCounts {
        form: journal::FORMAT,
        rows: copied.settled.len() as u64,
        cost_nanousd: copied.settled.values().flatten().sum(),
        open_calls: copied.open.len() as u64,
    };
    Ok((counts, journal_pieces(copied)))
}

fn copy_journal(spool: &Path, staging: &Path) -> Result<Copied, BackupError> {
    let into = staging.join(SPOOL);
    std::fs::create_dir(&into).map_err(|cause| BackupError::Unwritable { path: into.clone(), cause })?;
    journal::copy(spool, &into).map_err(|error| journal_failed(spool, &error))
}

fn journal_pieces(copied: Copied) -> Vec<Piece> {
    let name = |path: &Path| format!("{SPOOL}/{}", path.file_name().unwrap_or_default().to_string_lossy());
    copied.files.into_iter().map(|path| Piece { name: name(&path), path, origin: None }).collect()
}

fn open(path: &Path) -> rusqlite::Result<Connection> {
    let flags = OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_NO_MUTEX;
    let connection = Connection::open_with_flags(path, flags)?;
    connection.busy_timeout(BUSY_TIMEOUT)?;
    Ok(connection)
}

/// Copies what `source` sees into a new file without a write-ahead log.
fn copy_pages(source: &Connection, target: &Path) -> rusqlite::Result<()> {
    let mut copy = Connection::open(target)?;
    // Were it torn, there would be no backup at all: nothing has to survive in between.
    copy.pragma_update(None, "synchronous", "OFF")?;
    let backup = Backup::new(source, &mut copy)?;
    if backup.step(-1)? != StepResult::Done {
        // Nobody else has the copy, and what is read is held: somebody tampers with it.
        return Err(rusqlite::Error::SqliteFailure(rusqlite::ffi::Error::new(rusqlite::ffi::SQLITE_BUSY), None));
    }
    drop(backup);
    copy.pragma_update(None, "journal_mode", "DELETE")
}

/// What SQLite says of a whole file: `ok`, or what is wrong.
pub(super) fn check(ledger: &Connection) -> rusqlite::Result<String> {
    ledger.query_row("PRAGMA integrity_check(1)", [], |row| row.get(0))
}

/// Counts what a ledger's file holds.
pub(super) fn count(ledger: &Connection) -> rusqlite::Result<LedgerCounts> {
    let one = |sql: &str| ledger.query_row(sql, [], |row| row.get::<_, i64>(0));
    let many = |sql: &str| one(sql).map(|count| u64::try_from(count).unwrap_or(0));
    Ok(LedgerCounts {
        migration: one("SELECT coalesce(max(version), 0) FROM _sqlx_migrations WHERE success")?,
        rows: many("SELECT count(*) FROM entry")?,
        cost_nanousd: one("SELECT coalesce(sum(cost_nanousd), 0) FROM entry")?,
        keys: many("SELECT count(*) FROM virtual_key")?,
        entities: many("SELECT count(*) FROM entity")?,
    })
}

/// Counts the copy, and what of the journal it lacks.
fn judge(copy: &Connection, copied: &Copied) -> rusqlite::Result<(LedgerCounts, JournalCounts)> {
    let mut find = copy.prepare("SELECT 1 FROM entry WHERE id = ?")?;
    let mut lacks = |id: u128| -> rusqlite::Result<bool> {
        let found: Option<i64> = find.query_row([Uuid::from_u128(id).to_string()], |row| row.get(0)).optional()?;
        Ok(found.is_none())
    };
    let mut waiting: HashMap<u128, Option<i64>> = HashMap::new();
    for (id, cost) in &copied.settled {
        if lacks(*id)? {
            waiting.insert(*id, *cost);
        }
    }
    let mut open_calls = 0;
    for id in &copied.open {
        open_calls += u64::from(lacks(*id)?);
    }
    let journal = JournalCounts {
        form: journal::FORMAT,
        rows: waiting.len() as u64,
        cost_nanousd: waiting.values().flatten().sum(),
        open_calls,
    };
    drop(find);
    Ok((count(copy)?, journal))
}
