//! A host changes its own key. Step by step, so that it has a key that works whenever it is cut off: the gateway makes a new one
//! while the old one stays, the host stores it, and only when the host shows the new one does the old one come to its end.

use std::sync::Arc;

use axum::body::Bytes;
use axum::extract::{Extension, State};
use axum::http::HeaderMap;
use fleetgate_wire::ExposeSecret;
use fleetgate_wire::header;
use fleetgate_wire::virtual_key::{KeyHash, VirtualKey};
use jiff::Timestamp;
use serde_json::json;

use super::caller::Peer;
use super::fields::{Fields, bad};
use super::{Admin, Handled, duration, json as answer};
use crate::auth::{CallerKey, KeyRecord};
use crate::respond::Refusal;

/// How long a key that was replaced is still good, unless its host says otherwise: programs may hold it.
const DEFAULT_GRACE: &str = "10m";

/// A new key with the settings, the name and the account of the one that is shown.
pub(super) async fn rotate(
    State(admin): State<Arc<Admin>>,
    Extension(peer): Extension<Peer>,
    headers: HeaderMap,
) -> Handled {
    let _changing = admin.changing.lock().await;
    let mut old = shown_key(&admin, peer, &headers)?;
    let now = Timestamp::now();
    if old.replaced_by.is_some() {
        return Err(
            Refusal::KeyChange("this key has been replaced already; use the one that replaced it".into()).into()
        );
    }
    let mut keep = Vec::new();
    let mut forget = pending_for(&admin, &old);
    if old.replaces.is_some() {
        // It was stored, or nobody could show it; only its confirmation was lost.
        forget.extend(settle(&admin, &mut old, DEFAULT_GRACE, now, &mut keep)?);
        keep.push(old.clone());
    }
    let key = VirtualKey::mint().map_err(|error| bad(format!("no randomness to make a key of: {error}"), None))?;
    let new = KeyRecord {
        token: key.hash(),
        key_name: key.short_name(),
        account: Some(old.account()),
        replaces: Some(old.token),
        created_at: now,
        updated_at: now,
        ..old.clone()
    };
    keep.push(new);
    admin.ledger.replace_keys(forget, keep).await?;
    admin.refresh().await?;
    Ok(answer(&json!({ "key": key.expose_secret(), "key_alias": old.key_alias, "host": old.host })))
}

/// The host shows its new key: it is stored, and the one before comes to its end.
pub(super) async fn confirm(
    State(admin): State<Arc<Admin>>,
    Extension(peer): Extension<Peer>,
    headers: HeaderMap,
    body: Bytes,
) -> Handled {
    let _changing = admin.changing.lock().await;
    let mut new = shown_key(&admin, peer, &headers)?;
    let fields = Fields::read(&body)?;
    let grace = fields.text("grace").unwrap_or(DEFAULT_GRACE);
    let now = Timestamp::now();
    let mut ends_at = None;
    if new.replaces.is_some() {
        let mut keep = Vec::new();
        let forget = settle(&admin, &mut new, grace, now, &mut keep)?;
        ends_at = keep.first().and_then(|old: &KeyRecord| old.expires);
        keep.push(new.clone());
        admin.ledger.replace_keys(forget, keep).await?;
        admin.refresh().await?;
    }
    Ok(answer(&json!({ "key_alias": new.key_alias, "host": new.host, "old_key_ends_at": ends_at })))
}

/// The host could not store its new key: it goes, and nothing has changed.
pub(super) async fn discard(
    State(admin): State<Arc<Admin>>,
    Extension(peer): Extension<Peer>,
    headers: HeaderMap,
) -> Handled {
    let _changing = admin.changing.lock().await;
    let key = shown_key(&admin, peer, &headers)?;
    if key.replaced_by.is_some() {
        return Err(Refusal::KeyChange("this key has been replaced; it ends by itself".into()).into());
    }
    admin.ledger.delete_keys(vec![key.token]).await?;
    admin.refresh().await?;
    Ok(answer(&json!({ "discarded": key.token })))
}

/// Gives the new key its name, and the old one its end. What remains to be kept of the old one goes into `keep`, before the new.
fn settle(
    admin: &Admin,
    new: &mut KeyRecord,
    grace: &str,
    now: Timestamp,
    keep: &mut Vec<KeyRecord>,
) -> Result<Vec<KeyHash>, Refusal> {
    let Some(old) = new.replaces.take().and_then(|hash| admin.keyring.get(&hash)) else { return Ok(Vec::new()) };
    new.updated_at = now;
    if new.account() != old.account() {
        // An invitation's key is a new account: nobody rotates, a machine starts again.
        return Ok(vec![old.token]);
    }
    let ends = match grace {
        "0" | "0s" => return Ok(vec![old.token]),
        grace => duration::from_now(grace, now).map_err(|error| bad(error.to_string(), Some("grace")))?,
    };
    // What was changed meanwhile was changed on the old one.
    let (token, key_name, created_at) = (new.token, new.key_name.clone(), new.created_at);
    *new = KeyRecord {
        token,
        key_name,
        created_at,
        account: Some(old.account()),
        updated_at: now,
        ..KeyRecord::clone(&old)
    };
    let mut old = KeyRecord::clone(&old);
    old.expires = Some(old.expires.map_or(ends, |expires| expires.min(ends)));
    old.replaced_by = Some(token);
    keep.push(old);
    Ok(Vec::new())
}

/// Keys that were to replace this one and never did.
pub(super) fn pending_for(admin: &Admin, old: &KeyRecord) -> Vec<KeyHash> {
    let keys = admin.keyring.all().into_iter();
    keys.filter(|key| key.replaces == Some(old.token)).map(|key| key.token).collect()
}

/// Whoever may call through a sidecar must not get the key with which it calls.
pub(super) fn not_through_a_sidecar(headers: &HeaderMap) -> Result<(), Refusal> {
    if headers.contains_key(header::SIDECAR) {
        return Err(Refusal::ThroughSidecar);
    }
    Ok(())
}

fn shown_key(admin: &Admin, peer: Peer, headers: &HeaderMap) -> Result<KeyRecord, Refusal> {
    not_through_a_sidecar(headers)?;
    match admin.caller(peer, headers)?.key {
        CallerKey::Virtual(record) => Ok(KeyRecord::clone(&record)),
        CallerKey::Master => Err(bad("the master key is set in the gateway's configuration".into(), Some("key"))),
    }
}
