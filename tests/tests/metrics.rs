//! What can be seen from outside: `/metrics`, `/health/readiness/details`, and traces.

use fleetgate_tests::upstream::openai::{chat_events, chat_request, stream_request};
use fleetgate_tests::upstream::{PROVIDER_KEY, Recorded};
use fleetgate_tests::wait::Gate;
use fleetgate_tests::{Gateway, MASTER_KEY, Reply, Upstream, eventually};
use serde_json::{Value, json};

/// A page of metrics.
struct Page(String);

impl Page {
    async fn of(gw: &Gateway) -> Self {
        Self(gw.get("/metrics").bearer(MASTER_KEY).send().await.expect(200).text())
    }

    /// The sum of a family over all series that have these labels.
    fn sum(&self, family: &str, labels: &[(&str, &str)]) -> f64 {
        let wanted: Vec<String> = labels.iter().map(|(name, value)| format!("{name}=\"{value}\"")).collect();
        let samples = self.0.lines().filter(|line| line.split(['{', ' ']).next() == Some(family));
        let fitting = samples.filter(|line| wanted.iter().all(|label| line.contains(label)));
        fitting.filter_map(|line| line.rsplit(' ').next()?.parse::<f64>().ok()).sum()
    }

    /// Admitted, settled, in flight, interrupted.
    fn calls(&self) -> [f64; 4] {
        ["admitted_total", "settled_total", "in_flight", "interrupted_total"]
            .map(|name| self.sum(&format!("fleetgate_calls_{name}"), &[]))
    }
}

#[tokio::test]
async fn a_call_is_counted_by_who_made_it_and_what_it_cost() {
    let upstream = Upstream::start().await;
    let gw = Gateway::start(|c| c.deployment("gpt-x", "openai/gpt-4o-mini", &upstream, &json!({}))).await;
    gw.admin_post("/team/new", &json!({"team_id": "ml", "team_alias": "ML"})).await;
    let key = gw.key(&json!({"key_alias": "vk-mac", "host": "mac", "user_id": "ada", "team_id": "ml"})).await;
    let call = gw.post("/v1/chat/completions").bearer(&key).header("x-fleetgate-workload", "codex");
    call.json(&chat_request("gpt-x")).send().await.expect(200);
    let row = gw.only_row().await;
    let page = Page::of(&gw).await;
    let who = [
        ("host", "mac"),
        ("workload", "codex"),
        ("api_key_alias", "vk-mac"),
        ("hashed_api_key", row.key_hash.as_str()),
        ("user", "ada"),
        ("team", "ml"),
        ("team_alias", "ML"),
        ("requested_model", "gpt-x"),
    ];
    let deployment = [("model", "gpt-4o-mini"), ("api_provider", "openai")];
    let all: Vec<_> = who.into_iter().chain(deployment).collect();
    assert_eq!(page.sum("fleetgate_calls_admitted_total", &all), 1.0, "{}", page.0);
    assert_eq!(page.sum("fleetgate_calls_settled_total", &[&all[..], &[("status", "success")]].concat()), 1.0);
    let cost = row.cost_nanousd.expect("a price") as f64 / 1e9;
    assert!(cost > 0.0 && (page.sum("litellm_spend_metric_total", &all) - cost).abs() < 1e-12, "{cost}: {}", page.0);
    let (input, output) = (row.input_tokens.expect("tokens") as f64, row.output_tokens.expect("tokens") as f64);
    assert_eq!(page.sum("litellm_input_tokens_metric_total", &all), input);
    assert_eq!(page.sum("litellm_output_tokens_metric_total", &all), output);
    assert_eq!(page.sum("litellm_total_tokens_metric_total", &all), input + output);
    let request = [&who[..], &[("route", "/chat/completions"), ("status_code", "200")]].concat();
    assert_eq!(page.sum("litellm_proxy_total_requests_metric_total", &request), 1.0, "{}", page.0);
    assert_eq!(page.sum("litellm_proxy_failed_requests_metric_total", &[]), 0.0);
    for family in
        ["litellm_request_total_latency_metric", "litellm_llm_api_latency_metric", "litellm_overhead_latency_metric"]
    {
        assert_eq!(page.sum(&format!("{family}_count"), &deployment), 1.0, "{family}");
        assert_eq!(page.sum(&format!("{family}_bucket"), &[("le", "600.0")]), 1.0, "{family}");
    }
    assert!(!page.0.contains(&key) && !page.0.contains(PROVIDER_KEY) && !page.0.contains(MASTER_KEY));
}

#[tokio::test]
async fn the_counts_balance_while_calls_come_go_and_are_left() {
    let upstream = Upstream::start().await;
    let gw = Gateway::start(|c| c.model("gpt-x", &upstream)).await;
    let key = gw.key(&json!({"key_alias": "vk"})).await;
    let gate = Gate::new();
    upstream.reply(Reply::stream(chat_events("gpt-x", &["a", "b"], true)).pause_after(1, &gate));
    let request = stream_request("gpt-x");
    let held = gw.post("/v1/chat/completions").bearer(&key).json(&request).open().await;
    let page = Page::of(&gw).await;
    assert_eq!(page.calls(), [1.0, 0.0, 1.0, 0.0]);
    assert_eq!(page.sum("litellm_in_flight_requests", &[]), 1.0);

    let mut calls = tokio::task::JoinSet::new();
    for _ in 0..50 {
        calls.spawn(gw.post("/v1/chat/completions").bearer(&key).json(&chat_request("gpt-x")).send());
    }
    while !calls.is_empty() {
        let [admitted, settled, in_flight, interrupted] = Page::of(&gw).await.calls();
        assert_eq!(admitted, settled + in_flight + interrupted);
        drop(calls.join_next().await);
    }
    gate.open();
    held.finish().await;
    let page = Page::of(&gw).await;
    assert_eq!(page.calls(), [51.0, 51.0, 0.0, 0.0], "{}", page.0);
    assert_eq!(page.sum("litellm_llm_api_time_to_first_token_metric_count", &[]), 1.0, "only a stream has one");

    let gate = Gate::new();
    upstream.reply(Reply::stream(chat_events("gpt-x", &["a", "b"], true)).pause_after(1, &gate));
    let left = gw.post("/v1/chat/completions").bearer(&key).json(&request).open().await;
    drop(left);
    eventually("the client's leave is counted", async || {
        let page = Page::of(&gw).await;
        (page.sum("fleetgate_calls_settled_total", &[("status", "client_gone")]) == 1.0).then_some(page)
    })
    .await;
    gate.open();
}

#[tokio::test]
async fn refusals_and_failures_are_counted_by_their_reason() {
    let upstream = Upstream::start().await;
    let gw = Gateway::start(|c| c.model("gpt-x", &upstream)).await;
    let key = gw.key(&json!({"key_alias": "vk", "models": ["gpt-x"]})).await;
    let call = |key: &str, model| gw.post("/v1/chat/completions").bearer(key).json(&chat_request(model)).send();
    call("sk-nobody-has-ever-seen-this", "gpt-x").await.expect(401);
    call(&key, "gpt-y").await.expect(403);
    upstream.reply(Reply::json(500, &json!({"error": {"message": "down"}})));
    call(&key, "gpt-x").await.expect(500);
    let page = Page::of(&gw).await;
    let failed = "litellm_proxy_failed_requests_metric_total";
    for labels in [
        [("api_key_alias", ""), ("exception_status", "401"), ("exception_class", "token_not_found_in_db")],
        [("api_key_alias", "vk"), ("exception_status", "403"), ("exception_class", "key_model_access_denied")],
        [("api_key_alias", "vk"), ("exception_status", "500"), ("exception_class", "")],
    ] {
        assert_eq!(page.sum(failed, &labels), 1.0, "{labels:?}: {}", page.0);
    }
    assert_eq!(page.calls(), [1.0, 1.0, 0.0, 0.0], "what is refused never goes out");
    assert_eq!(page.sum("fleetgate_calls_settled_total", &[("status", "failure")]), 1.0);
}

#[tokio::test]
async fn the_page_is_the_administrators_unless_a_setting_opens_it() {
    let gw = Gateway::start(|c| c).await;
    let key = gw.key(&json!({"key_alias": "vk"})).await;
    gw.get("/metrics").send().await.expect(401);
    gw.get("/metrics").bearer(&key).send().await.expect(403);
    let page = gw.get("/metrics").bearer(MASTER_KEY).send().await.expect(200);
    assert_eq!(page.header("content-type"), "text/plain; version=0.0.4; charset=utf-8");
    assert!(page.text().contains("fleetgate_ledger_healthy 1\n"), "{}", page.text());

    let opened = Gateway::start(|c| c.set("fleetgate", "metrics", json!({"open": true}))).await;
    opened.get("/metrics").send().await.expect(200);
    let setting = "require_auth_for_metrics_endpoint";
    let as_litellm = Gateway::start(|c| c.set("litellm_settings", setting, json!(false))).await;
    as_litellm.get("/metrics").send().await.expect(200);
    let both = Gateway::start(|c| {
        c.set("litellm_settings", setting, json!(false)).set("fleetgate", "metrics", json!({"open": false}))
    });
    both.await.get("/metrics").send().await.expect(401);
}

#[tokio::test]
async fn readiness_tells_more_to_who_has_a_key() {
    let gw = Gateway::start(|c| c).await;
    gw.get("/health/readiness/details").send().await.expect(401);
    let key = gw.key(&json!({"key_alias": "vk"})).await;
    let details = gw.get("/health/readiness/details").bearer(&key).send().await.expect(200).json();
    assert_eq!(
        (&details["status"], &details["db"], &details["reason"]),
        (&json!("healthy"), &json!("connected"), &Value::Null)
    );
    assert_eq!((&details["calls_in_flight"], &details["database"]["kind"]), (&json!(0), &json!("sqlite")));
    for name in ["version", "litellm_version", "started_at", "uptime_seconds", "spool_depth", "newest_row_age_seconds"]
    {
        assert!(details.get(name).is_some(), "{name}: {details}");
    }
}

/// A collector: an upstream that takes everything.
async fn collector() -> Upstream {
    let collector = Upstream::start().await;
    collector.always(Reply::json(200, &json!({})));
    collector
}

/// The spans of a collector's request.
fn spans(request: &Recorded) -> Vec<Value> {
    let body = request.json();
    body["resourceSpans"][0]["scopeSpans"][0]["spans"].as_array().cloned().unwrap_or_default()
}

fn attribute(span: &Value, name: &str) -> Option<Value> {
    let found = span["attributes"].as_array()?.iter().find(|attribute| attribute["key"] == name)?;
    found["value"].as_object()?.values().next().cloned()
}

const PARENT: &str = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01";
const UNSAMPLED: &str = "00-5bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-00";

#[tokio::test]
async fn a_span_continues_the_callers_trace_and_holds_no_content() {
    let (upstream, collector) = (Upstream::start().await, collector().await);
    let otel = json!({"endpoint": collector.origin(), "headers": {"x-token": "os.environ/OTEL_TOKEN"}});
    let gw = Gateway::start(|c| {
        c.deployment("gpt-x", "openai/gpt-4o-mini", &upstream, &json!({}))
            .set("fleetgate", "otel", otel)
            .env("OTEL_TOKEN", "collector-canary")
    })
    .await;
    let key = gw.key(&json!({"key_alias": "vk-mac", "host": "mac"})).await;
    let call = |parent: &str, prompt: &str| {
        let body = json!({"model": "gpt-x", "messages": [{"role": "user", "content": prompt}]});
        gw.post("/v1/chat/completions").bearer(&key).header("traceparent", parent).json(&body).send()
    };
    call(UNSAMPLED, "nobody looks").await.expect(200);
    call(PARENT, "prompt-canary").await.expect(200);
    collector.arrived(1).await;
    let request = collector.requests().remove(0);
    assert_eq!((request.path.as_str(), request.header("x-token")), ("/v1/traces", "collector-canary"));
    let all = spans(&request);
    assert_eq!(all.len(), 1, "who wants no trace gets none: {all:#?}");
    let span = &all[0];
    assert_eq!(span["traceId"], "4bf92f3577b34da6a3ce929d0e0e4736");
    assert_eq!((&span["parentSpanId"], &span["name"]), (&json!("00f067aa0ba902b7"), &json!("chat gpt-x")));
    let row = &gw.rows().await[0];
    for (name, value) in [
        ("gen_ai.operation.name", json!("chat")),
        ("gen_ai.provider.name", json!("openai")),
        ("gen_ai.request.model", json!("gpt-x")),
        ("gen_ai.response.model", json!(row.model)),
        ("gen_ai.usage.input_tokens", json!(row.input_tokens.expect("tokens").to_string())),
        ("gen_ai.usage.output_tokens", json!(row.output_tokens.expect("tokens").to_string())),
        ("server.address", json!("127.0.0.1")),
        ("server.port", json!(upstream.address().port().to_string())),
        ("fleetgate.host", json!("mac")),
        ("fleetgate.key_alias", json!("vk-mac")),
        ("fleetgate.request_id", json!(row.request_id)),
    ] {
        assert_eq!(attribute(span, name), Some(value), "{name}: {span:#}");
    }
    assert!(attribute(span, "fleetgate.cost_usd").and_then(|cost| cost.as_f64()).is_some_and(|cost| cost > 0.0));
    let everything = request.everything();
    for secret in ["prompt-canary", PROVIDER_KEY, MASTER_KEY, key.as_str()] {
        assert!(!everything.contains(secret), "{secret} went to the collector");
    }
    let settings = gw.admin_get("/api/config").await.to_string();
    assert!(
        !settings.contains("collector-canary") && settings.contains("fleetgate.otel.headers.x-token"),
        "{settings}"
    );
    let exported = Page::of(&gw).await.sum("fleetgate_spans_exported_total", &[]);
    assert_eq!(exported, 1.0);
}

#[tokio::test]
async fn litellms_callback_turns_the_variables_on_and_without_it_they_do_nothing() {
    let (upstream, wanted, unwanted) = (Upstream::start().await, collector().await, collector().await);
    let on = Gateway::start(|c| {
        c.model("gpt-x", &upstream)
            .set("litellm_settings", "callbacks", json!(["prometheus", "otel"]))
            .env("OTEL_EXPORTER_OTLP_ENDPOINT", &wanted.origin())
            .env("OTEL_EXPORTER_OTLP_HEADERS", "x-token=a%20b")
            .env("OTEL_SERVICE_NAME", "our-gateway")
    })
    .await;
    assert!(!on.stderr().contains("not honoured"), "{}", on.stderr());
    let off =
        Gateway::start(|c| c.model("gpt-x", &upstream).env("OTEL_EXPORTER_OTLP_ENDPOINT", &unwanted.origin())).await;
    for gw in [&off, &on] {
        let call = gw.post("/v1/chat/completions").bearer(MASTER_KEY).json(&chat_request("gpt-x"));
        call.send().await.expect(200);
    }
    wanted.arrived(1).await;
    let request = wanted.only_request();
    assert_eq!(request.header("x-token"), "a b");
    let service = &request.json()["resourceSpans"][0]["resource"]["attributes"][0]["value"]["stringValue"];
    assert_eq!(service, "our-gateway");
    assert!(spans(&request)[0].get("parentSpanId").is_none(), "a call without a trace begins one");
    assert!(unwanted.requests().is_empty());
}

#[tokio::test]
async fn a_collector_that_refuses_costs_spans_and_never_rows() {
    let (upstream, collector) = (Upstream::start().await, Upstream::start().await);
    collector.always(Reply::json(400, &json!({})));
    let otel = json!({"endpoint": collector.origin()});
    let gw = Gateway::start(|c| c.model("gpt-x", &upstream).set("fleetgate", "otel", otel)).await;
    for _ in 0..5 {
        let call = gw.post("/v1/chat/completions").bearer(MASTER_KEY).json(&chat_request("gpt-x"));
        call.send().await.expect(200);
    }
    assert_eq!(gw.rows().await.len(), 5);
    let dropped = eventually("the spans are given up", async || {
        let page = Page::of(&gw).await;
        (page.sum("fleetgate_spans_dropped_total", &[]) == 5.0).then_some(page)
    });
    assert_eq!(dropped.await.sum("fleetgate_spans_exported_total", &[]), 0.0);
}

#[tokio::test]
async fn a_collector_that_cannot_be_meant_is_an_error() {
    for endpoint in ["localhost:4318", "ftp://collector", "http://user:secret@collector:4318"] {
        let finished = Gateway::refuses(|c| c.set("fleetgate", "otel", json!({"endpoint": endpoint}))).await;
        assert!(finished.stderr.contains("collector's address"), "{endpoint}: {}", finished.stderr);
        assert!(!finished.stderr.contains("secret"), "{}", finished.stderr);
    }
}
