//! What budgets look like from outside.

use fleetgate_wire::money::NanoDollars;
use jiff::Timestamp;

use super::Budgets;
use super::calendar::Window;
use super::rule::RuleId;
use crate::admit::scope::Scope;

/// One budget in the window that is now.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Status {
    /// Whose money, and of which term.
    pub id: RuleId,
    /// The window; a rolling one ends with now.
    pub window: Window,
    /// When money comes back by itself.
    pub resets_at: Option<Timestamp>,
    /// What may be spent, a temporary increase included; `None` when it only warns.
    pub cap: Option<NanoDollars>,
    /// From where on it warns.
    pub soft: Option<NanoDollars>,
    /// What this gateway's calls have cost.
    pub spent: NanoDollars,
    /// What every gateway's have, as far as is known here.
    pub spent_by_all: NanoDollars,
    /// Whether what it warns at is spent.
    pub is_over_soft: bool,
    /// Set aside for calls in flight.
    pub reserved: NanoDollars,
    /// Those calls.
    pub in_flight: u64,
    /// Calls that wait.
    pub waiting: usize,
    /// What was granted out of a shared budget; `None` when it is this gateway's own.
    pub granted: Option<NanoDollars>,
    /// The ledger has not said yet what was spent before.
    pub is_loading: bool,
}

impl Budgets {
    /// Every budget that has a counter, in the order of scopes. Globs have one for each scope that has called.
    #[must_use]
    pub fn status(&self, at: Timestamp) -> Vec<Status> {
        let mut state = self.lock();
        let state = &mut *state;
        let (calendar, last_seq) = (&state.calendar, state.last_seq);
        let mut all: Vec<Status> = state
            .book
            .iter_mut()
            .map(|counter| {
                counter.roll(calendar, at, last_seq);
                Status {
                    id: counter.rule.id.clone(),
                    window: counter.window,
                    resets_at: counter.resets_at(calendar, at),
                    cap: counter.rule.cap(at),
                    soft: counter.rule.soft,
                    spent: NanoDollars(counter.spent()),
                    spent_by_all: NanoDollars(counter.spent_everywhere()),
                    is_over_soft: counter.is_over_soft(),
                    reserved: NanoDollars(counter.reserved),
                    in_flight: counter.in_flight,
                    waiting: counter.waiting.len(),
                    granted: counter.lease.map(|lease| NanoDollars(lease.granted)),
                    is_loading: counter.loading.is_some(),
                }
            })
            .collect();
        all.sort_by(|one, other| one.id.cmp(&other.id));
        all
    }

    /// The least that any budget of these scopes has left, neither spent nor reserved; `None` when none limits them. Budgets whose
    /// figure is not known yet are left out.
    #[must_use]
    pub fn remaining_for(&self, scopes: &[Scope], at: Timestamp) -> Option<NanoDollars> {
        let mut state = self.lock();
        let state = &mut *state;
        let mut matched = Vec::new();
        state.book.existing(scopes, &mut matched);
        let left = matched.into_iter().filter_map(|number| {
            let counter = state.book.get_mut(number).filter(|counter| counter.loading.is_none())?;
            counter.roll(&state.calendar, at, state.last_seq);
            counter.funds(at).map(|funds| funds.free.max(0))
        });
        left.min().map(NanoDollars)
    }
}
