//! Budgets that several gateways share. What each may spend is granted to it in slices; who grants them is not known here.

use fleetgate_wire::money::NanoDollars;
use jiff::Timestamp;
use tokio::sync::futures::Notified;
use tokio::time::Instant;

use super::Budgets;
use super::calendar::Term;
use super::counter::{Counter, Elsewhere};
use super::crossing::Crossing;
use super::rule::RuleId;
use super::state::State;

/// A counter that needs more than it was granted.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Wanted {
    /// Whose money, and of which term.
    pub id: RuleId,
    /// The window for which it is needed.
    pub window_start: Timestamp,
    /// How much would do for the calls that wait, or that are to be expected.
    pub amount: NanoDollars,
    /// The cap of the whole budget, as this gateway knows it.
    pub cap: NanoDollars,
}

impl Budgets {
    /// What is needed beyond what was granted. Each entry stays until it is answered by [`Budgets::grant`] or, if nobody has anything
    /// to give back, by [`Budgets::run_dry`].
    #[must_use]
    pub fn wanted(&self, at: Timestamp) -> Vec<Wanted> {
        let state = self.lock();
        let wanting = state.book.iter().filter_map(|counter| {
            let amount = counter.lease.map(|lease| lease.wanted).filter(|amount| *amount > 0)?;
            Some(Wanted {
                id: counter.rule.id.clone(),
                window_start: counter.window.start,
                amount: NanoDollars(amount),
                cap: counter.rule.cap(at)?,
            })
        });
        wanting.collect()
    }

    /// Ends when some counter needs more, at once if that was so since this was awaited last.
    pub fn shortage(&self) -> Notified<'_> {
        self.signals().shortage.notified()
    }

    /// Adds to what may be spent in this window. `false` when the window is over or the rule is gone; the money must go back then.
    pub fn grant(&self, id: &RuleId, window_start: Timestamp, amount: NanoDollars) -> bool {
        self.with_lease(id, window_start, |counter| {
            let used = counter.spent().saturating_add(counter.reserved);
            if let Some(lease) = &mut counter.lease {
                lease.granted = lease.granted.saturating_add(amount.0);
                lease.stock = lease.granted.saturating_sub(used);
                (lease.wanted, lease.dry) = (0, None);
            }
        })
        .is_some()
    }

    /// There is nothing to grant for now: so much is spent by other gateways, and so much is leased to them. As long as it is leased,
    /// calls wait; what is spent is not waited for. The next grant ends this, or a second: then the next call asks again.
    pub fn run_dry(&self, id: &RuleId, window_start: Timestamp, spent: NanoDollars, leased: NanoDollars) -> bool {
        self.with_lease(id, window_start, |counter| {
            if let Some(lease) = &mut counter.lease {
                // Whoever waits for what others hold still wants it.
                let is_hopeless = leased <= NanoDollars::ZERO || counter.waiting.is_empty();
                lease.wanted = if is_hopeless { 0 } else { lease.wanted };
                lease.spent_elsewhere = spent.0.max(0);
                lease.dry = Some(Elsewhere { leased: leased.0.max(0), heard: Instant::now() });
            }
        })
        .is_some()
    }

    /// Says what all gateways together have spent in this window; [`Budgets::status`] shows it from then on. A soft limit that is
    /// reached by it is told of, unless this is what was so when the gateway began.
    pub fn note_fleet(&self, id: &RuleId, window_start: Timestamp, spent: NanoDollars, is_first_look: bool) {
        let mut state = self.lock();
        let State { book, crossings, .. } = &mut *state;
        let Some(counter) = book.find(id).and_then(|number| book.get_mut(number)) else { return };
        let is_same = matches!(id.term, Term::Rolling(_)) || counter.window.start == window_start;
        if is_same && counter.note_fleet(spent.0) && !is_first_look {
            Crossing::of(counter, counter.window.start).publish(crossings);
            self.signals().crossed.notify_one();
        }
    }

    /// Takes back at most so much of what is granted and neither spent nor reserved. Nothing is taken from calls that wait.
    pub fn take_back(&self, id: &RuleId, window_start: Timestamp, most: NanoDollars) -> NanoDollars {
        let taken =
            self.with_lease(
                id,
                window_start,
                |counter| {
                    if counter.waiting.is_empty() { counter.shrink(most.0) } else { 0 }
                },
            );
        NanoDollars(taken.unwrap_or_default())
    }

    /// Takes back everything that is neither spent nor reserved, from calls that wait too: where every gateway waits with too little,
    /// one of them must get it all.
    pub fn give_up(&self, id: &RuleId, window_start: Timestamp) -> NanoDollars {
        let taken = self.with_lease(id, window_start, |counter| counter.shrink(i64::MAX));
        NanoDollars(taken.unwrap_or_default())
    }

    /// Does something to a leased counter that is in this window, then looks after those who wait there.
    fn with_lease<T>(&self, id: &RuleId, window_start: Timestamp, act: impl FnOnce(&mut Counter) -> T) -> Option<T> {
        let mut state = self.lock();
        let number = state.book.find(id)?;
        let counter = state.book.get_mut(number)?;
        let is_rolling = matches!(id.term, Term::Rolling(_));
        if counter.lease.is_none() || !(is_rolling || counter.window.start == window_start) {
            return None;
        }
        let done = act(counter);
        state.pump(vec![number]);
        Some(done)
    }
}
