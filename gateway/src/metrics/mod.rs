//! What the gateway counts, and how Prometheus is told.
//!
//! Any room may count, so this one takes from none. A call's labels are looked up once, when it goes out; after that counting is an
//! addition under a lock of its own series, held for nanoseconds and only contended by calls with the very same labels.
//!
//! The counts of one series are read together under that lock: in every answer of `/metrics`, and for every series,
//! `admitted = settled + in flight + interrupted`.

mod call;
mod deployments;
mod family;
mod gauges;
mod histogram;
mod labels;
mod page;
mod render;

use std::borrow::Cow;
use std::fmt;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, OnceLock, PoisonError};

use jiff::Timestamp;

use call::{LATENCY_LABELS, Latency, Line};
use family::Family;

pub use call::{Admitted, Observation, Series};
pub use deployments::{DeploymentCounts, DeploymentReport, DeploymentState};
pub use gauges::{BudgetLevel, Cap};
pub use labels::{CallLabels, Who};
pub use page::Page;

/// Label sets of calls; more than so many are counted as `other`.
const MOST_LINES: usize = 2000;
/// The same for latencies, each of which is a hundred lines of text.
const MOST_LATENCIES: usize = 200;
const MOST_REQUESTS: usize = 4000;
const MOST_REFUSALS: usize = 64;

const FALLBACK_LABELS: [&str; 2] = ["requested_model", "fallback_model"];

/// What the ledger says about itself.
#[derive(Debug, Clone, Default)]
pub struct LedgerPulse {
    /// Why it cannot write, if it cannot.
    pub trouble: Option<String>,
    /// Settled rows that are durable but not in the database yet.
    pub spool_depth: Option<u64>,
    /// When the newest row was written.
    pub newest_row_at: Option<Timestamp>,
}

type Pulse = Box<dyn Fn() -> LedgerPulse + Send + Sync>;
type Watcher = Box<dyn Fn(&mut Page) + Send + Sync>;

/// All counters. Shared by everything that counts.
pub struct Metrics {
    calls: Family<{ labels::CALL.len() }, Line>,
    latencies: Family<{ LATENCY_LABELS.len() }, Arc<Latency>>,
    requests: Family<{ labels::REQUEST.len() }, AtomicU64>,
    failures: Family<{ labels::FAILURE.len() }, AtomicU64>,
    budget_refusals: Family<1, AtomicU64>,
    rate_refusals: Family<1, AtomicU64>,
    overruns: Family<2, AtomicU64>,
    good_fallbacks: Family<2, AtomicU64>,
    failed_fallbacks: Family<2, AtomicU64>,
    pulse: OnceLock<Pulse>,
    watchers: Mutex<Vec<Watcher>>,
}

impl fmt::Debug for Metrics {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Metrics").field("calls", &self.calls.len()).finish_non_exhaustive()
    }
}

impl Default for Metrics {
    fn default() -> Self {
        Self {
            calls: Family::new(labels::CALL, labels::CALL_OPEN, MOST_LINES),
            latencies: Family::new(LATENCY_LABELS, &[0, 1], MOST_LATENCIES),
            requests: Family::new(labels::REQUEST, labels::REQUEST_OPEN, MOST_REQUESTS),
            failures: Family::new(labels::FAILURE, labels::REQUEST_OPEN, MOST_REQUESTS),
            budget_refusals: Family::new(["scope"], &[], MOST_REFUSALS),
            rate_refusals: Family::new(["scope"], &[], MOST_REFUSALS),
            overruns: Family::new(["model_id", "api_provider"], &[], MOST_LATENCIES),
            good_fallbacks: Family::new(FALLBACK_LABELS, &[0], MOST_LATENCIES),
            failed_fallbacks: Family::new(FALLBACK_LABELS, &[0], MOST_LATENCIES),
            pulse: OnceLock::new(),
            watchers: Mutex::default(),
        }
    }
}

impl Metrics {
    /// Counts a call that goes out now. What is given back counts how it ends; dropped without an end, it counts as
    /// interrupted.
    #[must_use]
    pub fn admitted(&self, labels: &CallLabels<'_>) -> Admitted {
        Admitted::new(self.line(labels))
    }

    /// Counts calls that an earlier process admitted and did not settle, as the ledger finds at its start.
    pub fn interrupted(&self, labels: &CallLabels<'_>, calls: u64) {
        self.line(labels).recover(calls);
    }

    fn line(&self, labels: &CallLabels<'_>) -> Arc<Line> {
        let values = labels.values();
        let make = |values: &[Cow<'static, str>; labels::CALL.len()]| {
            let [.., requested, model, id, provider] = values;
            let latency = [requested.clone(), model.clone(), id.clone(), provider.clone()];
            let is_of_one = *values == labels.values() && !values.iter().any(|value| value == family::OTHER);
            Line::new(Arc::clone(&*self.latencies.get(&latency, |_| Arc::default())), is_of_one)
        };
        self.calls.get(&values, make)
    }

    /// Counts what a client was answered, whatever came of it and however many attempts it took. `reason` is the word of
    /// `x-fleetgate-reason`, or empty where the status is the provider's.
    pub fn answered(&self, who: &Who<'_>, route: &str, requested_model: &str, status: u16, reason: &str) {
        let status = itoa(status);
        let values = who.request(route, requested_model, &status);
        self.requests.get(&values, |_| AtomicU64::default()).fetch_add(1, Ordering::Relaxed);
        if &*status >= "400" {
            let [host, workload, hash, alias, user, team, team_alias, model, route, status] = values;
            let values = [host, workload, hash, alias, user, team, team_alias, model, route, status, reason.into()];
            self.failures.get(&values, |_| AtomicU64::default()).fetch_add(1, Ordering::Relaxed);
        }
    }

    /// The same for a request that was answered with 200, by an attempt that counts in `series`: that knows where such requests are
    /// counted, and their labels are seldom needed.
    pub fn succeeded<'w>(
        &self,
        series: &Series,
        who: impl Fn() -> Who<'w>,
        route: &'static str,
        requested_model: &str,
    ) {
        let find = || self.requests.get(&who().request(route, requested_model, &itoa(200)), |_| AtomicU64::default());
        series.0.succeeded(route, find).fetch_add(1, Ordering::Relaxed);
    }

    /// Counts a call that a budget refused. `scope` is the kind of scope: `key`, `team`, `global` …
    pub fn budget_refused(&self, scope: &str) {
        self.budget_refusals.get(&[scope.into()], |_| AtomicU64::default()).fetch_add(1, Ordering::Relaxed);
    }

    /// Counts a call that a rate limit refused. `scope` as in [`Metrics::budget_refused`].
    pub fn rate_refused(&self, scope: &str) {
        self.rate_refusals.get(&[scope.into()], |_| AtomicU64::default()).fetch_add(1, Ordering::Relaxed);
    }

    /// Counts an answer that has cost more than was reserved for it.
    pub fn overran(&self, model_id: &str, provider: &str) {
        self.overruns
            .get(&[model_id.into(), provider.into()], |_| AtomicU64::default())
            .fetch_add(1, Ordering::Relaxed);
    }

    /// Counts an attempt at another group than the one that was asked for.
    pub fn fell_back(&self, requested_model: &str, fallback_model: &str, succeeded: bool) {
        let family = if succeeded { &self.good_fallbacks } else { &self.failed_fallbacks };
        let values = [requested_model.into(), fallback_model.into()];
        family.get(&values, |_| AtomicU64::default()).fetch_add(1, Ordering::Relaxed);
    }

    /// Says whom to ask about the ledger. The first one counts.
    pub fn watch_ledger(&self, pulse: impl Fn() -> LedgerPulse + Send + Sync + 'static) {
        drop(self.pulse.set(Box::new(pulse)));
    }

    /// Adds somebody who writes gauges of his own at each look: remaining budgets, the state of deployments.
    pub fn watch(&self, watcher: impl Fn(&mut Page) + Send + Sync + 'static) {
        self.watchers.lock().unwrap_or_else(PoisonError::into_inner).push(Box::new(watcher));
    }

    /// What the ledger says about itself now; `None` while nobody can be asked.
    #[must_use]
    pub fn ledger(&self) -> Option<LedgerPulse> {
        self.pulse.get().map(|pulse| pulse())
    }

    /// Calls under way.
    #[must_use]
    pub fn in_flight(&self) -> u64 {
        self.calls.all().iter().map(|(_, line)| line.read().in_flight).sum()
    }
}

fn itoa(status: u16) -> Cow<'static, str> {
    match status {
        200 => Cow::Borrowed("200"),
        other => Cow::Owned(other.to_string()),
    }
}

#[cfg(test)]
mod tests;
