//! Money that is set aside for one call.

use std::fmt;
use std::sync::Arc;

use fleetgate_wire::money::NanoDollars;
use jiff::Timestamp;

use super::Budgets;
use super::state::Granted;
use crate::admit::scope::Scope;

/// Set aside until the call has settled. Dropped without that, it is given back and nothing is spent.
pub struct Hold {
    budgets: Budgets,
    scopes: Arc<[Scope]>,
    /// `None` once it has settled.
    granted: Option<Granted>,
    at: Timestamp,
    amount: NanoDollars,
    reserved: NanoDollars,
}

impl Hold {
    pub(super) fn new(budgets: Budgets, scopes: Arc<[Scope]>, granted: Granted) -> Self {
        let (at, amount, reserved) = (granted.at, NanoDollars(granted.amount), NanoDollars(granted.reserve));
        Self { budgets, scopes, granted: Some(granted), at, amount, reserved }
    }

    /// What the call may cost: its output limit must follow from this.
    #[must_use]
    pub fn amount(&self) -> NanoDollars {
        self.amount
    }

    /// Whether it counts in any budget.
    #[must_use]
    pub fn is_counted(&self) -> bool {
        self.granted.as_ref().is_some_and(|granted| !granted.parts.is_empty())
    }

    /// What is set aside for it, which is more where the deployment is known or feared to charge more than is provable.
    #[must_use]
    pub fn reserved(&self) -> NanoDollars {
        self.reserved
    }

    /// The moment at which the call counts. Its row must bear this as `started_at`, so that ledger and budgets find the same window:
    /// a call that has waited may have come into the next one.
    #[must_use]
    pub fn at(&self) -> Timestamp {
        self.at
    }

    /// The call has cost this, even if it is more than was set aside; the rest is free again. `seq` is the number of the journal's
    /// settlement, counted from 1.
    pub fn settle(mut self, actual: NanoDollars, seq: u64) {
        self.close(Some((actual, seq)), true);
    }

    /// Nobody will know what the call has cost: what it may have cost stays spent. `seq` as for [`Hold::settle`].
    pub fn keep(mut self, seq: u64) {
        self.close(Some((self.amount, seq)), false);
    }

    fn close(&mut self, cost: Option<(NanoDollars, u64)>, teaches: bool) {
        if let Some(granted) = self.granted.take() {
            self.budgets.close(&self.scopes, &granted, cost.map(|(amount, seq)| (amount.0.max(0), seq)), teaches);
        }
    }
}

impl Drop for Hold {
    fn drop(&mut self) {
        self.close(None, false);
    }
}

impl fmt::Debug for Hold {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Hold").field("at", &self.at).field("amount", &self.amount).finish_non_exhaustive()
    }
}
