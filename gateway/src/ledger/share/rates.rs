//! The rates' side: what is granted for a window is used up, and the windows of a minute count together.

use std::collections::{BTreeMap, HashMap};
use std::pin::Pin;
use std::sync::{Mutex, MutexGuard, PoisonError};

use jiff::Timestamp;

use crate::admit::rate::{self, LEASE_SECONDS, LEASE_SPAN_SECONDS, Measure, RateRule, Rates};
use crate::ledger::postgres::{Leasable, Return, Share, Wish};

const MICROS: i64 = 1_000_000;
/// How often a limit that is used up is asked for before calls are told so: other gateways may give something back.
const TRIES: u32 = 2;

/// The limits on calls and tokens of this gateway, of which each is granted a part.
#[derive(Debug)]
pub struct LeasedRates {
    rates: Rates,
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    /// What was not answered yet. The engine says each wish once.
    pending: BTreeMap<(String, i64), Pending>,
    /// The windows of which something may have been granted.
    windows: HashMap<String, (RateRule, Vec<Window>)>,
}

/// A window by its first second, and the first one in which grants for it serve no more.
#[derive(Debug, Clone, Copy)]
struct Window {
    start: i64,
    until: i64,
}

#[derive(Debug)]
struct Pending {
    amount: i64,
    owed: i64,
    tries: u32,
}

impl LeasedRates {
    /// The lease of these limits.
    #[must_use]
    pub fn new(rates: Rates) -> Self {
        Self { rates, state: Mutex::default() }
    }

    /// No step leaves the state halfway that matters.
    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn take(&self, rule: &RateRule, window_start: i64) -> Option<Return> {
        let amount = signed(self.rates.take_back(rule, window_start, u64::MAX));
        (amount > 0).then(|| Return { rule: name(rule), window_start: window_start * MICROS, amount })
    }
}

fn name(rule: &RateRule) -> String {
    format!("{} {}", rule.scope, rule.measure.word())
}

/// No limit comes near the end of the numbers.
fn signed(count: u64) -> i64 {
    i64::try_from(count).unwrap_or(i64::MAX)
}

impl State {
    fn note(&mut self, wish: rate::Wish, now: i64) {
        let (name, start) = (name(&wish.rule), wish.window_start);
        let (_, windows) = self.windows.entry(name.clone()).or_insert((wish.rule, Vec::new()));
        windows.retain(|window| window.until.saturating_add(LEASE_SPAN_SECONDS) > now);
        if !windows.iter().any(|window| window.start == start) {
            windows.push(Window { start, until: wish.until });
        }
        let pending = self.pending.entry((name, start)).or_insert(Pending { amount: 0, owed: 0, tries: 0 });
        pending.amount = signed(wish.amount);
        pending.owed = pending.owed.saturating_add(signed(wish.owed));
    }

    /// The first second in which grants for a window serve no more.
    fn until(&self, (name, start): &(String, i64)) -> i64 {
        let windows = self.windows.get(name).map_or(&[][..], |(_, windows)| windows);
        windows.iter().find(|window| window.start == *start).map_or(i64::MIN, |window| window.until)
    }

    fn wish(&self, key: &(String, i64), pending: &Pending, rates: &Rates) -> Option<Wish> {
        let (name, start) = key;
        let (rule, _) = self.windows.get(name)?;
        let (window_end, reach) = match rule.measure {
            Measure::Parallel => (i64::MAX, 0),
            Measure::Requests | Measure::Tokens => {
                ((start + LEASE_SPAN_SECONDS) * MICROS, (LEASE_SPAN_SECONDS - LEASE_SECONDS) * MICROS)
            }
            Measure::DailyRequests | Measure::DailyTokens => (self.until(key).saturating_mul(MICROS), 0),
        };
        Some(Wish {
            rule: name.clone(),
            scope: None,
            window_start: start * MICROS,
            window_end,
            since: start * MICROS,
            reach,
            cap: signed(rates.cap(rule)?),
            least: pending.amount,
            want: pending.amount,
            owed: pending.owed,
            counts_held: false,
            lasting: rule.measure.is_daily(),
        })
    }
}

impl Leasable for LeasedRates {
    fn wanted(&self) -> Vec<Wish> {
        let now = Timestamp::now();
        let wishes = self.rates.wanted(now);
        let mut state = self.state();
        for wish in wishes {
            state.note(wish, now.as_second());
        }
        let over: Vec<_> = state.pending.keys().filter(|key| state.until(key) < now.as_second()).cloned().collect();
        for key in over {
            if let Some(pending) = state.pending.get_mut(&key) {
                pending.amount = 0;
            }
        }
        state.pending.retain(|_, pending| pending.amount > 0 || pending.owed > 0);
        let state = &*state;
        state.pending.iter().filter_map(|(key, pending)| state.wish(key, pending, &self.rates)).collect()
    }

    fn grant(&self, share: &Share) -> bool {
        let key = (share.rule.clone(), share.window_start / MICROS);
        let mut state = self.state();
        let Some((rule, _)) = state.windows.get(&share.rule).cloned() else { return false };
        let Some(pending) = state.pending.get_mut(&key) else { return false };
        if share.amount == 0 && share.leased > 0 && pending.tries < TRIES {
            // Others have heard of the shortage, and may give something back.
            pending.tries += 1;
            return true;
        }
        state.pending.remove(&key);
        drop(state);
        self.rates.grant(&rule, key.1, u64::try_from(share.amount).unwrap_or(0));
        true
    }

    fn take_back(&self, rule: Option<&str>, _from_waiting: bool) -> Vec<Return> {
        let windows: Vec<(RateRule, Vec<Window>)> = {
            let state = self.state();
            let wanted = state.windows.iter().filter(|(name, _)| rule.is_none_or(|rule| rule == *name));
            wanted.map(|(_, windows)| windows.clone()).collect()
        };
        let each = windows.iter().flat_map(|(rule, starts)| starts.iter().map(move |window| (rule, window.start)));
        each.filter_map(|(rule, start)| self.take(rule, start)).collect()
    }

    fn unused(&self) -> Vec<Return> {
        let unused = self.rates.unused(Timestamp::now());
        unused.iter().filter_map(|unused| self.take(&unused.rule, unused.window_start)).collect()
    }

    fn leave(&self) -> Vec<Return> {
        let windows: Vec<(RateRule, Vec<Window>)> = {
            let state = self.state();
            state.windows.values().filter(|(rule, _)| rule.measure.is_daily()).cloned().collect()
        };
        let each = windows.iter().flat_map(|(rule, windows)| windows.iter().map(move |window| (rule, window.start)));
        each.filter_map(|(rule, start)| self.take(rule, start)).collect()
    }

    fn shortage(&self) -> Pin<Box<dyn Future<Output = ()> + Send + '_>> {
        Box::pin(self.rates.shortage())
    }
}
