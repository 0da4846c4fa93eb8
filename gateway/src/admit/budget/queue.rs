//! Calls that wait for money which is set aside but not spent.
//!
//! A call stands in the queue of every counter that has too little for it, in the order of arrival. Whoever comes later stands behind
//! it there, however small; elsewhere it holds nobody up. Whenever something happens to a counter, the first in its queue is judged
//! again, and when it leaves, the first in each of its other queues too: of all who wait, the one who came first is first
//! everywhere, so somebody always moves.

use std::sync::Arc;
use std::time::Duration;

use jiff::{SignedDuration, Timestamp};
use tokio::sync::Notify;
use tokio::time::Instant;

use super::Charge;
use super::refusal::{Exceeded, Shortfall};
use super::state::{NEWCOMER, State, Verdict};

/// One call that waits.
#[derive(Debug)]
pub(super) struct Waiter {
    charge: Charge,
    since: Instant,
    queues: Vec<u64>,
    /// Once it is there, the call only has to fetch it.
    verdict: Option<Verdict>,
    woken: Arc<Notify>,
}

impl Waiter {
    /// The call's own clock: the moment that it named, and the time it has waited since.
    fn now(&self) -> Timestamp {
        let waited = SignedDuration::try_from(self.since.elapsed()).unwrap_or(SignedDuration::MAX);
        self.charge.at.saturating_add(waited).unwrap_or(self.charge.at)
    }
}

impl State {
    /// Puts a call into these queues: its ticket, and what wakes it.
    pub(super) fn enqueue(&mut self, charge: Charge, queues: Vec<u64>) -> Result<(u64, Arc<Notify>), Box<Exceeded>> {
        let full = queues.iter().filter_map(|number| self.book.get(*number));
        if let Some(counter) = full.into_iter().find(|counter| counter.waiting.len() >= self.most_waiting) {
            let (at, need) = (charge.at, charge.least.0);
            return Err(Box::new(self.exceeded(counter, at, need, Shortfall::Queue)));
        }
        let ticket = self.next_ticket;
        self.next_ticket += 1;
        let woken = Arc::new(Notify::new());
        let waiter =
            Waiter { charge, since: Instant::now(), queues: Vec::new(), verdict: None, woken: Arc::clone(&woken) };
        self.waiters.insert(ticket, waiter);
        self.stand(ticket, queues, &mut Vec::new());
        Ok((ticket, woken))
    }

    /// Judges the first in these counters' queues again, and whoever comes to the front by that.
    pub(super) fn pump(&mut self, mut dirty: Vec<u64>) {
        while let Some(number) = dirty.pop() {
            while let Some(ticket) = self.book.get(number).and_then(|counter| counter.waiting.first().copied()) {
                match self.judge_again(ticket, false) {
                    Some(Verdict::Wait(queues)) => {
                        self.stand(ticket, queues, &mut dirty);
                        break;
                    }
                    Some(verdict) => {
                        self.stand(ticket, Vec::new(), &mut dirty);
                        if let Some(waiter) = self.waiters.get_mut(&ticket) {
                            waiter.verdict = Some(verdict);
                            waiter.woken.notify_one();
                        }
                    }
                    // Nobody has this ticket any more.
                    None => drop(self.book.get_mut(number).map(|counter| counter.waiting.remove(&ticket))),
                }
            }
        }
    }

    /// Judges everybody again, in the order of arrival: the rules have changed, and with them who stands where.
    pub(super) fn pump_all(&mut self) {
        for counter in self.book.iter_mut() {
            counter.waiting.clear();
        }
        let tickets: Vec<u64> = self.waiters.keys().copied().collect();
        for ticket in tickets {
            if let Some(waiter) = self.waiters.get_mut(&ticket).filter(|waiter| waiter.verdict.is_none()) {
                waiter.queues.clear();
            }
            match self.judge_again(ticket, false) {
                Some(Verdict::Wait(queues)) => self.stand(ticket, queues, &mut Vec::new()),
                Some(verdict) => {
                    if let Some(waiter) = self.waiters.get_mut(&ticket) {
                        waiter.verdict = Some(verdict);
                        waiter.woken.notify_one();
                    }
                }
                None => {}
            }
        }
    }

    /// The verdict, if there is one. The call has left the queues then.
    pub(super) fn fetch(&mut self, ticket: u64) -> Option<Verdict> {
        self.waiters.get(&ticket)?.verdict.as_ref()?;
        self.waiters.remove(&ticket)?.verdict
    }

    /// Looks at a waiting call once more because time has passed.
    pub(super) fn nudge(&mut self, ticket: u64) {
        let queues = self.waiters.get(&ticket).map(|waiter| waiter.queues.clone());
        self.pump(queues.unwrap_or_default());
    }

    /// The last word for a call that has waited long enough.
    pub(super) fn give_up(&mut self, ticket: u64) -> Option<Verdict> {
        let verdict = self.judge_again(ticket, true);
        self.leave(ticket);
        verdict
    }

    /// Takes a call out of the queues; what it was granted meanwhile is given back.
    pub(super) fn leave(&mut self, ticket: u64) {
        let mut dirty = Vec::new();
        self.stand(ticket, Vec::new(), &mut dirty);
        let Some(waiter) = self.waiters.remove(&ticket) else { return };
        if let Some(Verdict::Granted(granted)) = waiter.verdict {
            self.close(&waiter.charge.scopes, &granted, None, false);
        }
        self.pump(dirty);
    }

    /// How long a waiting call can sleep unless it is woken: until one of its counters has money again by itself.
    pub(super) fn until_change(&self, ticket: u64) -> Option<Duration> {
        let waiter = self.waiters.get(&ticket)?;
        let now = waiter.now();
        let counters = waiter.queues.iter().filter_map(|number| self.book.get(*number));
        let next = counters.filter_map(|counter| counter.resets_at(&self.calendar, now)).min()?;
        // Never at once: a timer that is a little early must not spin.
        Some(Duration::try_from(next.duration_since(now)).unwrap_or_default().max(Duration::from_millis(1)))
    }

    fn judge_again(&mut self, ticket: u64, last: bool) -> Option<Verdict> {
        debug_assert!(ticket != NEWCOMER, "a ticket for each nanosecond of 584 years");
        let waiter = self.waiters.get(&ticket).filter(|waiter| waiter.verdict.is_none())?;
        let (charge, now) = (waiter.charge.clone(), waiter.now());
        Some(self.judge(&charge, now, ticket, last))
    }

    /// Moves a call from the queues in which it stands to these; the ones that it left are `dirty` then.
    fn stand(&mut self, ticket: u64, queues: Vec<u64>, dirty: &mut Vec<u64>) {
        let Some(waiter) = self.waiters.get_mut(&ticket) else { return };
        for left in waiter.queues.iter().filter(|number| !queues.contains(number)) {
            if let Some(counter) = self.book.get_mut(*left) {
                counter.waiting.remove(&ticket);
            }
            dirty.push(*left);
        }
        for number in &queues {
            if let Some(counter) = self.book.get_mut(*number) {
                counter.waiting.insert(ticket);
            }
        }
        waiter.queues = queues;
    }
}
