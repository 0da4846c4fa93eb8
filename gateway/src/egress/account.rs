//! How fast the tunnels of a key may be, and how many bytes a key and a host have in a day.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use fleetgate_wire::tunnel::{Account, Charge};
use tokio::time::Instant;

use super::day::{Day, Days};

/// Bytes that may pass at once before the pace is felt: a fifth of a second's worth.
const BURST: Duration = Duration::from_millis(200);

/// The paces and days of all callers.
#[derive(Debug)]
pub(super) struct Accounts {
    paces: Mutex<HashMap<String, Arc<Pace>>>,
    pub(super) days: Arc<Days>,
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
    /// With the limits.
    payers: Vec<(Arc<Day>, u64)>,
    days: Arc<Days>,
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    // Nothing panics half-way through a change.
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Accounts {
    /// With `leased`, days are shared with other gateways.
    pub(super) fn new(leased: bool) -> Self {
        Self { paces: Mutex::default(), days: Arc::new(Days::new(leased)) }
    }

    /// The account of a new tunnel; `None` where nothing limits it.
    pub(super) fn open(&self, key: &str, pace: Option<u64>, payers: Vec<(Arc<Day>, u64)>) -> Option<Arc<dyn Account>> {
        if pace.is_none() && payers.is_empty() {
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
        Some(Arc::new(TunnelAccount { pace, payers, days: Arc::clone(&self.days) }))
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
        let mut hold = None;
        let mut is_spent = false;
        // Each is told, also where another says stop.
        for (day, most) in &self.payers {
            match self.days.charge(day, *most, bytes) {
                Charge::Stop => is_spent = true,
                Charge::Hold(time) => hold = Some(time),
                Charge::Go | Charge::Wait(_) => {}
            }
        }
        let wait = self.pace.as_ref().and_then(|pace| pace.charge(bytes));
        match (is_spent, hold, wait) {
            (true, ..) => Charge::Stop,
            (_, Some(time), _) => Charge::Hold(time),
            (_, _, Some(time)) => Charge::Wait(time),
            _ => Charge::Go,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn the_tunnels_of_a_key_share_its_pace() {
        let accounts = Accounts::new(false);
        let open = |key, pace| accounts.open(key, pace, Vec::new());
        let (one, two) = (open("k", Some(1000)).unwrap(), open("k", Some(1000)).unwrap());
        assert_eq!(one.charge(200), Charge::Go, "a burst");
        assert_eq!(two.charge(1000), Charge::Wait(Duration::from_secs(1)));
        tokio::time::advance(Duration::from_secs(2)).await;
        assert_eq!(one.charge(100), Charge::Go, "rest gives no more than a burst");
        assert_eq!(one.charge(200), Charge::Wait(Duration::from_millis(100)));
        assert_eq!(open("other", Some(1000)).unwrap().charge(100), Charge::Go);
        assert!(open("k", None).is_none());
    }
}
