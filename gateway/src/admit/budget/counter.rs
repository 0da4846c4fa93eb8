//! One budget's money: what was spent and reserved in the window that is now.

use std::collections::BTreeSet;
use std::time::Duration;

use jiff::{SignedDuration, Timestamp};
use tokio::time::Instant;

use super::calendar::{Calendar, Term, Window, bucket_of};
use super::offer::Funds;
use super::rule::Rule;
use super::spent::{Spent, left_behind};

/// Clocks are set back by less than this without anybody noticing; by more, and it is another window.
const SET_BACK: SignedDuration = SignedDuration::from_mins(5);

/// One rule in one scope. Amounts are nano-dollars.
#[derive(Debug)]
pub(super) struct Counter {
    /// The rule, with this very scope in its id.
    pub(super) rule: Rule,
    /// Made for a rule whose scope holds a glob.
    pub(super) from_glob: bool,
    pub(super) window: Window,
    /// Counts the windows, so that a call which is still in flight when its window ends does not give anything back to the next.
    pub(super) epoch: u64,
    spent: Spent,
    pub(super) reserved: i64,
    pub(super) in_flight: u64,
    pub(super) lease: Option<Lease>,
    pub(super) loading: Option<Loading>,
    /// Settlements up to this number are in what was loaded.
    as_of: u64,
    /// The soft limit was crossed in this window.
    warned: bool,
    /// The calls that wait for this money, by their tickets.
    pub(super) waiting: BTreeSet<u64>,
}

/// Money that was granted out of a budget which several gateways share.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Lease {
    pub(super) granted: i64,
    /// What calls here need beyond it.
    pub(super) wanted: i64,
    /// How much there was after the last grant.
    pub(super) stock: i64,
    /// What the others have of the budget, once there is no more to grant.
    pub(super) dry: Option<Elsewhere>,
    /// What the others have spent, as far as is known here.
    pub(super) spent_elsewhere: i64,
}

/// A lease is topped up before it is used up, so that calls need not wait for it: below twice what the last call reserved, to
/// eight times that at least; and below half of what there was after the last grant, so that there is something left whenever
/// whoever grants is away.
const LOW_WATER: i64 = 2;
const HIGH_WATER: i64 = 8;

/// What other gateways may still give back.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Elsewhere {
    pub(super) leased: i64,
    pub(super) heard: Instant,
}

/// For so long it is believed that there is nothing to grant. Others give back, rows leave a window that rolls, prices and caps
/// change: whoever calls later asks again, so that a spent budget costs one question a second at most.
const BELIEVED: Duration = Duration::from_secs(1);

impl Lease {
    fn dry_now(&self) -> Option<Elsewhere> {
        self.dry.filter(|others| others.heard.elapsed() < BELIEVED)
    }
}

/// What happened before the figure from the ledger came.
#[derive(Debug, Default)]
pub(super) struct Loading {
    /// The figure must hold every settlement up to this number: those were made before there was anything to collect them.
    pub(super) after: u64,
    settled: Vec<(u64, i64, i64)>,
}

impl Counter {
    /// A counter whose money is not known yet; with a lease it starts from nothing.
    pub(super) fn new(rule: Rule, from_glob: bool, calendar: &Calendar, at: Timestamp, after: u64) -> Self {
        let window = calendar.window(rule.id.term, at);
        let lease = rule.leased.then(Lease::default);
        let loading = (!rule.leased).then(|| Loading { after, settled: Vec::new() });
        let spent = Spent::nothing(rule.id.term);
        Self {
            rule,
            from_glob,
            window,
            epoch: 0,
            spent,
            reserved: 0,
            in_flight: 0,
            lease,
            loading,
            as_of: 0,
            warned: false,
            waiting: BTreeSet::new(),
        }
    }

    /// Goes on to the window of this moment. Gives the moment at which a call counts here: a little earlier than the window is
    /// still this window, since another call was quicker.
    pub(super) fn roll(&mut self, calendar: &Calendar, at: Timestamp, last_seq: u64) -> Timestamp {
        if self.window.contains(at) && !matches!(self.rule.id.term, Term::Rolling(_)) {
            return at;
        }
        let is_before = at < self.window.start;
        if is_before && self.window.start.duration_since(at) < SET_BACK {
            return self.window.start;
        }
        self.window = calendar.window(self.rule.id.term, at);
        if let Term::Rolling(_) = self.rule.id.term {
            let before = self.spent.total();
            self.spent.forget_before(self.window.start);
            if let Some(lease) = &mut self.lease {
                // What leaves the window is everybody's again: whoever grants sees it, so it must not be free here too.
                lease.granted = lease.granted.saturating_sub(before - self.spent.total());
            }
            return at;
        }
        self.epoch += 1;
        (self.spent, self.reserved, self.in_flight) = (Spent::nothing(self.rule.id.term), 0, 0);
        (self.warned, self.lease) = (false, self.lease.map(|_| Lease::default()));
        // Of a window that begins now everything is seen here. One that was there already has spent what only the ledger knows.
        self.loading = (is_before && self.lease.is_none()).then(|| Loading { after: last_seq, settled: Vec::new() });
        at
    }

    /// Has the figure read from the ledger again: its rows have got other prices. What was granted was within the cap by the
    /// prices of its time.
    pub(super) fn reload(&mut self, last_seq: u64) {
        if self.lease.is_none() {
            self.spent = Spent::nothing(self.rule.id.term);
            self.loading = Some(Loading { after: last_seq, settled: Vec::new() });
        }
    }

    pub(super) fn spent(&self) -> i64 {
        self.spent.total()
    }

    /// What the call may draw on; `None` when nothing is limited.
    pub(super) fn funds(&self, at: Timestamp) -> Option<Funds> {
        let cap = self.rule.cap(at)?.0;
        if self.loading.is_some() {
            return Some(Funds { free: i64::MIN / 2, ceiling: i64::MAX, quiet: false });
        }
        let gone = self.spent().saturating_add(self.reserved);
        let Some(lease) = self.lease else {
            let free = cap.saturating_sub(gone);
            return Some(Funds { free, ceiling: cap.saturating_sub(self.spent()), quiet: self.in_flight == 0 });
        };
        let free = lease.granted.min(cap).saturating_sub(gone);
        Some(match lease.dry_now() {
            // What others hold they may still give back.
            None => Funds { free, ceiling: cap.saturating_sub(self.spent()), quiet: false },
            Some(others) => {
                let ceiling = lease.granted.saturating_add(others.leased).min(cap).saturating_sub(self.spent());
                Funds { free, ceiling, quiet: self.in_flight == 0 && others.leased == 0 }
            }
        })
    }

    /// What is spent by every gateway, as far as is known here.
    pub(super) fn spent_everywhere(&self) -> i64 {
        self.spent().saturating_add(self.lease.map_or(0, |lease| lease.spent_elsewhere))
    }

    /// Is told what all gateways have spent in this window. Tells whether the soft limit was crossed by it.
    pub(super) fn note_fleet(&mut self, spent: i64) -> bool {
        let own = self.spent();
        let Some(lease) = &mut self.lease else { return false };
        lease.spent_elsewhere = spent.saturating_sub(own).max(0);
        self.crosses()
    }

    pub(super) fn reserve(&mut self, amount: i64) {
        self.reserved = self.reserved.saturating_add(amount);
        self.in_flight += 1;
    }

    pub(super) fn release(&mut self, epoch: u64, amount: i64) {
        if self.epoch == epoch {
            self.reserved = self.reserved.saturating_sub(amount);
            self.in_flight = self.in_flight.saturating_sub(1);
        }
    }

    /// Asks for more money when little is left of a lease; tells whether it did.
    pub(super) fn top_up(&mut self, at: Timestamp, reserved: i64) -> bool {
        let Some(free) = self.funds(at).map(|funds| funds.free) else { return false };
        let stock = self.lease.map_or(0, |lease| lease.stock);
        let wanted = reserved.saturating_mul(HIGH_WATER).saturating_sub(free).max(reserved);
        free < reserved.saturating_mul(LOW_WATER).max(stock / 2) && self.ask(wanted)
    }

    /// Asks for what one more call needs, and those that wait already; tells whether it did.
    pub(super) fn want(&mut self, free: i64, need: i64) -> bool {
        let callers = i64::try_from(self.waiting.len()).unwrap_or(i64::MAX).saturating_add(1);
        free < need && self.ask(need.saturating_mul(callers).saturating_sub(free))
    }

    fn ask(&mut self, amount: i64) -> bool {
        let can_get = |lease: &&mut Lease| lease.dry_now().is_none_or(|others| others.leased > 0);
        let Some(lease) = self.lease.as_mut().filter(can_get) else { return false };
        lease.wanted = lease.wanted.max(amount);
        true
    }

    /// Takes back at most so much of a lease that is neither spent nor reserved, and says how much. Somebody else has it then, so what
    /// was known of the others is out of date.
    pub(super) fn shrink(&mut self, most: i64) -> i64 {
        let used = self.spent().saturating_add(self.reserved);
        let Some(lease) = &mut self.lease else { return 0 };
        let taken = lease.granted.saturating_sub(used).min(most).max(0);
        if taken > 0 {
            lease.granted -= taken;
            (lease.stock, lease.dry) = (0, None);
        }
        taken
    }

    /// Adds what a call cost that counts at this moment. Tells whether the soft limit was crossed by it.
    pub(super) fn settle(&mut self, at: Timestamp, cost: i64, seq: u64) -> bool {
        let is_past = match self.rule.id.term {
            Term::Rolling(_) => bucket_of(at) < bucket_of(self.window.start),
            Term::Lifetime | Term::Snapped(_) => !self.window.contains(at),
        };
        if is_past || seq <= self.as_of {
            return false;
        }
        match &mut self.loading {
            Some(loading) => {
                loading.settled.push((seq, bucket_of(at), cost));
                false
            }
            None => {
                self.spent.add(bucket_of(at), cost);
                self.crosses()
            }
        }
    }

    /// Whether what it warns at is spent.
    pub(super) fn is_over_soft(&self) -> bool {
        self.rule.soft.is_some_and(|soft| self.spent_everywhere() >= soft.0)
    }

    fn crosses(&mut self) -> bool {
        let is_over = self.is_over_soft();
        let crosses = is_over && !self.warned;
        self.warned = is_over;
        crosses
    }

    /// Takes the ledger's figure, as of a settlement's number, and adds what was settled since. Refuses one that is too old.
    pub(super) fn load(&mut self, spent: impl IntoIterator<Item = (i64, i64)>, as_of: u64) -> bool {
        let Some(loading) = self.loading.take_if(|loading| loading.after <= as_of) else { return false };
        self.spent = Spent::nothing(self.rule.id.term);
        for (bucket, amount) in spent {
            self.spent.add(bucket, amount);
        }
        // Whoever looks at budgets was told of this crossing before the restart.
        self.crosses();
        for (_, bucket, cost) in loading.settled.into_iter().filter(|(seq, ..)| *seq > as_of) {
            self.spent.add(bucket, cost);
        }
        self.as_of = as_of;
        true
    }

    /// When money comes back by itself.
    pub(super) fn resets_at(&self, calendar: &Calendar, at: Timestamp) -> Option<Timestamp> {
        match self.rule.id.term {
            Term::Lifetime => None,
            Term::Snapped(_) => self.window.end,
            Term::Rolling(_) => self.spent.oldest().map(|oldest| left_behind(calendar, self.rule.id.term, oldest, at)),
        }
    }

    /// Nothing would be lost by forgetting it: nobody uses it, and the ledger knows what it knows.
    pub(super) fn is_idle(&self, at: Timestamp) -> bool {
        let is_over = self.window.end.is_some_and(|end| end <= at) || self.spent() == 0;
        self.from_glob && is_over && self.in_flight == 0 && self.waiting.is_empty() && self.lease.is_none()
    }
}
