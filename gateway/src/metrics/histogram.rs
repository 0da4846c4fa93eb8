//! How long things took.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

/// The upper bounds, in milliseconds and as Prometheus's clients write them: LiteLLM's range, 5 ms to 10 minutes, with fewer
/// steps.
pub(super) const BOUNDS: [(u64, &str); 22] = [
    (5, "0.005"),
    (10, "0.01"),
    (25, "0.025"),
    (50, "0.05"),
    (100, "0.1"),
    (250, "0.25"),
    (500, "0.5"),
    (1000, "1.0"),
    (1500, "1.5"),
    (2000, "2.0"),
    (2500, "2.5"),
    (3000, "3.0"),
    (4000, "4.0"),
    (5000, "5.0"),
    (7500, "7.5"),
    (10000, "10.0"),
    (20000, "20.0"),
    (30000, "30.0"),
    (60000, "60.0"),
    (120000, "120.0"),
    (300000, "300.0"),
    (600000, "600.0"),
];

/// Durations, counted by size.
#[derive(Debug, Default)]
pub(super) struct Histogram {
    /// By the first bound that they fit under; the last one holds what fits under none.
    buckets: [AtomicU64; BOUNDS.len() + 1],
    sum_micros: AtomicU64,
}

/// What a histogram held at one look.
pub(super) struct Counted {
    /// For each bound, how many were no longer; the last is all.
    pub(super) cumulative: [u64; BOUNDS.len() + 1],
    pub(super) sum: Duration,
}

impl Histogram {
    pub(super) fn observe(&self, took: Duration) {
        let bucket = BOUNDS.partition_point(|(bound, _)| Duration::from_millis(*bound) < took);
        self.buckets[bucket].fetch_add(1, Ordering::Relaxed);
        self.sum_micros.fetch_add(u64::try_from(took.as_micros()).unwrap_or(u64::MAX), Ordering::Relaxed);
    }

    pub(super) fn read(&self) -> Counted {
        let mut all = 0;
        let cumulative = self.buckets.each_ref().map(|bucket| {
            all += bucket.load(Ordering::Relaxed);
            all
        });
        Counted { cumulative, sum: Duration::from_micros(self.sum_micros.load(Ordering::Relaxed)) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_bound_holds_what_is_no_longer_than_it() {
        let histogram = Histogram::default();
        for millis in [5, 6, 10, 600_000, 600_001] {
            histogram.observe(Duration::from_millis(millis));
        }
        let counted = histogram.read();
        assert_eq!(counted.cumulative[..3], [1, 3, 3]);
        assert_eq!(counted.cumulative[BOUNDS.len() - 1..], [4, 5]);
        assert_eq!(counted.sum, Duration::from_millis(5 + 6 + 10 + 600_000 + 600_001));
    }
}
