//! `GET /api/egress/explain`: what would become of a tunnel. `GET /api/egress/spend`: what went through those that there were.

use std::sync::Arc;

use axum::extract::{Extension, Query, State};
use axum::http::HeaderMap;
use fleetgate_wire::host::HostLabel;
use fleetgate_wire::workload::Workload;
use jiff::Timestamp;
use serde::Deserialize;
use serde_json::json;

use super::caller::Peer;
use super::{Admin, Handled, json as answer, moment};
use crate::auth::{KeyRecord, MASTER_ALIAS, TRUSTED_ALIAS};
use crate::egress::Asker;
use crate::respond::Refusal;

#[derive(Deserialize)]
pub(super) struct ExplainQuery {
    to: String,
    /// A key by its name; without it the master key.
    r#as: Option<String>,
    host: Option<String>,
    workload: Option<String>,
}

/// For the administrator: an answer holds what names resolve to here, which may be more than the world knows.
pub(super) async fn explain(
    State(admin): State<Arc<Admin>>,
    Extension(peer): Extension<Peer>,
    headers: HeaderMap,
    Query(query): Query<ExplainQuery>,
) -> Handled {
    admin.administrator(peer, &headers)?;
    let name = query.r#as.as_deref().unwrap_or(MASTER_ALIAS);
    let named = |key: &Arc<KeyRecord>| key.key_alias.as_deref() == Some(name) || key.key_name == name;
    let record = admin.keyring.all().into_iter().find(named);
    if record.is_none() && ![MASTER_ALIAS, TRUSTED_ALIAS].contains(&name) {
        return Err(Refusal::NotFound(format!("no key is called {name}; fleetgate keys list names them")).into());
    }
    let bound = record.as_ref().and_then(|key| key.host.as_ref()).map(HostLabel::as_str);
    let unknown = Workload::unknown();
    let asker = Asker {
        key: name,
        // A key's own host cannot be talked away.
        host: bound.or(query.host.as_deref()),
        workload: query.workload.as_deref().unwrap_or(unknown.as_str()),
    };
    Ok(answer(&json!(admin.dialer.explain(&query.to, &asker).await)))
}

#[derive(Deserialize)]
pub(super) struct EgressQuery {
    since: Option<String>,
    until: Option<String>,
}

pub(super) async fn spend(
    State(admin): State<Arc<Admin>>,
    Extension(peer): Extension<Peer>,
    headers: HeaderMap,
    Query(query): Query<EgressQuery>,
) -> Handled {
    admin.administrator(peer, &headers)?;
    let span = moment::span(query.since.as_deref(), query.until.as_deref(), Timestamp::now())?;
    let (groups, total, left_off) = admin.ledger.egress(span).await?;
    Ok(answer(&json!({ "groups": groups, "total": total, "left_off": left_off })))
}
