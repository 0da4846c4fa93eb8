//! What teams, users, budgets, tags and customers have in common: they are found, changed, kept and shown alike.

use std::sync::Arc;

use fleetgate_wire::scope::{Scope, ScopeKind};
use jiff::Timestamp;
use serde_json::{Map, Value, json};

use super::fields::{Fields, bad, blocked, models, optional_text};
use super::{Admin, limits};
use crate::auth::{EntityKind, EntityRecord, KeyRecord};
use crate::ledger::{LedgerError, Totals};
use crate::respond::Refusal;

/// A field's name and its value where nobody set one.
type Shown = (&'static str, fn() -> Value);

const NOTHING: fn() -> Value = || Value::Null;
const EMPTY_LIST: fn() -> Value = || json!([]);
const EMPTY_MAP: fn() -> Value = || json!({});

/// Limits that LiteLLM answers even where nobody set them.
const LIMITS: [Shown; 6] = [
    ("max_budget", NOTHING),
    ("soft_budget", NOTHING),
    ("budget_duration", NOTHING),
    ("tpm_limit", NOTHING),
    ("rpm_limit", NOTHING),
    ("max_parallel_requests", NOTHING),
];

/// The same for each kind's own fields.
fn always_shown(kind: EntityKind) -> &'static [Shown] {
    match kind {
        EntityKind::Team => &[
            ("team_alias", NOTHING),
            ("organization_id", NOTHING),
            ("members_with_roles", EMPTY_LIST),
            ("metadata", EMPTY_MAP),
        ],
        EntityKind::User => &[
            ("user_email", NOTHING),
            ("user_alias", NOTHING),
            ("user_role", NOTHING),
            ("teams", EMPTY_LIST),
            ("metadata", EMPTY_MAP),
        ],
        EntityKind::Budget => &[("model_max_budget", NOTHING)],
        EntityKind::Tag => &[("description", NOTHING)],
        EntityKind::Customer => {
            &[("alias", NOTHING), ("allowed_model_region", NOTHING), ("default_model", NOTHING), ("budget_id", NOTHING)]
        }
    }
}

/// Fields that only steer a request and are not kept.
const NOT_KEPT: [&str; 4] = ["duration", "key", "send_invite_email", "auto_create_key"];

/// Fields that must be texts where they are given.
const TEXTS: [&str; 6] = ["team_alias", "user_alias", "user_email", "alias", "description", "budget_id"];

/// Carries a request's fields over into a record.
pub(super) fn apply(fields: Fields, record: &mut EntityRecord, now: Timestamp) -> Result<(), Refusal> {
    for name in TEXTS {
        fields.0.get(name).map(|value| optional_text(value, name)).transpose()?;
    }
    for (name, value) in fields.0 {
        match name.as_str() {
            name if name == record.kind.id_field() || NOT_KEPT.contains(&name) => {}
            "blocked" => record.blocked = blocked(&value)?,
            "models" => record.models = models(&value)?,
            _ if value.is_null() => drop(record.fields.remove(&name)),
            _ => drop(record.fields.insert(name, value)),
        }
    }
    // A budget's limits are those of the keys that refer to it, for the most part.
    let scope = record.kind.scope(&record.id).unwrap_or_else(|| Scope::new(ScopeKind::Key, record.id.as_str()));
    limits::check_limits(&scope, &record.fields)?;
    record.updated_at = now;
    Ok(())
}

impl Admin {
    /// An entity that must be there.
    pub(super) fn entity(&self, kind: EntityKind, id: &str) -> Result<Arc<EntityRecord>, Refusal> {
        self.directory.get(kind, id).ok_or_else(|| not_found(kind, id))
    }

    /// A new entity with a request's fields, not kept yet. Without an identifier it gets one.
    pub(super) fn made(&self, kind: EntityKind, fields: Fields) -> Result<EntityRecord, Refusal> {
        let field = kind.id_field();
        let given = fields.0.get(field).map(|value| optional_text(value, field)).transpose()?.flatten();
        let id = given.filter(|id| !id.trim().is_empty()).unwrap_or_else(|| uuid::Uuid::now_v7().to_string());
        if self.directory.get(kind, &id).is_some() {
            return Err(taken(kind, &id));
        }
        if kind != EntityKind::Budget {
            self.check_budget_id(&fields)?;
        }
        let now = Timestamp::now();
        let mut record = EntityRecord::new(kind, id, now);
        apply(fields, &mut record, now)?;
        Ok(record)
    }

    /// The entity that a request names, with the request's fields, not kept yet.
    pub(super) fn changed(&self, kind: EntityKind, fields: Fields) -> Result<EntityRecord, Refusal> {
        let mut record = EntityRecord::clone(&*self.entity(kind, fields.required(kind.id_field())?)?);
        self.check_budget_id(&fields)?;
        apply(fields, &mut record, Timestamp::now())?;
        Ok(record)
    }

    /// A budget that a request refers to must be there: LiteLLM's database refuses it as well.
    pub(super) fn check_budget_id(&self, fields: &Fields) -> Result<(), Refusal> {
        match fields.text("budget_id") {
            Some(id) if self.directory.budget(id).is_none() => Err(bad(
                format!("Budget not found, passed budget_id={id}. Make it with /budget/new"),
                Some("budget_id"),
            )),
            _ => Ok(()),
        }
    }

    /// Keeps an entity, and puts it in force.
    pub(super) async fn keep(&self, record: &EntityRecord) -> Result<(), LedgerError> {
        self.ledger.put_entity(record.clone()).await?;
        self.refresh_directory().await
    }

    /// Forgets entities that must all be there, and the keys that belong to them.
    pub(super) async fn forget(&self, kind: EntityKind, ids: &[String]) -> Result<(), Refusal> {
        for id in ids {
            self.entity(kind, id)?;
        }
        let orphans = self.keyring.all().into_iter().filter(|key| ids.iter().any(|id| belongs(key, kind, id)));
        let orphans = orphans.map(|key| key.token).collect();
        self.ledger.delete_entities(kind, ids.to_vec(), orphans).await?;
        self.refresh_directory().await?;
        Ok(self.refresh().await?)
    }

    /// Reads the stored entities into the snapshot.
    pub(super) async fn refresh_directory(&self) -> Result<(), LedgerError> {
        self.directory.replace(self.ledger.entities().await?);
        (self.changed.0)();
        Ok(())
    }

    /// An entity as LiteLLM shows it.
    pub(super) async fn show_entity(&self, record: &EntityRecord) -> Result<Map<String, Value>, LedgerError> {
        Ok(self.entity_row(record, &self.ledger.totals().await?))
    }

    /// Several entities as LiteLLM shows them.
    pub(super) async fn show_entities(
        &self,
        records: impl IntoIterator<Item = Arc<EntityRecord>>,
    ) -> Result<Vec<Map<String, Value>>, LedgerError> {
        let totals = self.ledger.totals().await?;
        Ok(records.into_iter().map(|record| self.entity_row(&record, &totals)).collect())
    }

    fn entity_row(&self, record: &EntityRecord, totals: &Totals) -> Map<String, Value> {
        let nobody_set = LIMITS.iter().chain(always_shown(record.kind));
        let mut row: Map<String, Value> = nobody_set.map(|(name, value)| ((*name).to_owned(), value())).collect();
        row.extend(record.fields.clone());
        row.insert(record.kind.id_field().into(), record.id.clone().into());
        row.insert("created_at".into(), record.created_at.to_string().into());
        row.insert("updated_at".into(), record.updated_at.to_string().into());
        if record.kind != EntityKind::Budget {
            row.insert("blocked".into(), record.blocked.into());
            row.insert("models".into(), json!(record.models));
            row.insert("spend".into(), record.kind.scope(&record.id).map(|scope| totals.of(&scope).dollars()).into());
            let budget = record.text("budget_id").and_then(|id| self.directory.budget(id));
            row.insert("litellm_budget_table".into(), json!(budget.map(|budget| self.entity_row(&budget, totals))));
        }
        limits::warn(&record.fields, &mut row);
        row
    }

    /// The keys of a team or a user, the oldest first.
    pub(super) fn keys_of(&self, kind: EntityKind, id: &str) -> Vec<Arc<KeyRecord>> {
        let mut keys = self.keyring.all();
        keys.retain(|key| belongs(key, kind, id));
        keys.sort_by_key(|key| (key.created_at, key.token));
        keys
    }

    /// The same as LiteLLM shows them.
    pub(super) async fn show_keys_of(
        &self,
        kind: EntityKind,
        id: &str,
    ) -> Result<Vec<Map<String, Value>>, LedgerError> {
        let mut shown = Vec::new();
        for key in self.keys_of(kind, id) {
            shown.push(self.show_with_spend(&key).await?);
        }
        Ok(shown)
    }
}

fn belongs(key: &KeyRecord, kind: EntityKind, id: &str) -> bool {
    match kind {
        EntityKind::Team => key.team_id.as_deref() == Some(id),
        EntityKind::User => key.user_id.as_deref() == Some(id),
        EntityKind::Budget | EntityKind::Tag | EntityKind::Customer => false,
    }
}

/// LiteLLM's words, which scripts look for.
pub(super) fn not_found(kind: EntityKind, id: &str) -> Refusal {
    Refusal::NotFound(match kind {
        EntityKind::Team => format!("Team not found, passed team id: {id}. Make it with /team/new"),
        EntityKind::User => format!("User {id} not found. Make it with /user/new"),
        EntityKind::Budget => format!("Budget not found, passed budget_id={id}. Make it with /budget/new"),
        EntityKind::Tag => format!("Tag {id} not found. Make it with /tag/new"),
        EntityKind::Customer => format!("End User Id(s)={id} do not exist in db. Make it with /customer/new"),
    })
}

fn taken(kind: EntityKind, id: &str) -> Refusal {
    let message = match kind {
        EntityKind::Team => format!("Team id = {id} already exists. Please use a different team id."),
        EntityKind::User => format!("User already exists, passed user_id={id}. Please pass a new user_id."),
        EntityKind::Budget => format!("Budget {id} already exists. Please use a different budget_id."),
        EntityKind::Tag => format!("Tag {id} already exists"),
        EntityKind::Customer => format!("Customer already exists, passed user_id={id}. Please pass a new user_id."),
    };
    bad(message, Some(kind.id_field()))
}
