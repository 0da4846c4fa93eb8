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
use crate::provider::Upstream;
use crate::respond::Refusal;
use crate::route::Choice;

/// Of the output that a call lets the model write, so many tokens count until the true number is known: programs ask for limits that
/// no answer ever reaches.
const EXPECTED_OUTPUT: u64 = 4_096;

/// What a call asks of the limits.
pub(crate) struct CallLimits {
    /// Empty where no limit is in force anywhere.
    scopes: Vec<Scope>,
    tokens: u64,
}

impl CallLimits {
    pub(crate) fn of(gateway: &Gateway, permit: &Permit, ask: &Ask) -> Self {
        if gateway.rates.is_empty() {
            return Self { scopes: Vec::new(), tokens: 0 };
        }
        let mut scopes = crate::funds::callers_scopes(permit.caller(), &ask.model);
        if matches!(permit.caller().key, CallerKey::Master) {
            // What the file says of all keys is meant for those that it does not know.
            scopes.retain(|scope| !matches!(scope.kind(), ScopeKind::Key | ScopeKind::KeyModel));
        }
        let fields = ask.fields();
        let output = output_limit(ask.endpoint, |name| fields.read(name)).and_then(|output| output.asked).unwrap_or(0);
        let prompt = estimate(ask.body.len() as u64, 0).input;
        Self { scopes, tokens: prompt + output.min(EXPECTED_OUTPUT) }
    }

    /// Counts the call in its caller's limits.
    ///
    /// # Errors
    /// When one of them is used up for now.
    pub(crate) async fn admit_call(&self, gateway: &Gateway, permit: &Permit) -> Result<RateHold, Refusal> {
        if self.scopes.is_empty() {
            return Ok(RateHold::none());
        }
        let admitted = gateway.rates.admit_or_wait(&self.scopes, self.tokens, Timestamp::now).await;
        admitted.map_err(|limited| {
            tracing::debug!(key = permit.caller().key.alias(), "call refused: {limited}");
            refuse(gateway, limited)
        })
    }

    /// Counts an attempt in the limits of its deployment and provider.
    ///
    /// # Errors
    /// When one of them is used up for now.
    pub(crate) fn admit_attempt(
        &self,
        gateway: &Gateway,
        choice: &Choice,
        upstream: &Upstream,
    ) -> Result<RateHold, Refusal> {
        if self.scopes.is_empty() {
            return Ok(RateHold::none());
        }
        let scopes = [
            Scope::new(ScopeKind::Deployment, choice.deployment.id.as_str()),
            Scope::new(ScopeKind::Provider, upstream.provider()),
        ];
        let admitted = gateway.rates.admit(&scopes, self.tokens, Timestamp::now());
        admitted.map_err(|limited| refuse(gateway, limited))
    }
}

fn refuse(gateway: &Gateway, limited: RateLimited) -> Refusal {
    gateway.metrics.rate_refused(limited.scope.kind().word());
    Refusal::Rate(Box::new(limited))
}
