//! Calls and tokens in a minute: what is asked of the limits for a call, and for each of its attempts.

use fleetgate_wire::scope::{Scope, ScopeKind};
use jiff::Timestamp;

use crate::admit::Permit;
use crate::admit::budget::estimate::output_limit;
use crate::admit::rate::{RateHold, RateLimited};
use crate::auth::CallerKey;
use crate::dialect::Ask;
use crate::gateway::Gateway;
use crate::meter::estimate;
use crate::respond::Refusal;

/// Of the output that a call lets the model write, so many tokens count until the true number is known: programs ask for limits that
/// no answer ever reaches.
const EXPECTED_OUTPUT: u64 = 4_096;

/// What a call asks of the limits.
pub(crate) struct CallLimits {
    /// Everything that the call counts for, whoever serves it. Empty where neither a budget nor a rate is in force.
    scopes: Vec<Scope>,
    /// Where the rates count it, if that is not in all of these.
    rated: Option<Vec<Scope>>,
    /// Whether any rate is in force.
    has_rates: bool,
    tokens: u64,
}

impl CallLimits {
    pub(crate) fn of(gateway: &Gateway, permit: &Permit, ask: &Ask) -> Self {
        let has_rates = !gateway.rates.is_empty();
        if !has_rates && gateway.budgets.is_empty() {
            return Self { scopes: Vec::new(), rated: None, has_rates, tokens: 0 };
        }
        let scopes = crate::funds::callers_scopes(permit.caller(), &ask.model);
        if !has_rates {
            return Self { scopes, rated: None, has_rates, tokens: 0 };
        }
        let rated = matches!(permit.caller().key, CallerKey::Master).then(|| {
            // What the file says of all keys is meant for those that it does not know.
            let is_keys = |scope: &&Scope| !matches!(scope.kind(), ScopeKind::Key | ScopeKind::KeyModel);
            scopes.iter().filter(is_keys).cloned().collect()
        });
        let fields = ask.fields();
        let output = output_limit(ask.endpoint, |name| fields.read(name)).and_then(|output| output.asked).unwrap_or(0);
        let prompt = estimate(ask.body.len() as u64, 0).input;
        Self { scopes, rated, has_rates, tokens: prompt + output.min(EXPECTED_OUTPUT) }
    }

    /// Everything that the call counts for, whoever serves it.
    pub(crate) fn scopes(&self) -> &[Scope] {
        &self.scopes
    }

    /// Counts the call in its caller's limits.
    ///
    /// # Errors
    /// When one of them is used up for now.
    pub(crate) async fn admit_call(&self, gateway: &Gateway, permit: &Permit) -> Result<RateHold, Refusal> {
        if !self.has_rates {
            return Ok(RateHold::none());
        }
        let scopes = self.rated.as_ref().unwrap_or(&self.scopes);
        let admitted = gateway.rates.admit_or_wait(scopes, self.tokens, Timestamp::now).await;
        admitted.map_err(|limited| {
            tracing::debug!(key = permit.caller().key.alias(), "call refused: {limited}");
            refuse(gateway, limited)
        })
    }

    /// Counts an attempt in the limits of its deployment and provider.
    ///
    /// # Errors
    /// When one of them is used up for now.
    pub(crate) async fn admit_attempt(&self, gateway: &Gateway, place: &[Scope]) -> Result<RateHold, Refusal> {
        if !self.has_rates {
            return Ok(RateHold::none());
        }
        let admitted = gateway.rates.admit_attempt(place, self.tokens, Timestamp::now).await;
        admitted.map_err(|limited| refuse(gateway, limited))
    }
}

fn refuse(gateway: &Gateway, limited: RateLimited) -> Refusal {
    gateway.metrics.rate_refused(limited.scope.kind().word());
    Refusal::Rate(Box::new(limited))
}
