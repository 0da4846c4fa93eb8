//! Reserving: the public face of what the lock protects.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use fleetgate_wire::money::NanoDollars;
use jiff::Timestamp;
use tokio::sync::Notify;
use tokio::sync::futures::Notified;
use tokio::time::{Instant, sleep_until};

use super::book::Moment;
use super::calendar::Calendar;
use super::caution;
use super::crossing::Crossing;
use super::hold::Hold;
use super::refusal::Exceeded;
use super::rule::Rule;
use super::state::{Granted, NEWCOMER, Signals, State, Verdict};
use crate::admit::scope::Scope;
use crate::config::BudgetSettings;

/// What a call asks of its budgets. `least <= comfortable <= most`; a call that can cost nothing asks for nothing.
#[derive(Debug, Clone)]
pub struct Charge {
    /// Everything that the call counts for, its deployment included.
    pub scopes: Arc<[Scope]>,
    /// With less than this it makes no sense to call.
    pub least: NanoDollars,
    /// With this it need not wait for more.
    pub comfortable: NanoDollars,
    /// More than this it provably cannot cost.
    pub most: NanoDollars,
    /// Now.
    pub at: Timestamp,
}

/// How budgets behave.
#[derive(Debug, Clone)]
pub struct BudgetOptions {
    /// When windows begin.
    pub calendar: Calendar,
    /// How long a call waits for money that is reserved but not spent.
    pub patience: Duration,
    /// How many calls wait for one budget.
    pub most_waiting: usize,
}

/// Every budget of this gateway. A clone is another handle on the same ones.
#[derive(Debug, Clone)]
pub struct Budgets(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    state: Mutex<State>,
    signals: Arc<Signals>,
    /// Without rules no call takes the lock.
    has_rules: AtomicBool,
    patience: Duration,
}

impl Default for BudgetOptions {
    fn default() -> Self {
        Self { calendar: Calendar::default(), patience: Duration::from_secs(30), most_waiting: 2_000 }
    }
}

impl From<&BudgetSettings> for BudgetOptions {
    fn from(settings: &BudgetSettings) -> Self {
        let calendar = Calendar::new(settings.timezone.clone(), settings.reset_time);
        Self { calendar, patience: settings.wait, ..Self::default() }
    }
}

impl Budgets {
    /// No budgets yet.
    #[must_use]
    pub fn new(options: BudgetOptions) -> Self {
        let signals = Arc::new(Signals::default());
        let state = State::new(options.calendar, options.most_waiting, Arc::clone(&signals));
        let has_rules = AtomicBool::new(false);
        Self(Arc::new(Inner { state: Mutex::new(state), signals, has_rules, patience: options.patience }))
    }

    /// Whether no rule is in force.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        !self.0.has_rules.load(Ordering::Acquire)
    }

    /// Sets money aside in every budget of the call, or in none. Where it is only reserved by others, waits its turn. Dropping the
    /// future gives everything back.
    ///
    /// # Errors
    /// When a budget cannot pay for the call.
    pub async fn reserve(&self, mut charge: Charge) -> Result<Hold, Box<Exceeded>> {
        charge.comfortable = charge.comfortable.min(charge.most);
        charge.least = charge.least.min(charge.comfortable);
        let scopes = Arc::clone(&charge.scopes);
        if !self.0.has_rules.load(Ordering::Acquire) {
            return Ok(
                self.hold(scopes, Granted { at: charge.at, amount: charge.most.0, reserve: 0, parts: Vec::new() })
            );
        }
        let place = match self.enter(charge)? {
            Entered::Granted(granted) => return Ok(self.hold(scopes, granted)),
            Entered::Waits(place) => place,
        };
        place.wait().await.map(|granted| self.hold(scopes, granted))
    }

    fn enter(&self, charge: Charge) -> Result<Entered, Box<Exceeded>> {
        let mut state = self.lock();
        let queues = match state.judge(&charge, charge.at, NEWCOMER, false) {
            Verdict::Granted(granted) => return Ok(Entered::Granted(granted)),
            Verdict::Refused(exceeded) => return Err(exceeded),
            Verdict::Wait(queues) => queues,
        };
        let (ticket, woken) = state.enqueue(charge, queues)?;
        let deadline = Instant::now() + self.0.patience;
        Ok(Entered::Waits(Place { budgets: self.clone(), ticket, woken, deadline }))
    }

    fn hold(&self, scopes: Arc<[Scope]>, granted: Granted) -> Hold {
        Hold::new(self.clone(), scopes, granted)
    }

    pub(super) fn close(&self, scopes: &[Scope], granted: &Granted, cost: Option<(i64, u64)>, teaches: bool) {
        if self.0.has_rules.load(Ordering::Acquire) || !granted.parts.is_empty() {
            self.lock().close(scopes, granted, cost, teaches);
        }
    }

    /// Puts these rules in the place of those that were. A rule that stays keeps what is spent and reserved; a new one waits for
    /// [`Budgets::load`], and so do the calls that it concerns. Calls that wait are judged by the new rules at once.
    pub fn replace(&self, rules: Vec<Rule>, at: Timestamp) {
        let mut listed = Vec::with_capacity(rules.len());
        rules.into_iter().for_each(|rule| super::rule::add(&mut listed, rule));
        let mut state = self.lock();
        let State { book, calendar, last_seq, .. } = &mut *state;
        book.replace(listed, Moment { calendar, at, last_seq: *last_seq });
        self.0.has_rules.store(!book.is_empty(), Ordering::Release);
        state.pump_all();
        drop(state);
        self.0.signals.loads.notify_one();
    }

    /// Takes over what is known of a deployment from rows written before: the highest that an answer has cost, measured against what
    /// was provable. Without it the deployment's first answer after a restart is waited for where money is scarce.
    pub fn remember(&self, deployment: &Scope, provable: NanoDollars, cost: NanoDollars, at: Timestamp) {
        self.lock().caution.remember(deployment, caution::ratio(provable.0, cost.0), at);
    }

    /// The soft limits that were reached since this was called last.
    #[must_use]
    pub fn crossings(&self) -> Vec<Crossing> {
        std::mem::take(&mut self.lock().crossings)
    }

    /// Ends when a soft limit has been reached, at once if that was since this was awaited last.
    pub fn crossed(&self) -> Notified<'_> {
        self.0.signals.crossed.notified()
    }

    pub(super) fn signals(&self) -> &Signals {
        &self.0.signals
    }

    /// A panic under the lock leaves figures that are as good as any: every step adds or subtracts once.
    pub(super) fn lock(&self) -> MutexGuard<'_, State> {
        self.0.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

enum Entered {
    Granted(Granted),
    Waits(Place),
}

/// A call's place in the queues. Dropped, it is free.
struct Place {
    budgets: Budgets,
    ticket: u64,
    woken: Arc<Notify>,
    deadline: Instant,
}

impl Place {
    async fn wait(self) -> Result<Granted, Box<Exceeded>> {
        loop {
            let change =
                self.budgets.lock().until_change(self.ticket).and_then(|wait| Instant::now().checked_add(wait));
            let until = change.map_or(self.deadline, |change| change.min(self.deadline));
            tokio::select! {
                biased;
                () = self.woken.notified() => {}
                () = sleep_until(until) => {}
            }
            match self.look() {
                Some(Verdict::Granted(granted)) => return Ok(granted),
                Some(Verdict::Refused(exceeded)) => return Err(exceeded),
                Some(Verdict::Wait(_)) | None => {}
            }
        }
    }

    fn look(&self) -> Option<Verdict> {
        let mut state = self.budgets.lock();
        if let Some(verdict) = state.fetch(self.ticket) {
            return Some(verdict);
        }
        if Instant::now() >= self.deadline {
            return state.give_up(self.ticket);
        }
        state.nudge(self.ticket);
        state.fetch(self.ticket)
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        self.budgets.lock().leave(self.ticket);
    }
}
