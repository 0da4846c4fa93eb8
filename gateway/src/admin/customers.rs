//! `/customer/*` and `/end_user/*`, with LiteLLM's shapes. A customer is whom a request names in its `user` field.

use jiff::Timestamp;
use serde::Deserialize;
use serde_json::{Map, Value, json};

use super::order::{Order, Question};
use super::{Admin, Handled, json as answer};
use crate::auth::{EntityKind, EntityRecord};

const KIND: EntityKind = EntityKind::Customer;

#[derive(Deserialize)]
pub(super) struct InfoQuery {
    end_user_id: String,
}

#[derive(Deserialize)]
pub(super) struct ListQuery {}

pub(super) async fn new(Order { admin, fields }: Order) -> Handled {
    fields.required("user_id")?;
    let _changing = admin.changing.lock().await;
    let record = admin.made(KIND, fields)?;
    admin.keep(&record).await?;
    Ok(answer(&admin.show_entity(&record).await?.into()))
}

pub(super) async fn update(Order { admin, fields }: Order) -> Handled {
    let _changing = admin.changing.lock().await;
    let record = admin.changed(KIND, fields)?;
    admin.keep(&record).await?;
    Ok(answer(&admin.show_entity(&record).await?.into()))
}

pub(super) async fn info(question: Question<InfoQuery>) -> Handled {
    let (admin, query) = question.of_administrator()?;
    let customer = admin.entity(KIND, &query.end_user_id)?;
    Ok(answer(&admin.show_entity(&customer).await?.into()))
}

pub(super) async fn list(question: Question<ListQuery>) -> Handled {
    let (admin, _) = question.of_administrator()?;
    Ok(answer(&json!(admin.show_entities(admin.directory.all(KIND)).await?)))
}

pub(super) async fn delete(Order { admin, fields }: Order) -> Handled {
    let ids = fields.required_texts("user_ids")?;
    let _changing = admin.changing.lock().await;
    admin.forget(KIND, &ids).await?;
    let quoted: Vec<String> = ids.iter().map(|id| format!("'{id}'")).collect();
    let message = format!("Successfully deleted customers with ids: [{}]", quoted.join(", "));
    Ok(answer(&json!({ "deleted_customers": ids.len(), "message": message })))
}

/// Who is not known yet is known from then on: blocked before his first call.
pub(super) async fn block(Order { admin, fields }: Order) -> Handled {
    let ids = fields.required_texts("user_ids")?;
    Ok(answer(&json!({ "blocked_users": set_blocked(&admin, &ids, true).await? })))
}

pub(super) async fn unblock(Order { admin, fields }: Order) -> Handled {
    let ids = fields.required_texts("user_ids")?;
    set_blocked(&admin, &ids, false).await?;
    let blocked = admin.directory.all(KIND).into_iter().filter(|customer| customer.blocked);
    let blocked: Vec<Value> = blocked.map(|customer| customer.id.clone().into()).collect();
    Ok(answer(&json!({ "blocked_users": blocked })))
}

async fn set_blocked(
    admin: &Admin,
    ids: &[String],
    blocked: bool,
) -> Result<Vec<Map<String, Value>>, crate::ledger::LedgerError> {
    let _changing = admin.changing.lock().await;
    let now = Timestamp::now();
    let mut shown = Vec::new();
    for id in ids {
        let known = admin.directory.customer(id).map(|customer| EntityRecord::clone(&customer));
        let mut record = known.unwrap_or_else(|| EntityRecord::new(KIND, id.clone(), now));
        record.blocked = blocked;
        record.updated_at = now;
        admin.keep(&record).await?;
        shown.push(admin.show_entity(&record).await?);
    }
    Ok(shown)
}
