//! `/key/*`, with LiteLLM's shapes.

use std::sync::Arc;

use axum::body::Bytes;
use axum::extract::{Extension, Query, State};
use axum::http::HeaderMap;
use fleetgate_wire::ExposeSecret;
use fleetgate_wire::money::NanoDollars;
use fleetgate_wire::virtual_key::{KeyHash, VirtualKey};
use jiff::Timestamp;
use serde::Deserialize;
use serde_json::{Map, Value, json};

use super::caller::Peer;
use super::fields::bad;
use super::key_request::KeyRequest;
use super::{Admin, Handled, json as answer, limits};
use crate::auth::{CallerKey, Denied, KeyRecord};
use crate::ledger::LedgerError;
use crate::respond::Refusal;

/// A field's name and its value where nobody set one.
type Shown = (&'static str, fn() -> Value);

/// Fields that LiteLLM answers even where nobody set them.
const ALWAYS_SHOWN: [Shown; 16] = [
    ("aliases", || json!({})),
    ("config", || json!({})),
    ("permissions", || json!({})),
    ("max_budget", || Value::Null),
    ("soft_budget", || Value::Null),
    ("budget_duration", || Value::Null),
    ("budget_id", || Value::Null),
    ("litellm_budget_table", || Value::Null),
    ("tpm_limit", || Value::Null),
    ("rpm_limit", || Value::Null),
    ("max_parallel_requests", || Value::Null),
    ("allowed_routes", || json!([])),
    ("key_type", || json!("default")),
    ("organization_id", || Value::Null),
    ("project_id", || Value::Null),
    ("created_by", || json!("default_user_id")),
];

#[derive(Deserialize)]
pub(super) struct InfoQuery {
    key: Option<String>,
}

#[derive(Deserialize)]
pub(super) struct ListQuery {
    page: Option<usize>,
    size: Option<usize>,
    key_alias: Option<String>,
    key_hash: Option<String>,
    user_id: Option<String>,
    team_id: Option<String>,
    #[serde(default, deserialize_with = "super::switch")]
    return_full_object: Option<bool>,
}

pub(super) async fn generate(
    State(admin): State<Arc<Admin>>,
    Extension(peer): Extension<Peer>,
    headers: HeaderMap,
    body: Bytes,
) -> Handled {
    admin.administrator(peer, &headers)?;
    let request = KeyRequest::read(&body)?;
    let _changing = admin.changing.lock().await;
    let (key, record) = mint(&admin, request)?;
    admin.ledger.insert_key(record.clone()).await?;
    admin.refresh().await?;
    Ok(answer(&show_new(&key, &record).into()))
}

/// A new key with a request's fields, not kept yet. A team or user that nobody has made is fine, as in LiteLLM: they are names.
pub(super) fn mint(admin: &Admin, request: KeyRequest) -> Result<(VirtualKey, KeyRecord), Refusal> {
    admin.check_budget_id(request.fields())?;
    let now = Timestamp::now();
    let key = match request.chosen_key()? {
        Some(key) => key,
        None => VirtualKey::mint().map_err(|error| bad(format!("no randomness to make a key of: {error}"), None))?,
    };
    if admin.keyring.get(&key.hash()).is_some() || admin.keyring.is_master(&key.hash()) {
        return Err(bad("this key exists already".into(), Some("key")));
    }
    let mut record = KeyRecord {
        token: key.hash(),
        key_name: key.short_name(),
        key_alias: None,
        host: None,
        user_id: None,
        team_id: None,
        models: Vec::new(),
        blocked: false,
        expires: None,
        metadata: Map::new(),
        account: None,
        replaces: None,
        replaced_by: None,
        created_at: now,
        updated_at: now,
        other: Map::new(),
    };
    request.apply(&mut record, now)?;
    Ok((key, record))
}

/// The only answer that holds the key's text.
pub(super) fn show_new(key: &VirtualKey, record: &KeyRecord) -> Map<String, Value> {
    let mut shown = show(record);
    shown.insert("key".into(), key.expose_secret().into());
    shown.insert("token_id".into(), record.token.to_string().into());
    shown.insert("spend".into(), 0.0.into());
    shown
}

pub(super) async fn info(
    State(admin): State<Arc<Admin>>,
    Extension(peer): Extension<Peer>,
    headers: HeaderMap,
    Query(query): Query<InfoQuery>,
) -> Handled {
    let caller = admin.caller(peer, &headers)?;
    let own = match &caller.key {
        CallerKey::Virtual(record) => Some(record.token),
        CallerKey::Master => None,
    };
    let asked = query.key.as_deref().map(hash_of);
    let hash = asked.or(own).ok_or_else(|| bad("name a key: /key/info?key=…".into(), Some("key")))?;
    if own.is_some_and(|own| own != hash) {
        return Err(Denied::NotAdmin { alias: caller.key.alias().to_owned() }.into());
    }
    let record = admin.find(&hash)?;
    let mut info = admin.show_with_spend(&record).await?;
    info.remove("token");
    // `spend` counts from the key's first day; what is left of a budget stands here.
    info.insert("budget_levels".into(), admin.levels_of(&record).await.into());
    Ok(answer(&json!({ "key": query.key.unwrap_or_else(|| hash.to_string()), "info": info })))
}

pub(super) async fn list(
    State(admin): State<Arc<Admin>>,
    Extension(peer): Extension<Peer>,
    headers: HeaderMap,
    Query(query): Query<ListQuery>,
) -> Handled {
    admin.administrator(peer, &headers)?;
    let fits =
        |wanted: &Option<String>, value: Option<&str>| wanted.as_deref().is_none_or(|wanted| Some(wanted) == value);
    let mut records = admin.keyring.all();
    records.retain(|record| {
        fits(&query.key_alias, record.key_alias.as_deref())
            && fits(&query.user_id, record.user_id.as_deref())
            && fits(&query.team_id, record.team_id.as_deref())
            && query.key_hash.as_deref().is_none_or(|hash| record.token.to_string() == hash)
    });
    records.sort_by(|one, other| other.created_at.cmp(&one.created_at).then(one.token.cmp(&other.token)));
    let (page, size) = (query.page.unwrap_or(1).max(1), query.size.unwrap_or(10).clamp(1, 100));
    let total = records.len();
    let mut keys = Vec::new();
    for record in records.into_iter().skip((page - 1).saturating_mul(size)).take(size) {
        keys.push(match query.return_full_object.unwrap_or(false) {
            true => admin.show_with_spend(&record).await?.into(),
            false => Value::from(record.token.to_string()),
        });
    }
    Ok(answer(&json!({
        "keys": keys, "total_count": total, "current_page": page, "total_pages": total.div_ceil(size),
    })))
}

pub(super) async fn update(
    State(admin): State<Arc<Admin>>,
    Extension(peer): Extension<Peer>,
    headers: HeaderMap,
    body: Bytes,
) -> Handled {
    admin.administrator(peer, &headers)?;
    let request = KeyRequest::read(&body)?;
    let _changing = admin.changing.lock().await;
    let record = admin.change_key(request, Timestamp::now()).await?;
    let mut shown = admin.show_with_spend(&record).await?;
    shown.insert("key".into(), record.token.to_string().into());
    Ok(answer(&shown.into()))
}

pub(super) async fn block(state: State<Arc<Admin>>, peer: Extension<Peer>, headers: HeaderMap, body: Bytes) -> Handled {
    set_blocked(state, peer, headers, &body, true).await
}

pub(super) async fn unblock(
    state: State<Arc<Admin>>,
    peer: Extension<Peer>,
    headers: HeaderMap,
    body: Bytes,
) -> Handled {
    set_blocked(state, peer, headers, &body, false).await
}

async fn set_blocked(
    State(admin): State<Arc<Admin>>,
    Extension(peer): Extension<Peer>,
    headers: HeaderMap,
    body: &[u8],
    blocked: bool,
) -> Handled {
    admin.administrator(peer, &headers)?;
    let _changing = admin.changing.lock().await;
    let mut record = KeyRecord::clone(&*admin.named(&KeyRequest::read(body)?)?);
    record.blocked = blocked;
    record.updated_at = Timestamp::now();
    // A key that waits to replace it, or that it replaced, is the same machine's.
    let mut all: Vec<KeyRecord> = admin.line_of(&record).iter().map(|key| KeyRecord::clone(key)).collect();
    all.iter_mut().for_each(|key| key.blocked = blocked);
    all.push(record.clone());
    admin.ledger.replace_keys(Vec::new(), all).await?;
    admin.refresh().await?;
    Ok(answer(&admin.show_with_spend(&record).await?.into()))
}

pub(super) async fn delete(
    State(admin): State<Arc<Admin>>,
    Extension(peer): Extension<Peer>,
    headers: HeaderMap,
    body: Bytes,
) -> Handled {
    admin.administrator(peer, &headers)?;
    let request = KeyRequest::read(&body)?;
    let (keys, aliases) = (request.texts("keys"), request.texts("key_aliases"));
    if keys.is_empty() && aliases.is_empty() {
        return Err(
            bad("name what to delete: {\"keys\": [...]} or {\"key_aliases\": [...]}".into(), Some("keys")).into()
        );
    }
    let _changing = admin.changing.lock().await;
    let mut hashes = Vec::new();
    for key in &keys {
        let record = admin.find(&hash_of(key))?;
        hashes.extend(admin.line_of(&record).iter().map(|key| key.token).chain([record.token]));
    }
    for alias in &aliases {
        let record = admin.by_alias(alias)?;
        hashes.extend(admin.line_of(&record).iter().map(|key| key.token).chain([record.token]));
    }
    admin.ledger.delete_keys(hashes).await?;
    admin.refresh().await?;
    let deleted: Vec<&String> = keys.iter().chain(&aliases).collect();
    Ok(answer(&json!({ "deleted_keys": deleted })))
}

impl Admin {
    /// Changes the key that a request names, while the caller holds [`Admin::changing`].
    pub(super) async fn change_key(&self, request: KeyRequest, now: Timestamp) -> Result<KeyRecord, Refusal> {
        let mut record = KeyRecord::clone(&*self.named(&request)?);
        self.check_budget_id(request.fields())?;
        request.apply(&mut record, now)?;
        self.store(&record).await?;
        Ok(record)
    }

    async fn store(&self, record: &KeyRecord) -> Result<(), LedgerError> {
        self.ledger.update_key(record.clone()).await?;
        self.refresh().await
    }

    /// Reads the stored keys into the snapshot.
    pub(super) async fn refresh(&self) -> Result<(), LedgerError> {
        self.keyring.replace(self.ledger.keys().await?);
        (self.changed.0)();
        Ok(())
    }

    /// The key that a request names by text, hash or alias.
    fn named(&self, request: &KeyRequest) -> Result<Arc<KeyRecord>, Refusal> {
        match (request.text("key"), request.text("key_alias")) {
            (Some(key), _) => self.find(&hash_of(key)),
            (None, Some(alias)) => self.by_alias(alias),
            (None, None) => Err(bad("name the key: {\"key\": \"…\"}".into(), Some("key"))),
        }
    }

    pub(super) fn find(&self, hash: &KeyHash) -> Result<Arc<KeyRecord>, Refusal> {
        self.keyring
            .get(hash)
            .ok_or_else(|| Refusal::NotFound(format!("Key not found in database: no key has the hash {hash}")))
    }

    pub(super) fn by_alias(&self, alias: &str) -> Result<Arc<KeyRecord>, Refusal> {
        let found = self.keyring.all().into_iter().find(|record| record.unique_alias() == Some(alias));
        found.ok_or_else(|| Refusal::NotFound(format!("Key not found in database: no key has the alias {alias}")))
    }

    /// The other keys that spend on a key's account, and those that are to replace it.
    fn line_of(&self, record: &KeyRecord) -> Vec<Arc<KeyRecord>> {
        let mut keys = self.keyring.all();
        keys.retain(|key| {
            key.token != record.token && (key.account() == record.account() || key.replaces == Some(record.token))
        });
        keys
    }

    pub(super) async fn show_with_spend(&self, record: &KeyRecord) -> Result<Map<String, Value>, LedgerError> {
        let spend = self.ledger.spend_of(&record.account().to_string()).await?;
        let mut shown = show(record);
        shown.insert("spend".into(), NanoDollars(spend.cost_nanousd).dollars().into());
        shown.insert("last_active".into(), json!(spend.last_active));
        Ok(shown)
    }
}

/// A key's text or its hash: both name it.
pub(super) fn hash_of(text: &str) -> KeyHash {
    KeyHash::parse(text).unwrap_or_else(|_| KeyHash::digest(text))
}

fn show(record: &KeyRecord) -> Map<String, Value> {
    let mut shown: Map<String, Value> =
        ALWAYS_SHOWN.iter().map(|(name, value)| ((*name).to_owned(), value())).collect();
    shown.extend(record.other.clone());
    if let Ok(Value::Object(own)) = serde_json::to_value(record) {
        shown.extend(own.into_iter().filter(|(name, _)| name != "other"));
    }
    let status = match (record.blocked, record.expires) {
        (true, _) => "revoked",
        _ if record.replaced_by.is_some() => "replaced",
        (_, Some(expires)) if expires <= Timestamp::now() => "expired",
        _ => "active",
    };
    shown.insert("status".into(), status.into());
    shown.insert("updated_by".into(), "default_user_id".into());
    limits::warn(&record.other, &mut shown);
    shown
}
