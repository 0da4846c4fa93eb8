//! What an attempt may cost at most, set aside in all of its budgets before it goes out.

use std::sync::Arc;

use fleetgate_wire::endpoint::Endpoint;
use fleetgate_wire::money::NanoDollars;
use jiff::Timestamp;
use serde_json::{Map, Value};

use crate::admit::Permit;
use crate::admit::budget::estimate::{OutputAsk, PromptBound, exact, output_limit};
use crate::admit::budget::{Charge, Exceeded, Hold};
use crate::admit::scope::{Scope, ScopeKind};
use crate::auth::Caller;
use crate::config::Deployment;
use crate::dialect::{Ask, Fields};
use crate::gateway::Gateway;
use crate::price::{Bound, Ceiling};
use crate::provider::{Upstream, entrys_limit};
use crate::respond::Refusal;
use crate::route::Choice;

/// The longest prompt of a model whose window nobody knows, where the request itself bounds nothing.
const UNKNOWN_WINDOW: u64 = 1_000_000;
/// The longest answer of a model of which nobody knows how much it writes. It is then asked to write no more.
const UNKNOWN_OUTPUT: u64 = 32_768;
/// An answer of so many tokens is seldom cut short: for less a call rather waits until others have settled.
const COMFORTABLE_OUTPUT: u64 = 4_096;
/// Below this an answer is worth nothing.
const LEAST_OUTPUT: u64 = 16;
/// Searches that a provider makes for one answer when the request lets it: an estimate, not a bound.
const SEARCHES: u64 = 10;

/// What is set aside for an attempt.
#[derive(Debug)]
pub(crate) struct Funds {
    /// `None` where nothing limits the caller, or the call costs nothing.
    pub(crate) hold: Option<Hold>,
    /// The most tokens that it may write, where that is less than it asks for or it asks for no limit.
    pub(crate) output_limit: Option<u64>,
    /// The moment at which it counts.
    pub(crate) at: Timestamp,
}

impl Funds {
    fn unlimited(at: Timestamp) -> Self {
        Self { hold: None, output_limit: None, at }
    }
}

/// Sets the worst case aside in the budgets of all `scopes`. Where money is only reserved by others, waits its turn.
///
/// # Errors
/// When a budget cannot pay for the call, or nobody knows its price and the operator wants none of those.
pub(crate) async fn set_aside(
    gateway: &Gateway,
    permit: &Permit,
    ask: &Ask,
    choice: &Choice,
    upstream: &Upstream,
    scopes: impl Iterator<Item = &Scope>,
    at: Timestamp,
) -> Result<Funds, Refusal> {
    let must_be_priced = gateway.config.block_unpriced;
    if ask.endpoint == Endpoint::CountTokens || (gateway.budgets.is_empty() && !must_be_priced) {
        return Ok(Funds::unlimited(at));
    }
    let Some(worst) = WorstCase::of(gateway, ask, choice, upstream) else {
        return if must_be_priced { Err(Refusal::Unpriced(ask.model.to_string())) } else { Ok(Funds::unlimited(at)) };
    };
    if worst.ceiling.is_free() {
        return Ok(Funds::unlimited(at));
    }
    let charge = Charge {
        scopes: scopes.cloned().collect(),
        least: worst.least,
        comfortable: worst.comfortable,
        most: worst.most,
        at,
    };
    let hold = gateway.budgets.reserve(charge).await.map_err(|exceeded| refuse(gateway, permit.caller(), *exceeded))?;
    // A call that counts in no budget is sent as it came.
    let output_limit = worst.output_limit(hold.amount()).filter(|_| hold.is_counted());
    Ok(Funds { output_limit, at: hold.at(), hold: Some(hold) })
}

/// Sees that a tunnel's budgets have money at all; what it costs is known at its end. `None` where nothing limits the caller.
///
/// # Errors
/// When a budget has nothing left.
pub(crate) async fn set_aside_for_tunnel(
    gateway: &Gateway,
    caller: &Caller,
    at: Timestamp,
) -> Result<Option<Hold>, Refusal> {
    if gateway.config.forward_proxy.price_per_gb.is_none() || gateway.budgets.is_empty() {
        return Ok(None);
    }
    const LEAST: NanoDollars = NanoDollars(1);
    let scopes = callers_scopes(caller, "").into();
    let charge = Charge { scopes, least: LEAST, comfortable: LEAST, most: LEAST, at };
    let hold = gateway.budgets.reserve(charge).await.map_err(|exceeded| refuse(gateway, caller, *exceeded))?;
    Ok(Some(hold))
}

/// What an attempt counts for beside its call: where it goes.
pub(crate) fn place(choice: &Choice, upstream: &Upstream) -> [Scope; 2] {
    [
        Scope::fixed(ScopeKind::Provider, upstream.provider()),
        Scope::new(ScopeKind::Deployment, choice.deployment.id.as_str()),
    ]
}

/// Everything that a call counts for, whoever serves it.
pub(crate) fn callers_scopes(caller: &Caller, model: &str) -> Vec<Scope> {
    let hash = &caller.key_hash;
    let mut scopes = vec![
        Scope::key_model(hash, model),
        Scope::new(ScopeKind::Key, Arc::clone(hash)),
        Scope::new(ScopeKind::Host, &*caller.host.text()),
        Scope::new(ScopeKind::Workload, caller.workload.as_str()),
        Scope::new(ScopeKind::Model, model),
        Scope::global(),
    ];
    let named = [
        (ScopeKind::Team, caller.key.team()),
        (ScopeKind::User, caller.key.user()),
        (ScopeKind::Customer, caller.customer.as_deref()),
    ];
    scopes.extend(named.into_iter().filter_map(|(kind, id)| Some(Scope::new(kind, id?))));
    scopes.extend(caller.tags.iter().map(|tag| Scope::new(ScopeKind::Tag, tag.as_str())));
    scopes
}

fn refuse(gateway: &Gateway, caller: &Caller, exceeded: Exceeded) -> Refusal {
    let exceeded = match exceeded.scope.kind() {
        ScopeKind::Key | ScopeKind::KeyModel => exceeded.named(caller.key.full_name()),
        _ => exceeded,
    };
    gateway.refusals.record(caller.key.alias(), &exceeded);
    gateway.metrics.budget_refused(exceeded.scope.kind().word());
    Refusal::Budget { exceeded: Box::new(exceeded), status: gateway.config.budgets.exceeded_status }
}

/// Whether a refusal only concerns one way to serve the call.
pub(crate) fn is_local(refusal: &Refusal) -> bool {
    match refusal {
        Refusal::Budget { exceeded, .. } => {
            matches!(exceeded.scope.kind(), ScopeKind::Provider | ScopeKind::Deployment)
        }
        Refusal::Unpriced(_) => true,
        _ => false,
    }
}

/// The most that an attempt can cost.
struct WorstCase {
    ceiling: Ceiling,
    output: Option<OutputAsk>,
    /// What it may write when money does not matter.
    wanted: u64,
    /// Whether it stops there of its own.
    is_bounded: bool,
    least: NanoDollars,
    comfortable: NanoDollars,
    most: NanoDollars,
}

impl WorstCase {
    /// `None` when nobody knows the price.
    fn of(gateway: &Gateway, ask: &Ask, choice: &Choice, upstream: &Upstream) -> Option<Self> {
        let fields = ask.fields();
        let prompt = exact(ask.endpoint, fields.text(), |name| fields.raw(name));
        let ceiling = dearest(gateway, &prompt, choice, upstream, &fields)?;
        let Some(output) = output_limit(ask.endpoint, |name| fields.read(name)) else {
            let amount = ceiling.amount(0);
            let (least, comfortable, most) = (amount, amount, amount);
            return Some(Self { ceiling, output: None, wanted: 0, is_bounded: true, least, comfortable, most });
        };
        let asked = entrys_limit(&choice.deployment, output.asked.is_some()).or(output.asked);
        let longest = ceiling.max_output_tokens;
        let wanted = match (asked, longest) {
            (Some(asked), Some(longest)) => asked.min(longest),
            (asked, longest) => asked.or(longest).unwrap_or(UNKNOWN_OUTPUT),
        };
        let floor = output.floor.max(LEAST_OUTPUT).min(wanted);
        let amount = |tokens: u64| ceiling.amount(tokens.saturating_mul(output.choices));
        let (least, most) = (amount(floor), amount(wanted));
        let comfortable = amount(COMFORTABLE_OUTPUT.clamp(floor, wanted));
        // What OpenRouter hands a call on to may write more than the price list knows.
        let is_bounded = match upstream.provider() {
            "openrouter" => asked.is_some_and(|asked| asked <= wanted),
            _ => asked.is_some() || longest.is_some(),
        };
        Some(Self { ceiling, output: Some(output), wanted, is_bounded, least, comfortable, most })
    }

    /// The limit that keeps the answer within these funds, where it would not stop there of its own.
    fn output_limit(&self, funds: NanoDollars) -> Option<u64> {
        let output = self.output.as_ref()?;
        if funds >= self.most {
            return (!self.is_bounded).then_some(self.wanted);
        }
        let tokens = self.ceiling.output_tokens_for(funds)? / output.choices;
        Some(tokens.clamp(1, self.wanted))
    }
}

/// The ceiling of a call, whichever of several models serves it: OpenRouter takes the next of the request's `models` where one
/// fails (openrouter.ai/docs/guides/routing/model-fallbacks). Of those nobody knows the price of, nothing can be reserved.
fn dearest(
    gateway: &Gateway,
    prompt: &PromptBound,
    choice: &Choice,
    upstream: &Upstream,
    fields: &Fields<'_>,
) -> Option<Ceiling> {
    let first = ceiling(gateway, prompt, choice, upstream, upstream.model_name(&choice.model));
    if upstream.provider() != "openrouter" || !fields.has("models") {
        return first;
    }
    let others = fields.read::<Vec<String>>("models").unwrap_or_default();
    let others = others.iter().filter_map(|model| ceiling(gateway, prompt, choice, upstream, model));
    first.into_iter().chain(others).reduce(Ceiling::or)
}

/// The prices' part. What only the model's window bounds is priced as the whole window.
fn ceiling(
    gateway: &Gateway,
    prompt: &PromptBound,
    choice: &Choice,
    upstream: &Upstream,
    model: &str,
) -> Option<Ceiling> {
    let bound = Bound {
        prompt_tokens: prompt.tokens,
        cache_write: true,
        cache_write_1h: prompt.cache_1h,
        audio: prompt.has_audio,
        images: prompt.has_images,
        searches: if prompt.server_tools { SEARCHES } else { 0 },
        tier: tier(&choice.deployment, prompt.tier.as_deref()),
    };
    let price = |bound: &Bound<'_>| gateway.pricer.ceiling(&choice.deployment, upstream.provider(), model, bound);
    let first = price(&bound)?;
    let window = first.max_input_tokens;
    let prompt_tokens = match (prompt.is_open(), window) {
        (true, window) => window.unwrap_or(UNKNOWN_WINDOW),
        (false, Some(window)) if prompt.tokens > window => window,
        (false, _) => return Some(first),
    };
    price(&Bound { prompt_tokens, ..bound })
}

/// The service tier that the provider is asked for: an entry's `extra_body` stands over the client's, its defaults behind it.
fn tier<'a>(deployment: &'a Deployment, asked: Option<&'a str>) -> Option<&'a str> {
    let of = |map: &'a Map<String, Value>| map.get("service_tier").and_then(Value::as_str);
    of(&deployment.extra_body).or(asked).or_else(|| of(&deployment.defaults))
}

/// The hold of an attempt that is over, given what is known of its cost.
pub(crate) fn settle(hold: Option<Hold>, cost: Option<NanoDollars>, keeps_unknown: bool, number: u64) {
    let Some(hold) = hold else { return };
    match cost {
        Some(cost) => hold.settle(cost, number),
        None if keeps_unknown => hold.keep(number),
        None => hold.settle(NanoDollars::ZERO, number),
    }
}
