//! One upstream attempt: from its place in the ledger's queue to its row. Whatever happens to it, it leaves exactly one row.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use fleetgate_wire::header as names;
use fleetgate_wire::money::NanoDollars;
use http::{HeaderMap, HeaderName, HeaderValue, header, request};
use jiff::Timestamp;
use uuid::Uuid;

use crate::admit::Permit;
use crate::admit::budget::Hold;
use crate::admit::rate::RateHold;
use crate::config::Deployment;
use crate::dialect::Ask;
use crate::funds::{self, Funds};
use crate::gateway::Gateway;
use crate::ledger::{Entry, Kind, LedgerError, Receipt, Slot, Status};
use crate::meter::{Meter, Reading};
use crate::metrics::Series;
use crate::price::Cost;
use crate::provider::{ClientError, Outgoing, Reply, Upstream, retry_after};
use crate::relay::{End, Piece, Tap, Unrecorded};
use crate::respond::set;
use crate::route::{Choice, Complaint, Outcome};
use crate::witness::Witness;
use fleetgate_wire::endpoint::Endpoint;
use fleetgate_wire::usage::{Usage, UsageSource};

/// The most tokens that the budgets let the answer have, where that is not what was asked for.
const OUTPUT_LIMIT: HeaderName = HeaderName::from_static("x-fleetgate-output-limit");

const CALL_ID: HeaderName = HeaderName::from_static("x-litellm-call-id");
const MODEL_ID: HeaderName = HeaderName::from_static("x-litellm-model-id");
const MODEL_GROUP: HeaderName = HeaderName::from_static("x-litellm-model-group");

/// So many headers an attempt adds to most answers.
const MOST_LABELS: usize = 16;

/// A million dollars.
const MOST_PLAUSIBLE: NanoDollars = NanoDollars(1_000_000_000_000_000);

/// An attempt under way. Dropped without an end, it writes the row of a client that went away.
pub(crate) struct Attempt {
    gateway: Arc<Gateway>,
    open: Option<(Slot, Box<Entry>)>,
    witness: Option<Witness>,
    /// What the budgets hold for it.
    hold: Option<Hold>,
    /// What the limits of its deployment and provider hold for it.
    rate: RateHold,
    /// What the caller's limits hold for the call; the last attempt has it.
    call_rate: Option<RateHold>,
    deployment: Arc<Deployment>,
    /// The group that it was chosen from.
    group: Arc<str>,
    endpoint: Endpoint,
    is_mock: bool,
    prompt_bytes: usize,
    output_limit: Option<u64>,
    meter: Option<Meter>,
    strips_usage: bool,
    /// The client knows the answer's length: its last byte completes it, whatever it holds.
    is_sized: bool,
    /// Why no answer came, and whether the provider may have charged for it all the same.
    unanswered: Option<(String, bool)>,
    /// What became of it for its deployment, where no answer says so.
    outcome: Option<Outcome>,
    /// How long the provider wants to be left alone.
    retry_after: Option<Duration>,
    /// Tokens, once it is over.
    used: u64,
}

impl Attempt {
    /// Begins an attempt: it is written down before it goes out. Boxed, since it is handed on from here to the answer's body.
    ///
    /// # Errors
    /// While the ledger cannot write.
    #[expect(clippy::too_many_arguments, reason = "each is a stage's result; a struct would only rename them")]
    pub(crate) async fn begin(
        gateway: &Arc<Gateway>,
        permit: &Permit,
        ask: &Ask,
        head: &request::Parts,
        choice: &Choice,
        upstream: &Upstream,
        outgoing: &Outgoing,
        funds: Funds,
        rate: RateHold,
    ) -> Result<Box<Self>, LedgerError> {
        let user_agent = head.headers.get(header::USER_AGENT);
        let entry = Box::new(Entry {
            id: Uuid::now_v7(),
            kind: Kind::Call,
            caller: Arc::clone(permit.caller()),
            endpoint: ask.endpoint.word(),
            model_requested: Arc::clone(&ask.model),
            model: upstream.model_name(&choice.model).to_owned(),
            provider: upstream.provider(),
            deployment_id: choice.deployment.id.clone(),
            status: Status::Interrupted,
            http_status: None,
            error: None,
            usage: None,
            usage_source: UsageSource::None,
            cost: Cost::UNPRICED,
            service_tier: None,
            reserved: funds.hold.as_ref().map(Hold::amount),
            started_at: funds.at,
            first_byte_at: None,
            ended_at: funds.at,
            user_agent: user_agent.map(|value| String::from_utf8_lossy(value.as_bytes()).into_owned()),
            upstream_id: None,
            destination: None,
            bytes: None,
            address: None,
            next_proxy: None,
        });
        let slot = gateway.ledger.begin(&entry).await?;
        let witness = Witness::begin(gateway, &entry, head, &outgoing.request, ask.stream);
        Ok(Box::new(Self {
            gateway: Arc::clone(gateway),
            open: Some((slot, entry)),
            witness: Some(witness),
            hold: funds.hold,
            rate,
            call_rate: None,
            deployment: Arc::clone(&choice.deployment),
            group: Arc::clone(&choice.group),
            endpoint: ask.endpoint,
            prompt_bytes: ask.body.len(),
            output_limit: funds.output_limit,
            is_mock: upstream.is_mock() || choice.deployment.mock_response.is_some(),
            meter: None,
            strips_usage: false,
            is_sized: false,
            unanswered: None,
            outcome: None,
            retry_after: None,
            used: 0,
        }))
    }

    /// An answer began that will be passed on: until it ends, the caller's limits count the call.
    pub(crate) fn answered(&mut self, reply: &Reply, ask: &Ask, strips_usage: bool, call_rate: RateHold) {
        self.call_rate = Some(call_rate);
        self.note_head(reply);
        self.strips_usage = strips_usage;
        self.is_sized = !strips_usage && reply.head.headers.contains_key(header::CONTENT_LENGTH);
        self.meter = Some(Meter::new(self.endpoint, reply.head.status, &reply.head.headers, ask.stream, strips_usage));
    }

    /// Ends an attempt whose answer is not passed on. Its row is durable before anything is tried again.
    pub(crate) fn failed(mut self, reply: &Reply) -> SettledReceipt {
        self.note_head(reply);
        self.settle(End::Complete)
    }

    /// Ends an attempt whose answer was read whole and is not passed on; what it cost is charged all the same. Its row is durable
    /// before another group is tried. Also gives the tokens that it used.
    pub(crate) fn complained(
        mut self,
        reply: &Reply,
        ask: &Ask,
        body: Bytes,
        complaint: Complaint,
    ) -> (SettledReceipt, u64) {
        self.note_head(reply);
        let (status, headers) = (reply.head.status, &reply.head.headers);
        self.meter = Some(Meter::new(self.endpoint, status, headers, ask.stream, false));
        drop(self.see(body));
        if !status.is_success() && complaint == Complaint::ContentPolicy {
            self.outcome = Some(Outcome::ContentPolicy(status.as_u16()));
        }
        (self.settle(End::Complete), self.used)
    }

    /// Ends an attempt that got no answer. Its row is durable before anything is tried again or refused.
    pub(crate) fn unanswered(mut self, error: &ClientError) -> SettledReceipt {
        // What never connected was never charged; a cut or a time-out may have been.
        self.unanswered = Some((error.to_string(), !matches!(error, ClientError::Connect { .. })));
        let is_late = matches!(error, ClientError::Timeout { .. });
        self.outcome = Some(if is_late { Outcome::TimedOut } else { Outcome::Broken });
        self.settle(End::Complete)
    }

    fn note_head(&mut self, reply: &Reply) {
        let status = reply.head.status;
        if let Some((_, entry)) = &mut self.open {
            entry.http_status = Some(status.as_u16());
        }
        if !status.is_success() {
            self.retry_after = retry_after(&reply.head.headers);
        }
    }

    /// Whether the answer's length will differ from what the provider announced.
    #[must_use]
    pub(crate) fn strips_usage(&self) -> bool {
        self.strips_usage
    }

    /// What it counts in, until it has ended.
    pub(crate) fn series(&self) -> Option<Series> {
        self.witness.as_ref().map(Witness::series)
    }

    /// Names the attempt in the answer's headers, by LiteLLM's names too.
    pub(crate) fn label(&self, headers: &mut HeaderMap) {
        let Some((_, entry)) = &self.open else { return };
        // With room for all of them the map is not hashed anew while they come.
        headers.reserve(MOST_LABELS);
        if let Ok(id) = HeaderValue::from_str(entry.id.hyphenated().encode_lower(&mut Uuid::encode_buffer())) {
            headers.insert(names::REQUEST_ID, id.clone());
            headers.insert(CALL_ID, id);
        }
        set(headers, MODEL_ID, &self.deployment.id);
        set(headers, MODEL_GROUP, &self.group);
        if let Some(limit) = self.output_limit {
            set(headers, OUTPUT_LIMIT, &limit.to_string());
        }
        if let Some(rate) = &self.call_rate {
            rate.set_headers(headers);
        }
    }

    fn finish(&mut self, end: &End) -> Option<Receipt> {
        let (slot, mut entry) = self.open.take()?;
        let mut reading = self.meter.as_mut().map(Meter::read).unwrap_or_default();
        self.meter = None;
        entry.ended_at = Timestamp::now();
        let refused = entry.http_status.is_some_and(|status| status >= 400);
        // What was produced before an answer broke off, or without a word of its usage, is charged for all the same.
        let uncounted = *end != End::Complete || reading.produced > 0;
        if uncounted && entry.http_status.is_some() && !refused && self.endpoint != Endpoint::CountTokens {
            reading.estimate(self.prompt_bytes as u64);
        }
        (entry.usage, entry.usage_source) = (reading.usage, reading.usage_source);
        let (status, error) = self.status(end, &reading, refused);
        (entry.status, entry.error) = (status, error);
        entry.cost = self.cost(&entry, &reading, refused);
        if let Some(model) = reading.model {
            entry.model = model;
        }
        entry.upstream_id = reading.id;
        entry.service_tier = reading.service_tier;
        log(&entry);
        let (outcome, group) = (self.outcome(&entry), &self.group);
        self.gateway.router.note(&self.deployment, outcome, self.retry_after);
        if self.gateway.router.group_name(&entry.model_requested) != &**group && outcome != Outcome::Unknown {
            self.gateway.metrics.fell_back(&entry.model_requested, group, outcome == Outcome::Success);
        }
        if let Some(witness) = self.witness.take() {
            witness.end(&self.gateway, &entry);
        }
        if let (Some(reserved), Some(cost)) = (entry.reserved, entry.cost.amount)
            && cost > reserved
        {
            let id = &self.deployment.id;
            self.gateway.metrics.overran(id, entry.provider);
            self.gateway.refusals.overrun(&entry.model, id, cost, reserved);
        }
        let receipt = slot.record(&entry);
        funds::settle(self.hold.take(), entry.cost.amount, self.gateway.config.counts_unknown, receipt.number());
        let tokens = entry.usage.as_ref().map_or(0, Usage::total);
        self.used = tokens;
        std::mem::replace(&mut self.rate, RateHold::none()).settle(tokens, entry.ended_at);
        if let Some(call_rate) = self.call_rate.take() {
            call_rate.settle(tokens, entry.ended_at);
        }
        Some(receipt)
    }

    fn status(&self, end: &End, reading: &Reading, refused: bool) -> (Status, Option<String>) {
        if let Some((error, _)) = &self.unanswered {
            return (Status::Failure, Some(error.clone()));
        }
        match end {
            End::ClientGone => (Status::ClientGone, reading.error.clone()),
            End::UpstreamCut(cause) => (Status::UpstreamCut, Some(cause.clone())),
            End::UpstreamSilent => (Status::UpstreamCut, Some("the provider fell silent".to_owned())),
            End::Complete if refused || reading.error.is_some() => (Status::Failure, reading.error.clone()),
            End::Complete => (Status::Success, None),
        }
    }

    /// How it went, for its deployment.
    fn outcome(&self, entry: &Entry) -> Outcome {
        match (self.outcome, entry.http_status, entry.status) {
            // Many a provider counts no tokens, and is well.
            (None, Some(400..500), _) if self.endpoint == Endpoint::CountTokens => Outcome::Unknown,
            (Some(outcome), ..) => outcome,
            (_, Some(status), _) if status >= 400 => Outcome::Refused(status),
            (_, _, Status::Success) => Outcome::Success,
            (_, _, Status::ClientGone) => Outcome::Unknown,
            _ => Outcome::Broken,
        }
    }

    /// Prices the answer while `entry` still names the model that was asked for.
    fn cost(&self, entry: &Entry, reading: &Reading, refused: bool) -> Cost {
        let never_charged = self.unanswered.as_ref().is_some_and(|(_, maybe_charged)| !maybe_charged);
        if refused || never_charged || self.endpoint == Endpoint::CountTokens {
            return Cost::FREE;
        }
        let cost = self.gateway.pricer.price(&self.deployment, entry.provider, &entry.model, reading);
        // What no answer can cost is no price: believed, it would break every sum that it is in.
        let cost = if cost.amount > Some(MOST_PLAUSIBLE) { Cost::UNPRICED } else { cost };
        if self.is_mock && cost.amount.is_none() { Cost::FREE } else { cost }
    }
}

impl Tap for Attempt {
    type Receipt = SettledReceipt;

    fn see(&mut self, chunk: Bytes) -> Piece {
        if let Some((_, entry)) = &mut self.open
            && entry.first_byte_at.is_none()
        {
            entry.first_byte_at = Some(Timestamp::now());
            if let Some(witness) = &mut self.witness {
                witness.first_byte();
            }
        }
        match &mut self.meter {
            Some(meter) => meter.see(chunk),
            None => Piece { forward: chunk, is_last: false },
        }
    }

    fn rest(&mut self) -> Bytes {
        self.meter.as_mut().map(Meter::rest).unwrap_or_default()
    }

    fn marks_its_end(&self) -> bool {
        !self.is_sized && self.meter.as_ref().is_some_and(Meter::marks_its_end)
    }

    fn settle(&mut self, end: End) -> SettledReceipt {
        SettledReceipt(self.finish(&end))
    }
}

impl Drop for Attempt {
    fn drop(&mut self) {
        drop(self.finish(&End::ClientGone));
    }
}

/// The receipt of an attempt's row.
#[derive(Debug)]
pub(crate) struct SettledReceipt(Option<Receipt>);

impl Future for SettledReceipt {
    type Output = Result<(), Unrecorded>;

    fn poll(mut self: std::pin::Pin<&mut Self>, cx: &mut std::task::Context<'_>) -> std::task::Poll<Self::Output> {
        match &mut self.0 {
            Some(receipt) => std::pin::Pin::new(receipt).poll(cx),
            // Settled before: the row is with the writer already.
            None => std::task::Poll::Ready(Ok(())),
        }
    }
}

/// What went wrong is worth a line in the log. What went well is in the ledger, and in the log at `FLEETGATE_LOG=call=debug`.
fn log(entry: &Entry) {
    macro_rules! line {
        ($level:ident) => {
            tracing::$level!(
                target: "call",
                id = %entry.id,
                host = %entry.caller.host,
                workload = %entry.caller.workload,
                key = entry.caller.key.alias(),
                endpoint = entry.endpoint,
                model = entry.model,
                provider = entry.provider,
                status = entry.status.word(),
                http = entry.http_status,
                error = entry.error,
                cost_nanousd = entry.cost_nanousd(),
            )
        };
    }
    match entry.status {
        Status::Success | Status::ClientGone => line!(debug),
        _ => line!(warn),
    }
}
