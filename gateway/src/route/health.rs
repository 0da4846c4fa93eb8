//! How deployments are doing, and which are left out for a while: LiteLLM's cooldown.
//!
//! As in LiteLLM, a deployment that has others beside it in its group is left out at once after a 401, 402, 404, 408 or 429 and when
//! it does not answer in time, and else when more than half of at least five attempts failed within a minute. `allowed_fails` and
//! `allowed_fails_policy` replace that half by a number. What is the caller's fault counts for nothing. A deployment that is
//! alone is left out where a number says so, or when a thousand attempts of a minute all failed. Unlike in LiteLLM, a call is never
//! refused because of this, and a provider that cannot be reached counts like one that answers 500.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use crate::config::{CooldownSettings, Deployment, FailsPolicy, FailureKind};
use crate::metrics::{DeploymentCounts, DeploymentState};

/// LiteLLM counts by the minute, in seconds.
const WINDOW: u64 = 60;
/// Fewer attempts than that say nothing.
const FEWEST: u64 = 5;
/// So many failures, and nothing else, set even the only one aside.
const HOPELESS: u64 = 1000;
/// Longer than that nobody is left out, whatever a provider asks for.
const LONGEST: Duration = Duration::from_secs(3600);

/// How an attempt went, for its deployment.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Outcome {
    /// It was answered.
    Success,
    /// The client left before one could tell.
    Unknown,
    /// It was answered with this status.
    Refused(u16),
    /// The provider refused what was in the request.
    ContentPolicy(u16),
    /// It was not answered in time.
    TimedOut,
    /// The provider could not be reached, or its answer broke off.
    Broken,
}

/// One deployment.
#[derive(Debug)]
pub(super) struct Health {
    rule: Rule,
    started_at: Instant,
    /// Milliseconds after `started_at`; 0 while it was never left out or has answered since.
    cool_until: AtomicU64,
    is_failing: AtomicBool,
    total: AtomicU64,
    succeeded: AtomicU64,
    /// The number of a minute in the upper half, what succeeded in it in the lower.
    succeeded_lately: AtomicU64,
    failures: Mutex<Failures>,
}

/// What is only looked at when something fails.
#[derive(Debug, Default)]
struct Failures {
    window: Window,
    by_status: BTreeMap<&'static str, u64>,
    cooled_down: BTreeMap<&'static str, u64>,
}

/// What failed within a minute.
#[derive(Debug, Default)]
struct Window {
    minute: u64,
    failed: u64,
    by_kind: BTreeMap<FailureKind, u64>,
}

/// What holds for one deployment.
#[derive(Debug)]
struct Rule {
    is_off: bool,
    is_alone: bool,
    allowed_fails: Option<u64>,
    /// Its own policy holds for what is the caller's fault too.
    own: FailsPolicy,
    shared: FailsPolicy,
    own_time: Option<Duration>,
    time: Duration,
}

impl Health {
    pub(super) fn new(deployment: &Deployment, is_alone: bool, settings: &CooldownSettings, now: Instant) -> Self {
        let own = &deployment.cooldown;
        let rule = Rule {
            is_off: settings.is_off,
            is_alone,
            allowed_fails: own.allowed_fails.or(settings.allowed_fails),
            own: own.policy.clone(),
            shared: settings.policy.clone(),
            own_time: own.time,
            time: settings.time,
        };
        Self {
            rule,
            started_at: now,
            cool_until: AtomicU64::new(0),
            is_failing: AtomicBool::new(false),
            total: AtomicU64::new(0),
            succeeded: AtomicU64::new(0),
            succeeded_lately: AtomicU64::new(0),
            failures: Mutex::default(),
        }
    }

    /// Whether it is left out. The clock is asked for those only that have failed.
    pub(super) fn is_cool(&self, now: impl FnOnce() -> Instant) -> bool {
        match self.cool_until.load(Ordering::Relaxed) {
            0 => false,
            until => self.millis(now()) < until,
        }
    }

    pub(super) fn state(&self, now: Instant) -> DeploymentState {
        if self.is_cool(|| now) {
            DeploymentState::Outage
        } else if self.is_failing.load(Ordering::Relaxed) {
            DeploymentState::Partial
        } else {
            DeploymentState::Healthy
        }
    }

    pub(super) fn counts(&self) -> DeploymentCounts {
        let failures = self.failures();
        DeploymentCounts {
            total: self.total.load(Ordering::Relaxed),
            succeeded: self.succeeded.load(Ordering::Relaxed),
            failed: failures.by_status.clone(),
            cooled_down: failures.cooled_down.clone(),
        }
    }

    /// Counts an attempt. Says for how long the deployment is left out from now on, if this one was the reason.
    pub(super) fn note(&self, outcome: Outcome, retry_after: Option<Duration>, now: Instant) -> Option<Duration> {
        self.total.fetch_add(1, Ordering::Relaxed);
        match outcome {
            Outcome::Unknown => return None,
            Outcome::Success => {
                self.succeeded.fetch_add(1, Ordering::Relaxed);
                self.succeeded_in(self.minute(now), 1);
                if self.is_failing.load(Ordering::Relaxed) {
                    self.is_failing.store(false, Ordering::Relaxed);
                    if !self.is_cool(|| now) {
                        self.cool_until.store(0, Ordering::Relaxed);
                    }
                }
                return None;
            }
            _ => {}
        }
        let word = outcome.word();
        let mut failures = self.failures();
        *failures.by_status.entry(word).or_default() += 1;
        let kind = outcome.kind();
        let is_named = self.rule.own.contains_key(&kind);
        if outcome.is_callers_fault() && !is_named {
            return None;
        }
        self.is_failing.store(true, Ordering::Relaxed);
        let minute = self.minute(now);
        let window = &mut failures.window;
        if window.minute != minute {
            *window = Window { minute, ..Window::default() };
        }
        window.failed += 1;
        let of_kind = window.by_kind.entry(kind).or_default();
        *of_kind += 1;
        let (of_kind, failed) = (*of_kind, window.failed);
        if !self.rule.is_met(outcome, of_kind, failed, self.succeeded_in(minute, 0)) {
            return None;
        }
        let time = self.rule.own_time.or(retry_after).unwrap_or(self.rule.time).min(LONGEST);
        if time.is_zero() || self.is_cool(|| now) {
            return None;
        }
        *failures.cooled_down.entry(word).or_default() += 1;
        self.cool_until.store(self.millis(now + time).max(1), Ordering::Relaxed);
        Some(time)
    }

    /// What succeeded in this minute, with `more` that did now.
    fn succeeded_in(&self, minute: u64, more: u64) -> u64 {
        const HALF: u32 = 32;
        let add = |known: u64| {
            let before = if known >> HALF == minute { known & u64::from(u32::MAX) } else { 0 };
            minute << HALF | (before + more).min(u64::from(u32::MAX))
        };
        let known = self.succeeded_lately.fetch_update(Ordering::Relaxed, Ordering::Relaxed, |known| Some(add(known)));
        let (Ok(known) | Err(known)) = known;
        add(known) & u64::from(u32::MAX)
    }

    fn minute(&self, now: Instant) -> u64 {
        now.duration_since(self.started_at).as_secs() / WINDOW
    }

    fn millis(&self, at: Instant) -> u64 {
        u64::try_from(at.duration_since(self.started_at).as_millis()).unwrap_or(u64::MAX)
    }

    /// Nothing can panic while it is held; were it poisoned, the counts would still be whole.
    fn failures(&self) -> MutexGuard<'_, Failures> {
        self.failures.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Rule {
    fn is_met(&self, outcome: Outcome, of_kind: u64, failed: u64, succeeded: u64) -> bool {
        if self.is_off {
            return false;
        }
        let kind = outcome.kind();
        if let Some(allowed) = self.own.get(&kind).or_else(|| self.shared.get(&kind)) {
            return of_kind > *allowed;
        }
        if !self.is_alone && outcome.is_plain() {
            return true;
        }
        match self.allowed_fails {
            Some(allowed) => failed > allowed,
            None if self.is_alone => succeeded == 0 && failed >= HOPELESS,
            None => failed + succeeded >= FEWEST && failed > succeeded,
        }
    }
}

impl Outcome {
    /// Whether trying the same deployment again soon is known to be in vain.
    fn is_plain(self) -> bool {
        matches!(self, Self::TimedOut | Self::Refused(401 | 402 | 404 | 408 | 429))
    }

    /// Whether another caller's call may well be answered.
    fn is_callers_fault(self) -> bool {
        match self {
            Self::ContentPolicy(_) => true,
            Self::Refused(status) => (400..500).contains(&status) && !self.is_plain(),
            _ => false,
        }
    }

    fn kind(self) -> FailureKind {
        match self {
            Self::ContentPolicy(_) => FailureKind::ContentPolicy,
            Self::TimedOut | Self::Refused(408 | 504) => FailureKind::Timeout,
            Self::Refused(401) => FailureKind::Authentication,
            Self::Refused(404) => FailureKind::NotFound,
            Self::Refused(429) => FailureKind::RateLimit,
            Self::Refused(502) => FailureKind::BadGateway,
            Self::Refused(503) => FailureKind::ServiceUnavailable,
            Self::Refused(400..500) => FailureKind::BadRequest,
            _ => FailureKind::InternalServer,
        }
    }

    /// Its status where it is one of the usual, for counters: a provider could make up any number.
    fn word(self) -> &'static str {
        const USUAL: [(u16, &str); 16] = [
            (400, "400"),
            (401, "401"),
            (402, "402"),
            (403, "403"),
            (404, "404"),
            (408, "408"),
            (409, "409"),
            (413, "413"),
            (422, "422"),
            (429, "429"),
            (500, "500"),
            (502, "502"),
            (503, "503"),
            (504, "504"),
            (520, "520"),
            (529, "529"),
        ];
        let (Self::Refused(status) | Self::ContentPolicy(status)) = self else {
            return if self == Self::TimedOut { "timeout" } else { "broken" };
        };
        let usual = USUAL.iter().find(|(known, _)| *known == status);
        usual.map_or(if status < 500 { "4xx" } else { "5xx" }, |(_, word)| word)
    }
}

#[cfg(test)]
mod tests;
