//! Soft limits: they never block, they are told of, once in a window by each gateway.

use fleetgate_wire::money::NanoDollars;
use jiff::Timestamp;

use super::counter::Counter;
use super::rule::RuleId;

/// More are kept for nobody.
const MOST_KEPT: usize = 1_024;

/// A soft limit was reached.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Crossing {
    /// Whose, and of which term.
    pub id: RuleId,
    /// The window in which it happened.
    pub window_start: Timestamp,
    /// The limit.
    pub soft: NanoDollars,
    /// What is spent now.
    pub spent: NanoDollars,
    /// The hard limit, if there is one.
    pub cap: Option<NanoDollars>,
    /// When the call began that reached it; the window's start where that was another gateway's.
    pub at: Timestamp,
}

impl Crossing {
    pub(super) fn of(counter: &Counter, at: Timestamp) -> Self {
        Self {
            id: counter.rule.id.clone(),
            window_start: counter.window.start,
            soft: counter.rule.soft.unwrap_or_default(),
            spent: NanoDollars(counter.spent_everywhere()),
            cap: counter.rule.cap(at),
            at,
        }
    }

    pub(super) fn publish(self, kept: &mut Vec<Self>) {
        let cap = self.cap.map_or("none".to_owned(), |cap| cap.to_string());
        tracing::warn!(budget = %self.id, spent = %self.spent, soft = %self.soft, %cap, "a soft budget is reached");
        if kept.len() < MOST_KEPT {
            kept.push(self);
        }
    }
}
