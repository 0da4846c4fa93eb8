//! One tunnel through all stages: who asks, where to, and its row.

use std::net::SocketAddr;
use std::sync::Arc;

use fleetgate_wire::authority::Authority;
use fleetgate_wire::header as names;
use fleetgate_wire::money::NanoDollars;
use fleetgate_wire::tunnel::TunnelReport;
use fleetgate_wire::usage::UsageSource;
use http::{HeaderMap, HeaderValue, StatusCode, header};
use jiff::Timestamp;
use tokio::net::TcpStream;
use uuid::Uuid;

use crate::admit::admit_tunnel;
use crate::admit::budget::Hold as BudgetHold;
use crate::auth::{Caller, Denied, authenticate, check_owners, trusted};
use crate::egress::{Hold, Opened, Purpose, TunnelRefused};
use crate::front::{Answer, Door, SocksClient, SocksReply, StreamCut, TunnelIntake};
use crate::funds;
use crate::gateway::Gateway;
use crate::ledger::{Entry, Kind, Receipt, Slot, Status};
use crate::price::{Cost, PriceSource};
use crate::respond::{Refusal, empty, set};

/// What a row's price is from.
const PRICE: &str = "forward_proxy.price_per_gb";
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
    let user_agent = headers.get(header::USER_AGENT);
    let user_agent = user_agent.map(|value| String::from_utf8_lossy(value.as_bytes()).into_owned());
    let has_body = headers.contains_key(header::CONTENT_LENGTH) || headers.contains_key(header::TRANSFER_ENCODING);
    let parsed = if has_body { Err(TunnelRefused::Body) } else { Authority::parse(&authority).map_err(Into::into) };
    let purpose = Purpose::Tunnel;
    let asked = Asked { written: authority, parsed, user_agent, endpoint: "connect", purpose, started_at };
    let (opened, mut row) = open(gateway, caller, peer, asked).await?;
    let mut answer = empty(StatusCode::OK);
    if let Some(reported) = row.opened(&opened) {
        set(answer.headers_mut(), names::REASON, &reported);
    }
    set(answer.headers_mut(), names::REQUEST_ID, &row.entry.id.to_string());
    let cut = request.extensions().get::<StreamCut>().cloned();
    let client = hyper::upgrade::on(request);
    let (held, price) = (gateway.dialer.hold(), gateway.config.forward_proxy.price_per_gb);
    // In boxes, or the task would have room for them twice.
    let relay = Box::pin(Box::new(opened).relay_upgraded(client, cut));
    tokio::spawn(async move {
        // `None`: the client left before it heard that the tunnel stands.
        if let Some(report) = relay.await {
            row.ended(report, price);
        }
        drop(row);
        // Only now may the ledger be closed.
        drop(held);
    });
    Ok(answer)
}

/// One connection of SOCKS5, from its greeting to its tunnel's end.
pub(crate) async fn serve_socks(gateway: &Gateway, stream: TcpStream, peer: SocketAddr, held: &Hold) {
    let mut client = SocksClient::new(stream);
    let opened = tokio::select! {
        opened = open_for_socks(gateway, &mut client, peer) => opened,
        () = held.stopped() => return,
    };
    let Some((opened, mut row)) = opened else { return };
    let _reported = row.opened(&opened);
    if client.reply(SocksReply::Succeeded).await.is_ok() {
        let (stream, early) = client.into_parts();
        let report = opened.relay(stream, early).await;
        row.ended(report, gateway.config.forward_proxy.price_per_gb);
    }
}

/// `None` where there is no tunnel; the client has been told.
async fn open_for_socks(gateway: &Gateway, client: &mut SocksClient, peer: SocketAddr) -> Option<(Opened, Row)> {
    let password = client.greet().await?;
    let started_at = Timestamp::now();
    // The password takes the place that a header has on the other ports.
    let mut headers = HeaderMap::new();
    if let Some(password) = &password {
        let bearer = [b"Bearer ", password.as_slice()].concat();
        headers.insert(header::PROXY_AUTHORIZATION, HeaderValue::from_bytes(&bearer).ok()?);
    }
    let known = caller(gateway, &headers, peer, Door::Proxy, started_at).await;
    if password.is_some() {
        client.welcome(known.is_ok()).await.ok()?;
    }
    let caller = match known {
        Ok(caller) => Some(caller),
        // The protocol says that the connection ends here.
        Err(_) if password.is_some() => None,
        // Without a method that asks for a key there is the request's answer to say it with.
        Err(_) => {
            client.request().await?;
            client.reply(SocksReply::NotAllowed).await.ok()?;
            None
        }
    }?;
    let authority = client.request().await?;
    let parsed = Authority::parse(&authority).map_err(Into::into);
    let purpose = Purpose::Tunnel;
    let asked = Asked { written: authority, parsed, user_agent: None, endpoint: "socks5", purpose, started_at };
    match open(gateway, caller, peer, asked).await {
        Ok(opened) => Some(opened),
        Err(refusal) => {
            client.reply(socks_reply(&refusal)).await.ok()?;
            None
        }
    }
}

/// A refusal in SOCKS5's few words.
fn socks_reply(refusal: &Refusal) -> SocksReply {
    match refusal {
        Refusal::Tunnel(refused) => match refused {
            TunnelRefused::Port { .. }
            | TunnelRefused::Policy { .. }
            | TunnelRefused::Destination { .. }
            | TunnelRefused::BytesSpent { .. }
            | TunnelRefused::Myself(_) => SocksReply::NotAllowed,
            TunnelRefused::Resolve { .. } => SocksReply::HostUnreachable,
            TunnelRefused::Connect { cause, .. } if cause.contains("refused") => SocksReply::Refused,
            TunnelRefused::Connect { .. } | TunnelRefused::NextProxy { .. } => SocksReply::HostUnreachable,
            _ => SocksReply::Failed,
        },
        Refusal::Denied(_) | Refusal::ProxyDenied(_) | Refusal::Refused(_) | Refusal::Budget { .. } => {
            SocksReply::NotAllowed
        }
        _ => SocksReply::Failed,
    }
}

/// A connection that is wanted, however that was said.
pub(crate) struct Asked {
    /// The destination as written.
    pub(crate) written: String,
    /// The same as it is understood.
    pub(crate) parsed: Result<Authority, TunnelRefused>,
    pub(crate) user_agent: Option<String>,
    pub(crate) endpoint: &'static str,
    pub(crate) purpose: Purpose,
    pub(crate) started_at: Timestamp,
}

/// Opens a connection and its row. A refusal has its row as well, but for callers whom nobody knows.
pub(crate) async fn open(
    gateway: &Gateway,
    caller: Caller,
    peer: SocketAddr,
    asked: Asked,
) -> Result<(Opened, Row), Refusal> {
    check_owners(&caller, &gateway.directory)?;
    let caller = gateway.mesh.check(caller, peer).await?;
    let Asked { written, parsed, user_agent, endpoint, purpose, started_at } = asked;
    let destination = match &parsed {
        Ok(canonical) => canonical.to_string(),
        Err(_) => written[..written.floor_char_boundary(LONGEST_DESTINATION)].to_owned(),
    };
    let permit = admit_tunnel(Arc::new(caller));
    let hold = funds::set_aside_for_tunnel(gateway, permit.caller(), started_at).await?;
    let entry = Entry { endpoint, ..entry(Arc::clone(permit.caller()), destination, user_agent, started_at) };
    let slot = gateway.ledger.begin(&entry).await?;
    let mut row = Row { slot: Some(slot), entry: Box::new(entry), hold, reason: None, rule: None };
    let opened = match parsed {
        Ok(authority) => gateway.dialer.open(&authority, purpose, permit.caller(), &gateway.ledger).await,
        Err(refused) => Err(refused),
    };
    match opened {
        Ok(opened) => Ok((opened, row)),
        Err(refused) => {
            row.refused(&refused);
            if let Some(receipt) = row.end(Status::Refused) {
                receipt.await?;
            }
            Err(refused.into())
        }
    }
}

/// By his key; at the forward proxy's port also by his address, where he shows no key.
pub(crate) async fn caller(
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
pub(crate) struct Row {
    slot: Option<Slot>,
    entry: Box<Entry>,
    /// Where its bytes have a price, the budgets that pay for them.
    hold: Option<BudgetHold>,
    /// What was decided and by which rule, for the log line.
    reason: Option<String>,
    rule: Option<String>,
}

impl Row {
    fn refused(&mut self, refused: &TunnelRefused) {
        self.entry.error = Some(refused.to_string());
        self.reason = Some(refused.reason());
        match refused {
            TunnelRefused::Policy { decision, .. } => self.rule.clone_from(&decision.rule),
            TunnelRefused::NextProxy { proxy, .. } => self.entry.next_proxy = Some(proxy.clone()),
            _ => {}
        }
    }

    /// Notes where it leads; with what is to be said of it where rules would have refused it.
    pub(crate) fn opened(&mut self, opened: &Opened) -> Option<String> {
        self.entry.first_byte_at = Some(Timestamp::now());
        self.entry.address = opened.address();
        let decision = opened.decision();
        self.entry.next_proxy.clone_from(&decision.next_proxy);
        self.rule.clone_from(&decision.rule);
        self.reason = Some(decision.reason.word().to_owned());
        if decision.is_reported() {
            let destination = self.entry.destination.as_deref().unwrap_or_default();
            self.entry.error = Some(format!("would be refused: {}", decision.message(destination)));
            let reason = format!("reported_{}", decision.reason.word());
            self.reason = Some(reason.clone());
            return Some(reason);
        }
        None
    }

    /// The destination, as the row has it.
    pub(crate) fn destination(&self) -> String {
        self.entry.destination.clone().unwrap_or_default()
    }

    /// The row's name.
    pub(crate) fn id(&self) -> String {
        self.entry.id.to_string()
    }

    /// Notes what was answered to a plain request, and what went wrong with it.
    pub(crate) fn answered(&mut self, status: Option<u16>, error: Option<String>) {
        self.entry.http_status = status;
        self.entry.error = error.or(self.entry.error.take());
    }

    /// Notes what went through, and what that costs.
    fn ended(&mut self, report: TunnelReport, price_per_gb: Option<NanoDollars>) {
        self.ended_as(Status::Tunnel(report.end.word()), report, price_per_gb);
    }

    /// The same, with a status of its own.
    pub(crate) fn ended_as(&mut self, status: Status, report: TunnelReport, price_per_gb: Option<NanoDollars>) {
        self.entry.bytes = Some((report.up, report.down));
        if let Some(price) = price_per_gb {
            let amount = cost_of(report.up.saturating_add(report.down), price);
            self.entry.cost = Cost { price_name: Some(PRICE.into()), ..Cost::new(Some(amount), PriceSource::Override) };
        }
        drop(self.end(status));
    }

    /// Hands the row over, once.
    fn end(&mut self, status: Status) -> Option<Receipt> {
        let slot = self.slot.take()?;
        self.entry.status = status;
        self.entry.ended_at = Timestamp::now();
        self.log();
        let receipt = slot.record(&self.entry);
        funds::settle(self.hold.take(), self.entry.cost.amount, false, receipt.number());
        Some(receipt)
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
            next_proxy = entry.next_proxy,
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

/// Bytes at a price for 10⁹ of them, rounded to the nearest nano-dollar.
fn cost_of(bytes: u64, price_per_gb: NanoDollars) -> NanoDollars {
    let nanos = (i128::from(bytes) * i128::from(price_per_gb.0) + 500_000_000) / 1_000_000_000;
    NanoDollars(i64::try_from(nanos).unwrap_or(i64::MAX))
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
        model_requested: Arc::default(),
        model: String::new(),
        provider: "",
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
        next_proxy: None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bytes_cost_their_share_of_a_gigabyte() {
        let five_cents = NanoDollars(50_000_000);
        assert_eq!(cost_of(1_000_000_000, five_cents), five_cents);
        assert_eq!(cost_of(1_000, five_cents), NanoDollars(50));
        assert_eq!((cost_of(9, five_cents), cost_of(10, five_cents)), (NanoDollars(0), NanoDollars(1)));
        assert_eq!(cost_of(u64::MAX, NanoDollars(i64::MAX)), NanoDollars(i64::MAX));
    }
}
