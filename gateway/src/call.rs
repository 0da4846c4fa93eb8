//! One call of a model API, through all stages: the way that ARCHITECTURE.md draws.

use std::sync::Arc;
use std::time::Duration;

use fleetgate_wire::endpoint::Endpoint;
use fleetgate_wire::header as names;
use http::{HeaderMap, HeaderName, Method, StatusCode, header, request};
use http_body_util::BodyExt;
use hyper::body::Body as _;
use jiff::Timestamp;

use crate::admit::rate::RateHold;
use crate::admit::{Permit, admit_model};
use crate::attempt::Attempt;
use crate::auth::{authenticate, check_customer, check_owners};
use crate::call_limits::CallLimits;
use crate::detour;
use crate::dialect::Ask;
use crate::front::{self, Answer, Intake};
use crate::funds;
use crate::gateway::Gateway;
use crate::metrics::Series;
use crate::provider::{Client, ClientError, Outgoing, Reply, Upstream, answer_mock, retry_after, shape};
use crate::relay::{End, OnClientGone, RelayBody, Tap};
use crate::respond::{Refusal, empty};
use crate::route::{Choice, Group, NoRoute, Plan};
use crate::witness::Visit;

/// The longest a provider's `retry-after` is waited for here; what takes longer is the client's decision.
const LONGEST_WAIT: Duration = Duration::from_secs(10);
const FIRST_PAUSE: Duration = Duration::from_millis(500);

/// Headers of a provider's answer that concern only its own connection or site.
static PROVIDERS_OWN: [HeaderName; 4] = [
    header::SET_COOKIE,
    HeaderName::from_static("alt-svc"),
    header::STRICT_TRANSPORT_SECURITY,
    HeaderName::from_static("x-fleetgate-request-id"),
];

/// Serves a call.
///
/// # Errors
/// With the refusal to answer instead.
pub(crate) async fn serve(gateway: &Arc<Gateway>, intake: Intake, visit: &mut Visit) -> Result<Answer, Refusal> {
    let Intake { endpoint, mut head, body, peer, started_at } = intake;
    check_method(&head)?;
    let known = authenticate(&head.headers, head.uri.query(), peer, &gateway.keyring, started_at);
    let known = known.and_then(|caller| check_owners(&caller, &gateway.directory).map(|()| caller));
    let known = match known {
        Ok(caller) => gateway.mesh.check(caller, peer).await,
        denied => denied,
    };
    let mut caller = match known {
        Ok(caller) => Arc::new(caller),
        Err(denied) => {
            front::discard(&head.headers, body).await;
            return Err(denied.into());
        }
    };
    visit.caller(&caller);
    let body = front::read(&mut head.headers, body, gateway.config.max_request_bytes).await?;
    let ask = Ask::read(endpoint, body)?;
    if ask.user.is_some() || caller.customer.is_some() || !ask.tags.is_empty() {
        let caller = Arc::make_mut(&mut caller);
        caller.name_customer(ask.user.as_deref());
        caller.tag(ask.tags.iter().map(String::as_str));
        check_customer(caller, &gateway.directory)?;
    }
    visit.model(&ask.model);
    let found = gateway.router.find(&ask.model);
    let (resolved, choices) = match &found {
        Ok(group) => (&*group.name, group.choices.as_slice()),
        // A key that is bound to some models does not learn which others there are.
        Err(_) => (&*ask.model, [].as_slice()),
    };
    let permit = admit_model(caller, &ask.model, resolved, choices.iter().map(|choice| &*choice.deployment))?;
    let group = found?;
    require_dialect(gateway, &group, &ask)?;
    let mut plan = gateway.router.plan(group);
    plan.choices.retain(|choice| speaks(gateway, choice, &ask));
    gateway.router.rest(&mut plan);
    let (answer, series) = attempt_all(gateway, &permit, &ask, &head, plan, started_at).await?;
    visit.series(series);
    Ok(answer)
}

fn check_method(head: &request::Parts) -> Result<(), Refusal> {
    if head.method == Method::POST {
        return Ok(());
    }
    if head.headers.contains_key(header::UPGRADE) {
        return Err(Refusal::UpgradeRequired);
    }
    Err(Refusal::Method { method: head.method.to_string(), allowed: "POST" })
}

/// Refuses what no deployment of the group answers in the caller's dialect, and says which would do.
fn require_dialect(gateway: &Gateway, group: &Group, ask: &Ask) -> Result<(), NoRoute> {
    if group.choices.iter().any(|choice| speaks(gateway, choice, ask)) {
        return Ok(());
    }
    let known: Vec<&Upstream> =
        group.choices.iter().filter_map(|choice| gateway.upstream(choice.deployment.index)).collect();
    let mut providers: Vec<&str> = known.iter().map(|upstream| upstream.provider()).collect();
    providers.dedup();
    Err(NoRoute::OtherDialect {
        model: ask.model.to_string(),
        providers: providers.join(", "),
        asked: format!("/v1{}", ask.endpoint.path()),
        spoken: known.first().map_or("/v1/chat/completions", |upstream| upstream.spoken()).to_owned(),
    })
}

/// Whether a deployment answers in the caller's dialect.
pub(crate) fn speaks(gateway: &Gateway, choice: &Choice, ask: &Ask) -> bool {
    gateway.upstream(choice.deployment.index).is_some_and(|upstream| upstream.speaks(ask.endpoint))
}

/// Tries the plan's choices until one answers with something worth passing on. Nothing is tried again once a byte has reached
/// the client.
async fn attempt_all(
    gateway: &Arc<Gateway>,
    permit: &Permit,
    ask: &Ask,
    head: &request::Parts,
    plan: Plan,
    started_at: Timestamp,
) -> Result<Answered, Refusal> {
    let limits = CallLimits::of(gateway, permit, ask);
    let mut call_rate = Some(limits.admit_call(gateway, permit).await?);
    let answer = attempt_legs(gateway, permit, ask, head, plan, &limits, &mut call_rate, started_at).await;
    if let Some(unused) = call_rate {
        // Nothing was answered, so nothing was used.
        unused.settle(0, Timestamp::now());
    }
    answer
}

/// What is passed on, and what the attempt counts in that it came of.
type Answered = (Answer, Option<Series>);

/// What came of a plan.
enum Leg {
    /// Something to pass on.
    Answered(Answered),
    /// A provider complained of what others may serve.
    Detour(Plan),
}

#[expect(clippy::too_many_arguments, reason = "what a call is made of; a struct would only rename it")]
async fn attempt_legs(
    gateway: &Arc<Gateway>,
    permit: &Permit,
    ask: &Ask,
    head: &request::Parts,
    mut plan: Plan,
    limits: &CallLimits,
    call_rate: &mut Option<RateHold>,
    mut started_at: Timestamp,
) -> Result<Answered, Refusal> {
    let mut tried = Vec::new();
    loop {
        match attempt_each(gateway, permit, ask, head, plan, &mut tried, limits, call_rate, started_at).await? {
            Leg::Answered(answered) => return Ok(answered),
            Leg::Detour(next) => plan = next,
        }
        started_at = Timestamp::now();
    }
}

#[expect(clippy::too_many_arguments, reason = "what a call is made of; a struct would only rename it")]
async fn attempt_each(
    gateway: &Arc<Gateway>,
    permit: &Permit,
    ask: &Ask,
    head: &request::Parts,
    plan: Plan,
    tried: &mut Vec<Arc<str>>,
    limits: &CallLimits,
    call_rate: &mut Option<RateHold>,
    started_at: Timestamp,
) -> Result<Leg, Refusal> {
    let tries = schedule(plan, gateway.config.routing.num_retries);
    let mut last = None;
    let (mut started_at, mut number) = (started_at, 0);
    while let Some(choice) = tries.get(number) {
        let this = number;
        number += 1;
        let is_final = number == tries.len();
        let Some(upstream) = gateway.upstream(choice.deployment.index) else { continue };
        let same_next = tries.get(number).is_some_and(|next| next.deployment.index == choice.deployment.index);
        let place = funds::place(choice, upstream);
        let rate = match limits.admit_attempt(gateway, &place).await {
            Ok(rate) => rate,
            // Another deployment may have room.
            Err(limited) => {
                last = Some(limited);
                continue;
            }
        };
        let scopes = limits.scopes().iter().chain(&place);
        let funds = match funds::set_aside(gateway, permit, ask, choice, upstream, scopes, started_at).await {
            Ok(funds) => funds,
            // Another provider's or deployment's budget may have money.
            Err(refusal) => {
                rate.settle(0, Timestamp::now());
                if is_final || !funds::is_local(&refusal) {
                    return Err(refusal);
                }
                last = Some(refusal);
                continue;
            }
        };
        let outgoing = shape(ask, head, choice, upstream, gateway.config.drop_params, funds.output_limit)?;
        let mut attempt = Attempt::begin(gateway, permit, ask, head, choice, upstream, &outgoing, funds, rate).await?;
        let patience = patience(gateway, ask, choice);
        match send(gateway, ask, choice, upstream, outgoing).await {
            Ok((mut reply, strip_usage)) => {
                let so_far = &tries[..number];
                if let Some(detour) = detour::find(gateway, ask, so_far, tried, &mut reply, patience).await {
                    let (receipt, tokens) = attempt.complained(&reply, ask, detour.body, detour.complaint);
                    if let Some(rate) = call_rate {
                        rate.add(tokens);
                    }
                    receipt.await?;
                    return Ok(Leg::Detour(detour.plan));
                }
                let Some(next) = next(&tries, this, reply.head.status) else {
                    attempt.answered(&reply, ask, strip_usage, call_rate.take().unwrap_or_else(RateHold::none));
                    let series = attempt.series();
                    let answer = relay(reply, attempt, patience, gateway.config.on_client_gone).await?;
                    return Ok(Leg::Answered((answer, series)));
                };
                let pause = pause(&reply.head.headers, this, same_next && next == number);
                attempt.failed(&reply).await?;
                tokio::time::sleep(pause).await;
                number = next;
            }
            Err(error) => {
                attempt.unanswered(&error).await?;
                last = Some(Refusal::Upstream { provider: upstream.provider(), source: error });
                tokio::time::sleep(pause(&HeaderMap::new(), this, same_next)).await;
            }
        }
        started_at = Timestamp::now();
    }
    Err(last.unwrap_or_else(|| NoRoute::UnknownModel { model: ask.model.to_string() }.into()))
}

/// Which try follows an answer, if it is not one to pass on. What is wrong with a deployment's credential, credit or model is so
/// however often it is asked: only another one may do better.
fn next(tries: &[Choice], number: usize, status: StatusCode) -> Option<usize> {
    let rest = number + 1..tries.len();
    match status.as_u16() {
        _ if is_retryable(status) => rest.into_iter().next(),
        401..=404 => rest.into_iter().find(|next| {
            let is_next = |choice: &Choice| choice.deployment.index == tries[*next].deployment.index;
            !tries[..=number].iter().any(is_next)
        }),
        _ => None,
    }
}

/// Without `num_retries` each deployment is tried once: clients repeat on their own, and each repetition here would multiply
/// theirs. With it, a group's deployments take turns for that many attempts more.
fn schedule(plan: Plan, num_retries: Option<u32>) -> Vec<Choice> {
    let Some(retries) = num_retries else { return plan.choices };
    let groups = plan.choices.chunk_by(|one, next| one.group == next.group);
    groups.flat_map(|group| group.iter().cycle().take(retries as usize + 1).cloned()).collect()
}

async fn send(
    gateway: &Gateway,
    ask: &Ask,
    choice: &Choice,
    upstream: &Upstream,
    outgoing: Outgoing,
) -> Result<(Reply, bool), ClientError> {
    let mocked = choice.deployment.mock_response.as_deref();
    if upstream.is_mock() || mocked.is_some() {
        let strips = ask.stream && !ask.wants_usage && matches!(ask.endpoint, Endpoint::Chat | Endpoint::Completions);
        return Ok((answer_mock(ask, upstream.model_name(&choice.model), mocked), strips));
    }
    let client: &Client = &gateway.client;
    let reply = client.send(outgoing.request, patience(gateway, ask, choice)).await?;
    Ok((reply, outgoing.strip_usage))
}

/// How long an answer may take to begin, and how long it may be silent.
fn patience(gateway: &Gateway, ask: &Ask, choice: &Choice) -> Duration {
    let (entry, config) = (&choice.deployment, &gateway.config);
    let for_streams = entry.stream_timeout.or(config.stream_timeout).filter(|_| ask.stream);
    for_streams.or(entry.timeout).unwrap_or(config.request_timeout)
}

fn is_retryable(status: StatusCode) -> bool {
    matches!(status.as_u16(), 408 | 409 | 429) || status.is_server_error()
}

/// Another deployment is asked at once; the same one after a pause, its own `retry-after` if that is short.
fn pause(headers: &HeaderMap, number: usize, same_next: bool) -> Duration {
    if !same_next {
        return Duration::ZERO;
    }
    let asked = retry_after(headers);
    let grown = FIRST_PAUSE * 2u32.saturating_pow(u32::try_from(number).unwrap_or(u32::MAX));
    asked.unwrap_or(grown).min(LONGEST_WAIT)
}

async fn relay(
    reply: Reply,
    mut attempt: Box<Attempt>,
    patience: Duration,
    on_client_gone: OnClientGone,
) -> Result<Answer, Refusal> {
    let Reply { mut head, body } = reply;
    names::strip_hop_by_hop(&mut head.headers);
    names::strip(&mut head.headers, &PROVIDERS_OWN);
    if attempt.strips_usage() {
        head.headers.remove(header::CONTENT_LENGTH);
    }
    attempt.label(&mut head.headers);
    if body.is_end_stream() {
        // The server never asks for a body that it knows to be empty, so the head itself waits for the row.
        attempt.settle(End::Complete).await?;
        return Ok(Answer::from_parts(head, empty(StatusCode::OK).into_body()));
    }
    let body = RelayBody::new(body, attempt, patience, on_client_gone);
    Ok(Answer::from_parts(head, body.map_err(Into::into).boxed_unsync()))
}
