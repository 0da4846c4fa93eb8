//! How fast the tunnels of a key may be, and how many bytes a key and a host have in a day.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use fleetgate_wire::tunnel::{Account, Charge};
use jiff::Timestamp;
use jiff::tz::TimeZone;
use tokio::time::Instant;

use crate::ledger::TunnelsOf;

/// Bytes that may pass at once before the pace is felt: a fifth of a second's worth.
const BURST: Duration = Duration::from_millis(200);

/// Bytes of a payer in a day (UTC).
#[derive(Debug, Default)]
struct Day {
    number: i64,
    used: u64,
}

/// The paces and days of all callers.
#[derive(Debug, Default)]
pub(super) struct Accounts {
    paces: Mutex<HashMap<String, Arc<Pace>>>,
    days: Mutex<HashMap<TunnelsOf, Arc<Mutex<Day>>>>,
}

/// All tunnels of one key at once.
#[derive(Debug)]
struct Pace {
    bytes_per_second: u64,
    /// When all that has passed would have passed at that pace.
    even_at: Mutex<Instant>,
}

/// What one tunnel is charged to.
#[derive(Debug)]
pub(super) struct TunnelAccount {
    pace: Option<Arc<Pace>>,
    days: Vec<(Arc<Mutex<Day>>, u64)>,
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    // Nothing panics half-way through a change.
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// The number of a day since 1970 (UTC).
fn day_of(at: Timestamp) -> i64 {
    at.as_second().div_euclid(86_400)
}

/// When the day of a moment began (UTC).
pub(super) fn midnight(at: Timestamp) -> Timestamp {
    Timestamp::from_second(day_of(at) * 86_400).unwrap_or(at)
}

impl Accounts {
    /// Whether this process knows how much a payer used today. Where it does not, the ledger does.
    pub(super) fn knows(&self, payer: &TunnelsOf) -> bool {
        lock(&self.days).contains_key(payer)
    }

    /// Begins to count, with what was used today before; who is counted already stays as he is.
    pub(super) fn learn(&self, payer: TunnelsOf, used: u64) {
        let day = Day { number: day_of(Timestamp::now()), used };
        lock(&self.days).entry(payer).or_insert_with(|| Arc::new(Mutex::new(day)));
    }

    /// What is left for a payer of so many bytes a day.
    pub(super) fn is_spent(&self, payer: &TunnelsOf, most: u64) -> bool {
        let day = lock(&self.days).get(payer).map(Arc::clone);
        day.is_some_and(|day| lock(&day).add(0, Timestamp::now()) >= most)
    }

    /// The account of a new tunnel; `None` where nothing limits it.
    pub(super) fn open(&self, key: &str, pace: Option<u64>, limits: &[(TunnelsOf, u64)]) -> Option<Arc<dyn Account>> {
        if pace.is_none() && limits.is_empty() {
            return None;
        }
        let pace = pace.map(|bytes_per_second| {
            let mut paces = lock(&self.paces);
            match paces.get(key).filter(|pace| pace.bytes_per_second == bytes_per_second) {
                Some(pace) => Arc::clone(pace),
                None => {
                    let pace = Arc::new(Pace { bytes_per_second, even_at: Mutex::new(Instant::now()) });
                    paces.insert(key.to_owned(), Arc::clone(&pace));
                    pace
                }
            }
        });
        let mut days = lock(&self.days);
        let limited = limits.iter().map(|(payer, most)| (Arc::clone(days.entry(payer.clone()).or_default()), *most));
        Some(Arc::new(TunnelAccount { pace, days: limited.collect() }))
    }
}

impl Day {
    /// Adds bytes to the day that it is now, and says how many there are.
    fn add(&mut self, bytes: u64, now: Timestamp) -> u64 {
        let today = day_of(now);
        if self.number != today {
            *self = Self { number: today, used: 0 };
        }
        self.used = self.used.saturating_add(bytes);
        self.used
    }
}

impl Pace {
    /// Takes note of bytes, and says how long to wait before the next.
    fn charge(&self, bytes: u64) -> Option<Duration> {
        let now = Instant::now();
        #[allow(clippy::cast_precision_loss, reason = "of a pace, so many digits do not matter")]
        let cost = Duration::from_secs_f64(bytes as f64 / self.bytes_per_second.max(1) as f64);
        let mut even_at = lock(&self.even_at);
        *even_at = (*even_at).max(now) + cost;
        even_at.checked_duration_since(now + BURST).filter(|wait| !wait.is_zero())
    }
}

impl Account for TunnelAccount {
    fn charge(&self, bytes: u64) -> Charge {
        let now = Timestamp::now();
        // Each is told, also where another says stop.
        let spent = self.days.iter().filter(|(day, most)| lock(day).add(bytes, now) >= *most).count();
        if spent > 0 {
            return Charge::Stop;
        }
        match self.pace.as_ref().and_then(|pace| pace.charge(bytes)) {
            Some(wait) => Charge::Wait(wait),
            None => Charge::Go,
        }
    }
}

/// When the next day begins, as messages say it.
pub(super) fn next_day(at: Timestamp) -> String {
    let next = Timestamp::from_second((day_of(at) + 1) * 86_400).unwrap_or(at);
    next.to_zoned(TimeZone::UTC).strftime("%Y-%m-%d %H:%M UTC").to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn the_tunnels_of_a_key_share_its_pace() {
        let accounts = Accounts::default();
        let (one, two) = (accounts.open("k", Some(1000), &[]).unwrap(), accounts.open("k", Some(1000), &[]).unwrap());
        assert_eq!(one.charge(200), Charge::Go, "a burst");
        assert_eq!(two.charge(1000), Charge::Wait(Duration::from_secs(1)));
        tokio::time::advance(Duration::from_secs(2)).await;
        assert_eq!(one.charge(100), Charge::Go, "rest gives no more than a burst");
        assert_eq!(one.charge(200), Charge::Wait(Duration::from_millis(100)));
        assert_eq!(accounts.open("other", Some(1000), &[]).unwrap().charge(100), Charge::Go);
        assert!(accounts.open("k", None, &[]).is_none());
    }

    #[test]
    fn a_day_has_so_many_bytes_and_the_next_as_many_again() {
        let (accounts, payer) = (Accounts::default(), TunnelsOf::Key("k".to_owned()));
        accounts.learn(payer.clone(), 40);
        accounts.learn(payer.clone(), 4000);
        let account = accounts.open("k", None, &[(payer.clone(), 100)]).unwrap();
        assert_eq!((account.charge(59), accounts.is_spent(&payer, 100)), (Charge::Go, false));
        assert_eq!((account.charge(1), accounts.is_spent(&payer, 100)), (Charge::Stop, true));
        let mut day = Day { number: 3, used: 100 };
        let next: Timestamp = "1970-01-05T00:00:00Z".parse().unwrap();
        assert_eq!((day.add(5, next), day.number), (5, 4));
        assert_eq!(midnight("1970-01-05T23:59:59Z".parse().unwrap()), next);
        assert_eq!(next_day(next), "1970-01-06 00:00 UTC");
    }
}
