//! `/api/self`: what a key may know of itself. Any key may ask; it is how a sidecar says whether its host's key works.

use std::sync::Arc;

use axum::extract::{Extension, State};
use axum::http::HeaderMap;
use fleetgate_wire::row::Row;
use fleetgate_wire::scope::{Scope, ScopeKind};
use jiff::Timestamp;
use serde_json::{Value, json};

use super::caller::Peer;
use super::{Admin, Handled, json as answer};
use crate::auth::{Caller, CallerHost};
use crate::ledger::Filter;
use crate::respond::VERSION;

pub(super) async fn show(
    State(admin): State<Arc<Admin>>,
    Extension(peer): Extension<Peer>,
    headers: HeaderMap,
) -> Handled {
    let caller = admin.caller(peer, &headers)?;
    let newest = admin.ledger.rows(&own_rows(&caller)).await?.pop();
    let left = admin.budgets.remaining_for(&own_scopes(&caller), Timestamp::now());
    Ok(answer(&json!({
        "key_alias": caller.key.alias(),
        "host": caller.host.to_string(),
        "host_source": caller.host.source(),
        "newest_row": newest.as_ref().map(show_row),
        // The least that any budget of this key, its host, team and user has left; null when none limits it.
        "left_nanousd": left.map(|amount| amount.0),
        "version": VERSION,
    })))
}

/// A host that is only claimed must not tell about the host of that name: then the key's own rows count, and no others.
fn own_rows(caller: &Caller) -> Filter {
    let is_bound = matches!(caller.host, CallerHost::Bound(_));
    let key_hash = (!is_bound).then(|| caller.key.hash_text());
    Filter { host: Some(caller.host.to_string()), key_hash, limit: 1, ..Filter::default() }
}

/// What every call of this key counts for, whatever it asks.
fn own_scopes(caller: &Caller) -> Vec<Scope> {
    let mut scopes = vec![Scope::new(ScopeKind::Key, caller.key.hash_text()), Scope::global()];
    if let CallerHost::Bound(label) = &caller.host {
        scopes.push(Scope::new(ScopeKind::Host, label.as_str()));
    }
    let owners = [(ScopeKind::Team, caller.key.team()), (ScopeKind::User, caller.key.user())];
    scopes.extend(owners.into_iter().filter_map(|(kind, id)| Some(Scope::new(kind, id?))));
    scopes
}

fn show_row(row: &Row) -> Value {
    json!({ "started_at": row.started_at, "ended_at": row.ended_at, "model": row.model, "status": row.status, "workload": row.workload })
}
