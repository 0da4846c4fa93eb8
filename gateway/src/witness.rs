//! What a call leaves for those who watch from outside: its counts, and its span.

use std::sync::Arc;
use std::time::Duration;

use fleetgate_wire::endpoint::Endpoint;
use fleetgate_wire::header as names;
use fleetgate_wire::usage::Usage;
use http::{Request, StatusCode, request};

use crate::auth::{Caller, CallerKey, EntityRecord};
use crate::front::Answer;
use crate::gateway::Gateway;
use crate::ledger::Entry;
use crate::metrics::{Admitted, CallLabels, Observation, Series, Who};
use crate::trace::{Span, TraceContext};

/// One request of a client, whatever comes of it.
#[derive(Debug, Clone)]
pub(crate) struct Visit {
    endpoint: Endpoint,
    caller: Option<Arc<Caller>>,
    model: Arc<str>,
    /// What the attempt counts in that is passed on.
    series: Option<Series>,
}

impl Visit {
    pub(crate) fn new(endpoint: Endpoint) -> Self {
        Self { endpoint, caller: None, model: Arc::default(), series: None }
    }

    /// It is known who calls.
    pub(crate) fn caller(&mut self, caller: &Arc<Caller>) {
        self.caller = Some(Arc::clone(caller));
    }

    /// It is known which model is wanted.
    pub(crate) fn model(&mut self, model: &Arc<str>) {
        self.model = Arc::clone(model);
    }

    /// It is known which attempt's answer is passed on.
    pub(crate) fn series(&mut self, series: Option<Series>) {
        self.series = series;
    }

    /// It is known what is answered.
    pub(crate) fn end(&self, gateway: &Gateway, answer: &Answer) {
        let who = || self.caller.as_ref().map(|caller| who(gateway, caller)).unwrap_or_default();
        let (route, status) = (self.endpoint.path(), answer.status());
        if let Some(series) = self.series.as_ref().filter(|_| status == StatusCode::OK) {
            return gateway.metrics.succeeded(series, who, route, &self.model);
        }
        let reason = answer.headers().get(names::REASON).and_then(|reason| reason.to_str().ok()).unwrap_or_default();
        gateway.metrics.answered(&who(), route, &self.model, status.as_u16(), reason);
    }
}

/// One attempt, from the moment it goes out. Dropped without an end, it counts as interrupted.
#[derive(Debug)]
pub(crate) struct Witness {
    admitted: Admitted,
    /// Its place in a trace, while calls are traced.
    context: Option<TraceContext>,
    server: Option<(String, u16)>,
    is_stream: bool,
}

impl Witness {
    /// The attempt that `entry` is about goes out now.
    pub(crate) fn begin<B>(
        gateway: &Gateway,
        entry: &Entry,
        head: &request::Parts,
        outgoing: &Request<B>,
        is_stream: bool,
    ) -> Self {
        let labels = CallLabels {
            who: who(gateway, &entry.caller),
            requested_model: (&*entry.model_requested).into(),
            model: entry.model.as_str().into(),
            model_id: entry.deployment_id.as_str().into(),
            provider: entry.provider.into(),
        };
        let admitted = gateway.metrics.admitted(&labels);
        let context = gateway.tracer.is_on().then(|| TraceContext::of(&head.headers));
        let server = context.as_ref().and_then(|_| {
            let uri = outgoing.uri();
            let port = if uri.scheme_str() == Some("http") { 80 } else { 443 };
            Some((uri.host()?.to_owned(), uri.port_u16().unwrap_or(port)))
        });
        Self { admitted, context, server, is_stream }
    }

    /// What it counts in.
    pub(crate) fn series(&self) -> Series {
        self.admitted.series()
    }

    /// The answer began.
    pub(crate) fn first_byte(&mut self) {
        if self.is_stream {
            self.admitted.first_token();
        }
    }

    /// The attempt ended; its row is as it will be written.
    pub(crate) fn end(self, gateway: &Gateway, entry: &Entry) {
        let count = |pick: fn(&Usage) -> u64| entry.usage.as_ref().map(pick);
        let took = entry.ended_at.duration_since(entry.started_at);
        self.admitted.settled(&Observation {
            status: entry.status.word(),
            price_source: entry.cost.source.word(),
            cost_nanousd: entry.cost_nanousd(),
            input_tokens: count(|usage| usage.input).unwrap_or(0),
            output_tokens: count(|usage| usage.output).unwrap_or(0),
            // The clock may have been set back in between.
            total: Duration::try_from(took).unwrap_or_default(),
        });
        let Some(context) = self.context else { return };
        gateway.tracer.record(context.is_wanted(), || Span {
            context,
            endpoint: entry.endpoint,
            provider: entry.provider.to_owned(),
            requested_model: entry.model_requested.to_string(),
            model: entry.model.clone(),
            response_id: entry.upstream_id.clone(),
            input_tokens: count(|usage| usage.input),
            cache_read_tokens: count(|usage| usage.cache_read),
            output_tokens: count(|usage| usage.output),
            server: self.server,
            http_status: entry.http_status,
            status: entry.status.word(),
            host: entry.caller.host.to_string(),
            workload: entry.caller.workload.to_string(),
            key_alias: entry.caller.key.alias().to_owned(),
            cost: entry.cost.amount,
            request_id: entry.id.to_string(),
            started_at: entry.started_at,
            ended_at: entry.ended_at,
        });
    }
}

/// What a caller is counted under.
fn who<'a>(gateway: &Gateway, caller: &'a Caller) -> Who<'a> {
    let team = match &caller.key {
        CallerKey::Virtual(record) => record.team_id.as_deref(),
        CallerKey::Master => None,
    };
    let alias = |team: &EntityRecord| team.text("team_alias").map(str::to_owned);
    let team_alias = team.and_then(|id| gateway.directory.team(id)).as_deref().and_then(alias);
    Who {
        host: caller.host.text(),
        workload: caller.workload.as_str().into(),
        key_hash: (&*caller.key_hash).into(),
        key_alias: caller.key.alias().into(),
        user: caller.key.user().unwrap_or_default().into(),
        team: team.unwrap_or_default().into(),
        team_alias: team_alias.unwrap_or_default().into(),
    }
}
