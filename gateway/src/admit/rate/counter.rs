//! What one scope has used: calls and tokens of the last minute, and calls in flight.

use jiff::Timestamp;

use super::window::{Grain, Window};
use crate::config::RateCaps;

/// What is counted.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Measure {
    /// Calls in 60 s.
    Requests,
    /// Tokens in 60 s.
    Tokens,
    /// Calls at once.
    Parallel,
}

impl Measure {
    /// LiteLLM's word for it.
    #[must_use]
    pub fn word(self) -> &'static str {
        match self {
            Self::Requests => "requests",
            Self::Tokens => "tokens",
            Self::Parallel => "max_parallel_requests",
        }
    }
}

/// When something is asked, and how time is cut.
#[derive(Debug, Clone, Copy)]
pub(super) struct Moment {
    pub(super) at: Timestamp,
    pub(super) slot: i64,
    pub(super) grain: Grain,
}

/// What a call asks of a counter.
#[derive(Debug, Clone, Copy)]
pub(super) struct Ask {
    pub(super) tokens: u64,
    pub(super) moment: Moment,
    /// Whether it has to be granted as well.
    pub(super) leased: bool,
}

/// What a counter cannot give.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Shortage {
    pub(super) measure: Measure,
    pub(super) cap: u64,
    pub(super) remaining: u64,
    pub(super) needed: u64,
    /// The second in which it is worth asking again.
    pub(super) until: i64,
    /// Only a grant is missing, and one may come.
    pub(super) awaits_grant: bool,
}

/// How far a limit is used, right after a call was admitted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Level {
    pub(super) limit: u64,
    pub(super) remaining: u64,
    /// Seconds until nothing counts any more.
    pub(super) resets_in: u64,
}

/// What one scope has used.
#[derive(Debug, Default)]
pub(super) struct Counter {
    pub(super) requests: Window,
    pub(super) tokens: Window,
    /// Calls in flight.
    pub(super) held: u64,
    /// How many calls at once other gateways leave to this one.
    pub(super) held_granted: u64,
    /// The slots in which nothing more was to be had.
    denied: [Option<i64>; 3],
}

/// What a call reserves. One that asks for more than the whole limit waits for an empty window and takes all of it: refused
/// for ever, it could not be told from a mistake in the limit.
pub(super) fn reserved(tokens: u64, cap: u64) -> u64 {
    tokens.min(cap)
}

impl Counter {
    pub(super) fn expire(&mut self, moment: Moment) {
        self.requests.expire(moment.grain, moment.slot);
        self.tokens.expire(moment.grain, moment.slot);
    }

    /// Whether it can be dropped without anything being forgotten.
    pub(super) fn is_idle(&self) -> bool {
        self.requests.is_empty() && self.tokens.is_empty() && self.held == 0 && self.held_granted == 0
    }

    pub(super) fn window(&mut self, measure: Measure) -> Option<&mut Window> {
        match measure {
            Measure::Requests => Some(&mut self.requests),
            Measure::Tokens => Some(&mut self.tokens),
            Measure::Parallel => None,
        }
    }

    pub(super) fn deny(&mut self, measure: Measure, slot: i64) {
        self.denied[measure as usize] = Some(slot);
    }

    pub(super) fn is_denied(&self, measure: Measure, slot: i64) -> bool {
        self.denied[measure as usize] == Some(slot)
    }

    /// What the call cannot have of each limit.
    pub(super) fn shortages(&self, caps: RateCaps, ask: Ask) -> impl Iterator<Item = Shortage> {
        let requests = caps.rpm.and_then(|cap| self.window_shortage(Measure::Requests, cap, 1, ask));
        // A call that is thought to need no tokens does not pass a limit that is used up.
        let needed = |cap| reserved(ask.tokens, cap).max(1);
        let tokens = caps.tpm.and_then(|cap| self.window_shortage(Measure::Tokens, cap, needed(cap), ask));
        let parallel = caps.max_parallel.and_then(|cap| self.parallel_shortage(cap, ask));
        [requests, tokens, parallel].into_iter().flatten()
    }

    fn window_shortage(&self, measure: Measure, cap: u64, needed: u64, ask: Ask) -> Option<Shortage> {
        let window = if measure == Measure::Tokens { &self.tokens } else { &self.requests };
        let Moment { at, slot, grain } = ask.moment;
        let remaining = cap.saturating_sub(window.used());
        let shortage = Shortage { measure, cap, remaining, needed, until: 0, awaits_grant: false };
        if needed > remaining {
            let opens = window.opens_after(needed, cap).unwrap_or(slot);
            return Some(Shortage { until: grain.expiry(opens), ..shortage });
        }
        if !ask.leased || window.free(slot) >= needed {
            return None;
        }
        Some(self.without_grant(shortage, at, slot, grain.start(slot + 1)))
    }

    fn parallel_shortage(&self, cap: u64, ask: Ask) -> Option<Shortage> {
        let Moment { at, slot, .. } = ask.moment;
        let (measure, remaining) = (Measure::Parallel, cap.saturating_sub(self.held));
        // Nobody knows when a call ends.
        let until = at.as_second() + 1;
        let shortage = Shortage { measure, cap, remaining, needed: 1, until, awaits_grant: false };
        if remaining == 0 {
            return Some(shortage);
        }
        if !ask.leased || self.held_granted > self.held {
            return None;
        }
        Some(self.without_grant(shortage, at, slot, until))
    }

    /// Nothing is missing but a grant: the other gateways hold the rest, or nobody has been asked yet.
    fn without_grant(&self, shortage: Shortage, at: Timestamp, slot: i64, until: i64) -> Shortage {
        match self.is_denied(shortage.measure, slot) {
            true => Shortage { remaining: 0, until, ..shortage },
            false => Shortage { until: at.as_second() + 1, awaits_grant: true, ..shortage },
        }
    }

    /// Counts the call.
    pub(super) fn charge(&mut self, caps: RateCaps, ask: Ask) {
        if caps.rpm.is_some() {
            self.requests.add(ask.moment.slot, 1);
        }
        if let Some(cap) = caps.tpm {
            self.tokens.add(ask.moment.slot, reserved(ask.tokens, cap));
        }
        if caps.max_parallel.is_some() {
            self.held += 1;
        }
    }

    /// How far the limit for calls is used.
    pub(super) fn request_level(&self, caps: RateCaps, moment: Moment) -> Option<Level> {
        caps.rpm.map(|cap| level(&self.requests, cap, moment))
    }

    /// How far the limit for tokens is used.
    pub(super) fn token_level(&self, caps: RateCaps, moment: Moment) -> Option<Level> {
        caps.tpm.map(|cap| level(&self.tokens, cap, moment))
    }
}

fn level(window: &Window, cap: u64, moment: Moment) -> Level {
    let clear = window.last_used().map_or(0, |slot| moment.grain.expiry(slot) - moment.at.as_second());
    let resets_in = u64::try_from(clear).unwrap_or(0);
    Level { limit: cap, remaining: cap.saturating_sub(window.used()), resets_in }
}
