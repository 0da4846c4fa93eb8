//! The connections that write: only one of them at a time.

use std::ops::{Deref, DerefMut};
use std::path::PathBuf;
use std::sync::Arc;

use rusqlite::{Connection, OpenFlags};
use sqlx::ConnectOptions;
use sqlx::sqlite::{SqliteConnectOptions, SqliteConnection};
use tokio::sync::{Mutex, OwnedMutexGuard};

use super::BUSY_TIMEOUT;
use crate::config::Durability;

/// Pages of 4 KB in the write-ahead log before it is copied into the file. Four times SQLite's own number: new rows go to the same
/// few pages, which so are copied, and the disk waited for, once instead of four times.
const CHECKPOINT_PAGES: u32 = 4000;

/// Two connections, one for rows and one for everything else, and one lock for both.
#[derive(Debug)]
pub(super) struct Writer {
    how: How,
    connections: Arc<Mutex<Connections>>,
}

/// What a new connection needs to know.
#[derive(Debug, Clone)]
struct How {
    options: SqliteConnectOptions,
    path: PathBuf,
    durability: Durability,
}

/// Places are empty after a failure, or before the first use.
#[derive(Debug)]
struct Connections {
    general: Option<SqliteConnection>,
    rows: Option<Connection>,
}

/// The connection in one pair of hands: nothing else changes the file meanwhile. Unless it is put back with [`Held::keep`], it is
/// closed, and whatever it had not committed is undone.
///
/// So a failure always ends the connection. When a disk is full SQLite may end a transaction on its own, or refuse to; sqlx, which
/// counts transactions, would then make savepoints of the next ones and never commit them.
#[derive(Debug)]
pub(super) struct Held {
    places: OwnedMutexGuard<Connections>,
    connection: SqliteConnection,
}

/// The same for the connection that writes rows.
#[derive(Debug)]
pub(super) struct HeldForRows {
    places: OwnedMutexGuard<Connections>,
    how: How,
}

impl Writer {
    /// `options` are those of the connection, for the time when another is needed.
    pub(super) fn new(
        options: SqliteConnectOptions,
        path: PathBuf,
        durability: Durability,
        connection: SqliteConnection,
    ) -> Self {
        let connections = Connections { general: Some(connection), rows: None };
        Self { how: How { options, path, durability }, connections: Arc::new(Mutex::new(connections)) }
    }

    /// Waits for its turn, and opens a new connection if the last one failed.
    pub(super) async fn hold(&self) -> Result<Held, sqlx::Error> {
        let mut places = Arc::clone(&self.connections).lock_owned().await;
        let connection = match places.general.take() {
            Some(connection) => connection,
            None => self.how.options.connect().await?,
        };
        Ok(Held { places, connection })
    }

    /// Waits for its turn to write rows.
    pub(super) async fn hold_for_rows(&self) -> HeldForRows {
        HeldForRows { places: Arc::clone(&self.connections).lock_owned().await, how: self.how.clone() }
    }
}

impl Held {
    /// Puts the connection back after all went well.
    pub(super) fn keep(self) {
        let Self { mut places, connection } = self;
        places.general = Some(connection);
    }
}

impl HeldForRows {
    /// The connection, a new one if there is none. Blocks.
    pub(super) fn rows(&mut self) -> rusqlite::Result<Connection> {
        if let Some(connection) = self.places.rows.take() {
            return Ok(connection);
        }
        // Never makes the file: one that is gone is a failure to be told.
        let flags = OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_NO_MUTEX;
        let connection = Connection::open_with_flags(&self.how.path, flags)?;
        connection.busy_timeout(BUSY_TIMEOUT)?;
        let synchronous = match self.how.durability {
            Durability::Process => "NORMAL",
            Durability::Power => "FULL",
        };
        connection.pragma_update(None, "synchronous", synchronous)?;
        connection.pragma_update(None, "wal_autocheckpoint", CHECKPOINT_PAGES)?;
        Ok(connection)
    }

    /// Puts the connection back after all went well.
    pub(super) fn keep(mut self, connection: Connection) {
        self.places.rows = Some(connection);
    }
}

impl Deref for Held {
    type Target = SqliteConnection;

    fn deref(&self) -> &SqliteConnection {
        &self.connection
    }
}

impl DerefMut for Held {
    fn deref_mut(&mut self) -> &mut SqliteConnection {
        &mut self.connection
    }
}
