//! Rates: how many calls and tokens in a minute, and how many calls at once.
//!
//! LiteLLM counts in minutes that begin with their first call, and so admits twice the limit around the end of one. Here
//! the minute slides: **in no 60 s are more than `rpm` calls admitted, nor more than `tpm` tokens reserved**, and room comes
//! back call by call instead of all at once. The price is a second: what was used counts for up to 61 s.
//!
//! Tokens are reserved when a call is admitted (its prompt and the most that it may answer, as estimated) and corrected when
//! it is over. What an estimate had too much comes back at once; what it had too little counts from then on, and later calls
//! wait for it. A call that asks for more than a whole minute's tokens needs an empty minute, and takes it.
//!
//! A day's calls and tokens count until the day ends, where those of budgets do. What a day has seen before this process began is
//! loaded from the ledger, and calls wait for that.
//!
//! All limits of a call decide in one step: a refused call counts nowhere.

mod counter;
mod headers;
mod hold;
mod lease;
mod limits;
mod refusal;
mod rules;
mod state;
#[cfg(test)]
mod tests;
mod window;

use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use jiff::Timestamp;
use tokio::sync::Notify;
use tokio::time::{Instant, timeout_at};

use super::budget::Calendar;
use super::scope::Scope;
use rules::Rules;
use state::State;

pub use crate::config::RateCaps;
pub use counter::Measure;
pub use hold::RateHold;
pub use lease::{LEASE_SECONDS, LEASE_SPAN_SECONDS, RateRule, Unused, Wish};
pub use limits::{LimitError, LimitType, Limits, limits};
pub use refusal::RateLimited;

/// How long a call waits for a grant before it is refused.
const PATIENCE: Duration = Duration::from_secs(1);
/// How long a call waits until the ledger says what a day has seen.
const LOAD_PATIENCE: Duration = Duration::from_secs(30);

/// Where the room for calls comes from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Funds {
    /// This gateway counts alone.
    Own,
    /// Several gateways share the limits, and each is granted its part (see [`Rates::grant`]).
    Leased,
}

/// Every limit on calls and tokens, and what was used of it. A clone is another handle on the same counters.
#[derive(Debug, Clone)]
pub struct Rates {
    shared: Arc<Shared>,
}

#[derive(Debug)]
struct Shared {
    state: Mutex<State>,
    /// The kinds of scopes that have limits, see [`Rules::kinds`]. Where nothing is limited no call takes the lock.
    kinds: AtomicU32,
    /// Whether several gateways share the limits.
    leased: bool,
    /// Something is wanted.
    shortage: Notify,
    /// Something was granted, or came back, or is known.
    granted: Notify,
    /// It is to be said what a day has seen.
    loads: Notify,
}

impl Shared {
    /// No step of the state can be left halfway, so what a panicking thread held is as good as ever.
    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn announce(&self) {
        if !self.state().wishes.is_empty() {
            self.shortage.notify_one();
        }
    }
}

impl Rates {
    /// Counters for the configuration's limits. An id that holds a `*` gives each scope that fits a counter of its own.
    #[must_use]
    pub fn new(configured: impl IntoIterator<Item = (Scope, RateCaps)>, funds: Funds) -> Self {
        let leased = funds == Funds::Leased;
        let state = Mutex::new(State::new(Rules::new(configured), leased));
        Self {
            shared: Arc::new(Shared {
                state,
                kinds: AtomicU32::new(0),
                leased,
                shortage: Notify::new(),
                granted: Notify::new(),
                loads: Notify::new(),
            }),
        }
        .noted()
    }

    /// Whether nothing is limited.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.shared.kinds.load(Ordering::Acquire) == 0
    }

    fn noted(self) -> Self {
        {
            // Under the lock: of two that change the limits at once the later one's word stands.
            let state = self.shared.state();
            self.shared.kinds.store(state.rules.kinds(), Ordering::Release);
        }
        self
    }

    /// Puts the configuration's limits in place of those it had. What was used stays counted.
    pub fn configure(&self, configured: impl IntoIterator<Item = (Scope, RateCaps)>) {
        self.shared.state().rules.configure(configured);
        let _noted = self.clone().noted();
    }

    /// Puts the limits that a key, a team or the like states of itself in place of those it had; empty ones take them away. What
    /// was used stays counted.
    pub fn set(&self, scope: &Scope, limits: &Limits) {
        let mut state = self.shared.state();
        let was_daily = state.rules.caps(scope).is_daily();
        state.rules.state(scope, limits);
        let is_daily = state.rules.caps(scope).is_daily();
        if is_daily && !was_daily {
            // Nobody has counted for the day until now.
            state.counters.entry(scope.clone()).or_default().unload();
        } else if was_daily
            && !is_daily
            && let Some(counter) = state.counters.get_mut(scope)
        {
            counter.forget_day();
        }
        drop(state);
        let _noted = self.clone().noted();
    }

    /// Counts a call in every limit of its scopes, or refuses it and counts nothing. `tokens` is the most that it may use. Without
    /// any limit nothing is allocated.
    ///
    /// A call asks once for itself (key, host, model and so on), and each attempt asks for its deployment and provider: where that
    /// is refused, the next deployment may still serve it.
    ///
    /// # Errors
    /// When a limit is used up: the one that stays so longest.
    pub fn admit(&self, scopes: &[Scope], tokens: u64, now: Timestamp) -> Result<RateHold, RateLimited> {
        let kinds = self.shared.kinds.load(Ordering::Acquire);
        if !self.shared.leased && !scopes.iter().any(|scope| rules::are_limited(kinds, scope.kind())) {
            return Ok(RateHold::none());
        }
        let mut state = self.shared.state();
        let admitted = state.admit(scopes, tokens, now);
        let (leased, lacks) = (state.is_leased(), !state.missing.is_empty());
        drop(state);
        if lacks {
            self.shared.loads.notify_one();
        }
        if leased {
            self.shared.announce();
        }
        match admitted {
            Ok(lines) => {
                Ok(RateHold { shared: (!lines.is_empty()).then(|| Arc::clone(&self.shared)), lines, before: 0 })
            }
            Err((scope, shortage, moment)) => {
                let seconds = shortage.until - moment.at.as_second();
                Err(RateLimited {
                    scope,
                    measure: shortage.measure,
                    limit: shortage.cap,
                    remaining: shortage.remaining,
                    needed: shortage.needed,
                    retry_after: u64::try_from(seconds).unwrap_or(1).max(1),
                    resets_at: Timestamp::from_second(shortage.until).unwrap_or(moment.at),
                    awaits_grant: shortage.awaits_grant,
                    awaits_load: shortage.awaits_load,
                })
            }
        }
    }

    /// The same, but where gateways share a limit and only a grant is missing, waits for it up to a second, and where it is not known
    /// yet what the day has seen, until that is known.
    ///
    /// # Errors
    /// When a limit is used up, or no grant came.
    pub async fn admit_or_wait(
        &self,
        scopes: &[Scope],
        tokens: u64,
        clock: impl Fn() -> Timestamp,
    ) -> Result<RateHold, RateLimited> {
        self.admit_within(PATIENCE, scopes, tokens, clock).await
    }

    /// The same, but waits for no grant: another deployment may have one.
    ///
    /// # Errors
    /// When a limit is used up.
    pub async fn admit_attempt(
        &self,
        scopes: &[Scope],
        tokens: u64,
        clock: impl Fn() -> Timestamp,
    ) -> Result<RateHold, RateLimited> {
        self.admit_within(Duration::ZERO, scopes, tokens, clock).await
    }

    async fn admit_within(
        &self,
        patience: Duration,
        scopes: &[Scope],
        tokens: u64,
        clock: impl Fn() -> Timestamp,
    ) -> Result<RateHold, RateLimited> {
        let mut began = None;
        loop {
            // From here on no grant goes unheard: all that wait are told of each.
            let granted = self.shared.granted.notified();
            match self.admit(scopes, tokens, clock()) {
                Err(limited) if limited.awaits_load || (limited.awaits_grant && !patience.is_zero()) => {
                    let patience = if limited.awaits_load { LOAD_PATIENCE } else { patience };
                    let began = *began.get_or_insert_with(Instant::now);
                    if timeout_at(began + patience, granted).await.is_err() {
                        return Err(limited);
                    }
                }
                decided => return decided,
            }
        }
    }

    /// Days begin as this calendar says. What those that began before `now` have seen is asked for through
    /// [`missing`](Self::missing), unless gateways share the limits: then it is in their grants.
    #[must_use]
    pub fn with_days(self, calendar: Calendar, now: Timestamp) -> Self {
        self.shared.state().set_days(calendar, now);
        self
    }

    /// The scopes and days of which is not known what they have seen, each once; calls wait for it.
    #[must_use]
    pub fn missing(&self) -> Vec<(Scope, Timestamp)> {
        let missing = std::mem::take(&mut self.shared.state().missing);
        let day = |day| Timestamp::from_second(day).unwrap_or(Timestamp::MIN);
        missing.into_iter().map(|(scope, start)| (scope, day(start))).collect()
    }

    /// Says what a scope has used since a day began; `None` when nobody can say it now, and it is to be asked again.
    pub fn load(&self, scope: &Scope, day: Timestamp, used: Option<(u64, u64)>) {
        let mut state = self.shared.state();
        if let Some((requests, tokens)) = used {
            state.counters.entry(scope.clone()).or_default().load(day.as_second(), requests, tokens);
            drop(state);
            self.shared.granted.notify_waiters();
        } else {
            state.missing.insert((scope.clone(), day.as_second()));
            drop(state);
            self.shared.loads.notify_one();
        }
    }

    /// Comes back when [`missing`](Self::missing) has something.
    pub async fn loads_wanted(&self) {
        self.shared.loads.notified().await;
    }

    /// How many scopes are being counted.
    #[must_use]
    pub fn counters(&self) -> usize {
        self.shared.state().counters.len()
    }
}
