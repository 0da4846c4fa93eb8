//! What was spent before this process began, or before a rule was made: only the ledger knows.
//!
//! Two steps, since the ledger answers later than it is asked. From the moment a counter exists it collects what is settled; the
//! ledger's figure says up to which settlement it counts, and of the collected ones those behind that are added.

use fleetgate_wire::money::NanoDollars;
use jiff::Timestamp;
use tokio::sync::futures::Notified;

use super::Budgets;
use super::calendar::Term;
use super::rule::RuleId;
use super::state::State;

/// A counter that needs its figure from the ledger. Calls that it concerns wait meanwhile.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Missing {
    /// Whose money, and of which term.
    pub id: RuleId,
    /// Rows that started at or after this count.
    pub from: Timestamp,
    /// Rows that started before this count; `None` when there is no end.
    pub until: Option<Timestamp>,
    /// The figure must hold every settlement up to this number. An older one is not taken.
    pub after: u64,
}

impl Budgets {
    /// The counters that need their figure.
    #[must_use]
    pub fn missing(&self) -> Vec<Missing> {
        let state = self.lock();
        let loading = state.book.iter().filter_map(|counter| Some((counter, counter.loading.as_ref()?)));
        let missing = loading.map(|(counter, loading)| Missing {
            id: counter.rule.id.clone(),
            from: counter.window.start,
            until: counter.window.end,
            after: loading.after,
        });
        missing.collect()
    }

    /// Has every figure read from the ledger again, because its rows have got other prices. Calls wait meanwhile.
    pub fn reload(&self) {
        let mut state = self.lock();
        let State { book, last_seq, .. } = &mut *state;
        book.iter_mut().for_each(|counter| counter.reload(*last_seq));
        drop(state);
        self.signals().loads.notify_one();
    }

    /// Ends when some counter needs its figure, at once if that was so since this was awaited last.
    pub fn loads_wanted(&self) -> Notified<'_> {
        self.signals().loads.notified()
    }

    /// Gives a counter its figure: what rows since `from` (as in [`Missing`]) have cost, by the buckets in which they started (for a
    /// rule that does not roll, one pair will do), counting every settlement up to `as_of` and none behind it. `false` when nobody
    /// needs it any more, or it is too old.
    pub fn load(&self, id: &RuleId, from: Timestamp, spent: &[(i64, NanoDollars)], as_of: u64) -> bool {
        let mut state = self.lock();
        let Some(number) = state.book.find(id) else { return false };
        let Some(counter) = state.book.get_mut(number) else { return false };
        let is_same = counter.window.start == from || matches!(id.term, Term::Rolling(_));
        if !is_same || !counter.load(spent.iter().map(|(bucket, amount)| (*bucket, amount.0)), as_of) {
            return false;
        }
        state.pump(vec![number]);
        true
    }
}
