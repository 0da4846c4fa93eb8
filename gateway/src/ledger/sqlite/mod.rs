//! The ledger as one SQLite file: one writer, WAL, any number of readers.

mod apply;
mod invitations;
mod keys;
mod query;
mod reprice;
mod spend;
mod transfer;
mod writer;

use std::fmt;
use std::path::{Path, PathBuf};
use std::str::FromStr;
use std::time::Duration;

use sqlx::migrate::Migrator;
use sqlx::sqlite::{SqliteConnectOptions, SqliteJournalMode, SqlitePoolOptions, SqliteSynchronous};
use sqlx::{ConnectOptions, SqlitePool};

use writer::Writer;

use super::LedgerError;
use crate::config::Durability;

static MIGRATIONS: Migrator = sqlx::migrate!("migrations/sqlite");
/// The first SQLite whose WAL cannot lose a reset log (sqlite.org/releaselog/3_51_3.html).
const OLDEST_SQLITE: (u32, u32, u32) = (3, 51, 3);
const BUSY_TIMEOUT: Duration = Duration::from_secs(5);
const READERS: u32 = 4;

/// The file.
#[derive(Debug)]
pub(super) struct Sqlite {
    /// The one writer. Whoever holds it knows that nothing changes meanwhile.
    writer: Writer,
    readers: SqlitePool,
    path: PathBuf,
}

impl fmt::Display for Sqlite {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.path.display().fmt(f)
    }
}

impl Sqlite {
    /// Opens or makes the file, and brings it to this version's form.
    pub(super) async fn open(path: &Path, durability: Durability) -> Result<Self, LedgerError> {
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
        let migrated = MIGRATIONS.run(&mut connection).await;
        migrated.map_err(|error| failed(error.into()))?;
        let readers = SqlitePoolOptions::new().max_connections(READERS).min_connections(0);
        let options = options.create_if_missing(false);
        let readers = readers.connect_lazy_with(options.clone().read_only(true));
        let writer = Writer::new(options, path.to_owned(), durability, connection);
        Ok(Self { writer, readers, path: path.to_owned() })
    }

    /// Moves what is in the write-ahead log into the file and lets go of the readers.
    pub(super) async fn close(&self) {
        self.readers.close().await;
        if let Err(error) = self.checkpoint().await {
            tracing::warn!(path = %self, %error, "the write-ahead log stays beside the ledger; nothing is lost");
        }
    }

    async fn checkpoint(&self) -> Result<(), sqlx::Error> {
        let mut writer = self.writer.hold().await?;
        sqlx::query("PRAGMA wal_checkpoint(TRUNCATE)").execute(&mut *writer).await?;
        writer.keep();
        Ok(())
    }
}

/// The newest migration that this version knows.
pub(super) fn newest_migration() -> i64 {
    MIGRATIONS.iter().map(|migration| migration.version).max().unwrap_or(0)
}

fn parse_version(text: &str) -> (u32, u32, u32) {
    let mut numbers = text.split('.').map(|part| u32::from_str(part).unwrap_or(0));
    let mut next = || numbers.next().unwrap_or(0);
    (next(), next(), next())
}

/// The ledger names hosts, workloads and habits: nobody else on the machine needs to read it. Done before SQLite opens the file,
/// because its `-wal` and `-shm` get the file's own permissions when they are made.
fn restrict_to_owner(path: &Path) {
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
