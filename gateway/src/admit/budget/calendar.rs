//! When a budget's window begins and ends.
//!
//! LiteLLM snaps its resets: `1d` ends at midnight, `7d` on Monday, `30d` and `1mo` on the first of the month. Its windows follow
//! from when a job last ran; here each follows from the moment alone, so that a restart, another gateway and the ledger all find
//! the same one.

use std::fmt;

use fleetgate_wire::period::{Period, Unit};
use jiff::civil::{Date, Time, date};
use jiff::tz::TimeZone;
use jiff::{SignedDuration, Timestamp, ToSpan};

const DAY: u64 = 86_400;
/// Spending is summed in quarters of an hour: for rolling windows here, and in the ledger.
pub const BUCKET_SECONDS: i64 = 900;
/// From where windows of several days are counted. A Monday, so that two weeks begin on one.
const ANCHOR: Date = date(1970, 1, 5);

/// How long money counts against a cap.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Term {
    /// For ever.
    Lifetime,
    /// Until the calendar says so.
    Snapped(Period),
    /// For this long after it was spent.
    Rolling(Period),
}

/// From the first moment through the last before `end`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Window {
    /// The first moment.
    pub start: Timestamp,
    /// The first moment after it; `None` when there is no end.
    pub end: Option<Timestamp>,
}

/// The time zone and the hour at which days begin for budgets.
#[derive(Debug, Clone)]
pub struct Calendar {
    zone: TimeZone,
    reset: Time,
}

impl Window {
    /// Whether a moment lies in it.
    #[must_use]
    pub fn contains(&self, at: Timestamp) -> bool {
        self.start <= at && self.end.is_none_or(|end| at < end)
    }
}

impl Calendar {
    /// A calendar whose days, weeks and months begin at `reset` in this zone; hours and minutes count from midnight all the same.
    #[must_use]
    pub fn new(zone: TimeZone, reset: Time) -> Self {
        Self { zone, reset }
    }

    /// The window of a term in which a moment lies. A rolling one ends with that moment; it begins on a bucket, so that what was
    /// spent in part of a bucket counts wholly.
    #[must_use]
    pub fn window(&self, term: Term, at: Timestamp) -> Window {
        match term {
            Term::Lifetime => Window { start: Timestamp::MIN, end: None },
            Term::Rolling(period) => {
                let length = SignedDuration::from_secs(i64::try_from(period.seconds()).unwrap_or(i64::MAX));
                let start = at.checked_sub(length).unwrap_or(Timestamp::MIN);
                Window { start: bucket_start(bucket_of(start)), end: None }
            }
            Term::Snapped(period) => match (period.unit(), period.count()) {
                (Unit::Month, _) | (Unit::Day, 30) => self.month(at),
                (Unit::Day, days) => self.days(at, days),
                (Unit::Week, weeks) => self.days(at, weeks.saturating_mul(7)),
                (Unit::Second | Unit::Minute | Unit::Hour, _) => self.clock(at, period.seconds()),
            },
        }
    }

    fn month(&self, at: Timestamp) -> Window {
        let first = self.day_of(at, self.reset).first_of_month();
        self.between(first, first.checked_add(1.month()).unwrap_or(Date::MAX))
    }

    /// Blocks of so many days since the anchor.
    fn days(&self, at: Timestamp, days: u32) -> Window {
        let day = self.day_of(at, self.reset);
        let since = ANCHOR.until(day).map_or(0, |span| span.get_days());
        let days = i32::try_from(days).unwrap_or(i32::MAX);
        let start = since.div_euclid(days).saturating_mul(days);
        let on = |days: i32| match ANCHOR.checked_add(SignedDuration::from_hours(24 * i64::from(days))) {
            Ok(day) => day,
            Err(_) if days < 0 => Date::MIN,
            Err(_) => Date::MAX,
        };
        self.between(on(start), on(start.saturating_add(days)))
    }

    fn between(&self, first: Date, next: Date) -> Window {
        Window { start: self.instant(first, self.reset), end: Some(self.instant(next, self.reset)) }
    }

    /// Multiples of so many seconds since the zone's midnight, cut off at the next one. What is a day or longer has no place in a
    /// day: whole days are blocks of days, anything else counts from 1970.
    fn clock(&self, at: Timestamp, seconds: u64) -> Window {
        if seconds.is_multiple_of(DAY) {
            return self.days(at, u32::try_from(seconds / DAY).unwrap_or(u32::MAX));
        }
        let (from, until) = if seconds < DAY {
            let day = self.day_of(at, Time::midnight());
            let next = day.tomorrow().unwrap_or(Date::MAX);
            (self.instant(day, Time::midnight()), self.instant(next, Time::midnight()))
        } else {
            (Timestamp::UNIX_EPOCH, Timestamp::MAX)
        };
        let length = i128::from(seconds) * 1_000_000_000;
        let passed = (at.as_nanosecond() - from.as_nanosecond()).div_euclid(length) * length;
        let start = after(from, passed);
        Window { start, end: Some(after(start, length).min(until)) }
    }

    /// The day in which a moment lies, where days begin at `reset`.
    fn day_of(&self, at: Timestamp, reset: Time) -> Date {
        let mut day = self.zone.to_datetime(at).date();
        // A day can begin before its date (never), after it (the hour of reset), or with the next one (a date that a zone skipped).
        while self.instant(day, reset) > at {
            let Ok(before) = day.yesterday() else { break };
            day = before;
        }
        while let Ok(next) = day.tomorrow()
            && self.instant(next, reset) <= at
        {
            day = next;
        }
        day
    }

    /// When a clock on the wall shows this. A time that a zone skips is the first that it shows instead; of one that it shows twice,
    /// the first.
    fn instant(&self, day: Date, time: Time) -> Timestamp {
        let shown = self.zone.to_ambiguous_timestamp(day.to_datetime(time)).compatible();
        shown.unwrap_or(if day < ANCHOR { Timestamp::MIN } else { Timestamp::MAX })
    }
}

/// UTC, days from midnight: LiteLLM's default.
impl Default for Calendar {
    fn default() -> Self {
        Self::new(TimeZone::UTC, Time::midnight())
    }
}

/// The quarter of an hour in which a moment lies, counted from 1970.
#[must_use]
pub fn bucket_of(at: Timestamp) -> i64 {
    let second = at.as_second() - i64::from(at.subsec_nanosecond() < 0);
    second.div_euclid(BUCKET_SECONDS)
}

/// When a quarter of an hour begins.
#[must_use]
pub fn bucket_start(bucket: i64) -> Timestamp {
    let edge = if bucket < 0 { Timestamp::MIN } else { Timestamp::MAX };
    Timestamp::from_second(bucket.saturating_mul(BUCKET_SECONDS)).unwrap_or(edge)
}

fn after(start: Timestamp, nanoseconds: i128) -> Timestamp {
    Timestamp::from_nanosecond(start.as_nanosecond().saturating_add(nanoseconds)).unwrap_or(Timestamp::MAX)
}

impl fmt::Display for Term {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Lifetime => f.write_str("lifetime"),
            Self::Snapped(period) => period.fmt(f),
            Self::Rolling(period) => write!(f, "rolling {period}"),
        }
    }
}

#[cfg(test)]
mod tests;
