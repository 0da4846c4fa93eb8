//! Calls and tokens in a minute, and calls at once: who is over a limit is told for how long, and by which.

#![allow(clippy::expect_used, reason = "a broken expectation is a failed test")]

use fleetgate_tests::upstream::openai::chat_request;
use fleetgate_tests::upstream::{anthropic, responses};
use fleetgate_tests::wait::Gate;
use fleetgate_tests::{Answer, Call, Gateway, MASTER_KEY, Reply, Upstream};
use serde_json::{Value, json};

async fn gateway(upstream: &Upstream, rates: Value) -> Gateway {
    Gateway::start(|c| {
        c.model("gpt-x", upstream)
            .model("gpt-y", upstream)
            .deployment("sonnet", "anthropic/claude-sonnet-4-5", upstream, &json!({}))
            .set("fleetgate", "rates", rates)
    })
    .await
}

fn call(gw: &Gateway, key: &str) -> Call {
    gw.post("/v1/chat/completions").bearer(key).json(&chat_request("gpt-x"))
}

/// A refusal by this limit, with what makes clients wait.
#[track_caller]
fn assert_limited(refused: &Answer, whose: &str, measure: &str) {
    assert_eq!(refused.status, 429, "{}", refused.text());
    assert_eq!((refused.header("rate_limit_type"), refused.header("x-should-retry")), (measure, ""));
    let retry_after: u64 = refused.header("retry-after").parse().expect("whole seconds");
    assert!((1..=61).contains(&retry_after), "{retry_after}");
    assert!(refused.header("reset_at").ends_with(" UTC"), "{}", refused.header("reset_at"));
    let body = refused.json();
    let message = body["error"]["message"].as_str().unwrap_or_default();
    assert!(message.starts_with(&format!("Rate limit exceeded for {whose}: ")), "{message}");
    assert!(message.contains(&format!("Limit type: {measure}. ")), "{message}");
    assert_eq!(body["error"]["type"], "rate_limit_error", "{body}");
}

#[tokio::test]
async fn a_keys_calls_in_a_minute_are_counted_down_and_then_refused_in_each_dialect() {
    let upstream = Upstream::start().await;
    let gw = gateway(&upstream, json!([])).await;
    let key = gw.key(&json!({"rpm_limit": 2})).await;
    for left in ["1", "0"] {
        let answer = call(&gw, &key).send().await.expect(200);
        let headers = ["limit", "remaining"].map(|word| answer.header(&format!("x-ratelimit-{word}-requests")));
        assert_eq!(headers, ["2", left]);
        assert_eq!(answer.header("x-ratelimit-api_key-remaining-requests"), left);
        assert_eq!(answer.header("x-litellm-key-rpm-limit"), "2");
        let reset = answer.header("x-ratelimit-reset-requests");
        assert!(reset.ends_with('s') && reset != "0s", "{reset}");
    }
    for (path, body) in [
        ("/v1/chat/completions", chat_request("gpt-x")),
        ("/v1/responses", responses::request("gpt-x")),
        ("/v1/messages", anthropic::request("sonnet")),
    ] {
        let refused = gw.post(path).bearer(&key).json(&body).send().await;
        assert_limited(&refused, "api_key", "requests");
    }
    assert_eq!((upstream.requests().len(), gw.rows().await.len()), (2, 2), "a refused call goes nowhere");
    gw.admin_post("/key/update", &json!({"key": key, "rpm_limit": 3})).await;
    call(&gw, &key).send().await.expect(200);
    let metrics = gw.get("/metrics").bearer(MASTER_KEY).send().await.expect(200).text();
    assert!(metrics.contains("fleetgate_rate_refusals_total{scope=\"key\"} 3"), "{metrics}");
}

#[tokio::test]
async fn a_keys_tokens_in_a_minute_are_those_that_answers_really_had() {
    let upstream = Upstream::start().await;
    let gw = gateway(&upstream, json!([])).await;
    let key = gw.key(&json!({"tpm_limit": 2200})).await;
    // Each answer has 1,050 tokens, many more than these requests let expect.
    for left in 1..=2 {
        let answer = call(&gw, &key).send().await.expect(200);
        assert_eq!(answer.header("x-litellm-key-tpm-limit"), "2200");
        let remaining: u64 = answer.header("x-ratelimit-remaining-tokens").parse().expect("a number");
        assert!((2200 - 1050 * (left - 1) - 100..2200 - 1050 * (left - 1)).contains(&remaining), "{remaining}");
    }
    let mut long = chat_request("gpt-x");
    long["max_tokens"] = json!(500);
    let refused = gw.post("/v1/chat/completions").bearer(&key).json(&long).send().await;
    assert_limited(&refused, "api_key", "tokens");
    call(&gw, &key).send().await.expect(200);
}

#[tokio::test]
async fn calls_at_once_end_when_they_end() {
    let upstream = Upstream::start().await;
    let gw = gateway(&upstream, json!([])).await;
    let key = gw.key(&json!({"max_parallel_requests": 1})).await;
    let gate = Gate::new();
    upstream.reply(Reply::json(200, &json!({})).held_by(&gate));
    let first = tokio::spawn(call(&gw, &key).send());
    upstream.arrived(1).await;
    let refused = call(&gw, &key).send().await;
    assert_limited(&refused, "api_key", "max_parallel_requests");
    gate.open();
    first.await.expect("no panic").expect(200);
    call(&gw, &key).send().await.expect(200);
}

#[tokio::test]
async fn a_stream_whose_client_went_away_is_no_call_at_once_any_more() {
    let upstream = Upstream::start().await;
    let gw = gateway(&upstream, json!([])).await;
    let key = gw.key(&json!({"max_parallel_requests": 1})).await;
    let gate = Gate::new();
    upstream.reply(Reply::stream(responses::events("gpt-x", "Hello")).pause_after(5, &gate));
    let body = responses::stream_request("gpt-x");
    let mut open = gw.post("/v1/responses").bearer(&key).json(&body).open().await;
    open.read_until("Hello").await;
    drop(open);
    upstream.abandoned().await;
    fleetgate_tests::eventually("its place is free", async || {
        (call(&gw, &key).send().await.status == 200).then_some(())
    })
    .await;
}

#[tokio::test]
async fn hosts_workloads_teams_and_models_have_limits_of_their_own() {
    let upstream = Upstream::start().await;
    let rates = json!([
        {"scope": "host:*", "rpm": 1}, {"scope": "workload:nightly", "rpm": 1}, {"scope": "model:gpt-y", "rpm": 1},
    ]);
    let gw = gateway(&upstream, rates).await;
    gw.admin_post("/team/new", &json!({"team_id": "ml", "rpm_limit": 1})).await;
    let key = async |host: &str, team: Value| gw.key(&json!({"host": host, "team_id": team})).await;
    let hosts = [key("a", Value::Null).await, key("b", Value::Null).await];
    for host in &hosts {
        call(&gw, host).send().await.expect(200);
        assert_limited(&call(&gw, host).send().await, "host", "requests");
    }
    let (c, d) = (key("c", Value::Null).await, key("d", Value::Null).await);
    let nightly = |key| call(&gw, key).header("x-fleetgate-workload", "nightly").send();
    nightly(&c).await.expect(200);
    assert_limited(&nightly(&d).await, "workload", "requests");
    // What was refused counted nowhere.
    call(&gw, &d).send().await.expect(200);
    let (e, f) = (key("e", Value::Null).await, key("f", Value::Null).await);
    let gpt_y = |key: &str| gw.post("/v1/chat/completions").bearer(key).json(&chat_request("gpt-y")).send();
    gpt_y(&e).await.expect(200);
    assert_limited(&gpt_y(&f).await, "model", "requests");
    let (g, h) = (key("g", json!("ml")).await, key("h", json!("ml")).await);
    call(&gw, &g).send().await.expect(200);
    assert_limited(&call(&gw, &h).send().await, "team", "requests");
}

#[tokio::test]
async fn a_key_has_limits_for_single_models() {
    let upstream = Upstream::start().await;
    let gw = gateway(&upstream, json!([])).await;
    let key = gw.key(&json!({"model_rpm_limit": {"gpt-x": 1}})).await;
    call(&gw, &key).send().await.expect(200);
    assert_limited(&call(&gw, &key).send().await, "model_per_key", "requests");
    gw.post("/v1/chat/completions").bearer(&key).json(&chat_request("gpt-y")).send().await.expect(200);
}

async fn two_deployments(one: &Upstream, other: &Upstream) -> Gateway {
    Gateway::start(|c| {
        c.deployment("gpt-x", "openai/gpt-x", one, &json!({"order": 1, "rpm": 1}))
            .deployment("gpt-x", "openai/gpt-x", other, &json!({"order": 2, "rpm": 1}))
            .set("router_settings", "optional_pre_call_checks", json!(["enforce_model_rate_limits"]))
    })
    .await
}

#[tokio::test]
async fn a_deployment_at_its_limit_is_passed_over_for_the_next() {
    let (one, other) = (Upstream::start().await, Upstream::start().await);
    let gw = two_deployments(&one, &other).await;
    let key = gw.key(&json!({})).await;
    call(&gw, &key).send().await.expect(200);
    call(&gw, &key).send().await.expect(200);
    assert_eq!((one.requests().len(), other.requests().len()), (1, 1));
    assert_limited(&call(&gw, &key).send().await, "deployment", "requests");
    assert_eq!(gw.rows().await.len(), 2);
}

#[tokio::test]
async fn deployments_are_held_to_their_calls_at_once() {
    let (one, other) = (Upstream::start().await, Upstream::start().await);
    let gw = Gateway::start(|c| {
        let at_once = |order: u64| json!({"order": order, "max_parallel_requests": 1});
        c.deployment("gpt-x", "openai/gpt-x", &one, &at_once(1)).deployment(
            "gpt-x",
            "openai/gpt-x",
            &other,
            &at_once(2),
        )
    })
    .await;
    let key = gw.key(&json!({})).await;
    let gate = Gate::new();
    for upstream in [&one, &other] {
        upstream.reply(Reply::json(200, &json!({})).held_by(&gate));
    }
    let first = tokio::spawn(call(&gw, &key).send());
    one.arrived(1).await;
    let second = tokio::spawn(call(&gw, &key).send());
    other.arrived(1).await;
    assert_limited(&call(&gw, &key).send().await, "deployment", "max_parallel_requests");
    gate.open();
    first.await.expect("no panic").expect(200);
    second.await.expect("no panic").expect(200);
}

#[tokio::test]
async fn a_limit_of_nothing_lets_nothing_pass() {
    let upstream = Upstream::start().await;
    let gw = gateway(&upstream, json!([])).await;
    for field in ["rpm_limit", "tpm_limit", "max_parallel_requests"] {
        let key = gw.key(&json!({field: 0})).await;
        assert_eq!(call(&gw, &key).send().await.status, 429, "{field}");
    }
    assert!(upstream.requests().is_empty());
}
