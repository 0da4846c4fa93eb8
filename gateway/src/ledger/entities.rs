//! Teams, users, budgets, tags and customers at rest.

use std::collections::HashMap;

use fleetgate_wire::money::NanoDollars;
use fleetgate_wire::scope::Scope;
use fleetgate_wire::virtual_key::KeyHash;

use super::keys::KeyChange;
use super::{Ledger, LedgerError};
use crate::auth::{EntityKind, EntityRecord, KeyRecord};

/// What they are remembered as.
const ENTITIES: &str = "entities";

/// What was spent on calls so far, by scope.
#[derive(Debug, Clone, Default)]
pub struct Totals(pub(super) HashMap<String, NanoDollars>);

impl Totals {
    /// What a scope spent.
    #[must_use]
    pub fn of(&self, scope: &Scope) -> NanoDollars {
        self.0.get(&scope.to_string()).copied().unwrap_or_default()
    }
}

impl Ledger {
    /// All teams, users, budgets, tags and customers.
    ///
    /// # Errors
    /// When the database cannot be read.
    pub async fn entities(&self) -> Result<Vec<EntityRecord>, LedgerError> {
        let records = self.read(ENTITIES, self.store.entities().await)?;
        let parse = |record: &String| {
            serde_json::from_str(record)
                .map_err(|error| self.unavailable(&format!("a stored entity is damaged: {error}")))
        };
        records.iter().map(parse).collect()
    }

    /// The entities that the server's database held when it was last read, for a start while it is away.
    #[must_use]
    pub fn remembered_entities(&self) -> Vec<EntityRecord> {
        self.remembered(ENTITIES).recall().iter().filter_map(|record| serde_json::from_str(record).ok()).collect()
    }

    /// Stores an entity, new or changed.
    ///
    /// # Errors
    /// When the database cannot be written.
    pub async fn put_entity(&self, record: EntityRecord) -> Result<(), LedgerError> {
        self.change_key(KeyChange::Put { record: Box::new(record), key: None }, None).await
    }

    /// Stores a user and his first key, both or none.
    ///
    /// # Errors
    /// When the key's alias is taken, or the database cannot be written.
    pub async fn put_entity_with_key(&self, record: EntityRecord, key: KeyRecord) -> Result<(), LedgerError> {
        let alias = key.key_alias.clone();
        self.change_key(KeyChange::Put { record: Box::new(record), key: Some(Box::new(key)) }, alias).await
    }

    /// Forgets entities of one kind, and these keys with them, all or none.
    ///
    /// # Errors
    /// When the database cannot be written.
    pub async fn delete_entities(
        &self,
        kind: EntityKind,
        ids: Vec<String>,
        keys: Vec<KeyHash>,
    ) -> Result<(), LedgerError> {
        self.change_key(KeyChange::DeleteEntities { kind, ids, keys }, None).await
    }

    /// What every scope has spent so far, from the sums.
    ///
    /// # Errors
    /// When the database cannot be read.
    pub async fn totals(&self) -> Result<Totals, LedgerError> {
        self.catch_up().await;
        let sums = self.store.totals().await.map_err(|error| self.unavailable(&error))?;
        Ok(Totals(sums.into_iter().map(|(scope, nanos)| (scope, NanoDollars(nanos))).collect()))
    }
}
