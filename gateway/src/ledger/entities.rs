//! Teams, users, budgets, tags and customers at rest.

use std::collections::HashMap;

use fleetgate_wire::money::NanoDollars;
use fleetgate_wire::virtual_key::KeyHash;
use sqlx::Row as _;
use sqlx::sqlite::SqliteConnection;
use sqlx::{Connection, Sqlite};

use super::keys::KeyChange;
use super::{Ledger, LedgerError};
use crate::auth::{EntityKind, EntityRecord, KeyRecord};

/// A change of the stored entities. Each is made as a whole or not at all.
#[derive(Debug)]
pub(super) enum EntityChange {
    /// Stores an entity, and the key that was made together with it.
    Put { record: Box<EntityRecord>, key: Option<Box<KeyRecord>> },
    /// Forgets entities, and the keys that belong to them.
    Delete { kind: EntityKind, ids: Vec<String>, keys: Vec<KeyHash> },
}

impl EntityChange {
    pub(super) async fn apply(self, connection: &mut SqliteConnection) -> Result<(), sqlx::Error> {
        let mut all = connection.begin().await?;
        match self {
            Self::Put { record, key } => {
                let sql = "INSERT INTO entity (kind, id, record) VALUES (?, ?, ?) \
                           ON CONFLICT (kind, id) DO UPDATE SET record = excluded.record";
                let json = serde_json::to_string(&record).map_err(|error| sqlx::Error::Encode(error.into()))?;
                let put = sqlx::query::<Sqlite>(sql).bind(record.kind.word()).bind(&record.id).bind(json);
                put.execute(&mut *all).await?;
                if let Some(key) = key {
                    Box::pin(Box::new(KeyChange::Insert(*key)).apply(&mut all)).await?;
                }
            }
            Self::Delete { kind, ids, keys } => {
                for id in ids {
                    let delete = sqlx::query::<Sqlite>("DELETE FROM entity WHERE kind = ? AND id = ?");
                    delete.bind(kind.word()).bind(id).execute(&mut *all).await?;
                }
                Box::pin(Box::new(KeyChange::Delete(keys)).apply(&mut all)).await?;
            }
        }
        all.commit().await
    }
}

/// What was spent on calls so far, by who paid.
#[derive(Debug, Clone, Default)]
pub struct Totals {
    /// By the key's hash in the rows.
    pub by_key: HashMap<String, NanoDollars>,
    /// By the user in the rows.
    pub by_user: HashMap<String, NanoDollars>,
    /// Everything.
    pub all: NanoDollars,
}

impl Ledger {
    /// All teams, users, budgets, tags and customers.
    ///
    /// # Errors
    /// When the file cannot be read.
    pub async fn entities(&self) -> Result<Vec<EntityRecord>, LedgerError> {
        let rows = sqlx::query("SELECT record FROM entity").fetch_all(&self.readers).await;
        let rows = rows.map_err(|error| self.unavailable(&error))?;
        let parse = |row: &sqlx::sqlite::SqliteRow| {
            serde_json::from_str(row.get::<&str, _>(0))
                .map_err(|error| self.unavailable(&format!("a stored entity is damaged: {error}")))
        };
        rows.iter().map(parse).collect()
    }

    /// Stores an entity, new or changed.
    ///
    /// # Errors
    /// When the file cannot be written.
    pub async fn put_entity(&self, record: EntityRecord) -> Result<(), LedgerError> {
        self.change_entity(EntityChange::Put { record: Box::new(record), key: None }, None).await
    }

    /// Stores a user and his first key, both or none.
    ///
    /// # Errors
    /// When the key's alias is taken, or the file cannot be written.
    pub async fn put_entity_with_key(&self, record: EntityRecord, key: KeyRecord) -> Result<(), LedgerError> {
        let alias = key.key_alias.clone();
        self.change_entity(EntityChange::Put { record: Box::new(record), key: Some(Box::new(key)) }, alias).await
    }

    /// Forgets entities of one kind, and these keys with them, all or none.
    ///
    /// # Errors
    /// When the file cannot be written.
    pub async fn delete_entities(
        &self,
        kind: EntityKind,
        ids: Vec<String>,
        keys: Vec<KeyHash>,
    ) -> Result<(), LedgerError> {
        self.change_entity(EntityChange::Delete { kind, ids, keys }, None).await
    }

    /// What was spent so far, summed by the database.
    ///
    /// # Errors
    /// When the file cannot be read.
    pub async fn totals(&self) -> Result<Totals, LedgerError> {
        let sql = "SELECT key_hash, coalesce(user_id, ''), coalesce(sum(cost_nanousd), 0) FROM entry \
                   WHERE kind = 'call' GROUP BY 1, 2";
        let rows = sqlx::query(sql).fetch_all(&self.readers).await.map_err(|error| self.unavailable(&error))?;
        let mut totals = Totals::default();
        for row in rows {
            let (key, user, cost) = (row.get(0), row.get::<String, _>(1), NanoDollars(row.get(2)));
            *totals.by_key.entry(key).or_default() += cost;
            *totals.by_user.entry(user).or_default() += cost;
            totals.all += cost;
        }
        Ok(totals)
    }

    async fn change_entity(&self, change: EntityChange, alias: Option<String>) -> Result<(), LedgerError> {
        self.change_key(KeyChange::Entity(change), alias).await
    }
}
