//! What deployments have really charged, measured against what was provable before the call.
//!
//! Most upstreams never charge more than the estimate, which is an upper bound. Some do: they put a prompt of their own in front,
//! or think beyond the output limit. One answer shows by how much; from then on that much is set aside for every call there.

use std::sync::Arc;

use foldhash::HashMap;
use jiff::Timestamp;

use super::offer::Trust;
use crate::admit::scope::{Scope, ScopeKind};

/// As expected.
const PAR: i64 = 1_000;
/// One absurd bill must not shut a deployment out for good.
const HIGHEST: i64 = 32 * PAR;
/// What goes beyond par is halved in this time: prices are mended, and a deployment that nobody may call any more could not show it.
const HALF_LIFE_SECONDS: i64 = 86_400;

/// Learned from settled answers, one entry for each deployment.
#[derive(Debug, Default)]
pub(super) struct Caution {
    seen: HashMap<Arc<str>, Seen>,
}

#[derive(Debug, Clone, Copy)]
struct Seen {
    thousandths: i64,
    at: Timestamp,
}

impl Seen {
    fn now(self, at: Timestamp) -> i64 {
        let passed = at.as_second().saturating_sub(self.at.as_second()).max(0);
        let halvings = u32::try_from(passed / HALF_LIFE_SECONDS).unwrap_or(u32::MAX);
        PAR + (self.thousandths - PAR).checked_shr(halvings).unwrap_or(0)
    }
}

impl Caution {
    /// How far a call's deployment is believed. A call that names none is taken at its word.
    pub(super) fn trust(&self, scopes: &[Scope], at: Timestamp) -> Trust {
        match deployment(scopes).map(|scope| self.seen.get(scope.id())) {
            Some(Some(seen)) => Trust { thousandths: seen.now(at), known: true },
            Some(None) => Trust { thousandths: PAR, known: false },
            None => Trust { thousandths: PAR, known: true },
        }
    }

    /// Learns from an answer. One that cost nothing says nothing: it may have been an error. Tells whether it was a deployment's
    /// first.
    pub(super) fn learn(&mut self, scopes: &[Scope], provable: i64, cost: i64, at: Timestamp) -> bool {
        let Some(scope) = deployment(scopes).filter(|_| cost > 0 && provable > 0) else { return false };
        self.remember(scope, ratio(provable, cost), at)
    }

    /// Takes over what is known from earlier answers; tells whether it is the first about this deployment.
    pub(super) fn remember(&mut self, deployment: &Scope, ratio: i64, at: Timestamp) -> bool {
        match self.seen.get_mut(deployment.id()) {
            // What it still stands at is kept with its date, so that it keeps falling.
            Some(seen) if seen.now(at) > ratio => false,
            Some(seen) => {
                *seen = Seen { thousandths: ratio, at };
                false
            }
            None => self.seen.insert(deployment.id().into(), Seen { thousandths: ratio, at }).is_none(),
        }
    }
}

/// The thousandths that a cost is of what was provable, rounded up.
pub(super) fn ratio(provable: i64, cost: i64) -> i64 {
    let provable = i128::from(provable.max(1));
    let ratio = (i128::from(cost) * i128::from(PAR) + provable - 1) / provable;
    i64::try_from(ratio).unwrap_or(HIGHEST).clamp(PAR, HIGHEST)
}

fn deployment(scopes: &[Scope]) -> Option<&Scope> {
    scopes.iter().find(|scope| scope.kind() == ScopeKind::Deployment)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(hours: i64) -> Timestamp {
        Timestamp::from_second(hours * 3_600).unwrap()
    }

    #[test]
    fn a_deployment_is_known_by_its_first_cost_and_believed_by_its_highest() {
        let scopes = [Scope::new(ScopeKind::Deployment, "d")];
        let mut caution = Caution::default();
        let trust = |caution: &Caution, hours| {
            let trust = caution.trust(&scopes, at(hours));
            (trust.thousandths, trust.known)
        };
        assert_eq!(trust(&caution, 0), (1_000, false));
        caution.learn(&scopes, 100, 0, at(0));
        assert_eq!(trust(&caution, 0), (1_000, false));
        caution.learn(&scopes, 100, 20, at(0));
        assert_eq!(trust(&caution, 0), (1_000, true));
        caution.learn(&scopes, 3, 10, at(0));
        assert_eq!(trust(&caution, 0), (3_334, true));
        caution.learn(&scopes, 100, 100, at(1));
        assert_eq!(trust(&caution, 1), (3_334, true));
        assert_eq!(trust(&caution, 24), (2_167, true));
        assert_eq!(trust(&caution, 24 * 90), (1_000, true));
        caution.learn(&scopes, 1, i64::MAX, at(0));
        assert_eq!(trust(&caution, 0), (32_000, true));
    }
}
