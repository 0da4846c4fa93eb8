//! `/key/{key}/reset_spend`: a key begins to count anew.

use axum::extract::Path;
use fleetgate_wire::virtual_key::KeyHash;
use jiff::Timestamp;
use serde_json::{Value, json};
use uuid::Uuid;

use super::fields::bad;
use super::keys::hash_of;
use super::order::Order;
use super::{Handled, json as answer};
use crate::auth::KeyRecord;

/// Gives the key, and whichever waits to replace it, an account of its own from now on. Rows are never changed: those so far stay
/// with the account that paid for them, and all other scopes count on.
pub(super) async fn reset(Path(key): Path<String>, Order { admin, fields }: Order) -> Handled {
    if fields.0.get("reset_to").is_some_and(|to| to.as_f64() != Some(0.0)) {
        let message =
            "reset_to must be 0: a key's spend is the sum of its rows, which can begin anew but not be made up";
        return Err(bad(message.to_owned(), Some("reset_to")).into());
    }
    let _changing = admin.changing.lock().await;
    let now = Timestamp::now();
    let named = admin.find(&hash_of(&key))?;
    let account = KeyHash::digest(&format!("{}/{}", named.account(), Uuid::now_v7()));
    let same = admin.keyring.all().into_iter().filter(|key| key.account() == named.account());
    let changed: Vec<KeyRecord> = same
        .map(|key| {
            let mut key = KeyRecord::clone(&key);
            key.account = Some(account);
            key.updated_at = now;
            key.other.insert("spend_reset_at".to_owned(), json!(now));
            key
        })
        .collect();
    let shown = changed.iter().find(|key| key.token == named.token).cloned();
    admin.ledger.replace_keys(Vec::new(), changed).await?;
    admin.refresh().await?;
    let shown = admin.show_with_spend(&shown.unwrap_or_else(|| KeyRecord::clone(&named))).await?;
    Ok(answer(&Value::Object(shown)))
}
