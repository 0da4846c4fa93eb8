//! What this sidecar has done since it started: plain counters, and Prometheus's text of them.

mod text;

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant, SystemTime};

use serde::Serialize;

pub use text::{CONTENT_TYPE, Page};

/// Everything that is counted.
#[derive(Debug)]
pub struct Metrics {
    started: Instant,
    started_at: SystemTime,
    /// Connections of clients.
    pub connections: Arc<Gauge>,
    /// API calls that were passed on, or tried to be.
    pub calls: Arc<Gauge>,
    /// `CONNECT` tunnels.
    pub tunnels: Arc<Gauge>,
    /// Bytes of calls' bodies, towards the gateway.
    pub call_bytes_up: Counter,
    /// Bytes of answers' bodies, towards the client.
    pub call_bytes_down: Counter,
    /// Bytes of tunnels, towards their destinations.
    pub tunnel_bytes_up: Counter,
    /// Bytes of tunnels, towards the clients.
    pub tunnel_bytes_down: Counter,
    /// Calls that were tried again on another connection, because the gateway had not begun them.
    pub retries: Counter,
    /// Calls and tunnels that waited because no gateway took connections.
    pub waits: Counter,
    errors: Mutex<BTreeMap<&'static str, u64>>,
}

impl Default for Metrics {
    fn default() -> Self {
        Self {
            started: Instant::now(),
            started_at: SystemTime::now(),
            connections: Arc::default(),
            calls: Arc::default(),
            tunnels: Arc::default(),
            call_bytes_up: Counter::default(),
            call_bytes_down: Counter::default(),
            tunnel_bytes_up: Counter::default(),
            tunnel_bytes_down: Counter::default(),
            retries: Counter::default(),
            waits: Counter::default(),
            errors: Mutex::default(),
        }
    }
}

impl Metrics {
    /// How long this process has served.
    #[must_use]
    pub fn uptime(&self) -> Duration {
        self.started.elapsed()
    }

    /// When it began, in seconds since 1970.
    #[must_use]
    pub fn started_at(&self) -> u64 {
        self.started_at.duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default().as_secs()
    }

    /// A call or tunnel was refused by the sidecar itself, for this reason.
    pub fn error(&self, reason: &'static str) {
        *self.errors.lock().unwrap_or_else(PoisonError::into_inner).entry(reason).or_default() += 1;
    }

    /// Refusals by reason. The reasons are words of this program, so their number is bounded.
    #[must_use]
    pub fn errors(&self) -> BTreeMap<&'static str, u64> {
        self.errors.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

/// A number that only grows.
#[derive(Debug, Default)]
pub struct Counter(AtomicU64);

impl Counter {
    /// Adds.
    pub fn add(&self, amount: u64) {
        self.0.fetch_add(amount, Relaxed);
    }

    /// Its value.
    #[must_use]
    pub fn get(&self) -> u64 {
        self.0.load(Relaxed)
    }
}

/// How many there were, and how many there are.
#[derive(Debug, Default)]
pub struct Gauge {
    total: AtomicU64,
    ended: AtomicU64,
}

/// Both figures of a [`Gauge`] at one moment.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub struct Reading {
    /// There are.
    pub open: u64,
    /// There were, the open ones included.
    pub total: u64,
}

impl Gauge {
    /// One more; it is open until the value is dropped.
    #[must_use]
    pub fn enter(self: &Arc<Self>) -> Entered {
        self.total.fetch_add(1, Relaxed);
        Entered(Arc::clone(self))
    }

    /// Both figures.
    #[must_use]
    pub fn read(&self) -> Reading {
        // In this order: what ends in between cannot make the difference negative.
        let ended = self.ended.load(Relaxed);
        let total = self.total.load(Relaxed);
        Reading { open: total.saturating_sub(ended), total }
    }
}

/// One of those that a [`Gauge`] counts.
#[derive(Debug)]
pub struct Entered(Arc<Gauge>);

impl Drop for Entered {
    fn drop(&mut self) {
        self.0.ended.fetch_add(1, Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_dropped_is_no_longer_open() {
        let gauge = Arc::new(Gauge::default());
        let (first, second) = (gauge.enter(), gauge.enter());
        assert_eq!(gauge.read(), Reading { open: 2, total: 2 });
        drop(first);
        assert_eq!(gauge.read(), Reading { open: 1, total: 2 });
        drop(second);
        assert_eq!(gauge.read(), Reading { open: 0, total: 2 });
    }
}
