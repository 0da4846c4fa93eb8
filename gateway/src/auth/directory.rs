//! What carries limits beside keys: teams, users, budgets, tags and customers. Looked up in a snapshot, as keys are.

use std::fmt;
use std::sync::Arc;

use arc_swap::ArcSwap;
use fleetgate_wire::scope::{Scope, ScopeKind};
use foldhash::HashMap;
use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

/// What an entity is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum EntityKind {
    /// Keys that share a budget and a list of models.
    Team,
    /// A person, or what stands for one.
    User,
    /// Limits with a name, for others to refer to as `budget_id`.
    Budget,
    /// A word that requests bear.
    Tag,
    /// Whom a request names in its `user` field (LiteLLM's end user).
    Customer,
}

impl EntityKind {
    const COUNT: usize = 5;

    /// The word in the database and in scopes.
    #[must_use]
    pub fn word(self) -> &'static str {
        match self {
            Self::Team => "team",
            Self::User => "user",
            Self::Budget => "budget",
            Self::Tag => "tag",
            Self::Customer => "customer",
        }
    }

    /// What its calls are counted for; a budget is nobody's own.
    #[must_use]
    pub fn scope(self, id: &str) -> Option<Scope> {
        let kind = match self {
            Self::Team => ScopeKind::Team,
            Self::User => ScopeKind::User,
            Self::Tag => ScopeKind::Tag,
            Self::Customer => ScopeKind::Customer,
            Self::Budget => return None,
        };
        Some(Scope::new(kind, id))
    }

    /// The name of the field that holds an entity's identifier in LiteLLM's JSON.
    #[must_use]
    pub fn id_field(self) -> &'static str {
        match self {
            Self::Team => "team_id",
            Self::User | Self::Customer => "user_id",
            Self::Budget => "budget_id",
            Self::Tag => "name",
        }
    }
}

impl fmt::Display for EntityKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.word())
    }
}

/// What is known of an entity. The fields' names are LiteLLM's.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct EntityRecord {
    /// What it is.
    pub kind: EntityKind,
    /// Its identifier; unique within its kind.
    pub id: String,
    /// Calls that it is part of are refused while true.
    #[serde(default)]
    pub blocked: bool,
    /// Models it may call, with `*`; empty means all.
    #[serde(default)]
    pub models: Vec<String>,
    /// When it was made.
    pub created_at: Timestamp,
    /// When it was last changed.
    pub updated_at: Timestamp,
    /// Every other field that LiteLLM's callers set, limits among them; kept and shown.
    #[serde(default)]
    pub fields: Map<String, Value>,
}

impl EntityRecord {
    /// A new one that holds nothing.
    #[must_use]
    pub fn new(kind: EntityKind, id: String, now: Timestamp) -> Self {
        Self { kind, id, blocked: false, models: Vec::new(), created_at: now, updated_at: now, fields: Map::new() }
    }

    /// A text field.
    #[must_use]
    pub fn text(&self, name: &str) -> Option<&str> {
        self.fields.get(name)?.as_str()
    }
}

type ById = HashMap<String, Arc<EntityRecord>>;

/// All entities, swapped as a whole when one changes.
#[derive(Debug, Default)]
pub struct Directory {
    by_kind: ArcSwap<[ById; EntityKind::COUNT]>,
}

impl Directory {
    /// A directory of these entities.
    #[must_use]
    pub fn new(records: Vec<EntityRecord>) -> Self {
        let directory = Self::default();
        directory.replace(records);
        directory
    }

    /// Swaps in a new set of entities.
    pub fn replace(&self, records: Vec<EntityRecord>) {
        let mut by_kind: [ById; EntityKind::COUNT] = Default::default();
        for record in records {
            by_kind[record.kind as usize].insert(record.id.clone(), Arc::new(record));
        }
        self.by_kind.store(Arc::new(by_kind));
    }

    /// An entity by its identifier.
    #[must_use]
    pub fn get(&self, kind: EntityKind, id: &str) -> Option<Arc<EntityRecord>> {
        self.by_kind.load()[kind as usize].get(id).cloned()
    }

    /// A team.
    #[must_use]
    pub fn team(&self, id: &str) -> Option<Arc<EntityRecord>> {
        self.get(EntityKind::Team, id)
    }

    /// A user.
    #[must_use]
    pub fn user(&self, id: &str) -> Option<Arc<EntityRecord>> {
        self.get(EntityKind::User, id)
    }

    /// A budget.
    #[must_use]
    pub fn budget(&self, id: &str) -> Option<Arc<EntityRecord>> {
        self.get(EntityKind::Budget, id)
    }

    /// A tag.
    #[must_use]
    pub fn tag(&self, name: &str) -> Option<Arc<EntityRecord>> {
        self.get(EntityKind::Tag, name)
    }

    /// A customer.
    #[must_use]
    pub fn customer(&self, id: &str) -> Option<Arc<EntityRecord>> {
        self.get(EntityKind::Customer, id)
    }

    /// All of a kind, the oldest first.
    #[must_use]
    pub fn all(&self, kind: EntityKind) -> Vec<Arc<EntityRecord>> {
        let mut records: Vec<_> = self.by_kind.load()[kind as usize].values().cloned().collect();
        records.sort_by(|one, other| one.created_at.cmp(&other.created_at).then_with(|| one.id.cmp(&other.id)));
        records
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_same_name_in_two_kinds_names_two_entities() {
        let record = |kind| EntityRecord::new(kind, "x".into(), Timestamp::UNIX_EPOCH);
        let directory = Directory::new(vec![record(EntityKind::Team), record(EntityKind::Tag)]);
        assert_eq!(directory.team("x").map(|record| record.kind), Some(EntityKind::Team));
        assert_eq!(directory.tag("x").map(|record| record.kind), Some(EntityKind::Tag));
        assert!(directory.user("x").is_none() && directory.budget("x").is_none() && directory.customer("x").is_none());
        directory.replace(vec![record(EntityKind::Customer)]);
        assert!(directory.team("x").is_none() && directory.customer("x").is_some());
    }

    #[test]
    fn a_kind_is_stored_by_the_word_that_scopes_use() {
        for kind in [EntityKind::Team, EntityKind::User, EntityKind::Budget, EntityKind::Tag, EntityKind::Customer] {
            assert_eq!(serde_json::to_value(kind).unwrap(), kind.word());
        }
    }
}
