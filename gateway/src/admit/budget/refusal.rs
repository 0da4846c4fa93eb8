//! Why a call may not spend, in words that a person can act on.

use std::fmt;

use fleetgate_wire::money::NanoDollars;
use jiff::Timestamp;

use super::calendar::Term;
use crate::admit::scope::{Scope, ScopeKind};

/// A budget cannot pay for a call. Its text begins as LiteLLM's does: scripts look for that.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub struct Exceeded {
    /// Whose budget.
    pub scope: Scope,
    /// For how long money counts in it.
    pub term: Term,
    /// What people call the scope; without it the scope's id is shown.
    pub name: Option<String>,
    /// Spent in the window that is now.
    pub spent: NanoDollars,
    /// Set aside for calls in flight.
    pub reserved: NanoDollars,
    /// Those calls.
    pub in_flight: u64,
    /// What the call needs at least.
    pub needed: NanoDollars,
    /// What may be spent in the window.
    pub cap: NanoDollars,
    /// When money comes back by itself.
    pub resets_at: Option<Timestamp>,
    /// Why there is not enough.
    pub reason: Shortfall,
}

/// Why there is not enough.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Shortfall {
    /// It is spent.
    Spent,
    /// It is set aside for calls in flight, and none settled in time.
    InFlight,
    /// As many calls wait for it as may.
    Queue,
    /// Other gateways hold the rest of it.
    LeasedElsewhere {
        /// How much.
        amount: NanoDollars,
    },
    /// The shared budget did not answer in time.
    NotGranted,
    /// What was spent so far has not been read from the ledger yet.
    Loading,
}

impl Exceeded {
    /// The same with the name that people know the scope by, such as `vk-mac (sk-...wxyz)` for a key.
    #[must_use]
    pub fn named(mut self, name: impl Into<String>) -> Self {
        self.name = Some(name.into());
        self
    }

    /// What repeats itself in a minute, for [`RefusalLog`](super::RefusalLog): the counter, whatever the figures.
    #[must_use]
    pub fn counter(&self) -> String {
        format!("{} {}", self.scope, self.term)
    }

    /// The id, with as much of a key's hash as people compare.
    fn short_id(&self) -> String {
        let id = self.scope.id();
        let (hash, rest) = match self.scope.kind() {
            ScopeKind::Key | ScopeKind::KeyModel => id.split_at(id.find('/').unwrap_or(id.len())),
            _ => return id.to_owned(),
        };
        format!("{}{rest}", hash.get(..8).unwrap_or(hash))
    }

    fn advice(&self) -> &'static str {
        match self.scope.kind() {
            ScopeKind::Key | ScopeKind::KeyModel => "An administrator can raise it with /key/update",
            ScopeKind::Team => "An administrator can raise it with /team/update",
            ScopeKind::User => "An administrator can raise it with /user/update",
            ScopeKind::Customer => "An administrator can raise it with /customer/update",
            _ => "An administrator can raise it in the gateway's configuration",
        }
    }
}

impl fmt::Display for Exceeded {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (kind, shown) = (label(self.scope.kind()), self.name.clone().unwrap_or_else(|| self.short_id()));
        let (spent, cap) = (plain(self.spent), plain(self.cap));
        write!(f, "Budget has been exceeded! {kind}={shown} Current cost: {spent}, Max budget: {cap}. ")?;
        let (needed, reserved, in_flight) = (self.needed, self.reserved, calls(self.in_flight));
        match self.reason {
            Shortfall::Spent => write!(f, "This call may cost {needed}, which is not left. ")?,
            Shortfall::InFlight => {
                write!(f, "This call may cost {needed}; {reserved} is still reserved by {in_flight} in flight. ")?;
            }
            Shortfall::Queue => {
                write!(f, "{reserved} is reserved by {in_flight} in flight, and too many calls wait for it already. ")?;
            }
            Shortfall::LeasedElsewhere { amount } => {
                write!(f, "This call may cost {needed}; {amount} of the rest is leased to other gateways. ")?;
            }
            Shortfall::NotGranted => {
                write!(f, "This call may cost {needed}, and the budget that gateways share granted nothing in time. ")?;
            }
            Shortfall::Loading => f.write_str("What was spent so far could not be read from the ledger in time. ")?,
        }
        match (self.resets_at, self.term) {
            (Some(at), Term::Rolling(period)) => {
                write!(f, "Money counts for {period} after it was spent; the next is free again at {at}. ")?;
            }
            (Some(at), term) => write!(f, "The budget is for {term} and resets at {at}. ")?,
            (None, Term::Lifetime) => f.write_str("The budget does not reset. ")?,
            (None, term) => write!(f, "The budget is for {term}. ")?,
        }
        f.write_str(self.advice())
    }
}

/// LiteLLM's words for what has a budget there, and words of the same kind for what has not.
fn label(kind: ScopeKind) -> &'static str {
    match kind {
        ScopeKind::Key => "Key",
        ScopeKind::Host => "Host",
        ScopeKind::Workload => "Workload",
        ScopeKind::Team => "Team",
        ScopeKind::User => "User",
        ScopeKind::Tag => "Tag",
        ScopeKind::Model => "Model",
        ScopeKind::Provider => "Provider",
        ScopeKind::Deployment => "Deployment",
        ScopeKind::Customer => "End User",
        ScopeKind::KeyModel => "Key and model",
        ScopeKind::Global => "Proxy",
    }
}

/// Dollars as LiteLLM prints them: `0.0123`, without a sign in front.
fn plain(amount: NanoDollars) -> String {
    amount.to_string().replacen('$', "", 1)
}

fn calls(count: u64) -> String {
    if count == 1 { "1 call".to_owned() } else { format!("{count} calls") }
}

#[cfg(test)]
mod tests {
    use fleetgate_wire::period::Period;

    use super::*;

    #[test]
    fn a_refusal_says_whose_budget_how_much_until_when_and_what_to_do() {
        let exceeded = Exceeded {
            scope: Scope::new(ScopeKind::Key, "0123456789abcdef"),
            term: Term::Snapped(Period::parse("1d").unwrap()),
            name: None,
            spent: NanoDollars(4_987_600_000),
            reserved: NanoDollars(2_400_000),
            in_flight: 1,
            needed: NanoDollars(20_000_000),
            cap: NanoDollars(5_000_000_000),
            resets_at: Some("2026-11-26T00:00:00Z".parse().unwrap()),
            reason: Shortfall::Spent,
        };
        assert_eq!(
            exceeded.clone().named("vk-mac (sk-...wxyz)").to_string(),
            "Budget has been exceeded! Key=vk-mac (sk-...wxyz) Current cost: 4.9876, Max budget: 5.00. This call may cost $0.02, \
             which is not left. The budget is for 1d and resets at 2026-11-26T00:00:00Z. An administrator can raise it with \
             /key/update"
        );
        let waiting = Exceeded { reason: Shortfall::InFlight, term: Term::Lifetime, resets_at: None, ..exceeded };
        assert_eq!(
            waiting.to_string(),
            "Budget has been exceeded! Key=01234567 Current cost: 4.9876, Max budget: 5.00. This call may cost $0.02; $0.0024 is \
             still reserved by 1 call in flight. The budget does not reset. An administrator can raise it with /key/update"
        );
    }
}
