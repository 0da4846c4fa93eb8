//! What one scope has used: calls and tokens of the last minute and of the day, and calls in flight.

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
    /// Calls in a day.
    DailyRequests,
    /// Tokens in a day.
    DailyTokens,
}

impl Measure {
    /// LiteLLM's word for it.
    #[must_use]
    pub fn word(self) -> &'static str {
        match self {
            Self::Requests => "requests",
            Self::Tokens => "tokens",
            Self::Parallel => "max_parallel_requests",
            Self::DailyRequests => "requests_per_day",
            Self::DailyTokens => "tokens_per_day",
        }
    }

    /// Whether it is counted by the day.
    #[must_use]
    pub fn is_daily(self) -> bool {
        matches!(self, Self::DailyRequests | Self::DailyTokens)
    }

    /// Whether it is counted by the minute.
    #[must_use]
    pub fn is_of_a_minute(self) -> bool {
        matches!(self, Self::Requests | Self::Tokens)
    }

    /// Whether it counts tokens.
    #[must_use]
    pub fn is_of_tokens(self) -> bool {
        matches!(self, Self::Tokens | Self::DailyTokens)
    }
}

/// When something is asked, and how time is cut.
#[derive(Debug, Clone, Copy)]
pub(super) struct Moment {
    pub(super) at: Timestamp,
    pub(super) slot: i64,
    pub(super) grain: Grain,
    pub(super) day: Day,
}

/// A day, in seconds since 1970. What a day counts is in one slot, which has the number of its first second.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Day {
    pub(super) start: i64,
    pub(super) end: i64,
}

impl Moment {
    /// The slot in which something counts now.
    pub(super) fn slot_of(self, measure: Measure) -> i64 {
        if measure.is_daily() { self.day.start } else { self.slot }
    }

    /// The second in which that slot begins.
    pub(super) fn slot_start(self, measure: Measure) -> i64 {
        if measure.is_daily() { self.day.start } else { self.grain.start(self.slot) }
    }

    /// The second in which the next slot begins.
    pub(super) fn slot_end(self, measure: Measure) -> i64 {
        if measure.is_daily() { self.day.end } else { self.grain.start(self.slot + 1) }
    }
}

/// What a call asks of a counter.
#[derive(Debug, Clone, Copy)]
pub(super) struct Ask {
    pub(super) tokens: u64,
    pub(super) moment: Moment,
    /// Whether it has to be granted as well.
    pub(super) leased: bool,
    /// The second from which on everything was counted here; days that began before are loaded.
    pub(super) began: i64,
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
    /// Nobody has said yet what the day has seen before this process began.
    pub(super) awaits_load: bool,
}

impl Shortage {
    /// Whether something is on its way that the call can wait for.
    pub(super) fn passes_soon(&self) -> bool {
        self.awaits_grant || self.awaits_load
    }
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
    pub(super) day_requests: Window,
    pub(super) day_tokens: Window,
    /// The day whose earlier calls and tokens are counted.
    loaded_day: Option<i64>,
    /// The limit came in the middle of a day.
    must_load: bool,
    /// When nothing more was to be had: the slot of a minute's limit; for the others, of which something may come back at any time,
    /// the second.
    denied: [Option<i64>; 5],
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
        self.day_requests.keep_only(moment.day.start);
        self.day_tokens.keep_only(moment.day.start);
        self.loaded_day = self.loaded_day.filter(|day| *day == moment.day.start);
    }

    /// Counts what a day has seen before.
    pub(super) fn load(&mut self, day: i64, requests: u64, tokens: u64) {
        if self.loaded_day != Some(day) {
            self.day_requests.add(day, requests);
            self.day_tokens.add(day, tokens);
            (self.loaded_day, self.must_load) = (Some(day), false);
        }
    }

    /// Forgets what a day has seen.
    pub(super) fn forget_day(&mut self) {
        (self.day_requests, self.day_tokens) = (Window::default(), Window::default());
        (self.loaded_day, self.must_load) = (None, false);
    }

    /// The same, and it is to be loaded.
    pub(super) fn unload(&mut self) {
        self.forget_day();
        self.must_load = true;
    }

    /// Whether it can be dropped without anything being forgotten.
    pub(super) fn is_idle(&self) -> bool {
        let windows = [&self.requests, &self.tokens, &self.day_requests, &self.day_tokens];
        windows.iter().all(|window| window.is_empty())
            && self.held == 0
            && self.held_granted == 0
            && self.loaded_day.is_none()
            && !self.must_load
    }

    pub(super) fn window(&mut self, measure: Measure) -> Option<&mut Window> {
        match measure {
            Measure::Requests => Some(&mut self.requests),
            Measure::Tokens => Some(&mut self.tokens),
            Measure::DailyRequests => Some(&mut self.day_requests),
            Measure::DailyTokens => Some(&mut self.day_tokens),
            Measure::Parallel => None,
        }
    }

    pub(super) fn deny(&mut self, measure: Measure, when: i64) {
        self.denied[measure as usize] = Some(when);
    }

    pub(super) fn is_denied(&self, measure: Measure, moment: Moment) -> bool {
        let when = if measure.is_of_a_minute() { moment.slot } else { moment.at.as_second() };
        self.denied[measure as usize] == Some(when)
    }

    /// What the call cannot have of each limit.
    pub(super) fn shortages(&self, caps: RateCaps, ask: Ask) -> impl Iterator<Item = Shortage> {
        let requests = caps.rpm.and_then(|cap| self.window_shortage(Measure::Requests, cap, 1, ask));
        // A call that is thought to need no tokens does not pass a limit that is used up.
        let needed = |cap| reserved(ask.tokens, cap).max(1);
        let tokens = caps.tpm.and_then(|cap| self.window_shortage(Measure::Tokens, cap, needed(cap), ask));
        let parallel = caps.max_parallel.and_then(|cap| self.parallel_shortage(cap, ask));
        let days = caps.rpd.and_then(|cap| self.window_shortage(Measure::DailyRequests, cap, 1, ask));
        let days_tokens = caps.tpd.and_then(|cap| self.window_shortage(Measure::DailyTokens, cap, needed(cap), ask));
        [requests, tokens, parallel, days, days_tokens].into_iter().flatten()
    }

    fn window_shortage(&self, measure: Measure, cap: u64, needed: u64, ask: Ask) -> Option<Shortage> {
        let window = match measure {
            Measure::Tokens => &self.tokens,
            Measure::DailyRequests => &self.day_requests,
            Measure::DailyTokens => &self.day_tokens,
            _ => &self.requests,
        };
        let Moment { at, grain, day, .. } = ask.moment;
        let slot = ask.moment.slot_of(measure);
        let remaining = cap.saturating_sub(window.used());
        let shortage = Shortage { measure, cap, remaining, needed, until: 0, awaits_grant: false, awaits_load: false };
        let is_known = ask.leased || (day.start >= ask.began && !self.must_load) || self.loaded_day == Some(day.start);
        if measure.is_daily() && !is_known {
            return Some(Shortage { until: at.as_second() + 1, awaits_load: true, ..shortage });
        }
        if needed > remaining {
            let opens = window.opens_after(needed, cap).unwrap_or(slot);
            let until = if measure.is_daily() { day.end } else { grain.expiry(opens) };
            return Some(Shortage { until, ..shortage });
        }
        if !ask.leased || window.free(slot) >= needed {
            return None;
        }
        Some(self.without_grant(shortage, ask.moment, grain.start(ask.moment.slot + 1)))
    }

    fn parallel_shortage(&self, cap: u64, ask: Ask) -> Option<Shortage> {
        let at = ask.moment.at;
        let (measure, remaining) = (Measure::Parallel, cap.saturating_sub(self.held));
        // Nobody knows when a call ends.
        let until = at.as_second() + 1;
        let shortage = Shortage { measure, cap, remaining, needed: 1, until, awaits_grant: false, awaits_load: false };
        if remaining == 0 {
            return Some(shortage);
        }
        if !ask.leased || self.held_granted > self.held {
            return None;
        }
        Some(self.without_grant(shortage, ask.moment, until))
    }

    /// Nothing is missing but a grant: the other gateways hold the rest, or nobody has been asked yet.
    fn without_grant(&self, shortage: Shortage, moment: Moment, until: i64) -> Shortage {
        match self.is_denied(shortage.measure, moment) {
            true => Shortage { remaining: 0, until, ..shortage },
            false => Shortage { until: moment.at.as_second() + 1, awaits_grant: true, ..shortage },
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
        if caps.rpd.is_some() {
            self.day_requests.add(ask.moment.day.start, 1);
        }
        if let Some(cap) = caps.tpd {
            self.day_tokens.add(ask.moment.day.start, reserved(ask.tokens, cap));
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
