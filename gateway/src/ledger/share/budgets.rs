//! The budgets' side.

use std::collections::HashMap;
use std::pin::Pin;
use std::sync::{Mutex, MutexGuard, PoisonError};

use fleetgate_wire::money::NanoDollars;
use jiff::Timestamp;

use crate::admit::budget::{Budgets, Calendar, RuleId, Term, Wanted};
use crate::ledger::postgres::{Leasable, Return, Share, Wish};

/// One part in so many of a cap is what a gateway likes to have in hand: calls go on while the database is away, as long as it
/// lasts.
const STOCK: i64 = 8;

/// The budgets of this gateway, of which each is granted a part.
#[derive(Debug)]
pub struct LeasedBudgets {
    budgets: Budgets,
    calendar: Calendar,
    counts_unknown: bool,
    /// What was asked for, by the rule's name, with the window that was asked for last.
    asked: Mutex<HashMap<String, Asked>>,
}

#[derive(Debug, Clone)]
struct Asked {
    id: RuleId,
    /// The engine's window.
    start: Timestamp,
    /// The same for the database, where a rolling window is always the same one.
    window_start: i64,
}

impl LeasedBudgets {
    /// `calendar` is that of the budgets; with `counts_unknown`, calls whose cost nobody knows count as what was reserved for them.
    #[must_use]
    pub fn new(budgets: Budgets, calendar: Calendar, counts_unknown: bool) -> Self {
        Self { budgets, calendar, counts_unknown, asked: Mutex::default() }
    }

    /// No step leaves the map halfway.
    fn asked(&self) -> MutexGuard<'_, HashMap<String, Asked>> {
        self.asked.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn wish(&self, wanted: Wanted) -> Wish {
        let Wanted { id, window_start: start, amount, cap } = wanted;
        let since = start.as_microsecond();
        let end = self.calendar.window(id.term, start).end;
        let (window_start, window_end) = match id.term {
            Term::Rolling(_) => (Timestamp::MIN.as_microsecond(), i64::MAX),
            Term::Lifetime | Term::Snapped(_) => (since, end.map_or(i64::MAX, Timestamp::as_microsecond)),
        };
        let rule = id.to_string();
        let scope = Some(id.scope.to_string());
        self.asked().insert(rule.clone(), Asked { id, start, window_start });
        Wish {
            rule,
            scope,
            window_start,
            window_end,
            since,
            reach: 0,
            cap: cap.0,
            least: amount.0,
            want: amount.0.max(cap.0 / STOCK),
            owed: 0,
            counts_held: self.counts_unknown,
            lasting: false,
        }
    }
}

impl Leasable for LeasedBudgets {
    fn wanted(&self) -> Vec<Wish> {
        self.budgets.wanted(Timestamp::now()).into_iter().map(|wanted| self.wish(wanted)).collect()
    }

    fn grant(&self, share: &Share) -> bool {
        let asked = self.asked().get(&share.rule).filter(|asked| asked.window_start == share.window_start).cloned();
        let Some(Asked { id, start, .. }) = asked else { return false };
        if share.amount > 0 {
            return self.budgets.grant(&id, start, NanoDollars(share.amount));
        }
        // Nothing has to go back, whether or not the window is over.
        self.budgets.run_dry(&id, start, NanoDollars(share.spent), NanoDollars(share.leased));
        true
    }

    fn take_back(&self, rule: Option<&str>, from_waiting: bool) -> Vec<Return> {
        let asked = self.asked().clone();
        let wanted = asked.into_iter().filter(|(name, _)| rule.is_none_or(|rule| rule == name));
        let take = |(rule, Asked { id, start, window_start })| {
            let NanoDollars(amount) = match from_waiting {
                true => self.budgets.give_up(&id, start),
                false => self.budgets.take_back(&id, start, NanoDollars(i64::MAX)),
            };
            Return { rule, window_start, amount }
        };
        wanted.map(take).filter(|back| back.amount > 0).collect()
    }

    fn unused(&self) -> Vec<Return> {
        Vec::new()
    }

    fn shortage(&self) -> Pin<Box<dyn Future<Output = ()> + Send + '_>> {
        Box::pin(self.budgets.shortage())
    }
}
