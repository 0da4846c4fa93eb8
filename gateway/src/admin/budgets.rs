//! `/budget/*`, with LiteLLM's shapes.

use serde::Deserialize;
use serde_json::{Value, json};

use super::order::{Order, Question};
use super::{Handled, json as answer};
use crate::auth::EntityKind;
use crate::respond::Refusal;

/// What can be set of a budget: the field, its type, and what it is for.
const SETTINGS: [(&str, &str, &str); 7] = [
    ("max_budget", "Float", "Calls are refused once the period's cost would pass this, in dollars"),
    ("soft_budget", "Float", "Passing this refuses nothing, in dollars"),
    ("budget_duration", "String", "How long a period is: 1d, 7d, 30d, 1mo …"),
    ("tpm_limit", "Integer", "Tokens a minute"),
    ("rpm_limit", "Integer", "Requests a minute"),
    ("max_parallel_requests", "Integer", "Requests at once"),
    ("model_max_budget", "Object", "Budgets of single models"),
];

#[derive(Deserialize)]
pub(super) struct SettingsQuery {
    budget_id: String,
}

#[derive(Deserialize)]
pub(super) struct ListQuery {}

pub(super) async fn new(Order { admin, fields }: Order) -> Handled {
    let _changing = admin.changing.lock().await;
    let record = admin.made(EntityKind::Budget, fields)?;
    admin.keep(&record).await?;
    Ok(answer(&admin.show_entity(&record).await?.into()))
}

pub(super) async fn update(Order { admin, fields }: Order) -> Handled {
    let _changing = admin.changing.lock().await;
    let record = admin.changed(EntityKind::Budget, fields)?;
    admin.keep(&record).await?;
    Ok(answer(&admin.show_entity(&record).await?.into()))
}

/// Those of the named budgets that are there, as LiteLLM answers.
pub(super) async fn info(Order { admin, fields }: Order) -> Handled {
    let ids = fields.required_texts("budgets")?;
    let found = ids.iter().filter_map(|id| admin.directory.budget(id));
    Ok(answer(&json!(admin.show_entities(found).await?)))
}

pub(super) async fn list(question: Question<ListQuery>) -> Handled {
    let (admin, _) = question.of_administrator()?;
    Ok(answer(&json!(admin.show_entities(admin.directory.all(EntityKind::Budget)).await?)))
}

pub(super) async fn settings(question: Question<SettingsQuery>) -> Handled {
    let (admin, query) = question.of_administrator()?;
    let budget = admin.entity(EntityKind::Budget, &query.budget_id)?;
    let shown = SETTINGS.iter().map(|(name, kind, description)| {
        let value = budget.fields.get(*name);
        json!({
            "field_name": name, "field_type": kind, "field_description": description, "field_value": value,
            "stored_in_db": value.is_some(), "field_default_value": null,
        })
    });
    Ok(answer(&shown.collect::<Value>()))
}

/// A budget that something refers to stays: without it the limits of those who do would silently be gone.
pub(super) async fn delete(Order { admin, fields }: Order) -> Handled {
    let id = fields.required("id")?.to_owned();
    let _changing = admin.changing.lock().await;
    let budget = admin.entity(EntityKind::Budget, &id)?;
    let of_key = admin.keyring.all().into_iter().find(|key| key.other.get("budget_id") == Some(&json!(id)));
    let kinds = [EntityKind::Team, EntityKind::User, EntityKind::Tag, EntityKind::Customer];
    let mut entities = kinds.into_iter().flat_map(|kind| admin.directory.all(kind));
    let holder = match of_key {
        Some(key) => Some(format!("key {}", key.key_alias.as_deref().unwrap_or(&key.key_name))),
        None => entities
            .find(|entity| entity.text("budget_id") == Some(id.as_str()))
            .map(|entity| format!("{} {}", entity.kind, entity.id)),
    };
    if let Some(holder) = holder {
        let message = format!("budget {id} still limits {holder}; give that another budget_id first");
        return Err(Refusal::BadRequest { message, param: Some("id") }.into());
    }
    let shown = admin.show_entity(&budget).await?;
    admin.forget(EntityKind::Budget, &[id]).await?;
    Ok(answer(&shown.into()))
}
