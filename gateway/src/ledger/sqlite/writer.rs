//! The one connection that writes.

use std::ops::{Deref, DerefMut};

use sqlx::ConnectOptions;
use sqlx::sqlite::{SqliteConnectOptions, SqliteConnection};
use tokio::sync::{Mutex, MutexGuard};

/// The connection's place. It is empty after a failure.
#[derive(Debug)]
pub(super) struct Writer {
    options: SqliteConnectOptions,
    connection: Mutex<Option<SqliteConnection>>,
}

/// The connection in one pair of hands: nothing else changes the file meanwhile. Unless it is put back with [`Held::keep`], it is
/// closed, and whatever it had not committed is undone.
///
/// So a failure always ends the connection. When a disk is full SQLite may end a transaction on its own, or refuse to; sqlx, which
/// counts transactions, would then make savepoints of the next ones and never commit them.
#[derive(Debug)]
pub(super) struct Held<'a> {
    place: MutexGuard<'a, Option<SqliteConnection>>,
    connection: SqliteConnection,
}

impl Writer {
    /// `options` are those of the connection, for the time when another is needed.
    pub(super) fn new(options: SqliteConnectOptions, connection: SqliteConnection) -> Self {
        Self { options, connection: Mutex::new(Some(connection)) }
    }

    /// Waits for the connection, and opens a new one if the last one failed.
    pub(super) async fn hold(&self) -> Result<Held<'_>, sqlx::Error> {
        let mut place = self.connection.lock().await;
        let connection = match place.take() {
            Some(connection) => connection,
            None => self.options.connect().await?,
        };
        Ok(Held { place, connection })
    }
}

impl Held<'_> {
    /// Puts the connection back after all went well.
    pub(super) fn keep(self) {
        let Self { mut place, connection } = self;
        *place = Some(connection);
    }
}

impl Deref for Held<'_> {
    type Target = SqliteConnection;

    fn deref(&self) -> &SqliteConnection {
        &self.connection
    }
}

impl DerefMut for Held<'_> {
    fn deref_mut(&mut self) -> &mut SqliteConnection {
        &mut self.connection
    }
}
