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
use crate::ledger::BucketSpend;

pub(super) async fn list(
    State(admin): State<Arc<Admin>>,
    Extension(peer): Extension<Peer>,
    headers: HeaderMap,
) -> Handled {
    admin.administrator(peer, &headers)?;
    let mut budgets = Vec::new();
    for status in admin.budgets.status(Timestamp::now()) {
        budgets.push(admin.show_level(&status).await);
    }
    Ok(answer(&json!({ "budgets": budgets })))
}

impl Admin {
    /// The budgets of a key, and of the host, user and team that it belongs to.
    pub(super) async fn levels_of(&self, record: &KeyRecord) -> Vec<Value> {
        let host = record.host.as_ref().map(|host| Scope::new(ScopeKind::Host, host.as_str()));
        let user = record.user_id.as_deref().map(|id| Scope::new(ScopeKind::User, id));
        let team = record.team_id.as_deref().map(|id| Scope::new(ScopeKind::Team, id));
        let key = Scope::new(ScopeKind::Key, record.account().to_string());
        let own: Vec<Scope> = [Some(key), host, user, team].into_iter().flatten().collect();
        let mut levels = Vec::new();
        for status in self.budgets.status(Timestamp::now()) {
            if own.contains(&status.id.scope) {
                levels.push(self.show_level(&status).await);
            }
        }
        levels
    }

    /// One budget. Where gateways share it, what all of them have spent is in the database; while that is away, what this one has.
    async fn show_level(&self, status: &Status) -> Value {
        let mut shown = show(status);
        if status.granted.is_none() {
            return shown;
        }
        let window = status.window;
        let fleet = match self.ledger.spent(&status.id.scope, window.start, window.end).await {
            Ok((buckets, _)) => Some(BucketSpend::total(&buckets, self.counts_unknown)),
            Err(error) => {
                tracing::debug!(%error, "what the other gateways have spent is not known now");
                None
            }
        };
        shown["spent_here_nanousd"] = json!(status.spent.0);
        shown["spent_nanousd"] = json!(fleet.unwrap_or(status.spent).0);
        shown["is_of_all_gateways"] = json!(fleet.is_some());
        shown
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
