//! A whole ledger from one database into another, both ways. What is there already stays as it is, so that it can be done again after
//! it was cut off, or for what came later.

mod line;

use std::fmt;

use super::postgres::{GatewayId, Postgres};
use super::store::Store;
use super::{Ledger, LedgerError};
use crate::config::{Database, Durability, PostgresUrl};

pub(super) use line::{COLUMNS, Cell, Kind, Line};

/// Rows in one transaction.
const BATCH: i64 = 1000;

/// A key or an entity as it is stored.
#[derive(Debug)]
pub(super) enum Stored {
    Key { hash: String, alias: Option<String>, record: String },
    Entity { kind: String, id: String, record: String },
}

/// What a transfer did.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Transferred {
    /// Rows.
    pub rows: Tally,
    /// Virtual keys.
    pub keys: Tally,
    /// Teams, users, budgets, tags and customers.
    pub entities: Tally,
}

/// Things that were copied, and things that the other database had already.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Tally {
    /// Copied.
    pub copied: u64,
    /// Had before.
    pub known: u64,
}

impl Tally {
    fn count(&mut self, seen: usize, copied: u64) {
        self.copied += copied;
        self.known += (seen as u64).saturating_sub(copied);
    }
}

impl fmt::Display for Tally {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} copied, {} there already", self.copied, self.known)
    }
}

/// Copies everything from one database into another. A file's journal is brought into the file first, and no gateway may use
/// the file meanwhile. `progress` is told after each batch.
///
/// # Errors
/// When one of the databases cannot be used.
pub async fn transfer(
    from: &Database,
    to: &Database,
    mut progress: impl FnMut(&Transferred),
) -> Result<Transferred, LedgerError> {
    let (source, target) = (open(from).await?, open(to).await?);
    let done = copy(&source, &target, &mut progress).await;
    source.close().await;
    target.close().await;
    done
}

/// A database without a gateway on it.
enum End {
    /// With its journal.
    File(Ledger),
    Server(Store, String),
}

impl End {
    fn store(&self) -> &Store {
        match self {
            Self::File(ledger) => &ledger.store,
            Self::Server(store, _) => store,
        }
    }

    fn failed(&self, cause: &sqlx::Error) -> LedgerError {
        match self {
            Self::File(ledger) => ledger.unavailable(cause),
            Self::Server(_, database) => LedgerError::Away { database: database.clone(), cause: cause.to_string() },
        }
    }

    async fn close(&self) {
        match self {
            Self::File(ledger) => ledger.close().await,
            Self::Server(store, _) => store.close().await,
        }
    }
}

async fn open(database: &Database) -> Result<End, LedgerError> {
    match database {
        Database::Sqlite(path) => Ledger::open_file(path, Durability::Process).await.map(End::File),
        Database::Postgres(url) => {
            let postgres = Postgres::new(PostgresUrl::clone(url), GatewayId::nobody());
            Ok(End::Server(Store::Postgres(postgres.into()), url.to_string()))
        }
    }
}

async fn copy(source: &End, target: &End, progress: &mut impl FnMut(&Transferred)) -> Result<Transferred, LedgerError> {
    let mut done = Transferred::default();
    let stored = source.store().stored().await.map_err(|error| source.failed(&error))?;
    for thing in &stored {
        let copied = target.store().keep(thing).await.map_err(|error| target.failed(&error))?;
        let tally = match thing {
            Stored::Key { .. } => &mut done.keys,
            Stored::Entity { .. } => &mut done.entities,
        };
        tally.count(1, u64::from(copied));
    }
    let mut last = String::new();
    loop {
        let lines = source.store().lines(&last, BATCH).await.map_err(|error| source.failed(&error))?;
        let Some(line) = lines.last() else { return Ok(done) };
        line.id().clone_into(&mut last);
        let copied = target.store().add_lines(&lines).await.map_err(|error| target.failed(&error))?;
        done.rows.count(lines.len(), copied);
        progress(&done);
    }
}
