//! What was spent in a window.

use std::collections::BTreeMap;

use jiff::Timestamp;

use super::calendar::{Calendar, Term, bucket_of};

/// Nano-dollars, as one sum or as one for each quarter of an hour.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Spent {
    /// For windows that end all at once.
    Sum(i64),
    /// For windows that lose their oldest part as time goes by.
    Buckets { sum: i64, by: BTreeMap<i64, i64> },
}

impl Spent {
    pub(super) fn nothing(term: Term) -> Self {
        match term {
            Term::Rolling(_) => Self::Buckets { sum: 0, by: BTreeMap::new() },
            Term::Lifetime | Term::Snapped(_) => Self::Sum(0),
        }
    }

    pub(super) fn total(&self) -> i64 {
        match self {
            Self::Sum(sum) | Self::Buckets { sum, .. } => *sum,
        }
    }

    pub(super) fn add(&mut self, bucket: i64, amount: i64) {
        match self {
            Self::Sum(sum) => *sum = sum.saturating_add(amount),
            Self::Buckets { sum, by } => {
                *sum = sum.saturating_add(amount);
                let there = by.entry(bucket).or_default();
                *there = there.saturating_add(amount);
            }
        }
    }

    /// Forgets what a rolling window has left behind.
    pub(super) fn forget_before(&mut self, start: Timestamp) {
        let Self::Buckets { sum, by } = self else { return };
        let first = bucket_of(start);
        while let Some(oldest) = by.first_entry().filter(|oldest| *oldest.key() < first) {
            *sum = sum.saturating_sub(oldest.remove());
        }
    }

    /// The bucket that a rolling window leaves behind next.
    pub(super) fn oldest(&self) -> Option<i64> {
        match self {
            Self::Sum(_) => None,
            Self::Buckets { by, .. } => by.first_key_value().map(|(bucket, _)| *bucket),
        }
    }
}

/// When a rolling window, which begins on a bucket, has left this bucket behind.
pub(super) fn left_behind(calendar: &Calendar, term: Term, bucket: i64, now: Timestamp) -> Timestamp {
    // The window's start moves as fast as time does.
    let ahead = (bucket - bucket_of(calendar.window(term, now).start) + 1).max(1);
    super::calendar::bucket_start(bucket_of(now).saturating_add(ahead))
}

#[cfg(test)]
mod tests {
    use fleetgate_wire::period::Period;

    use super::*;

    #[test]
    fn a_rolling_sum_forgets_what_it_left_behind_and_no_sooner() {
        let term = Term::Rolling(Period::parse("1h").unwrap());
        let calendar = Calendar::default();
        let mut spent = Spent::nothing(term);
        let at: Timestamp = "2026-11-25T10:07:00Z".parse().unwrap();
        spent.add(bucket_of(at), 5);
        spent.add(bucket_of(at) + 1, 7);
        let gone = left_behind(&calendar, term, bucket_of(at), at);
        assert_eq!(gone.to_string(), "2026-11-25T11:15:00Z");
        let just_before = gone.checked_sub(jiff::SignedDuration::from_nanos(1)).unwrap();
        spent.forget_before(calendar.window(term, just_before).start);
        assert_eq!(spent.total(), 12);
        spent.forget_before(calendar.window(term, gone).start);
        assert_eq!((spent.total(), spent.oldest()), (7, Some(bucket_of(at) + 1)));
    }
}
