//! `/user/*`, with LiteLLM's shapes.

use jiff::Timestamp;
use serde::Deserialize;
use serde_json::{Value, json};

use super::entities::apply;
use super::fields::{Fields, bad};
use super::key_request::KeyRequest;
use super::keys::{mint, show_new};
use super::order::{Order, Question};
use super::{Handled, json as answer};
use crate::auth::{EntityKind, EntityRecord};

/// What of a new user's fields is also his first key's. His limits are his, not the key's: each call counts in both.
const OF_THE_KEY: [&str; 14] = [
    "aliases",
    "allowed_routes",
    "config",
    "duration",
    "guardrails",
    "host",
    "key",
    "key_alias",
    "key_type",
    "metadata",
    "models",
    "permissions",
    "team_id",
    "user_id",
];

#[derive(Deserialize)]
pub(super) struct InfoQuery {
    user_id: Option<String>,
}

#[derive(Deserialize)]
pub(super) struct ListQuery {
    page: Option<usize>,
    page_size: Option<usize>,
    user_ids: Option<String>,
    user_email: Option<String>,
    role: Option<String>,
}

pub(super) async fn new(Order { admin, fields }: Order) -> Handled {
    let with_key = fields.0.get("auto_create_key").and_then(Value::as_bool).unwrap_or(true);
    let mut of_key = fields.only(&OF_THE_KEY);
    let _changing = admin.changing.lock().await;
    let record = admin.made(EntityKind::User, without_key(fields))?;
    if !with_key {
        admin.keep(&record).await?;
        return Ok(answer(&admin.show_entity(&record).await?.into()));
    }
    of_key.0.insert("user_id".into(), record.id.clone().into());
    let (key, key_record) = mint(&admin, KeyRequest::from(of_key))?;
    admin.ledger.put_entity_with_key(record.clone(), key_record.clone()).await?;
    admin.refresh_directory().await?;
    admin.refresh().await?;
    let mut shown = show_new(&key, &key_record);
    shown.extend(admin.show_entity(&record).await?);
    Ok(answer(&shown.into()))
}

/// A user that is not there is made, as in LiteLLM.
pub(super) async fn update(Order { admin, mut fields }: Order) -> Handled {
    let _changing = admin.changing.lock().await;
    let known = match (fields.text("user_id"), fields.text("user_email")) {
        (Some(id), _) => admin.directory.user(id),
        (None, Some(email)) => {
            let users = admin.directory.all(EntityKind::User);
            users.into_iter().find(|user| user.text("user_email") == Some(email))
        }
        (None, None) => return Err(bad("name the user: user_id or user_email".into(), Some("user_id")).into()),
    };
    let record = match known {
        Some(user) => {
            admin.check_budget_id(&fields)?;
            let mut record = EntityRecord::clone(&*user);
            fields.0.remove("user_id");
            apply(without_key(fields), &mut record, Timestamp::now())?;
            record
        }
        None => admin.made(EntityKind::User, without_key(fields))?,
    };
    admin.keep(&record).await?;
    Ok(answer(&json!({ "user_id": record.id, "data": admin.show_entity(&record).await? })))
}

/// The user's keys go with him, as in LiteLLM, which answers how many users there were.
pub(super) async fn delete(Order { admin, fields }: Order) -> Handled {
    let ids = fields.required_texts("user_ids")?;
    let _changing = admin.changing.lock().await;
    admin.forget(EntityKind::User, &ids).await?;
    Ok(answer(&json!(ids.len())))
}

pub(super) async fn info(question: Question<InfoQuery>) -> Handled {
    let id = question.query.user_id.clone().or_else(|| question.caller.key.user().map(str::to_owned));
    let id = id.ok_or_else(|| bad("name a user: /user/info?user_id=…".into(), Some("user_id")))?;
    question.of_administrator_or(|key| key.user_id.as_deref() == Some(id.as_str()))?;
    let admin = question.admin;
    let user = admin.entity(EntityKind::User, &id)?;
    let in_team = |team: &EntityRecord| {
        let members = team.fields.get("members_with_roles").and_then(Value::as_array);
        members.into_iter().flatten().any(|member| member["user_id"] == id.as_str())
    };
    let mut teams = admin.directory.all(EntityKind::Team);
    teams.retain(|team| in_team(team));
    Ok(answer(&json!({
        "user_id": id,
        "user_info": admin.show_entity(&user).await?,
        "keys": admin.show_keys_of(EntityKind::User, &id).await?,
        "teams": admin.show_entities(teams).await?,
    })))
}

pub(super) async fn list(question: Question<ListQuery>) -> Handled {
    let (admin, query) = question.of_administrator()?;
    let mut users = admin.directory.all(EntityKind::User);
    let fits = |wanted: &Option<String>, value: Option<&str>| wanted.as_deref().is_none_or(|w| Some(w) == value);
    users.retain(|user| {
        query.user_ids.as_deref().is_none_or(|ids| ids.split(',').any(|id| id.trim() == user.id))
            && fits(&query.user_email, user.text("user_email"))
            && fits(&query.role, user.text("user_role"))
    });
    let (page, size) = (query.page.unwrap_or(1).max(1), query.page_size.unwrap_or(25).clamp(1, 100));
    let total = users.len();
    let mut rows = admin.show_entities(users.into_iter().skip((page - 1).saturating_mul(size)).take(size)).await?;
    for row in &mut rows {
        let count = row.get("user_id").and_then(Value::as_str).map(|id| admin.keys_of(EntityKind::User, id).len());
        row.insert("key_count".into(), json!(count));
    }
    Ok(answer(&json!({
        "users": rows, "total": total, "page": page, "page_size": size, "total_pages": total.div_ceil(size),
    })))
}

/// The alias names the key, not the user.
fn without_key(mut fields: Fields) -> Fields {
    fields.0.remove("key_alias");
    fields
}
