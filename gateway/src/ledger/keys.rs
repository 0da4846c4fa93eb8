//! Virtual keys at rest.

use fleetgate_wire::virtual_key::KeyHash;

use super::{Ledger, LedgerError};
use crate::auth::{EntityKind, EntityRecord, KeyRecord};

/// What they are remembered as.
const KEYS: &str = "keys";

/// A change of the stored keys and entities. Each is made as a whole or not at all.
#[derive(Debug)]
pub(super) enum KeyChange {
    Insert(KeyRecord),
    Update(KeyRecord),
    Delete(Vec<KeyHash>),
    /// Forgets some and then stores others, in this order: a name goes from one to the next.
    Replace {
        forget: Vec<KeyHash>,
        keep: Vec<KeyRecord>,
    },
    /// Stores an entity, and the key that was made together with it.
    Put {
        record: Box<EntityRecord>,
        key: Option<Box<KeyRecord>>,
    },
    /// Forgets entities, and the keys that belong to them.
    DeleteEntities {
        kind: EntityKind,
        ids: Vec<String>,
        keys: Vec<KeyHash>,
    },
}

impl Ledger {
    /// All keys.
    ///
    /// # Errors
    /// When the database cannot be read.
    pub async fn keys(&self) -> Result<Vec<KeyRecord>, LedgerError> {
        let records = self.read(KEYS, self.store.keys().await)?;
        let parse = |record: &String| {
            serde_json::from_str(record).map_err(|error| self.unavailable(&format!("a stored key is damaged: {error}")))
        };
        records.iter().map(parse).collect()
    }

    /// The keys that the server's database held when it was last read, for a start while it is away.
    #[must_use]
    pub fn remembered_keys(&self) -> Vec<KeyRecord> {
        self.remembered(KEYS).recall().iter().filter_map(|record| serde_json::from_str(record).ok()).collect()
    }

    /// Stores a new key.
    ///
    /// # Errors
    /// When its alias is taken, or the database cannot be written.
    pub async fn insert_key(&self, record: KeyRecord) -> Result<(), LedgerError> {
        let alias = record.key_alias.clone();
        self.change_key(KeyChange::Insert(record), alias).await
    }

    /// Stores a changed key.
    ///
    /// # Errors
    /// When its alias is taken, or the database cannot be written.
    pub async fn update_key(&self, record: KeyRecord) -> Result<(), LedgerError> {
        let alias = record.key_alias.clone();
        self.change_key(KeyChange::Update(record), alias).await
    }

    /// Forgets keys.
    ///
    /// # Errors
    /// When the database cannot be written.
    pub async fn delete_keys(&self, hashes: Vec<KeyHash>) -> Result<(), LedgerError> {
        self.change_key(KeyChange::Delete(hashes), None).await
    }

    /// Forgets keys and stores others, new or changed, all or none. Records come in the order in which a name passes on.
    ///
    /// # Errors
    /// When an alias is taken, or the database cannot be written.
    pub async fn replace_keys(&self, forget: Vec<KeyHash>, keep: Vec<KeyRecord>) -> Result<(), LedgerError> {
        let alias = keep.last().and_then(|record| record.key_alias.clone());
        self.change_key(KeyChange::Replace { forget, keep }, alias).await
    }

    pub(super) async fn change_key(&self, change: KeyChange, alias: Option<String>) -> Result<(), LedgerError> {
        // While rows cannot be written, nothing else is tried.
        if let Some(cause) = self.trouble() {
            return Err(self.unavailable(&cause));
        }
        self.store.change_key(&change).await.map_err(|error| match error.as_database_error() {
            Some(cause) if cause.is_unique_violation() => LedgerError::AliasTaken(alias.unwrap_or_default()),
            _ => self.unavailable(&error),
        })
    }
}
