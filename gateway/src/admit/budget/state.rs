//! What the lock protects, and the one atomic step in which all of a call's budgets decide together.

use std::collections::BTreeMap;
use std::sync::Arc;

use fleetgate_wire::money::NanoDollars;
use jiff::Timestamp;
use tokio::sync::Notify;

use super::Charge;
use super::book::{Book, Moment};
use super::calendar::Calendar;
use super::caution::Caution;
use super::counter::Counter;
use super::crossing::Crossing;
use super::offer::{Funds, Offer, Wish, decide};
use super::queue::Waiter;
use super::refusal::{Exceeded, Shortfall};
use crate::admit::scope::Scope;

/// Tells others that there is something to do.
#[derive(Debug, Default)]
pub(super) struct Signals {
    pub(super) loads: Notify,
    pub(super) shortage: Notify,
    pub(super) crossed: Notify,
}

/// Everything that calls share.
#[derive(Debug)]
pub(super) struct State {
    pub(super) book: Book,
    pub(super) calendar: Calendar,
    pub(super) caution: Caution,
    /// The highest number of a settlement so far.
    pub(super) last_seq: u64,
    pub(super) waiters: BTreeMap<u64, Waiter>,
    pub(super) next_ticket: u64,
    pub(super) most_waiting: usize,
    pub(super) crossings: Vec<Crossing>,
    pub(super) signals: Arc<Signals>,
    scratch: Scratch,
}

/// Kept between calls, so that none allocates it.
#[derive(Debug, Default)]
struct Scratch {
    matched: Vec<u64>,
    funds: Vec<Funds>,
}

/// Money that is set aside.
#[derive(Debug)]
pub(super) struct Granted {
    /// The moment at which the call counts.
    pub(super) at: Timestamp,
    /// What it may cost.
    pub(super) amount: i64,
    /// What is set aside for it in each counter: as much, or more where the deployment is known or feared to overcharge.
    pub(super) reserve: i64,
    /// The counters, each with its window.
    pub(super) parts: Vec<(u64, u64)>,
}

/// What became of a call.
#[derive(Debug)]
pub(super) enum Verdict {
    Granted(Granted),
    /// In these counters' queues.
    Wait(Vec<u64>),
    Refused(Box<Exceeded>),
}

/// Whoever has this ticket is behind everybody.
pub(super) const NEWCOMER: u64 = u64::MAX;

impl State {
    pub(super) fn new(calendar: Calendar, most_waiting: usize, signals: Arc<Signals>) -> Self {
        Self {
            book: Book::default(),
            calendar,
            caution: Caution::default(),
            last_seq: 0,
            waiters: BTreeMap::new(),
            next_ticket: 0,
            most_waiting,
            crossings: Vec::new(),
            signals,
            scratch: Scratch::default(),
        }
    }

    /// Decides for one call in all of its counters, and sets the money aside if there is enough. `last` says that it has waited long
    /// enough.
    pub(super) fn judge(&mut self, charge: &Charge, at: Timestamp, ticket: u64, last: bool) -> Verdict {
        if charge.most <= NanoDollars::ZERO {
            return Verdict::Granted(Granted { at, amount: 0, reserve: 0, parts: Vec::new() });
        }
        let mut scratch = std::mem::take(&mut self.scratch);
        scratch.matched.clear();
        scratch.funds.clear();
        let verdict = self.judge_with(&mut scratch, charge, at, ticket, last);
        self.scratch = scratch;
        verdict
    }

    fn judge_with(
        &mut self,
        scratch: &mut Scratch,
        charge: &Charge,
        at: Timestamp,
        ticket: u64,
        last: bool,
    ) -> Verdict {
        let Scratch { matched, funds } = scratch;
        let moment = Moment { calendar: &self.calendar, at, last_seq: self.last_seq };
        self.book.matching(&charge.scopes, moment, matched);
        let at = self.roll(matched, at);
        let mut is_behind = false;
        for counter in matched.iter().filter_map(|number| self.book.get(*number)) {
            if let Some(found) = counter.funds(at) {
                funds.push(found);
                is_behind |= counter.waiting.range(..ticket).next().is_some();
            }
            if counter.loading.is_some() {
                self.signals.loads.notify_one();
            }
        }
        let wish = Wish { least: charge.least.0, comfortable: charge.comfortable.0, most: charge.most.0 };
        if funds.is_empty() {
            // Nothing is limited, so nothing is set aside beyond what the call may cost.
            let parts = self.reserve(matched, at, wish.most);
            return Verdict::Granted(Granted { at, amount: wish.most, reserve: wish.most, parts });
        }
        let offer = decide(funds, wish, self.caution.trust(&charge.scopes, at), last);
        match offer {
            Offer::Grant { amount, reserve } if !is_behind => {
                Verdict::Granted(Granted { at, amount, reserve, parts: self.reserve(matched, at, reserve) })
            }
            Offer::Refuse { need } => self.refuse(matched, at, need, false),
            Offer::Grant { .. } | Offer::Wait { .. } if last => self.refuse(matched, at, wish.least, true),
            Offer::Grant { .. } => Verdict::Wait(self.scarce(matched, at, ticket, i64::MIN)),
            Offer::Wait { need } => Verdict::Wait(self.scarce(matched, at, ticket, need)),
        }
    }

    /// Brings the counters to this moment, or to the beginning of the latest window among them.
    fn roll(&mut self, matched: &[u64], at: Timestamp) -> Timestamp {
        let mut latest = at;
        // Twice, since one may be ahead of those before it.
        for _ in 0..2 {
            for number in matched {
                if let Some(counter) = self.book.get_mut(*number) {
                    latest = latest.max(counter.roll(&self.calendar, latest, self.last_seq));
                }
            }
        }
        latest
    }

    fn reserve(&mut self, matched: &[u64], at: Timestamp, reserve: i64) -> Vec<(u64, u64)> {
        let mut parts = Vec::with_capacity(matched.len());
        for number in matched {
            let Some(counter) = self.book.get_mut(*number) else { continue };
            counter.reserve(reserve);
            parts.push((*number, counter.epoch));
            if counter.top_up(at, reserve) {
                self.signals.shortage.notify_one();
            }
        }
        parts
    }

    /// The counters in whose queues the call stands: those that have less than it needs, and those where others stand before it.
    fn scarce(&mut self, matched: &[u64], at: Timestamp, ticket: u64, need: i64) -> Vec<u64> {
        let mut scarce = Vec::new();
        for number in matched {
            let Some(counter) = self.book.get_mut(*number) else { continue };
            let Some(funds) = counter.funds(at) else { continue };
            if funds.free < need || counter.waiting.range(..ticket).next().is_some() {
                scarce.push(*number);
            }
            if counter.want(funds.free, need) {
                self.signals.shortage.notify_one();
            }
        }
        scarce
    }

    /// The refusal of the counter that lacks most. `waited` says that it might have had enough.
    fn refuse(&self, matched: &[u64], at: Timestamp, need: i64, waited: bool) -> Verdict {
        let limited = matched.iter().filter_map(|number| {
            let counter = self.book.get(*number)?;
            let funds = counter.funds(at)?;
            Some((if waited { funds.free } else { funds.ceiling }, counter))
        });
        // A refusal needs a limit, so there is one.
        let Some((_, counter)) = limited.min_by_key(|(money, _)| *money) else {
            return Verdict::Wait(Vec::new());
        };
        let leased = counter.lease.map(|lease| lease.dry.map_or(0, |others| others.leased));
        let reason = match (waited, leased) {
            _ if counter.loading.is_some() => Shortfall::Loading,
            (_, Some(amount)) if amount > 0 => Shortfall::LeasedElsewhere { amount: NanoDollars(amount) },
            (true, Some(_)) if counter.in_flight == 0 => Shortfall::NotGranted,
            (true, _) => Shortfall::InFlight,
            (false, _) => Shortfall::Spent,
        };
        Verdict::Refused(Box::new(self.exceeded(counter, at, need, reason)))
    }

    pub(super) fn exceeded(&self, counter: &Counter, at: Timestamp, need: i64, reason: Shortfall) -> Exceeded {
        Exceeded {
            scope: counter.rule.id.scope.clone(),
            term: counter.rule.id.term,
            name: None,
            spent: NanoDollars(counter.spent_everywhere()),
            reserved: NanoDollars(counter.reserved),
            in_flight: counter.in_flight,
            needed: NanoDollars(need),
            cap: counter.rule.cap(at).unwrap_or_default(),
            resets_at: counter.resets_at(&self.calendar, at),
            reason,
        }
    }
}

impl State {
    /// Ends a call: what was set aside is free again, and what it cost (with its settlement's number) is spent. Only an answer whose
    /// cost is known `teaches` something about its deployment.
    pub(super) fn close(&mut self, scopes: &[Scope], granted: &Granted, cost: Option<(i64, u64)>, teaches: bool) {
        let mut dirty = Vec::new();
        for (number, epoch) in &granted.parts {
            if let Some(counter) = self.book.get_mut(*number) {
                counter.release(*epoch, granted.reserve);
                dirty.push(*number);
            }
        }
        if let Some((cost, seq)) = cost {
            self.last_seq = self.last_seq.max(seq);
            self.spend(scopes, granted.at, cost, seq);
            if teaches && self.caution.learn(scopes, granted.amount, cost, granted.at) {
                // Whoever waits for this deployment's first cost may go on, whatever counter it waits in.
                dirty = self.book.numbers().collect();
            }
        }
        self.pump(dirty);
    }

    /// Every counter of the scopes counts it, those too that came while the call was in flight.
    fn spend(&mut self, scopes: &[Scope], at: Timestamp, cost: i64, seq: u64) {
        let mut matched = std::mem::take(&mut self.scratch.matched);
        matched.clear();
        self.book.existing(scopes, &mut matched);
        for number in &matched {
            let Some(counter) = self.book.get_mut(*number) else { continue };
            if counter.window.end.is_some_and(|end| end <= at) {
                counter.roll(&self.calendar, at, seq);
            }
            if counter.settle(at, cost, seq) {
                Crossing::of(counter, at).publish(&mut self.crossings);
                self.signals.crossed.notify_one();
            }
        }
        self.scratch.matched = matched;
    }
}
