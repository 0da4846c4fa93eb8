//! Limits that several gateways share: each counts out of what it was granted.
//!
//! Time is cut into windows of [`LEASE_SECONDS`], and a grant serves in its own window only. Whoever grants must see to it that
//! what is granted for one rule in any [`LEASE_SPAN_SECONDS`] (every 60 s lie in that many consecutive windows) stays within
//! the rule's cap. Then all gateways together admit no more than the cap in any 60 s. Calls at once have one window, 0: a
//! grant of these holds until it is taken back. A day is a window of its own, within which grants stay within the cap.

use jiff::Timestamp;

use super::Rates;
use super::counter::Measure;
use super::state::State;
use crate::admit::scope::Scope;

/// How long a grant serves.
pub const LEASE_SECONDS: i64 = 5;
/// Over how long grants must stay within the cap.
pub const LEASE_SPAN_SECONDS: i64 = 65;

/// One limit that is granted.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct RateRule {
    /// Whose.
    pub scope: Scope,
    /// Of what.
    pub measure: Measure,
}

/// What this gateway would like to be granted.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Wish {
    /// Out of which limit.
    pub rule: RateRule,
    /// When the window begins, in seconds since 1970; 0 for calls at once.
    pub window_start: i64,
    /// The first second in which a grant serves no more.
    pub until: i64,
    /// How much. Less, or nothing, may be granted.
    pub amount: u64,
    /// What has been used beyond what was granted, on top of `amount`: answers that were longer than anybody thought. It is to
    /// be booked and granted whatever the cap says.
    pub owed: u64,
}

/// A grant that has not been used.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Unused {
    /// Out of which limit.
    pub rule: RateRule,
    /// When its window began, in seconds since 1970; 0 for calls at once.
    pub window_start: i64,
    /// How much of it.
    pub amount: u64,
}

impl Rates {
    /// What to grant, each once. Of windows that are over, only what they owe.
    #[must_use]
    pub fn wanted(&self, now: Timestamp) -> Vec<Wish> {
        let mut state = self.shared.state();
        let moment = state.tick(now);
        let mut wishes: Vec<Wish> = std::mem::take(&mut state.wishes).into_values().collect();
        for wish in wishes.iter_mut().filter(|wish| wish.until <= moment.at.as_second()) {
            wish.amount = 0;
        }
        wishes.retain(|wish| wish.amount > 0 || wish.owed > 0);
        wishes
    }

    /// Comes back when [`wanted`](Self::wanted) has something, or may have.
    pub async fn shortage(&self) {
        self.shared.shortage.notified().await;
    }

    /// What a rule's limit is now, for whoever grants; `None` when there is none any more.
    #[must_use]
    pub fn cap(&self, rule: &RateRule) -> Option<u64> {
        let caps = self.shared.state().rules.caps(&rule.scope);
        match rule.measure {
            Measure::Requests => caps.rpm,
            Measure::Tokens => caps.tpm,
            Measure::Parallel => caps.max_parallel,
            Measure::DailyRequests => caps.rpd,
            Measure::DailyTokens => caps.tpd,
        }
    }

    /// Lets this gateway use so much in that window. An amount of 0 says that nothing is left: calls are refused at once then, until
    /// the next window; where others may give something back long before that, in this second.
    pub fn grant(&self, rule: &RateRule, window_start: i64, amount: u64) {
        {
            let mut state = self.shared.state();
            let (slot, second) = (state.slot_of_start(rule.measure, window_start), state.latest().as_second());
            let counter = state.counters.entry(rule.scope.clone()).or_default();
            match counter.window(rule.measure) {
                _ if amount == 0 => {
                    counter.deny(rule.measure, if rule.measure.is_of_a_minute() { slot } else { second });
                }
                Some(window) => window.grant(slot, amount),
                None => counter.held_granted = counter.held_granted.saturating_add(amount),
            }
        }
        self.shared.granted.notify_waiters();
    }

    /// Takes back at most so much of what was granted for that window and is not used; says how much it was.
    #[must_use]
    pub fn take_back(&self, rule: &RateRule, window_start: i64, most: u64) -> u64 {
        let mut state = self.shared.state();
        let slot = state.slot_of_start(rule.measure, window_start);
        let Some(counter) = state.counters.get_mut(&rule.scope) else { return 0 };
        if let Some(window) = counter.window(rule.measure) {
            return window.take_back(slot, most);
        }
        let taken = counter.held_granted.saturating_sub(counter.held).min(most);
        counter.held_granted -= taken;
        taken
    }

    /// What can be taken back because it will not be used here: grants of windows that are over, and calls at once of scopes that
    /// make none now. What an estimate had reserved too much turns up here when the call is settled.
    #[must_use]
    pub fn unused(&self, now: Timestamp) -> Vec<Unused> {
        let mut state = self.shared.state();
        let moment = state.tick(now);
        let mut unused = Vec::new();
        for (scope, counter) in &mut state.counters {
            counter.expire(moment);
            let rule = |measure| RateRule { scope: scope.clone(), measure };
            for (measure, window) in [(Measure::Requests, &counter.requests), (Measure::Tokens, &counter.tokens)] {
                for (slot, amount) in window.unused_before(moment.slot) {
                    let window_start = moment.grain.start(slot);
                    unused.push(Unused { rule: rule(measure), window_start, amount });
                }
            }
            if counter.held == 0 && counter.held_granted > 0 {
                unused.push(Unused { rule: rule(Measure::Parallel), window_start: 0, amount: counter.held_granted });
            }
        }
        unused
    }
}

impl State {
    fn slot_of_start(&self, measure: Measure, window_start: i64) -> i64 {
        if measure.is_daily() { window_start } else { self.grain().slot_of_start(window_start) }
    }
}
