//! `/team/*`, with LiteLLM's shapes.

use jiff::Timestamp;
use serde::Deserialize;
use serde_json::{Value, json};

use super::fields::bad;
use super::order::{Order, Question};
use super::{Handled, json as answer};
use crate::auth::{EntityKind, EntityRecord};
use crate::respond::Refusal;

const MEMBERS: &str = "members_with_roles";

#[derive(Deserialize)]
pub(super) struct InfoQuery {
    team_id: Option<String>,
}

#[derive(Deserialize)]
pub(super) struct ListQuery {
    user_id: Option<String>,
}

pub(super) async fn new(Order { admin, fields }: Order) -> Handled {
    let _changing = admin.changing.lock().await;
    let record = admin.made(EntityKind::Team, fields)?;
    admin.keep(&record).await?;
    Ok(answer(&admin.show_entity(&record).await?.into()))
}

pub(super) async fn update(Order { admin, fields }: Order) -> Handled {
    let _changing = admin.changing.lock().await;
    let record = admin.changed(EntityKind::Team, fields)?;
    admin.keep(&record).await?;
    Ok(answer(&json!({ "team_id": record.id, "data": admin.show_entity(&record).await? })))
}

/// The team's keys go with it, as in LiteLLM.
pub(super) async fn delete(Order { admin, fields }: Order) -> Handled {
    let ids = fields.required_texts("team_ids")?;
    let _changing = admin.changing.lock().await;
    admin.forget(EntityKind::Team, &ids).await?;
    Ok(answer(&json!({ "deleted_teams": ids })))
}

pub(super) async fn info(question: Question<InfoQuery>) -> Handled {
    let id = question.query.team_id.clone();
    let id = id.ok_or_else(|| bad("name a team: /team/info?team_id=…".into(), Some("team_id")))?;
    question.of_administrator_or(|key| key.team_id.as_deref() == Some(id.as_str()))?;
    let admin = question.admin;
    let team = admin.entity(EntityKind::Team, &id)?;
    let (shown, keys) = (admin.show_entity(&team).await?, admin.show_keys_of(EntityKind::Team, &id).await?);
    Ok(answer(&json!({ "team_id": id, "team_info": shown, "keys": keys, "team_memberships": [] })))
}

pub(super) async fn list(question: Question<ListQuery>) -> Handled {
    let (admin, query) = question.of_administrator()?;
    let mut teams = admin.directory.all(EntityKind::Team);
    if let Some(user) = query.user_id {
        teams.retain(|team| members(team).iter().any(|member| is(member, "user_id", &user)));
    }
    let mut rows = admin.show_entities(teams).await?;
    for row in &mut rows {
        let id = row.get("team_id").and_then(Value::as_str).unwrap_or_default();
        let keys = admin.show_keys_of(EntityKind::Team, id).await?;
        row.insert("keys".into(), json!(keys));
    }
    Ok(answer(&json!(rows)))
}

pub(super) async fn block(order: Order) -> Handled {
    set_blocked(order, true).await
}

pub(super) async fn unblock(order: Order) -> Handled {
    set_blocked(order, false).await
}

async fn set_blocked(Order { admin, fields }: Order, blocked: bool) -> Handled {
    let _changing = admin.changing.lock().await;
    let mut record = EntityRecord::clone(&*admin.entity(EntityKind::Team, fields.required("team_id")?)?);
    record.blocked = blocked;
    record.updated_at = Timestamp::now();
    admin.keep(&record).await?;
    Ok(answer(&admin.show_entity(&record).await?.into()))
}

/// `member` is one or a list of `{role, user_id}` or `{role, user_email}`.
pub(super) async fn member_add(Order { admin, fields }: Order) -> Handled {
    let new = match fields.0.get("member") {
        Some(Value::Array(members)) => members.clone(),
        Some(member @ Value::Object(_)) => vec![member.clone()],
        _ => return Err(bad("member must be an object or a list of objects".into(), Some("member")).into()),
    };
    if new.iter().any(|member| name_of(member).is_none()) {
        return Err(bad("each member needs a user_id or a user_email".into(), Some("member")).into());
    }
    let _changing = admin.changing.lock().await;
    let mut record = EntityRecord::clone(&*admin.entity(EntityKind::Team, fields.required("team_id")?)?);
    let mut all = members(&record).to_vec();
    for member in new {
        let (field, name) = name_of(&member).unwrap_or_default();
        if all.iter().any(|known| is(known, field, name)) {
            let message = format!("{name} is in team {} already", record.id);
            return Err(bad(message, Some("member")).into());
        }
        all.push(member);
    }
    store_members(&admin, &mut record, all).await
}

pub(super) async fn member_delete(Order { admin, fields }: Order) -> Handled {
    let whom = Value::Object(fields.0.clone());
    let (field, name) =
        name_of(&whom).ok_or_else(|| bad("name the member: user_id or user_email".into(), Some("user_id")))?;
    let _changing = admin.changing.lock().await;
    let mut record = EntityRecord::clone(&*admin.entity(EntityKind::Team, fields.required("team_id")?)?);
    let (gone, left): (Vec<Value>, _) = members(&record).iter().cloned().partition(|known| is(known, field, name));
    if gone.is_empty() {
        return Err(Refusal::NotFound(format!("{name} is not in team {}", record.id)).into());
    }
    store_members(&admin, &mut record, left).await
}

async fn store_members(admin: &super::Admin, record: &mut EntityRecord, members: Vec<Value>) -> Handled {
    record.fields.insert(MEMBERS.into(), members.into());
    record.updated_at = Timestamp::now();
    admin.keep(record).await?;
    let mut shown = admin.show_entity(record).await?;
    shown.insert("updated_users".into(), json!([]));
    shown.insert("updated_team_memberships".into(), json!([]));
    Ok(answer(&shown.into()))
}

fn members(team: &EntityRecord) -> &[Value] {
    team.fields.get(MEMBERS).and_then(Value::as_array).map_or(&[], Vec::as_slice)
}

/// What names a member, and how.
fn name_of(member: &Value) -> Option<(&'static str, &str)> {
    ["user_id", "user_email"].into_iter().find_map(|field| Some((field, member.get(field)?.as_str()?)))
}

fn is(member: &Value, field: &str, name: &str) -> bool {
    member.get(field).and_then(Value::as_str) == Some(name)
}
