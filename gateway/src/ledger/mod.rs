//! [`Entry`] to a durable row: into the journal at once, into the database behind the callers' backs, nothing dropped.

mod applier;
mod backup;
mod dimension;
mod egress;
mod entities;
mod entry;
mod invitations;
mod journal;
mod keys;
mod past_call;
mod postgres;
mod query;
mod record;
mod remembered;
mod reprice;
mod rollup;
mod rows;
mod share;
mod sighting;
mod slot;
mod spend;
mod sqlite;
mod store;
mod straggler;
mod sums;
mod transfer;
mod window;

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use applier::Applier;
use jiff::Timestamp;
use journal::{Journal, JournalError};
use postgres::{GatewayId, Leases, Postgres};
use remembered::Remembered;
use sqlite::Sqlite;
use store::Store;
use tokio::sync::{Mutex, broadcast, watch};
use tokio::task::JoinHandle;

use crate::config::{Database, Durability, PostgresUrl};
use crate::price::Cost;

pub use backup::{
    BackupError, ExtraFile, FileSum, JournalCounts, LedgerCounts, Manifest, RestoreError, Restored, back_up, inspect,
    restore,
};
pub use dimension::{Dimension, DimensionError};
pub use egress::TunnelsOf;
pub use entities::Totals;
pub use entry::{Entry, Kind, Status};
pub use invitations::{Invitation, InvitationState, Redemption};
pub use journal::scan_journal;
pub use past_call::PastCall;
pub use postgres::{Change, IdentityError, Leasable, Return, Share, Wish};
pub use query::{Bill, BucketSpend, DaySpend, Filter, KeySpend};
pub use record::{Provenance, Record};
pub use reprice::Repricing;
pub use share::{LeasedBudgets, LeasedRates};
pub use slot::{Receipt, Slot};
pub use spend::{Span, Spend};
pub use transfer::{Tally, Transferred, transfer};

/// Bytes of rows that may wait for a database that is there. More of them hold calls back.
const MOST_WAITING: u64 = 64 << 20;
/// How often a call that is held back looks again.
const HOLD_BACK: Duration = Duration::from_millis(20);
/// How long the end waits for leases to be returned. What is not returned then is when this gateway starts again.
const LAST_RETURN: Duration = Duration::from_secs(5);
/// The journal of a ledger that is on a server.
const SERVER_JOURNAL: &str = "ledger";

/// The ledger. Cloning gives another handle to the same one.
#[derive(Debug, Clone)]
pub struct Ledger {
    journal: Arc<Journal>,
    applier: Arc<Applier>,
    store: Store,
    path: Arc<Path>,
    /// Calls that an earlier process had under way when it died.
    interrupted: usize,
    /// When the newest row ended that was there at the start.
    newest_before: Option<Timestamp>,
    sharing: Arc<Mutex<Option<Sharing>>>,
}

/// The task that shares budgets and rates with other gateways.
#[derive(Debug)]
struct Sharing {
    stop: watch::Sender<bool>,
    task: JoinHandle<()>,
}

/// Why the ledger cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum LedgerError {
    /// The file's folder cannot be made.
    #[error("cannot make the folder of the ledger {path}: {source}; choose another file with --database sqlite:PATH")]
    Folder {
        /// The ledger's file.
        path: PathBuf,
        /// What the system says.
        source: std::io::Error,
    },
    /// The file cannot be opened or brought to this version's form.
    #[error(
        "cannot open the ledger {path}: {source}; is it a Fleetgate ledger, writable by this user, and not from a newer version?"
    )]
    Open {
        /// The ledger's file.
        path: PathBuf,
        /// What SQLite says.
        source: sqlx::Error,
    },
    /// The journal cannot be opened.
    #[error("cannot open the ledger's journal {folder}: {cause}")]
    Journal {
        /// Its folder.
        folder: PathBuf,
        /// What is wrong.
        cause: String,
    },
    /// The journal cannot be written.
    #[error(
        "the ledger's journal {folder} cannot be written right now: {cause}; look at the disk's free space and the folder's owner"
    )]
    Unwritable {
        /// Its folder.
        folder: PathBuf,
        /// What the system says.
        cause: String,
    },
    /// A SQLite that can lose rows was linked in.
    #[error("SQLite {found} is older than 3.51.3 and could lose rows; build Fleetgate with its own SQLite")]
    OldSqlite {
        /// Its version.
        found: String,
    },
    /// This gateway has no lasting name.
    #[error(transparent)]
    Identity(#[from] IdentityError),
    /// The server cannot be reached, or refuses.
    #[error("the database {database} cannot be used right now: {cause}; rows wait in the journal and none is lost")]
    Away {
        /// Its address, without credentials.
        database: String,
        /// What it says.
        cause: String,
    },
    /// A read or write failed.
    #[error("the ledger {path} cannot be used right now: {cause}; look at the disk's free space and the file's owner")]
    Unavailable {
        /// The ledger's file.
        path: PathBuf,
        /// What SQLite says.
        cause: String,
    },
    /// Another key has this name.
    #[error("Key with alias '{0}' already exists. Unique key aliases across all keys are required.")]
    AliasTaken(String),
}

impl Ledger {
    /// Opens or makes the ledger, and brings what an earlier process left in its journal into the database.
    ///
    /// # Errors
    /// When a file cannot be made, opened or migrated, is in use by another gateway, or SQLite is too old.
    pub async fn open(database: &Database, state: &Path, durability: Durability) -> Result<Self, LedgerError> {
        match database {
            Database::Sqlite(path) => Self::open_file(path, durability).await,
            Database::Postgres(url) => Self::open_server(url, state, durability).await,
        }
    }

    async fn open_file(path: &Path, durability: Durability) -> Result<Self, LedgerError> {
        if let Some(folder) = path.parent().filter(|folder| !folder.as_os_str().is_empty()) {
            let made = std::fs::create_dir_all(folder);
            made.map_err(|source| LedgerError::Folder { path: path.to_owned(), source })?;
        }
        let (journal, interrupted) = open_journal(&journal_folder(path), durability)?;
        let store = Store::Sqlite(Arc::new(Sqlite::open(path, durability).await?));
        Ok(Self::start(journal, store, path, interrupted).await)
    }

    /// The journal is what this gateway stands on; the server may be away.
    async fn open_server(url: &PostgresUrl, state: &Path, durability: Durability) -> Result<Self, LedgerError> {
        let gateway = GatewayId::of(state)?;
        let path = state.join(SERVER_JOURNAL);
        let (journal, interrupted) = open_journal(&journal_folder(&path), durability)?;
        let postgres = Arc::new(Postgres::new(url.clone(), gateway));
        drop(tokio::spawn(Arc::clone(&postgres).listen()));
        Ok(Self::start(journal, Store::Postgres(postgres), &path, interrupted).await)
    }

    async fn start(journal: Arc<Journal>, store: Store, path: &Path, interrupted: usize) -> Self {
        let applier = Arc::new(Applier::start(Arc::clone(&journal), store.clone()));
        let sharing = Arc::default();
        let mut ledger = Self { journal, applier, store, path: path.into(), interrupted, newest_before: None, sharing };
        ledger.catch_up().await;
        ledger.newest_before = ledger.store.newest().await.unwrap_or_default();
        ledger
    }

    /// The file.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Writes down that a call is about to go out. If nothing more is heard of it, its row will stand as `entry` does now. Waits
    /// while too many rows wait for the database: the ledger holds calls back, it never drops a row.
    ///
    /// # Errors
    /// While the ledger cannot write: what cannot be written down must not be spent.
    pub async fn begin(&self, entry: &Entry) -> Result<Slot, LedgerError> {
        if self.store.must_be_there() {
            self.wait_for_room().await?;
        }
        let begun = entry.with_record(|record| self.journal.begin(record));
        let (opened, synced) = begun.map_err(|error| self.unwritable(&error))?;
        let begun = Begun { slot: Some(Slot(opened)), entry };
        synced.await.map_err(|cause| self.unwritable(&cause))?;
        Ok(begun.done())
    }

    async fn wait_for_room(&self) -> Result<(), LedgerError> {
        loop {
            // Whether the journal takes the call is tried by the call itself.
            if let Some(trouble) = self.applier.trouble() {
                return Err(self.unavailable(&trouble));
            }
            if self.journal.backlog() <= MOST_WAITING {
                return Ok(());
            }
            tokio::time::sleep(HOLD_BACK).await;
        }
    }

    /// Which database it is, for people.
    #[must_use]
    pub fn database(&self) -> serde_json::Value {
        match &self.store {
            Store::Sqlite(file) => serde_json::json!({ "kind": "sqlite", "path": file.to_string() }),
            Store::Postgres(server) => serde_json::json!({ "kind": "postgres", "url": server.to_string() }),
        }
    }

    /// Whether calls may go out: those of a ledger on a server may while it is away, as long as the journal keeps their rows.
    #[must_use]
    pub fn takes_calls(&self) -> bool {
        self.journal.stuck().is_none() && (!self.store.must_be_there() || self.trouble().is_none())
    }

    /// Why calls cannot be written down, or rows do not reach the database.
    #[must_use]
    pub fn trouble(&self) -> Option<String> {
        let stuck = self.journal.stuck().map(|cause| format!("{}: {cause}", journal_folder(&self.path).display()));
        stuck.or_else(|| self.applier.trouble())
    }

    /// What the ledger has to do.
    #[must_use]
    pub fn load(&self) -> Load {
        let settled = self.journal.settled();
        Load {
            open_calls: self.journal.open_calls(),
            waiting_rows: settled.saturating_sub(self.applier.applied()),
            interrupted: self.interrupted,
            newest_row_at: self.journal.newest().or(self.newest_before),
        }
    }

    /// What other gateways on the same database change, and this one too; `None` where the database is this gateway's alone.
    #[must_use]
    pub fn changes(&self) -> Option<broadcast::Receiver<Change>> {
        match &self.store {
            Store::Sqlite(_) => None,
            Store::Postgres(postgres) => Some(postgres.changes()),
        }
    }

    /// Whether other gateways may use the same database, so that limits have to be shared with them.
    #[must_use]
    pub fn is_shared(&self) -> bool {
        matches!(self.store, Store::Postgres(_))
    }

    /// Shares the rules of these engines with the other gateways on the same database, until the ledger is closed. After `ttl`
    /// without a word, a gateway's leases are written off. `address` is where others may find this gateway.
    pub async fn share(&self, engines: Vec<Arc<dyn Leasable>>, ttl: Duration, address: String) {
        let Store::Postgres(postgres) = &self.store else { return };
        let (stop, stopped) = watch::channel(false);
        let leases = Leases::new(Arc::clone(postgres), engines, ttl, address);
        let applier = Arc::clone(&self.applier);
        let applied = async move || {
            while applier.catch_up().await.is_err() {
                tokio::time::sleep(HOLD_BACK).await;
            }
        };
        let task = tokio::spawn(leases.run(stopped, applied));
        *self.sharing.lock().await = Some(Sharing { stop, task });
    }

    /// Brings all rows into the database that it takes, and closes it. What it does not take stays in the journal.
    pub async fn close(&self) {
        if let Some(Sharing { stop, task }) = self.sharing.lock().await.take() {
            stop.send_replace(true);
            let returning = task.abort_handle();
            if tokio::time::timeout(LAST_RETURN, task).await.is_err() {
                returning.abort();
            }
        }
        self.applier.close().await;
        self.store.close().await;
    }

    /// Waits until all rows that are settled now are in the database, or it is in trouble: then what it has must do.
    async fn catch_up(&self) {
        if let Err(cause) = self.applier.catch_up().await {
            tracing::warn!(%cause, "what is shown lacks the rows that wait in the journal");
        }
    }

    /// What a table holds. Of a server's it is kept what was read, for a start without it.
    fn read(&self, what: &str, read: Result<Vec<String>, sqlx::Error>) -> Result<Vec<String>, LedgerError> {
        let records = read.map_err(|error| self.unavailable(&error))?;
        if let Store::Postgres(_) = &self.store {
            self.remembered(what).keep(&records);
        }
        Ok(records)
    }

    fn remembered(&self, what: &str) -> Remembered {
        Remembered::new(&journal_folder(&self.path), what)
    }

    fn unwritable(&self, cause: &dyn std::fmt::Display) -> LedgerError {
        LedgerError::Unwritable { folder: journal_folder(&self.path), cause: cause.to_string() }
    }

    fn unavailable(&self, cause: &dyn std::fmt::Display) -> LedgerError {
        if let Store::Postgres(postgres) = &self.store {
            return LedgerError::Away { database: postgres.to_string(), cause: cause.to_string() };
        }
        LedgerError::Unavailable { path: self.path.to_path_buf(), cause: cause.to_string() }
    }
}

/// A call that is written down, while the disk is waited for. Its caller may go away meanwhile: then it never goes out, and its row
/// says so.
struct Begun<'e> {
    slot: Option<Slot>,
    entry: &'e Entry,
}

impl Begun<'_> {
    fn done(mut self) -> Slot {
        // Taken here or by drop, and nowhere else.
        self.slot.take().unwrap_or_else(|| unreachable!("it is there until it is done"))
    }
}

impl Drop for Begun<'_> {
    fn drop(&mut self) {
        if let Some(slot) = self.slot.take() {
            let entry = Entry { status: Status::ClientGone, cost: Cost::FREE, ..self.entry.clone() };
            drop(slot.record(&entry));
        }
    }
}

/// What the ledger has to do.
#[derive(Debug, Clone, Copy)]
pub struct Load {
    /// Calls that were opened and have not ended.
    pub open_calls: usize,
    /// Rows in the journal that the database does not have yet.
    pub waiting_rows: u64,
    /// Calls that an earlier process had under way when it died, found at the start.
    pub interrupted: usize,
    /// When the newest row ended, of this process or an earlier one.
    pub newest_row_at: Option<Timestamp>,
}

/// `ledger.db` has its journal in `ledger.db.spool/`.
fn journal_folder(path: &Path) -> PathBuf {
    let mut folder = path.as_os_str().to_owned();
    folder.push(".spool");
    folder.into()
}

fn open_journal(folder: &Path, durability: Durability) -> Result<(Arc<Journal>, usize), LedgerError> {
    Journal::open(folder, durability)
        .map_err(|error: JournalError| LedgerError::Journal { folder: folder.to_owned(), cause: error.to_string() })
}

#[cfg(test)]
mod tests;
