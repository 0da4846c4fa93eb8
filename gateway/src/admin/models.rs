//! `GET /v1/models`, in the caller's dialect.

use std::sync::Arc;

use axum::extract::{Extension, Path, State};
use axum::http::HeaderMap;
use serde_json::{Value, json};

use super::caller::Peer;
use super::{Admin, Handled, json as answer};
use crate::admit::reaches;
use crate::auth::CallerKey;
use crate::respond::Refusal;

/// LiteLLM's constant: nobody knows when a model was made.
const CREATED: u64 = 1_677_610_602;
const CREATED_TEXT: &str = "2023-02-28T18:56:42Z";

pub(super) async fn list(
    State(admin): State<Arc<Admin>>,
    Extension(peer): Extension<Peer>,
    headers: HeaderMap,
) -> Handled {
    let names = admin.names(peer, &headers)?;
    if headers.contains_key("anthropic-version") {
        let data: Vec<Value> = names.iter().map(|name| anthropic_item(name)).collect();
        let (first, last) = (names.first(), names.last());
        return Ok(answer(&json!({ "data": data, "has_more": false, "first_id": first, "last_id": last })));
    }
    let data: Vec<Value> = names.iter().map(|name| openai_item(name)).collect();
    Ok(answer(&json!({ "object": "list", "data": data })))
}

pub(super) async fn one(
    State(admin): State<Arc<Admin>>,
    Extension(peer): Extension<Peer>,
    headers: HeaderMap,
    Path(id): Path<String>,
) -> Handled {
    let caller = admin.caller(peer, &headers)?;
    if !admin.is_reached(&caller.key, &id) {
        return Err(Refusal::NotFound(format!("no model {id}; GET /v1/models lists what there is")).into());
    }
    let item = if headers.contains_key("anthropic-version") { anthropic_item(&id) } else { openai_item(&id) };
    Ok(answer(&item))
}

impl Admin {
    /// The public names that the caller's key may use. Wildcards are no models and are not listed.
    fn names(&self, peer: Peer, headers: &HeaderMap) -> Result<Vec<String>, Refusal> {
        let caller = self.caller(peer, headers)?;
        let deployments = self.models.deployments().iter().map(|deployment| deployment.model_name.clone());
        let mut names: Vec<String> = deployments.chain(self.models.aliases().keys().cloned()).collect();
        let mut seen = std::collections::HashSet::new();
        names.retain(|name| !name.contains('*') && seen.insert(name.clone()));
        names.retain(|name| self.is_reached(&caller.key, name));
        Ok(names)
    }

    /// Whether a call of this model with this key would be served.
    fn is_reached(&self, key: &CallerKey, name: &str) -> bool {
        let Ok(group) = self.models.find(name) else { return false };
        let deployments = group.choices.iter().map(|choice| &*choice.deployment);
        match key {
            CallerKey::Virtual(record) => reaches(&record.models, name, &group.name, deployments),
            CallerKey::Master => true,
        }
    }
}

fn openai_item(name: &str) -> Value {
    json!({ "id": name, "object": "model", "created": CREATED, "owned_by": "openai" })
}

fn anthropic_item(name: &str) -> Value {
    json!({ "type": "model", "id": name, "display_name": name, "created_at": CREATED_TEXT })
}
