//! `/key/*` about several keys at once, and about the caller's own.

use std::sync::Arc;

use axum::extract::{Extension, State};
use axum::http::HeaderMap;
use jiff::Timestamp;
use serde::Deserialize;
use serde_json::{Value, json};

use super::caller::Peer;
use super::fields::{Fields, bad};
use super::key_request::KeyRequest;
use super::keys::hash_of;
use super::order::{Order, Question};
use super::{Admin, Handled, json as answer};
use crate::auth::KeyRecord;
use crate::respond::Refusal;

#[derive(Deserialize)]
pub(super) struct AliasesQuery {
    page: Option<usize>,
    size: Option<usize>,
    search: Option<String>,
}

/// The names of all keys that have one.
pub(super) async fn aliases(question: Question<AliasesQuery>) -> Handled {
    let (admin, query) = question.of_administrator()?;
    let mut aliases: Vec<String> = admin.keyring.all().iter().filter_map(|key| key.key_alias.clone()).collect();
    if let Some(search) = query.search.map(|search| search.to_lowercase()) {
        aliases.retain(|alias| alias.to_lowercase().contains(&search));
    }
    aliases.sort();
    let (page, size) = (query.page.unwrap_or(1).max(1), query.size.unwrap_or(50).clamp(1, 100));
    let total = aliases.len();
    let shown: Vec<String> = aliases.into_iter().skip((page - 1).saturating_mul(size)).take(size).collect();
    Ok(answer(&json!({
        "aliases": shown, "total_count": total, "current_page": page, "total_pages": total.div_ceil(size), "size": size,
    })))
}

/// Whoever can ask has a key that works.
pub(super) async fn health(
    State(admin): State<Arc<Admin>>,
    Extension(peer): Extension<Peer>,
    headers: HeaderMap,
) -> Handled {
    admin.caller(peer, &headers)?;
    Ok(answer(&json!({ "key": "healthy", "logging_callbacks": null })))
}

/// Those of the named keys that are there, as LiteLLM answers.
pub(super) async fn info(Order { admin, fields }: Order) -> Handled {
    let (keys, aliases) = (fields.texts("keys"), fields.texts("key_aliases"));
    if keys.is_empty() && aliases.is_empty() {
        return Err(bad("name keys: {\"keys\": [...]} or {\"key_aliases\": [...]}".into(), Some("keys")).into());
    }
    let by_text = keys.iter().filter_map(|key| admin.keyring.get(&hash_of(key)));
    let by_alias = aliases.iter().filter_map(|alias| admin.by_alias(alias).ok());
    let mut shown = Vec::new();
    for record in by_text.chain(by_alias) {
        shown.push(admin.show_with_spend(&record).await?);
    }
    let named = if keys.is_empty() { aliases } else { keys };
    Ok(answer(&json!({ "key": named, "info": shown })))
}

/// Each key is changed on its own: what fails says why and stops no other.
pub(super) async fn bulk_update(Order { admin, fields }: Order) -> Handled {
    let Some(changes) = fields.0.get("keys").and_then(Value::as_array).filter(|changes| !changes.is_empty()) else {
        return Err(bad("keys must be a list of objects, each with a key".into(), Some("keys")).into());
    };
    let _changing = admin.changing.lock().await;
    let (mut successful, mut failed) = (Vec::new(), Vec::new());
    for change in changes {
        let key = change.get("key").cloned().unwrap_or_default();
        match update(&admin, change).await {
            Ok(record) => {
                successful.push(json!({ "key": key, "key_info": admin.show_with_spend(&record).await? }));
            }
            Err(refusal) => failed.push(json!({ "key": key, "failed_reason": refusal.to_string() })),
        }
    }
    Ok(answer(&json!({
        "total_requested": changes.len(), "successful_updates": successful, "failed_updates": failed,
    })))
}

async fn update(admin: &Admin, change: &Value) -> Result<KeyRecord, Refusal> {
    let fields = change.as_object().cloned().map(Fields);
    let request = KeyRequest::from(fields.ok_or_else(|| bad("must be an object".into(), Some("keys")))?);
    admin.change_key(request, Timestamp::now()).await
}
