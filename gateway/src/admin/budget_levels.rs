//! `/api/budgets`: every budget as it stands now.

use std::sync::Arc;

use axum::extract::{Extension, State};
use axum::http::HeaderMap;
use fleetgate_wire::money::NanoDollars;
use fleetgate_wire::scope::{Scope, ScopeKind};
use jiff::Timestamp;
use serde_json::{Value, json};

use super::caller::Peer;
use super::{Admin, Handled, json as answer};
use crate::admit::budget::{Status, Term};
use crate::auth::KeyRecord;

pub(super) async fn list(
    State(admin): State<Arc<Admin>>,
    Extension(peer): Extension<Peer>,
    headers: HeaderMap,
) -> Handled {
    admin.administrator(peer, &headers)?;
    let budgets: Vec<Value> = admin.budgets.status(Timestamp::now()).iter().map(show).collect();
    Ok(answer(&json!({ "budgets": budgets })))
}

impl Admin {
    /// The budgets of a key, and of the host, user and team that it belongs to.
    pub(super) fn levels_of(&self, record: &KeyRecord) -> Vec<Value> {
        let host = record.host.as_ref().map(|host| Scope::new(ScopeKind::Host, host.as_str()));
        let user = record.user_id.as_deref().map(|id| Scope::new(ScopeKind::User, id));
        let team = record.team_id.as_deref().map(|id| Scope::new(ScopeKind::Team, id));
        let key = Scope::new(ScopeKind::Key, record.token.to_string());
        let own: Vec<Scope> = [Some(key), host, user, team].into_iter().flatten().collect();
        let levels = self.budgets.status(Timestamp::now());
        levels.iter().filter(|level| own.contains(&level.id.scope)).map(show).collect()
    }
}

fn show(status: &Status) -> Value {
    let nanos = |amount: NanoDollars| amount.0;
    json!({
        "scope": status.id.scope.to_string(),
        "duration": status.id.term.to_string(),
        // What counts for ever began with the first row.
        "window_start": (!matches!(status.id.term, Term::Lifetime)).then_some(status.window.start),
        "resets_at": status.resets_at,
        "max_nanousd": status.cap.map(nanos),
        "soft_nanousd": status.soft.map(nanos),
        "spent_nanousd": nanos(status.spent),
        "reserved_nanousd": nanos(status.reserved),
        "granted_nanousd": status.granted.map(nanos),
        "in_flight": status.in_flight,
        "waiting": status.waiting,
        "is_loading": status.is_loading,
    })
}
