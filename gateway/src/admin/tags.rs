//! `/tag/*`, with LiteLLM's shapes.

use serde::Deserialize;
use serde_json::{Map, Value, json};

use super::entities::not_found;
use super::order::{Order, Question};
use super::{Handled, json as answer};
use crate::auth::EntityKind;

#[derive(Deserialize)]
pub(super) struct ListQuery {}

pub(super) async fn new(Order { admin, fields }: Order) -> Handled {
    fields.required("name")?;
    let _changing = admin.changing.lock().await;
    let record = admin.made(EntityKind::Tag, fields)?;
    admin.keep(&record).await?;
    let message = format!("Tag {} created successfully", record.id);
    Ok(answer(&json!({ "message": message, "tag": admin.show_entity(&record).await? })))
}

pub(super) async fn update(Order { admin, fields }: Order) -> Handled {
    let _changing = admin.changing.lock().await;
    let record = admin.changed(EntityKind::Tag, fields)?;
    admin.keep(&record).await?;
    let message = format!("Tag {} updated successfully", record.id);
    Ok(answer(&json!({ "message": message, "tag": admin.show_entity(&record).await? })))
}

/// `{names: […]}` to a map by name.
pub(super) async fn info(Order { admin, fields }: Order) -> Handled {
    let names = fields.required_texts("names")?;
    let mut shown = Map::new();
    for name in names {
        let record = admin.directory.tag(&name).ok_or_else(|| not_found(EntityKind::Tag, &name))?;
        shown.insert(name, Value::Object(admin.show_entity(&record).await?));
    }
    Ok(answer(&shown.into()))
}

pub(super) async fn list(question: Question<ListQuery>) -> Handled {
    let (admin, _) = question.of_administrator()?;
    Ok(answer(&json!(admin.show_entities(admin.directory.all(EntityKind::Tag)).await?)))
}

pub(super) async fn delete(Order { admin, fields }: Order) -> Handled {
    let name = fields.required("name")?.to_owned();
    let _changing = admin.changing.lock().await;
    admin.forget(EntityKind::Tag, std::slice::from_ref(&name)).await?;
    Ok(answer(&json!({ "message": format!("Tag {name} deleted successfully") })))
}
