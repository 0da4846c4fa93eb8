//! Virtual keys at rest.

use fleetgate_wire::virtual_key::KeyHash;
use sqlx::sqlite::SqliteConnection;
use sqlx::{Connection, Row as _};

use super::entities::EntityChange;
use super::{Ledger, LedgerError};
use crate::auth::KeyRecord;

/// A change of the stored keys.
#[derive(Debug)]
pub(super) enum KeyChange {
    Insert(KeyRecord),
    Update(KeyRecord),
    Delete(Vec<KeyHash>),
    Entity(EntityChange),
}

impl KeyChange {
    pub(super) async fn apply(self: Box<Self>, connection: &mut SqliteConnection) -> Result<(), sqlx::Error> {
        match *self {
            Self::Insert(record) => {
                let sql = "INSERT INTO virtual_key (hash, alias, record) VALUES (?, ?, ?)";
                put(sql, &record, connection).await
            }
            Self::Update(record) => {
                let sql = "INSERT INTO virtual_key (hash, alias, record) VALUES (?, ?, ?) \
                           ON CONFLICT (hash) DO UPDATE SET alias = excluded.alias, record = excluded.record";
                put(sql, &record, connection).await
            }
            Self::Delete(hashes) => {
                let mut all = connection.begin().await?;
                for hash in hashes {
                    let delete = sqlx::query("DELETE FROM virtual_key WHERE hash = ?").bind(hash.to_string());
                    delete.execute(&mut *all).await?;
                }
                all.commit().await
            }
            Self::Entity(change) => change.apply(connection).await,
        }
    }
}

async fn put(sql: &'static str, record: &KeyRecord, connection: &mut SqliteConnection) -> Result<(), sqlx::Error> {
    let json = serde_json::to_string(record).map_err(|error| sqlx::Error::Encode(error.into()))?;
    let query = sqlx::query(sql).bind(record.token.to_string()).bind(&record.key_alias).bind(json);
    query.execute(connection).await.map(drop)
}

impl Ledger {
    /// All keys.
    ///
    /// # Errors
    /// When the file cannot be read.
    pub async fn keys(&self) -> Result<Vec<KeyRecord>, LedgerError> {
        let failed = |error: sqlx::Error| self.unavailable(&error);
        let rows = sqlx::query("SELECT record FROM virtual_key").fetch_all(&self.readers).await.map_err(failed)?;
        let parse = |row: &sqlx::sqlite::SqliteRow| {
            serde_json::from_str(row.get::<&str, _>(0))
                .map_err(|error| self.unavailable(&format!("a stored key is damaged: {error}")))
        };
        rows.iter().map(parse).collect()
    }

    /// Stores a new key.
    ///
    /// # Errors
    /// When its alias is taken, or the file cannot be written.
    pub async fn insert_key(&self, record: KeyRecord) -> Result<(), LedgerError> {
        let alias = record.key_alias.clone();
        self.change_key(KeyChange::Insert(record), alias).await
    }

    /// Stores a changed key.
    ///
    /// # Errors
    /// When its alias is taken, or the file cannot be written.
    pub async fn update_key(&self, record: KeyRecord) -> Result<(), LedgerError> {
        let alias = record.key_alias.clone();
        self.change_key(KeyChange::Update(record), alias).await
    }

    /// Forgets keys.
    ///
    /// # Errors
    /// When the file cannot be written.
    pub async fn delete_keys(&self, hashes: Vec<KeyHash>) -> Result<(), LedgerError> {
        self.change_key(KeyChange::Delete(hashes), None).await
    }

    pub(super) async fn change_key(&self, change: KeyChange, alias: Option<String>) -> Result<(), LedgerError> {
        self.writer.change_key(change).await.map_err(|error| match error.as_database_error() {
            Some(cause) if cause.is_unique_violation() => LedgerError::AliasTaken(alias.unwrap_or_default()),
            // While rows cannot be written, nothing else is tried.
            _ => match self.trouble() {
                Some(cause) => self.unavailable(&cause),
                None => self.unavailable(&error),
            },
        })
    }
}
