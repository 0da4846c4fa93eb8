//! Refusals in the log: a client that does not take no for an answer must not fill it.

use std::collections::HashMap;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use fleetgate_wire::money::NanoDollars;
use tokio::time::Instant;

use super::refusal::Exceeded;

/// One line for each caller in this time.
const EVERY: Duration = Duration::from_secs(60);
/// More callers than this are not remembered. When all of them are recent, everybody gets a line again.
const MANY: usize = 4_096;

/// Writes refusals down, one line a minute for each caller, with the number of those left out, and overruns likewise for each
/// deployment.
#[derive(Debug, Default)]
pub struct RefusalLog {
    seen: Mutex<HashMap<String, Seen>>,
}

#[derive(Debug, Clone, Copy)]
struct Seen {
    since: Instant,
    left_out: u64,
}

impl RefusalLog {
    /// Writes a refusal down, unless this caller had one within the last minute. `caller` is the key's alias.
    pub fn record(&self, caller: &str, exceeded: &Exceeded) {
        if let Some(left_out) = self.admit(format!("key {caller}"), Instant::now()) {
            tracing::warn!(key = caller, budget = %exceeded.counter(), left_out, "call refused: {exceeded}");
        }
    }

    /// Writes down that an answer has cost more than it could by all that was known, unless its deployment had one within the last
    /// minute.
    pub fn overrun(&self, model: &str, deployment: &str, cost: NanoDollars, expected: NanoDollars) {
        if let Some(left_out) = self.admit(format!("deployment {deployment}"), Instant::now()) {
            let message = "an answer has cost more than was reserved for it: look at the prices of this entry and at what the provider adds";
            tracing::error!(model, deployment, %cost, reserved = %expected, left_out, "{message}");
        }
    }

    /// Whether to write a line now, with the number of those that had none since the last.
    fn admit(&self, what: String, now: Instant) -> Option<u64> {
        let mut seen = self.seen.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(known) = seen.get_mut(&what) {
            if now.duration_since(known.since) < EVERY {
                known.left_out += 1;
                return None;
            }
            let left_out = known.left_out;
            *known = Seen { since: now, left_out: 0 };
            return Some(left_out);
        }
        if seen.len() >= MANY {
            seen.retain(|_, known| now.duration_since(known.since) < EVERY);
        }
        if seen.len() >= MANY {
            seen.clear();
        }
        seen.insert(what, Seen { since: now, left_out: 0 });
        Some(0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_line_a_minute_counts_those_left_out() {
        let (log, start) = (RefusalLog::default(), Instant::now());
        let after = |seconds| start + Duration::from_secs(seconds);
        assert_eq!(log.admit("a".into(), start), Some(0));
        assert_eq!(log.admit("a".into(), after(1)), None);
        assert_eq!(log.admit("a".into(), after(59)), None);
        assert_eq!(log.admit("b".into(), after(59)), Some(0));
        assert_eq!(log.admit("a".into(), after(60)), Some(2));
        assert_eq!(log.admit("a".into(), after(61)), None);
    }

    #[test]
    fn callers_without_number_do_not_fill_the_memory() {
        let (log, start) = (RefusalLog::default(), Instant::now());
        for number in 0..3 * MANY {
            assert_eq!(log.admit(number.to_string(), start), Some(0));
        }
        assert!(log.seen.lock().unwrap().len() <= MANY);
    }
}
