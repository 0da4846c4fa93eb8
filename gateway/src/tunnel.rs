//! One tunnel through all stages: who asks, where to, and its row.

use std::net::SocketAddr;
use std::sync::Arc;

use fleetgate_wire::authority::Authority;
use fleetgate_wire::header as names;
use fleetgate_wire::usage::UsageSource;
use http::{HeaderMap, StatusCode, header};
use jiff::Timestamp;
use uuid::Uuid;

use crate::admit::admit_tunnel;
use crate::auth::{Caller, Denied, authenticate, check_owners, trusted};
use crate::egress::{Opened, TunnelRefused};
use crate::front::{Answer, Door, TunnelIntake};
use crate::gateway::Gateway;
use crate::ledger::{Entry, Kind, Receipt, Slot, Status};
use crate::price::Cost;
use crate::respond::{Refusal, empty, set};

/// The longest destination that a row holds as it was written; what is longer is no destination.
const LONGEST_DESTINATION: usize = 300;

/// Opens a tunnel, answers 200, and relays until it ends.
///
/// # Errors
/// With the refusal to answer instead.
pub(crate) async fn serve(gateway: &Arc<Gateway>, intake: TunnelIntake, door: Door) -> Result<Answer, Refusal> {
    let TunnelIntake { request, authority, peer, started_at } = intake;
    let headers = request.headers();
    let caller = caller(gateway, headers, peer, door, started_at).await?;
    check_owners(&caller, &gateway.directory)?;
    let caller = gateway.mesh.check(caller, peer).await?;
    let user_agent = headers.get(header::USER_AGENT);
    let user_agent = user_agent.map(|value| String::from_utf8_lossy(value.as_bytes()).into_owned());
    let parsed = if headers.contains_key(header::CONTENT_LENGTH) || headers.contains_key(header::TRANSFER_ENCODING) {
        Err(TunnelRefused::Body)
    } else {
        Authority::parse(&authority).map_err(TunnelRefused::from)
    };
    let destination = match &parsed {
        Ok(canonical) => canonical.to_string(),
        Err(_) => authority[..authority.floor_char_boundary(LONGEST_DESTINATION)].to_owned(),
    };
    let permit = admit_tunnel(Arc::new(caller));
    let entry = entry(Arc::clone(permit.caller()), destination, user_agent, started_at);
    let slot = gateway.ledger.begin(&entry).await?;
    let mut row = Row { slot: Some(slot), entry: Box::new(entry), reason: None, rule: None };
    let opened = match parsed {
        Ok(authority) => gateway.dialer.open(&authority, permit.caller()).await,
        Err(refused) => Err(refused),
    };
    let opened = match opened {
        Ok(opened) => opened,
        Err(refused) => {
            row.refused(&refused);
            if let Some(receipt) = row.end(Status::Refused) {
                receipt.await?;
            }
            return Err(refused.into());
        }
    };
    let mut answer = empty(StatusCode::OK);
    row.opened(&opened, &mut answer);
    set(answer.headers_mut(), names::REQUEST_ID, &row.entry.id.to_string());
    let client = hyper::upgrade::on(request);
    let held = gateway.dialer.hold();
    tokio::spawn(async move {
        // `None`: the client left before it heard that the tunnel stands.
        if let Some(report) = opened.relay(client).await {
            row.entry.bytes = Some((report.up, report.down));
            drop(row.end(Status::Tunnel(report.end.word())));
        }
        drop(row);
        // Only now may the ledger be closed.
        drop(held);
    });
    Ok(answer)
}

/// By his key; at the forward proxy's port also by his address, where he shows no key.
async fn caller(
    gateway: &Gateway,
    headers: &HeaderMap,
    peer: SocketAddr,
    door: Door,
    now: Timestamp,
) -> Result<Caller, Refusal> {
    let denied = match authenticate(headers, None, peer, &gateway.keyring, now) {
        Ok(caller) => return Ok(caller),
        Err(denied) => denied,
    };
    if door == Door::Proxy && denied == Denied::NoKey {
        let trust = &gateway.config.forward_proxy.trust;
        if let Some(caller) = trusted(headers, peer, trust, &gateway.mesh, &gateway.keyring).await {
            return Ok(caller);
        }
    }
    Err(ask_for_credentials(denied))
}

/// A tunnel's row to be. Dropped without an end, it says that the client went away.
struct Row {
    slot: Option<Slot>,
    entry: Box<Entry>,
    /// What was decided and by which rule, for the log line.
    reason: Option<String>,
    rule: Option<String>,
}

impl Row {
    fn refused(&mut self, refused: &TunnelRefused) {
        self.entry.error = Some(refused.to_string());
        self.reason = Some(refused.reason());
        if let TunnelRefused::Policy { decision, .. } = refused {
            self.rule.clone_from(&decision.rule);
        }
    }

    fn opened(&mut self, opened: &Opened, answer: &mut Answer) {
        self.entry.first_byte_at = Some(Timestamp::now());
        self.entry.address = Some(opened.address());
        let decision = opened.decision();
        self.rule.clone_from(&decision.rule);
        self.reason = Some(decision.reason.word().to_owned());
        if decision.is_reported() {
            let destination = self.entry.destination.as_deref().unwrap_or_default();
            self.entry.error = Some(format!("would be refused: {}", decision.message(destination)));
            let reason = format!("reported_{}", decision.reason.word());
            set(answer.headers_mut(), names::REASON, &reason);
            self.reason = Some(reason);
        }
    }

    /// Hands the row over, once.
    fn end(&mut self, status: Status) -> Option<Receipt> {
        let slot = self.slot.take()?;
        self.entry.status = status;
        self.entry.ended_at = Timestamp::now();
        self.log();
        Some(slot.record(&self.entry))
    }

    /// The one line that says all of it.
    fn log(&self) {
        let entry = &self.entry;
        let lasted = entry.ended_at.duration_since(entry.started_at);
        tracing::info!(
            target: "tunnel",
            id = %entry.id,
            host = %entry.caller.host,
            workload = %entry.caller.workload,
            key = entry.caller.key.alias(),
            destination = entry.destination,
            address = entry.address.map(tracing::field::display),
            reason = self.reason,
            rule = self.rule,
            status = entry.status.word(),
            error = entry.error,
            bytes_up = entry.bytes.map(|(up, _)| up),
            bytes_down = entry.bytes.map(|(_, down)| down),
            seconds = lasted.as_secs_f64(),
            "tunnel"
        );
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

fn entry(caller: Arc<Caller>, destination: String, user_agent: Option<String>, started_at: Timestamp) -> Entry {
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
        destination: Some(destination),
        bytes: None,
        address: None,
    }
}
