//! What an admitted call holds of its limits.

use std::sync::Arc;

use jiff::Timestamp;

use super::Shared;
use super::state::{Line, State};

/// An admitted call's part of its limits. Dropping it ends its part of the limits on calls at once; what it reserved of tokens
/// stays counted until [`settle`](Self::settle) says how many it were.
#[derive(Debug)]
#[must_use = "dropping it ends the call's part of the limits on calls at once"]
pub struct RateHold {
    pub(super) shared: Option<Arc<Shared>>,
    pub(super) lines: Vec<Line>,
    /// Tokens of the call's earlier attempts.
    pub(super) before: u64,
}

impl RateHold {
    /// Nothing is held.
    pub fn none() -> Self {
        Self { shared: None, lines: Vec::new(), before: 0 }
    }

    /// An attempt was answered and paid, and another one follows.
    pub fn add(&mut self, tokens: u64) {
        self.before = self.before.saturating_add(tokens);
    }

    /// The call is over and used so many tokens, prompt and answer together; none when it never went out.
    pub fn settle(mut self, tokens: u64, now: Timestamp) {
        let tokens = tokens.saturating_add(self.before);
        self.end(|state, lines| state.settle(lines, tokens, now));
    }

    /// Ends the call's part of the limits on calls at once, after `correct`.
    fn end(&mut self, correct: impl FnOnce(&mut State, &[Line])) {
        let Some(shared) = self.shared.take() else { return };
        let leased = {
            let mut state = shared.state();
            correct(&mut state, &self.lines);
            state.release(&self.lines);
            state.is_leased()
        };
        if leased {
            shared.announce();
            shared.granted.notify_waiters();
        }
    }

    /// Whether no limit holds for the call. Then it adds no headers either.
    #[must_use]
    pub fn is_unlimited(&self) -> bool {
        self.lines.is_empty()
    }
}

impl Drop for RateHold {
    fn drop(&mut self) {
        self.end(|_, _| {});
    }
}
