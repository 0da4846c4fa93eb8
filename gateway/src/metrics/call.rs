//! One series of calls, and one call of it.

use std::sync::atomic::AtomicU64;
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};
use std::time::{Duration, Instant};

use super::histogram::Histogram;

/// What latencies are counted by: the deployment, not the caller. A histogram for each caller would be a hundred lines each.
pub(super) const LATENCY_LABELS: [&str; 4] = ["requested_model", "model", "model_id", "api_provider"];

/// How long the calls of one deployment took.
#[derive(Debug, Default)]
pub(super) struct Latency {
    /// From the request's arrival to the end of its answer.
    pub(super) total: Histogram,
    /// Of that, what the provider took.
    pub(super) upstream: Histogram,
    /// What the provider took to begin a stream.
    pub(super) first_token: Histogram,
    /// What the gateway took.
    pub(super) overhead: Histogram,
}

/// How a call ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Observation {
    /// The row's status: `success`, `failure`, `client_gone` …
    pub status: &'static str,
    /// The row's price source.
    pub price_source: &'static str,
    /// What it cost in nano-dollars; `None` when nobody knows.
    pub cost_nanousd: Option<i64>,
    /// The whole prompt, in tokens.
    pub input_tokens: u64,
    /// Everything produced, in tokens.
    pub output_tokens: u64,
    /// From the request's arrival to now.
    pub total: Duration,
}

/// Counts by a word. There are a handful of them.
pub(super) type ByWord = Vec<(&'static str, u64)>;

/// What is counted of calls with the same labels.
#[derive(Debug, Clone, Default)]
pub(super) struct Totals {
    pub(super) admitted: u64,
    pub(super) in_flight: u64,
    pub(super) interrupted: u64,
    /// By status.
    pub(super) settled: ByWord,
    pub(super) cost_nanousd: i64,
    pub(super) input_tokens: u64,
    pub(super) output_tokens: u64,
    pub(super) unpriced: u64,
    /// By the reason why they cost nothing.
    pub(super) zero_cost: ByWord,
}

/// One series. Everything in it is read and changed together.
#[derive(Debug)]
pub(super) struct Line {
    totals: Mutex<Totals>,
    pub(super) latency: Arc<Latency>,
    /// The count of the requests with the same labels that were answered with 200, by the route of the first of them. `None` where
    /// calls of several labels are counted together: their requests may not be.
    succeeded: Option<OnceLock<(&'static str, Arc<AtomicU64>)>>,
}

impl Line {
    pub(super) fn new(latency: Arc<Latency>, is_of_one: bool) -> Self {
        Self { totals: Mutex::default(), latency, succeeded: is_of_one.then(OnceLock::new) }
    }

    /// The count of the requests that were answered with 200; `find` looks it up.
    pub(super) fn succeeded(&self, route: &'static str, find: impl Fn() -> Arc<AtomicU64>) -> Arc<AtomicU64> {
        match self.succeeded.as_ref().map(|known| known.get_or_init(|| (route, find()))) {
            Some((known, count)) if *known == route => Arc::clone(count),
            _ => find(),
        }
    }

    pub(super) fn read(&self) -> Totals {
        self.totals().clone()
    }

    pub(super) fn recover(&self, calls: u64) {
        let mut totals = self.totals();
        totals.admitted += calls;
        totals.interrupted += calls;
    }

    /// Nothing can panic while it is held; were it poisoned, the counts would still be whole.
    fn totals(&self) -> MutexGuard<'_, Totals> {
        self.totals.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// What the calls of the same labels are counted in.
#[derive(Debug, Clone)]
pub struct Series(pub(super) Arc<Line>);

/// A call that went out and has not ended.
#[derive(Debug)]
pub struct Admitted {
    line: Arc<Line>,
    sent: Instant,
    first_token: Option<Duration>,
    is_settled: bool,
}

impl Admitted {
    pub(super) fn new(line: Arc<Line>) -> Self {
        {
            let mut totals = line.totals();
            totals.admitted += 1;
            totals.in_flight += 1;
        }
        Self { line, sent: Instant::now(), first_token: None, is_settled: false }
    }

    /// What it counts in.
    #[must_use]
    pub fn series(&self) -> Series {
        Series(Arc::clone(&self.line))
    }

    /// The first byte of a stream came. Later ones change nothing.
    pub fn first_token(&mut self) {
        self.first_token.get_or_insert_with(|| self.sent.elapsed());
    }

    /// The call ended and its row is written.
    pub fn settled(mut self, seen: &Observation) {
        self.is_settled = true;
        let mut totals = self.line.totals();
        totals.in_flight -= 1;
        add(&mut totals.settled, seen.status);
        totals.input_tokens += seen.input_tokens;
        totals.output_tokens += seen.output_tokens;
        match seen.cost_nanousd {
            None => totals.unpriced += 1,
            Some(cost) => totals.cost_nanousd = totals.cost_nanousd.saturating_add(cost),
        }
        if seen.cost_nanousd == Some(0) && seen.status == "success" {
            add(&mut totals.zero_cost, seen.price_source);
        }
        drop(totals);
        let upstream = self.sent.elapsed().min(seen.total);
        let latency = &self.line.latency;
        latency.total.observe(seen.total);
        latency.upstream.observe(upstream);
        latency.overhead.observe(seen.total.saturating_sub(upstream));
        if let Some(first_token) = self.first_token {
            latency.first_token.observe(first_token);
        }
    }
}

impl Drop for Admitted {
    fn drop(&mut self) {
        if !self.is_settled {
            let mut totals = self.line.totals();
            totals.in_flight -= 1;
            totals.interrupted += 1;
        }
    }
}

fn add(counts: &mut ByWord, word: &'static str) {
    match counts.iter_mut().find(|(known, _)| *known == word) {
        Some((_, count)) => *count += 1,
        None => counts.push((word, 1)),
    }
}
