//! Invitations, and the machines that come with one.

use std::sync::Arc;

use axum::body::Bytes;
use axum::extract::{Path, State};
use axum::http::HeaderMap;
use fleetgate_wire::ExposeSecret;
use fleetgate_wire::host::HostLabel;
use fleetgate_wire::invitation::InvitationToken;
use fleetgate_wire::virtual_key::VirtualKey;
use jiff::Timestamp;
use serde_json::{Map, Value, json};

use super::fields::{Fields, bad};
use super::key_change::{not_through_a_sidecar, pending_for};
use super::key_request::KeyRequest;
use super::order::{Order, Question};
use super::{Admin, Handled, duration, json as answer, keys};
use crate::auth::KeyRecord;
use crate::ledger::{Invitation, InvitationState, Redemption};
use crate::respond::Refusal;

const DEFAULT_LIFE: &str = "24h";
const DEFAULT_ALIAS: &str = "vk-{host}";
const HOST_PLACE: &str = "{host}";
/// A fleet larger than this wants several invitations.
const MOST_USES: u64 = 10_000;
/// What a key can get from an invitation.
const TEMPLATE: [&str; 14] = [
    "max_budget",
    "soft_budget",
    "budget_duration",
    "budget_id",
    "models",
    "rpm_limit",
    "tpm_limit",
    "max_parallel_requests",
    "model_rpm_limit",
    "model_tpm_limit",
    "team_id",
    "user_id",
    "metadata",
    "duration",
];

#[derive(serde::Deserialize)]
pub(super) struct NoQuery {}

/// Makes an invitation. Its token is in this answer and nowhere else.
pub(super) async fn invite(Order { admin, fields }: Order) -> Handled {
    let now = Timestamp::now();
    let invitation = read_invitation(&fields, now)?;
    // What cannot be a key is refused now, not when a machine comes.
    let trial = HostLabel::parse("host").map_err(|error| bad(error.to_string(), Some("hosts")))?;
    new_key(&admin, &invitation, &trial)?;
    let token = InvitationToken::mint().map_err(|error| bad(format!("no randomness for a token: {error}"), None))?;
    admin.ledger.add_invitation(&token.hash(), &invitation).await?;
    let state = InvitationState { uses_left: invitation.uses, invitation, enrolled: Vec::new() };
    let mut shown = show(&state, now);
    shown.insert("token".into(), token.expose_secret().into());
    Ok(answer(&shown.into()))
}

/// All invitations. Nobody can read a token here: the gateway does not have it.
pub(super) async fn list(question: Question<NoQuery>) -> Handled {
    let (admin, _) = question.of_administrator()?;
    let now = Timestamp::now();
    let shown: Vec<Value> =
        admin.ledger.invitations().await?.iter().map(|state| Value::from(show(state, now))).collect();
    Ok(answer(&json!({ "invitations": shown })))
}

/// Withdraws one.
pub(super) async fn withdraw(Path(id): Path<String>, question: Question<NoQuery>) -> Handled {
    let (admin, _) = question.of_administrator()?;
    match admin.ledger.remove_invitation(&id).await? {
        true => Ok(answer(&json!({ "withdrawn": id }))),
        false => {
            Err(Refusal::NotFound(format!("no invitation has the id {id}; GET /api/invitations lists them")).into())
        }
    }
}

/// Gives a machine its key, for a use of an invitation. The one path here that asks for no key.
pub(super) async fn enroll(State(admin): State<Arc<Admin>>, headers: HeaderMap, body: Bytes) -> Handled {
    not_through_a_sidecar(&headers)?;
    let fields = Fields::read(&body)?;
    let host = fields.required("host")?;
    let host = HostLabel::parse(host).map_err(|error| bad(error.to_string(), Some("host")))?;
    let token = InvitationToken::parse(fields.required("token")?);
    // A mistyped token costs no look-up, and the words are those of an unknown one.
    let Ok(token) = token else { return Err(Refusal::Uninvited(host).into()) };
    let _changing = admin.changing.lock().await;
    let Some(state) = admin.ledger.find_invitation(&token.hash()).await? else {
        return Err(Refusal::Uninvited(host).into());
    };
    let now = Timestamp::now();
    if !is_good_for(&state, &host, now) {
        return Err(Refusal::Uninvited(host).into());
    }
    let (key, mut record) = new_key(&admin, &state.invitation, &host)?;
    let mut forget = Vec::new();
    if let Some(old) = record.key_alias.as_deref().and_then(|alias| admin.by_alias(alias).ok()) {
        let is_hosts = old.host.as_ref() == Some(&host);
        if !is_hosts || !state.invitation.hosts.contains(&host) {
            return Err(Refusal::Enrolled { host, alias: record.key_alias.unwrap_or_default() }.into());
        }
        forget = pending_for(&admin, &old);
        record.replaces = Some(old.token);
    }
    let alias = record.key_alias.clone();
    let redemption = Redemption { id: state.invitation.id, host, at: now, key: record, forget };
    if !admin.ledger.redeem(&redemption).await? {
        return Err(Refusal::Uninvited(redemption.host).into());
    }
    admin.refresh().await?;
    let replaces = redemption.key.replaces.is_some();
    tracing::info!(host = %redemption.host, invitation = redemption.id, replaces, "a machine has enrolled");
    Ok(answer(&json!({
        "key": key.expose_secret(), "key_alias": alias, "host": redemption.host, "replaces": replaces,
    })))
}

fn is_good_for(state: &InvitationState, host: &HostLabel, now: Timestamp) -> bool {
    state.uses_left > 0
        && state.invitation.expires_at > now
        && (state.invitation.hosts.is_empty() || state.invitation.hosts.contains(host))
        && !state.enrolled.iter().any(|(known, _)| known == host)
}

/// A key as the invitation promises it, not kept yet.
fn new_key(admin: &Admin, invitation: &Invitation, host: &HostLabel) -> Result<(VirtualKey, KeyRecord), Refusal> {
    let mut fields = invitation.template.clone();
    fields.insert("key_alias".into(), invitation.alias.replace(HOST_PLACE, host.as_str()).into());
    fields.insert("host".into(), host.as_str().into());
    keys::mint(admin, KeyRequest::from(Fields(fields)))
}

fn read_invitation(fields: &Fields, now: Timestamp) -> Result<Invitation, Refusal> {
    let own = ["hosts", "uses", "expires_in", "key_alias"];
    let known = |name: &str| own.contains(&name) || TEMPLATE.contains(&name);
    if let Some(name) = fields.0.keys().find(|name| !known(name)) {
        return Err(bad(format!("{name} is not what an invitation can give; it takes {}", TEMPLATE.join(", ")), None));
    }
    let hosts: Vec<HostLabel> = match fields.0.get("hosts") {
        None | Some(Value::Null) => Vec::new(),
        Some(value) => serde_json::from_value(value.clone())
            .map_err(|error| bad(format!("hosts must be a list of host labels: {error}"), Some("hosts")))?,
    };
    let uses = match fields.0.get("uses") {
        None | Some(Value::Null) => hosts.len().max(1) as u64,
        Some(value) => {
            value.as_u64().filter(|uses| (1..=MOST_USES).contains(uses) && hosts.is_empty()).ok_or_else(|| {
                bad(
                    format!("uses must be a number from 1 to {MOST_USES}, without hosts: each named host comes once"),
                    Some("uses"),
                )
            })?
        }
    };
    let alias = fields.text("key_alias").unwrap_or(DEFAULT_ALIAS);
    if uses > 1 && !alias.contains(HOST_PLACE) {
        return Err(bad(
            format!("key_alias must hold {HOST_PLACE}: several hosts cannot share one name"),
            Some("key_alias"),
        ));
    }
    let life = fields.text("expires_in").unwrap_or(DEFAULT_LIFE);
    let expires_at = duration::from_now(life, now).map_err(|error| bad(error.to_string(), Some("expires_in")))?;
    Ok(Invitation {
        id: format!("inv-{:08x}", fastrand::u32(..)),
        hosts,
        uses: u32::try_from(uses).unwrap_or(u32::MAX),
        alias: alias.to_owned(),
        template: fields.only(&TEMPLATE).0,
        created_at: now,
        expires_at,
    })
}

fn show(state: &InvitationState, now: Timestamp) -> Map<String, Value> {
    let invitation = &state.invitation;
    let status = match () {
        () if state.uses_left == 0 => "used",
        () if invitation.expires_at <= now => "expired",
        () => "open",
    };
    let enrolled: Vec<Value> = state.enrolled.iter().map(|(host, at)| json!({ "host": host, "at": at })).collect();
    Map::from_iter([
        ("id".to_owned(), json!(invitation.id)),
        ("status".to_owned(), json!(status)),
        ("hosts".to_owned(), json!(invitation.hosts)),
        ("uses".to_owned(), json!(invitation.uses)),
        ("uses_left".to_owned(), json!(state.uses_left)),
        ("key_alias".to_owned(), json!(invitation.alias)),
        ("template".to_owned(), json!(invitation.template)),
        ("created_at".to_owned(), json!(invitation.created_at)),
        ("expires_at".to_owned(), json!(invitation.expires_at)),
        ("enrolled".to_owned(), json!(enrolled)),
    ])
}
