//! Everything that was counted, as one page.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, PoisonError};

use fleetgate_wire::money::NanoDollars;
use jiff::Timestamp;

use super::call::{Latency, Totals};
use super::family::{Family, Values};
use super::histogram::{BOUNDS, Histogram};
use super::page::Page;
use super::{Metrics, labels};

/// One series as it was at one moment.
type Line = (Arc<Values<{ labels::CALL.len() }>>, Totals);

impl Metrics {
    /// The page at this moment. Each series of calls is read once, whole, for all the families that it is shown in.
    #[must_use]
    pub fn render(&self, now: Timestamp) -> String {
        let mut page = Page::default();
        let lines: Vec<Line> = self.calls.all().into_iter().map(|(values, line)| (values, line.read())).collect();
        page.gauge("fleetgate_build_info", "1, with this gateway's version.")
            .count([("version", env!("CARGO_PKG_VERSION"))], 1);
        calls(&mut page, &lines);
        money(&mut page, &lines);
        self.requests(&mut page);
        self.latencies(&mut page);
        self.ledger_gauges(&mut page, now);
        for watcher in self.watchers.lock().unwrap_or_else(PoisonError::into_inner).iter() {
            watcher(&mut page);
        }
        page.finish()
    }

    fn requests(&self, page: &mut Page) {
        counters(page, &self.requests, "litellm_proxy_total_requests_metric_total", "Requests of clients, answered.");
        counters(
            page,
            &self.failures,
            "litellm_proxy_failed_requests_metric_total",
            "Requests of clients that failed.",
        );
        counters(page, &self.budget_refusals, "fleetgate_budget_refusals_total", "Calls that a budget refused.");
        counters(page, &self.rate_refusals, "fleetgate_rate_refusals_total", "Calls that a rate limit refused.");
        let [good, failed] = ["Attempts at fallbacks that were answered.", "Attempts at fallbacks that failed."];
        counters(page, &self.good_fallbacks, "litellm_deployment_successful_fallbacks_total", good);
        counters(page, &self.failed_fallbacks, "litellm_deployment_failed_fallbacks_total", failed);
        let help = "Answers that have cost more than was reserved for them.";
        counters(page, &self.overruns, "fleetgate_budget_overruns_total", help);
    }

    fn latencies(&self, page: &mut Page) {
        type Pick = fn(&Latency) -> &Histogram;
        let families: [(&str, &str, Pick); 4] = [
            ("litellm_request_total_latency_metric", "Seconds from a request to the end of its answer.", |l| &l.total),
            ("litellm_llm_api_latency_metric", "Seconds that the provider took.", |l| &l.upstream),
            ("litellm_llm_api_time_to_first_token_metric", "Seconds that a stream took to begin.", |l| &l.first_token),
            ("litellm_overhead_latency_metric", "Seconds that the gateway took.", |l| &l.overhead),
        ];
        let all = self.latencies.all();
        for (name, help, pick) in families {
            let mut samples = page.histogram(name, help);
            for (values, latency) in &all {
                let counted = pick(latency).read();
                let labels = || self.latencies.names.into_iter().zip(values.iter().map(|value| &**value));
                let bounds = BOUNDS.iter().map(|(_, text)| *text).chain(["+Inf"]);
                for (bound, count) in bounds.zip(counted.cumulative) {
                    samples.line("_bucket", labels().chain([("le", bound)]), &count);
                }
                samples.line("_sum", labels(), &counted.sum.as_secs_f64());
                samples.line("_count", labels(), &counted.cumulative[BOUNDS.len()]);
            }
        }
    }

    fn ledger_gauges(&self, page: &mut Page, now: Timestamp) {
        let Some(pulse) = self.ledger() else { return };
        let healthy = u64::from(pulse.trouble.is_none());
        page.gauge("fleetgate_ledger_healthy", "1 while the ledger can write.").count([], healthy);
        if let Some(depth) = pulse.spool_depth {
            page.gauge("fleetgate_spool_depth", "Durable rows that are not in the database yet.").count([], depth);
        }
        if let Some(newest) = pulse.newest_row_at {
            let age = now.duration_since(newest).as_secs_f64().max(0.0);
            page.gauge("fleetgate_ledger_newest_row_age_seconds", "Seconds since a row was written.").add([], age);
        }
    }
}

/// `admitted = settled + in flight + interrupted`, for each series and so for each sum over them.
fn calls(page: &mut Page, lines: &[Line]) {
    let mut samples = page.counter("fleetgate_calls_admitted_total", "Attempts that were let out to a provider.");
    lines.iter().for_each(|(values, totals)| samples.count(named(values), totals.admitted));
    let mut samples = page.counter("fleetgate_calls_settled_total", "Attempts that ended and have their row.");
    for (values, totals) in lines {
        for (status, count) in &totals.settled {
            samples.count(named(values).chain([("status", *status)]), *count);
        }
    }
    let mut samples = page.gauge("fleetgate_calls_in_flight", "Attempts under way.");
    lines.iter().for_each(|(values, totals)| samples.count(named(values), totals.in_flight));
    let mut samples = page.counter("fleetgate_calls_interrupted_total", "Attempts whose end nobody saw.");
    lines.iter().for_each(|(values, totals)| samples.count(named(values), totals.interrupted));
    let in_flight = lines.iter().map(|(_, totals)| totals.in_flight).sum();
    page.gauge("litellm_in_flight_requests", "Attempts under way.").count([], in_flight);
}

fn money(page: &mut Page, lines: &[Line]) {
    type Pick = fn(&Totals) -> u64;
    let mut samples = page.counter("litellm_spend_metric_total", "Known cost in dollars.");
    lines.iter().for_each(|(values, totals)| samples.dollars(named(values), NanoDollars(totals.cost_nanousd)));
    let tokens: [(&str, &str, Pick); 3] = [
        ("litellm_total_tokens_metric_total", "Tokens, both ways.", |t| t.input_tokens + t.output_tokens),
        ("litellm_input_tokens_metric_total", "Tokens of prompts.", |t| t.input_tokens),
        ("litellm_output_tokens_metric_total", "Tokens of answers.", |t| t.output_tokens),
    ];
    for (name, help, pick) in tokens {
        let mut samples = page.counter(name, help);
        lines.iter().for_each(|(values, totals)| samples.count(named(values), pick(totals)));
    }
    let mut samples = page.counter("litellm_zero_cost_requests_total", "Good answers that cost nothing, and why.");
    for (values, totals) in lines {
        for (reason, count) in &totals.zero_cost {
            samples.count(named(values).chain([("reason", *reason)]), *count);
        }
    }
    let mut samples = page.counter("fleetgate_unpriced_calls_total", "Attempts whose cost nobody knows.");
    lines.iter().for_each(|(values, totals)| samples.count(named(values), totals.unpriced));
}

fn named(values: &Values<{ labels::CALL.len() }>) -> impl Iterator<Item = (&str, &str)> {
    labels::CALL.into_iter().zip(values.iter().map(|value| &**value))
}

fn counters<const N: usize>(page: &mut Page, family: &Family<N, AtomicU64>, name: &str, help: &str) {
    let mut samples = page.counter(name, help);
    for (values, count) in family.all() {
        let labels = family.names.into_iter().zip(values.iter().map(|value| &**value));
        samples.count(labels, count.load(Ordering::Relaxed));
    }
}
