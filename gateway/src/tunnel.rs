//! One tunnel through all stages: who asks, where to, and its row.

use std::sync::Arc;

use fleetgate_wire::header as names;
use fleetgate_wire::usage::UsageSource;
use http::{StatusCode, header};
use jiff::Timestamp;
use uuid::Uuid;

use crate::admit::admit_tunnel;
use crate::auth::{Caller, Denied, authenticate, check_owners};
use crate::front::{Answer, TunnelIntake};
use crate::gateway::Gateway;
use crate::ledger::{Entry, Kind, Receipt, Slot, Status};
use crate::price::Cost;
use crate::respond::{Refusal, empty, set};

/// Opens a tunnel, answers 200, and relays until it ends.
///
/// # Errors
/// With the refusal to answer instead.
pub(crate) async fn serve(gateway: &Arc<Gateway>, intake: TunnelIntake) -> Result<Answer, Refusal> {
    let TunnelIntake { request, authority, peer, started_at } = intake;
    let headers = request.headers();
    let caller = authenticate(headers, None, peer, &gateway.keyring, started_at).map_err(ask_for_credentials)?;
    check_owners(&caller, &gateway.directory)?;
    let caller = gateway.mesh.check(caller, peer).await?;
    let user_agent = headers.get(header::USER_AGENT);
    let user_agent = user_agent.map(|value| String::from_utf8_lossy(value.as_bytes()).into_owned());
    let permit = admit_tunnel(Arc::new(caller));
    let entry = entry(Arc::clone(permit.caller()), &authority, user_agent, started_at);
    let slot = gateway.ledger.begin(&entry).await?;
    let mut row = Row { slot: Some(slot), entry: Box::new(entry) };
    let opened = match gateway.dialer.open(&authority).await {
        Ok(opened) => opened,
        Err(refused) => {
            row.entry().error = Some(refused.to_string());
            if let Some(receipt) = row.end(Status::Refused) {
                receipt.await?;
            }
            return Err(refused.into());
        }
    };
    row.entry().first_byte_at = Some(Timestamp::now());
    let mut answer = empty(StatusCode::OK);
    set(answer.headers_mut(), names::REQUEST_ID, &row.entry().id.to_string());
    let client = hyper::upgrade::on(request);
    let held = gateway.dialer.hold();
    tokio::spawn(async move {
        // `None`: the client left before it heard that the tunnel stands.
        if let Some(report) = opened.relay(client).await {
            row.entry().bytes = Some((report.up, report.down));
            drop(row.end(Status::Tunnel(report.end.word())));
        }
        drop(row);
        // Only now may the ledger be closed.
        drop(held);
    });
    Ok(answer)
}

/// A tunnel's row to be. Dropped without an end, it says that the client went away.
struct Row {
    slot: Option<Slot>,
    entry: Box<Entry>,
}

impl Row {
    fn entry(&mut self) -> &mut Entry {
        &mut self.entry
    }

    /// Hands the row over, once.
    fn end(&mut self, status: Status) -> Option<Receipt> {
        let slot = self.slot.take()?;
        self.entry.status = status;
        self.entry.ended_at = Timestamp::now();
        log(&self.entry);
        Some(slot.record(&self.entry))
    }
}

impl Drop for Row {
    fn drop(&mut self) {
        drop(self.end(Status::ClientGone));
    }
}

/// 407 makes programs send the credentials that they have; other denials are final.
fn ask_for_credentials(denied: Denied) -> Refusal {
    match denied {
        Denied::NoKey | Denied::NotAKey { .. } | Denied::Unknown { .. } => Refusal::ProxyDenied(denied),
        _ => Refusal::Denied(denied),
    }
}

fn entry(caller: Arc<Caller>, authority: &str, user_agent: Option<String>, started_at: Timestamp) -> Entry {
    Entry {
        id: Uuid::now_v7(),
        kind: Kind::Tunnel,
        caller,
        endpoint: "connect",
        model_requested: String::new(),
        model: String::new(),
        provider: String::new(),
        deployment_id: String::new(),
        status: Status::Interrupted,
        http_status: None,
        error: None,
        usage: None,
        usage_source: UsageSource::None,
        cost: Cost::FREE,
        service_tier: None,
        reserved: None,
        started_at,
        first_byte_at: None,
        ended_at: started_at,
        user_agent,
        upstream_id: None,
        destination: Some(authority.to_owned()),
        bytes: None,
    }
}

fn log(entry: &Entry) {
    tracing::info!(
        target: "tunnel",
        id = %entry.id,
        host = %entry.caller.host,
        workload = %entry.caller.workload,
        key = entry.caller.key.alias(),
        destination = entry.destination,
        status = entry.status.word(),
        error = entry.error,
        bytes = ?entry.bytes,
        "tunnel"
    );
}
