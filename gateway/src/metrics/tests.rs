use std::sync::Barrier;
use std::time::Duration;

use super::*;

fn labels(workload: &str) -> CallLabels<'_> {
    let who = Who { host: "mac".into(), workload: workload.into(), key_alias: "vk-mac".into(), ..Who::default() };
    CallLabels { who, requested_model: "gpt-x".into(), provider: "openai".into(), ..CallLabels::default() }
}

const SUCCESS: Observation = Observation {
    status: "success",
    price_source: "catalogue",
    cost_nanousd: Some(1_250),
    input_tokens: 10,
    output_tokens: 5,
    total: Duration::from_millis(40),
};

/// The sum of a family over all its series.
fn sum(page: &str, family: &str) -> f64 {
    let samples = page.lines().filter(|line| line.split(['{', ' ']).next() == Some(family));
    samples.filter_map(|line| line.rsplit(' ').next()?.parse::<f64>().ok()).sum()
}

fn page(metrics: &Metrics) -> String {
    metrics.render(Timestamp::UNIX_EPOCH)
}

fn balance(page: &str) -> (f64, f64, f64, f64) {
    (
        sum(page, "fleetgate_calls_admitted_total"),
        sum(page, "fleetgate_calls_settled_total"),
        sum(page, "fleetgate_calls_in_flight"),
        sum(page, "fleetgate_calls_interrupted_total"),
    )
}

#[test]
fn a_call_is_in_flight_until_it_is_settled_or_lost() {
    let metrics = Metrics::default();
    let (one, two, three) = (labels("a"), labels("b"), labels("a"));
    let (one, two, _three) = (metrics.admitted(&one), metrics.admitted(&two), metrics.admitted(&three));
    assert_eq!(balance(&page(&metrics)), (3.0, 0.0, 3.0, 0.0));
    assert_eq!(metrics.in_flight(), 3);
    one.settled(&SUCCESS);
    drop(two);
    assert_eq!(balance(&page(&metrics)), (3.0, 1.0, 1.0, 1.0));
    metrics.interrupted(&labels("a"), 4);
    assert_eq!(balance(&page(&metrics)), (7.0, 1.0, 1.0, 5.0));
}

#[test]
fn every_look_under_load_balances() {
    let metrics = Metrics::default();
    let workers = 4;
    let start = Barrier::new(workers + 1);
    std::thread::scope(|scope| {
        for number in 0..workers {
            let (metrics, start) = (&metrics, &start);
            scope.spawn(move || {
                start.wait();
                for call in 0..2000 {
                    let labels = labels(if call % 2 == 0 { "even" } else { "odd" });
                    let admitted = metrics.admitted(&labels);
                    if (call + number) % 7 == 0 { drop(admitted) } else { admitted.settled(&SUCCESS) }
                }
            });
        }
        start.wait();
        for _ in 0..200 {
            let (admitted, settled, in_flight, interrupted) = balance(&page(&metrics));
            assert_eq!(admitted, settled + in_flight + interrupted);
        }
    });
    let (admitted, settled, in_flight, interrupted) = balance(&page(&metrics));
    assert_eq!((admitted, in_flight), (8000.0, 0.0));
    assert!(settled > 6000.0 && interrupted > 1000.0, "{settled} {interrupted}");
}

#[test]
fn cost_and_tokens_add_up_and_what_is_unknown_is_no_zero() {
    let metrics = Metrics::default();
    for seen in [
        SUCCESS,
        SUCCESS,
        Observation { cost_nanousd: None, price_source: "unpriced", ..SUCCESS },
        Observation { cost_nanousd: Some(0), price_source: "free", ..SUCCESS },
        Observation { cost_nanousd: Some(0), price_source: "free", status: "failure", ..SUCCESS },
    ] {
        metrics.admitted(&labels("a")).settled(&seen);
    }
    let page = page(&metrics);
    assert!(
        page.contains("\nlitellm_spend_metric_total{host=\"mac\",workload=\"a\",") && page.contains(" 0.000002500\n"),
        "{page}"
    );
    assert_eq!(sum(&page, "litellm_input_tokens_metric_total"), 50.0);
    assert_eq!(sum(&page, "litellm_output_tokens_metric_total"), 25.0);
    assert_eq!(sum(&page, "litellm_total_tokens_metric_total"), 75.0);
    assert_eq!(sum(&page, "fleetgate_unpriced_calls_total"), 1.0);
    assert_eq!(sum(&page, "litellm_zero_cost_requests_total"), 1.0, "a failure is expected to cost nothing");
    assert!(page.contains("reason=\"free\"") && page.contains("status=\"failure\""), "{page}");
}

#[test]
fn latencies_are_counted_by_deployment_and_a_stream_has_a_first_token() {
    let metrics = Metrics::default();
    metrics.admitted(&labels("a")).settled(&SUCCESS);
    let mut streamed = metrics.admitted(&labels("b"));
    streamed.first_token();
    streamed.settled(&SUCCESS);
    let page = page(&metrics);
    assert_eq!(sum(&page, "litellm_request_total_latency_metric_count"), 2.0);
    assert_eq!(sum(&page, "litellm_llm_api_time_to_first_token_metric_count"), 1.0);
    let bucket = "litellm_request_total_latency_metric_bucket{requested_model=\"gpt-x\",model=\"\",model_id=\"\",\
                  api_provider=\"openai\",le=\"0.05\"} 2";
    assert!(page.contains(bucket), "{page}");
    let parts = sum(&page, "litellm_llm_api_latency_metric_sum") + sum(&page, "litellm_overhead_latency_metric_sum");
    assert!((parts - sum(&page, "litellm_request_total_latency_metric_sum")).abs() < 1e-5, "{page}");
}

#[test]
fn requests_and_refusals_are_counted_by_what_was_answered() {
    let metrics = Metrics::default();
    let who = Who { key_alias: "vk".into(), ..Who::default() };
    metrics.answered(&who, "/v1/chat/completions", "gpt-x", 200, "");
    metrics.answered(&who, "/v1/chat/completions", "gpt-x", 403, "key_model_access_denied");
    metrics.answered(&Who::default(), "/v1/messages", "", 401, "auth_error");
    metrics.budget_refused("team");
    metrics.rate_refused("key");
    let page = page(&metrics);
    assert_eq!(sum(&page, "litellm_proxy_total_requests_metric_total"), 3.0);
    assert_eq!(sum(&page, "litellm_proxy_failed_requests_metric_total"), 2.0);
    assert!(page.contains("exception_status=\"403\",exception_class=\"key_model_access_denied\"} 1"), "{page}");
    assert!(page.contains("fleetgate_budget_refusals_total{scope=\"team\"} 1"), "{page}");
    assert!(page.contains("fleetgate_rate_refusals_total{scope=\"key\"} 1"), "{page}");
}

#[test]
fn a_request_counts_the_same_by_its_attempt_as_by_its_labels() {
    let requests = |metrics: &Metrics| {
        let page = page(metrics);
        let lines = page.lines().filter(|line| line.starts_with("litellm_proxy_total_requests_metric_total"));
        lines.map(str::to_owned).collect::<Vec<_>>()
    };
    // More than have a series of their own, and one that is called as those are that have none.
    let names = (0..MOST_LINES + 3).map(|number| format!("w{number}")).chain(["other".to_owned()]);
    let (by_attempt, by_labels) = (Metrics::default(), Metrics::default());
    for (number, name) in names.enumerate().flat_map(|(number, name)| [(number, name.clone()), (number, name)]) {
        let (labels, route) = (labels(&name), ["/responses", "/messages"][number % 2]);
        let attempt = by_attempt.admitted(&labels);
        for route in ["/chat/completions", route] {
            by_attempt.succeeded(&attempt.series(), || labels.who.clone(), route, "gpt-x");
            by_labels.answered(&labels.who, route, "gpt-x", 200, "");
        }
        attempt.settled(&SUCCESS);
    }
    assert_eq!(requests(&by_attempt), requests(&by_labels));
}

#[test]
fn the_ledger_and_others_are_asked_at_each_look() {
    let metrics = Metrics::default();
    assert!(!page(&metrics).contains("fleetgate_ledger_healthy"), "what nobody knows is not shown");
    let depth = Arc::new(AtomicU64::new(3));
    let seen = Arc::clone(&depth);
    metrics.watch_ledger(move || LedgerPulse {
        trouble: (seen.load(Ordering::Relaxed) > 3).then(|| "disk full".into()),
        spool_depth: Some(seen.load(Ordering::Relaxed)),
        newest_row_at: Some(Timestamp::from_second(-90).unwrap()),
    });
    metrics.watch(|page| page.gauge("litellm_deployment_state", "State.").add([("model_id", "d")], 2.0));
    let first = page(&metrics);
    for line in [
        "fleetgate_ledger_healthy 1",
        "fleetgate_spool_depth 3",
        "fleetgate_ledger_newest_row_age_seconds 90",
        "litellm_deployment_state{model_id=\"d\"} 2",
    ] {
        assert!(first.lines().any(|found| found == line), "{line}: {first}");
    }
    depth.store(4, Ordering::Relaxed);
    assert!(page(&metrics).contains("fleetgate_ledger_healthy 0"));
}

#[test]
fn the_page_is_well_formed() {
    let metrics = Metrics::default();
    metrics.admitted(&labels("we\"ird\\\n")).settled(&SUCCESS);
    metrics.answered(&Who::default(), "/v1/messages", "", 401, "auth_error");
    let page = page(&metrics);
    let mut family = String::new();
    let mut families = std::collections::HashSet::new();
    for line in page.lines() {
        if let Some(rest) = line.strip_prefix("# TYPE ") {
            family = rest.split(' ').next().unwrap().to_owned();
            assert!(families.insert(family.clone()), "{family} begins twice");
            assert_eq!(rest.ends_with(" counter"), family.ends_with("_total"), "{rest}");
        } else if !line.starts_with("# HELP ") {
            let name = line.split(['{', ' ']).next().unwrap();
            let suffix = name.strip_prefix(family.as_str()).unwrap_or_else(|| panic!("{line} within {family}"));
            assert!(["", "_bucket", "_sum", "_count"].contains(&suffix), "{line}");
            assert!(line.rsplit(' ').next().unwrap().parse::<f64>().is_ok(), "{line}");
        }
    }
}
