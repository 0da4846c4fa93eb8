//! [`Entry`] to a durable row: one writer, commits in groups, nothing dropped.

mod entities;
mod entry;
mod keys;
mod query;
mod writer;

use std::path::{Path, PathBuf};
use std::str::FromStr;
use std::sync::Arc;
use std::time::Duration;

use sqlx::sqlite::{SqliteConnectOptions, SqliteJournalMode, SqlitePoolOptions, SqliteSynchronous};
use sqlx::{ConnectOptions, Connection, SqlitePool};

use crate::config::Durability;

pub use entities::Totals;
pub use entry::{Entry, Kind, Status};
pub use query::{DaySpend, Filter, KeySpend};
pub use writer::{Receipt, Slot};

/// The first SQLite whose WAL cannot lose a reset log (sqlite.org/releaselog/3_51_3.html).
const OLDEST_SQLITE: (u32, u32, u32) = (3, 51, 3);
const BUSY_TIMEOUT: Duration = Duration::from_secs(5);
const READERS: u32 = 4;

/// The ledger. Cloning gives another handle to the same one.
#[derive(Debug, Clone)]
pub struct Ledger {
    writer: Arc<writer::Writer>,
    readers: SqlitePool,
    path: Arc<Path>,
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
    /// A SQLite that can lose rows was linked in.
    #[error("SQLite {found} is older than 3.51.3 and could lose rows; build Fleetgate with its own SQLite")]
    OldSqlite {
        /// Its version.
        found: String,
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
    /// Opens or makes the ledger, and starts its writer.
    ///
    /// # Errors
    /// When the file cannot be made, opened or migrated, or SQLite is too old.
    pub async fn open(path: &Path, durability: Durability) -> Result<Self, LedgerError> {
        if let Some(folder) = path.parent().filter(|folder| !folder.as_os_str().is_empty()) {
            let made = std::fs::create_dir_all(folder);
            made.map_err(|source| LedgerError::Folder { path: path.to_owned(), source })?;
        }
        let failed = |source| LedgerError::Open { path: path.to_owned(), source };
        let options = SqliteConnectOptions::new()
            .filename(path)
            .create_if_missing(true)
            .journal_mode(SqliteJournalMode::Wal)
            .synchronous(match durability {
                Durability::Process => SqliteSynchronous::Normal,
                Durability::Power => SqliteSynchronous::Full,
            })
            .busy_timeout(BUSY_TIMEOUT)
            .disable_statement_logging();
        restrict_to_owner(path);
        let mut connection = options.connect().await.map_err(failed)?;
        let version: String =
            sqlx::query_scalar("SELECT sqlite_version()").fetch_one(&mut connection).await.map_err(failed)?;
        if parse_version(&version) < OLDEST_SQLITE {
            return Err(LedgerError::OldSqlite { found: version });
        }
        let migrated = sqlx::migrate!("migrations/sqlite").run(&mut connection).await;
        migrated.map_err(|error| failed(error.into()))?;
        connection.ping().await.map_err(failed)?;

        let readers = SqlitePoolOptions::new().max_connections(READERS).min_connections(0);
        let readers = readers.connect_lazy_with(options.create_if_missing(false).read_only(true));
        let path: Arc<Path> = path.into();
        let writer = Arc::new(writer::Writer::start(connection, Arc::clone(&path)));
        Ok(Self { writer, readers, path })
    }

    /// The file.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Takes a place in the queue for one row, before the call that it is for. Waits while the queue is full: the ledger holds
    /// calls back, it never drops a row.
    ///
    /// # Errors
    /// While the ledger cannot write: what cannot be written down must not be spent.
    pub async fn reserve(&self) -> Result<Slot, LedgerError> {
        self.writer.reserve().await.map_err(|cause| self.unavailable(&cause))
    }

    /// Why the ledger cannot write, if it cannot.
    #[must_use]
    pub fn trouble(&self) -> Option<String> {
        self.writer.trouble()
    }

    /// Writes what is queued and closes the file.
    pub async fn close(&self) {
        self.writer.close().await;
        self.readers.close().await;
    }

    fn unavailable(&self, cause: &dyn std::fmt::Display) -> LedgerError {
        LedgerError::Unavailable { path: self.path.to_path_buf(), cause: cause.to_string() }
    }
}

fn parse_version(text: &str) -> (u32, u32, u32) {
    let mut numbers = text.split('.').map(|part| u32::from_str(part).unwrap_or(0));
    let mut next = || numbers.next().unwrap_or(0);
    (next(), next(), next())
}

/// The ledger names hosts, workloads and habits: nobody else on the machine needs to read it. Done before SQLite opens the file,
/// because its `-wal` and `-shm` get the file's own permissions when they are made.
fn restrict_to_owner(path: &Path) {
    #[cfg(unix)]
    {
        use std::os::unix::fs::{OpenOptionsExt, PermissionsExt};
        // A file that cannot be made is reported by SQLite, in its own words.
        drop(std::fs::OpenOptions::new().create(true).append(true).mode(0o600).open(path));
        for suffix in ["", "-wal", "-shm"] {
            let mut file = path.as_os_str().to_owned();
            file.push(suffix);
            match std::fs::set_permissions(&file, std::fs::Permissions::from_mode(0o600)) {
                Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
                    tracing::warn!(path = %path.display(), %error, "cannot make the ledger private to its owner");
                }
                _ => {}
            }
        }
    }
}

#[cfg(test)]
mod tests;
