//! What the lock protects, and the one atomic step in which all of a call's limits decide together.

use std::collections::{BTreeMap, BTreeSet};

use foldhash::{HashMap, HashMapExt};

use fleetgate_wire::period::Period;
use jiff::Timestamp;
use jiff::civil::Time;
use jiff::tz::TimeZone;

use super::counter::{Ask, Counter, Day, Level, Measure, Moment, Shortage, reserved};
use super::lease::{RateRule, Wish};
use super::rules::Rules;
use super::window::{Grain, WINDOW};
use crate::admit::budget::{Calendar, Term};
use crate::admit::scope::Scope;
use crate::config::RateCaps;

/// A grant is topped up before it is used up, so that calls need not wait for it: this many times what the last call asked for.
const TOP_UP: u64 = 4;
/// The share of a limit that is asked for in advance, as a divisor: what one gateway keeps in store, the others lack.
const STORE: u64 = 8;

/// What one scope counted for an admitted call.
#[derive(Debug, Clone)]
pub(super) struct Line {
    pub(super) scope: Scope,
    pub(super) caps: RateCaps,
    pub(super) slot: i64,
    /// The day in which it counts.
    pub(super) day: i64,
    /// Tokens of the minute, where they are limited.
    pub(super) reserved: u64,
    /// Tokens of the day, likewise.
    pub(super) reserved_daily: u64,
    pub(super) requests: Option<Level>,
    pub(super) tokens: Option<Level>,
}

/// The part of what a day has seen that is asked for next, as a divisor.
const DAYS_SHARE: u64 = 64;

/// Everything that calls share.
#[derive(Debug)]
pub(super) struct State {
    pub(super) rules: Rules,
    pub(super) counters: HashMap<Scope, Counter>,
    pub(super) wishes: BTreeMap<(RateRule, i64), Wish>,
    /// Days of scopes of which is not known what they have seen before this process began.
    pub(super) missing: BTreeSet<(Scope, i64)>,
    leased: bool,
    calendar: Calendar,
    day: Day,
    began: i64,
    latest: Timestamp,
    swept: i64,
}

impl State {
    pub(super) fn new(rules: Rules, leased: bool) -> Self {
        Self {
            rules,
            counters: HashMap::new(),
            wishes: BTreeMap::new(),
            missing: BTreeSet::new(),
            leased,
            calendar: Calendar::new(TimeZone::UTC, Time::midnight()),
            day: Day { start: 0, end: 0 },
            began: i64::MIN,
            latest: Timestamp::MIN,
            swept: i64::MIN,
        }
    }

    /// Days begin as this calendar says. Those that began before `began` are to be loaded, unless gateways share what they saw.
    pub(super) fn set_days(&mut self, calendar: Calendar, began: Timestamp) {
        (self.calendar, self.day) = (calendar, Day { start: 0, end: 0 });
        self.began = began.as_second();
    }

    pub(super) fn grain(&self) -> Grain {
        if self.leased { Grain::LEASED } else { Grain::OWN }
    }

    pub(super) fn is_leased(&self) -> bool {
        self.leased
    }

    /// The latest moment that was seen.
    pub(super) fn latest(&self) -> Timestamp {
        self.latest
    }

    /// The moment, which does not go back for callers that come to the lock out of order. A clock that was set back by more
    /// than a window is believed: what it left in the future would block for that long.
    pub(super) fn tick(&mut self, now: Timestamp) -> Moment {
        if now > self.latest || self.latest.as_second() - now.as_second() > WINDOW {
            self.latest = now;
        }
        let grain = self.grain();
        let second = self.latest.as_second();
        if !(self.day.start..self.day.end).contains(&second) {
            let window = self.calendar.window(Term::Snapped(Period::DAY), self.latest);
            let end = window.end.unwrap_or(Timestamp::MAX);
            self.day = Day { start: window.start.as_second(), end: end.as_second() };
        }
        let moment = Moment { at: self.latest, slot: grain.slot(self.latest), grain, day: self.day };
        if second.saturating_sub(self.swept) >= WINDOW || second < self.swept {
            self.swept = second;
            self.counters.retain(|_, counter| {
                counter.expire(moment);
                !counter.is_idle()
            });
            self.wishes.retain(|_, wish| wish.window_start == 0 || wish.until > second - WINDOW);
            self.missing.retain(|(_, day)| *day == moment.day.start);
        }
        moment
    }

    /// Counts the call in every limit that holds for it, or in none.
    pub(super) fn admit(
        &mut self,
        scopes: &[Scope],
        tokens: u64,
        now: Timestamp,
    ) -> Result<Vec<Line>, (Scope, Shortage, Moment)> {
        let mut lines: Vec<Line> = Vec::new();
        for scope in scopes {
            let caps = self.rules.caps(scope);
            // A tag that is given twice is one tag.
            if caps.is_empty() || lines.iter().any(|line| line.scope == *scope) {
                continue;
            }
            let reserve = |cap: Option<u64>| cap.map_or(0, |cap| reserved(tokens, cap));
            lines.push(Line {
                scope: scope.clone(),
                caps,
                slot: 0,
                day: 0,
                reserved: reserve(caps.tpm),
                reserved_daily: reserve(caps.tpd),
                requests: None,
                tokens: None,
            });
        }
        if lines.is_empty() {
            return Ok(lines);
        }
        let moment = self.tick(now);
        let ask = Ask { tokens, moment, leased: self.leased, began: self.began };
        self.check(&lines, ask)?;
        for line in &mut lines {
            let counter = self.counters.entry(line.scope.clone()).or_default();
            counter.charge(line.caps, ask);
            (line.slot, line.day) = (moment.slot, moment.day.start);
            line.requests = counter.request_level(line.caps, moment);
            line.tokens = counter.token_level(line.caps, moment);
        }
        if self.leased {
            lines.iter().for_each(|line| self.top_up(line, ask));
        }
        Ok(lines)
    }

    /// Of several limits that are used up, the one that stays so longest: who comes back earlier comes for nothing.
    fn check(&mut self, lines: &[Line], ask: Ask) -> Result<(), (Scope, Shortage, Moment)> {
        let mut worst: Option<(Scope, Shortage)> = None;
        let mut missing: Vec<(RateRule, Shortage)> = Vec::new();
        let rank = |shortage: &Shortage| (!shortage.passes_soon(), shortage.until);
        for line in lines {
            let counter = self.counters.entry(line.scope.clone()).or_default();
            counter.expire(ask.moment);
            for shortage in counter.shortages(line.caps, ask) {
                if shortage.awaits_grant {
                    missing.push((RateRule { scope: line.scope.clone(), measure: shortage.measure }, shortage));
                }
                if shortage.awaits_load {
                    self.missing.insert((line.scope.clone(), ask.moment.day.start));
                }
                if worst.as_ref().is_none_or(|(_, known)| rank(&shortage) > rank(known)) {
                    worst = Some((line.scope.clone(), shortage));
                }
            }
        }
        let Some((scope, shortage)) = worst else { return Ok(()) };
        // No grant would help a call that is refused for another reason.
        if shortage.awaits_grant {
            for (rule, shortage) in missing {
                let wish = self.wish(&rule, ask.moment);
                wish.amount = wish.amount.saturating_add(shortage.needed).min(shortage.cap);
            }
        }
        Err((scope, shortage, ask.moment))
    }

    fn wish(&mut self, rule: &RateRule, moment: Moment) -> &mut Wish {
        let (window_start, until) = match rule.measure {
            Measure::Parallel => (0, i64::MAX),
            measure => (moment.slot_start(measure), moment.slot_end(measure)),
        };
        let new = || Wish { rule: rule.clone(), window_start, until, amount: 0, owed: 0 };
        self.wishes.entry((rule.clone(), window_start)).or_insert_with(new)
    }

    fn top_up(&mut self, line: &Line, ask: Ask) {
        let Moment { slot, .. } = ask.moment;
        let Some(counter) = self.counters.get(&line.scope) else { return };
        let windows = [
            (Measure::Requests, &counter.requests, line.caps.rpm, 1),
            (Measure::Tokens, &counter.tokens, line.caps.tpm, line.reserved.max(1)),
            (Measure::DailyRequests, &counter.day_requests, line.caps.rpd, 1),
            (Measure::DailyTokens, &counter.day_tokens, line.caps.tpd, line.reserved_daily.max(1)),
        ];
        let mut wishes = Vec::new();
        for (measure, window, cap, last) in windows {
            let short = window.free(ask.moment.slot_of(measure)) < last && !counter.is_denied(measure, ask.moment);
            if let Some(cap) = cap.filter(|_| short) {
                // As much as in the slot before is likely to be wanted in this one; of a day, a little of what it has seen.
                let before = if measure.is_daily() { window.used() / DAYS_SHARE } else { window.used_in(slot - 1) };
                let likely = before.max(last.saturating_mul(TOP_UP));
                wishes.push((measure, likely.min(cap / STORE)));
            }
        }
        let (held, granted) = (counter.held, counter.held_granted);
        if let Some(cap) =
            line.caps.max_parallel.filter(|_| granted <= held && !counter.is_denied(Measure::Parallel, ask.moment))
        {
            wishes.push((Measure::Parallel, held.div_ceil(TOP_UP).min(cap / STORE)));
        }
        for (measure, amount) in wishes.into_iter().filter(|(_, amount)| *amount > 0) {
            let wish = self.wish(&RateRule { scope: line.scope.clone(), measure }, ask.moment);
            wish.amount = wish.amount.max(amount);
        }
    }

    /// Corrects what an admitted call reserved. What it used too much counts from now on: it was used until now.
    pub(super) fn settle(&mut self, lines: &[Line], tokens: u64, now: Timestamp) {
        let moment = self.tick(now);
        for line in lines {
            let of_minute = line.caps.tpm.map(|_| (Measure::Tokens, line.slot, line.reserved));
            let of_day = line.caps.tpd.map(|_| (Measure::DailyTokens, line.day, line.reserved_daily));
            for (measure, slot, reserved) in of_minute.into_iter().chain(of_day) {
                self.correct(&line.scope, measure, slot, reserved, tokens, moment);
            }
        }
    }

    fn correct(&mut self, scope: &Scope, measure: Measure, slot: i64, reserved: u64, tokens: u64, moment: Moment) {
        let counter = self.counters.entry(scope.clone()).or_default();
        if tokens > reserved {
            counter.expire(moment);
        }
        let Some(window) = counter.window(measure) else { return };
        if tokens <= reserved {
            window.give_back(slot, reserved - tokens);
            return;
        }
        let current = moment.slot_of(measure);
        window.add(current, tokens - reserved);
        let owed = window.owed(current);
        if self.leased && owed > 0 {
            self.wish(&RateRule { scope: scope.clone(), measure }, moment).owed = owed;
        }
    }

    /// Ends the call's part of the limits on calls at once.
    pub(super) fn release(&mut self, lines: &[Line]) {
        for line in lines.iter().filter(|line| line.caps.max_parallel.is_some()) {
            if let Some(counter) = self.counters.get_mut(&line.scope) {
                counter.held = counter.held.saturating_sub(1);
            }
        }
    }
}
