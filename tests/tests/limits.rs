//! What a budget that is spent says, in each dialect, and what keeps an answer within the money that is left.

use fleetgate_tests::upstream::openai::chat_request;
use fleetgate_tests::upstream::{anthropic, responses};
use fleetgate_tests::wait::Gate;
use fleetgate_tests::{Answer, Gateway, MASTER_KEY, Reply, Upstream, eventually};
use serde_json::{Value, json};

/// What the fake provider's answer costs, in dollars: 1,000 prompt tokens (200 of them cached) and 50 produced.
const ONE_CALL: f64 = 0.000_42;
/// A cap that pays for one call and not for two.
const ONE_CALL_CAP: f64 = 0.000_7;

async fn gateway(upstream: &Upstream) -> Gateway {
    Gateway::start(|c| {
        c.deployment("gpt-x", "openai/gpt-4.1-mini", upstream, &json!({}))
            .deployment("sonnet", "anthropic/claude-sonnet-4-5", upstream, &json!({}))
            .deployment(
                "free",
                "openai/self-made",
                upstream,
                &json!({"input_cost_per_token": 0, "output_cost_per_token": 0}),
            )
            .deployment("unknown", "openai/nobody-knows-its-price", upstream, &json!({}))
    })
    .await
}

/// A prompt of at least as many bytes as the fake provider counts tokens.
fn prompt() -> String {
    "word ".repeat(240)
}

fn request() -> Value {
    json!({"model": "gpt-x", "messages": [{"role": "user", "content": prompt()}]})
}

async fn chat(gw: &Gateway, key: &str, body: &Value) -> Answer {
    gw.post("/v1/chat/completions").bearer(key).json(body).send().await
}

#[tokio::test]
async fn a_spent_budget_is_refused_as_each_dialects_clients_understand_it() {
    let upstream = Upstream::start().await;
    let gw = gateway(&upstream).await;
    let fields = json!({"key_alias": "vk-mac", "max_budget": ONE_CALL_CAP, "budget_duration": "30d"});
    let key = gw.key(&fields).await;
    let hash = fleetgate_wire::virtual_key::KeyHash::digest(&key);
    chat(&gw, &key, &request()).await.expect(200);
    let (exceeded, codexs) = (json!("budget_exceeded"), json!("usage_limit_reached"));
    for (path, body, status, kind, code) in [
        ("/v1/chat/completions", request(), 402, &exceeded, &exceeded),
        ("/v1/responses", json!({"model": "gpt-x", "input": prompt()}), 429, &codexs, &exceeded),
        ("/v1/messages", anthropic::request("sonnet"), 402, &exceeded, &Value::Null),
    ] {
        let refused = gw.post(path).bearer(&key).json(&body).send().await.expect(status);
        let headers = ["x-should-retry", "x-fleetgate-reason", "retry-after"].map(|name| refused.header(name));
        assert_eq!(headers, ["false", "budget_exceeded", ""], "{path}");
        let error = &refused.json()["error"];
        assert_eq!((&error["type"], &error["code"]), (kind, code), "{path}");
        let message = error["message"].as_str().unwrap_or_default();
        assert_eq!(refused.header("x-codex-promo-message"), if status == 429 { message } else { "" }, "{path}");
        let opening = format!("Budget has been exceeded! Key=vk-mac (sk-...{}) Current cost: ", &key[key.len() - 4..]);
        assert!(message.starts_with(&opening), "{path}: {message}");
        for said in ["Max budget: 0.0007.", "The budget is for 30d and resets at", "/key/update"] {
            assert!(message.contains(said), "{path}: {message}");
        }
        assert!(!refused.text().contains(&key), "{path}: a refusal never repeats a key");
        let details = &error["details"];
        assert_eq!(details["scope"], format!("key:{hash}"), "{path}");
        assert_eq!((&details["spent"], &details["max_budget"]), (&json!(ONE_CALL), &json!(ONE_CALL_CAP)), "{path}");
        assert!(details["needed"].as_f64() > Some(ONE_CALL_CAP - ONE_CALL), "{path}: {details}");
        assert!(details["resets_at"].is_string(), "{path}: {details}");
    }
    assert_eq!(upstream.requests().len(), 1, "a refused call goes nowhere");
    assert_eq!(gw.rows().await.len(), 1, "and has no row");
}

#[tokio::test]
async fn whatever_costs_money_is_refused_alike_and_what_is_free_goes_on() {
    let upstream = Upstream::start().await;
    let gw = Gateway::start(|c| {
        c.deployment("gpt-x", "openai/gpt-4.1-mini", &upstream, &json!({}))
            .deployment("sonnet", "anthropic/claude-sonnet-4-5", &upstream, &json!({}))
            .deployment("embed", "openai/text-embedding-3-small", &upstream, &json!({}))
    })
    .await;
    let key = gw.key(&json!({"key_alias": "vk-mac", "max_budget": 0})).await;
    let hash = fleetgate_wire::virtual_key::KeyHash::digest(&key);
    let mut stream = request();
    stream["stream"] = json!(true);
    for (path, body, status) in [
        ("/v1/embeddings", json!({"model": "embed", "input": prompt()}), 402),
        ("/v1/completions", json!({"model": "gpt-x", "prompt": prompt()}), 402),
        ("/v1/chat/completions", stream, 402),
        ("/v1/responses", responses::stream_request("gpt-x"), 429),
        ("/v1/messages", anthropic::stream_request("sonnet"), 402),
    ] {
        let refused = gw.post(path).bearer(&key).json(&body).send().await.expect(status);
        let headers = ["x-should-retry", "x-fleetgate-reason", "retry-after"].map(|name| refused.header(name));
        assert_eq!(headers, ["false", "budget_exceeded", ""], "{path}");
        assert_eq!(refused.header("content-type"), "application/json", "{path}: no stream has begun");
        let error = &refused.json()["error"];
        assert!([&error["type"], &error["code"]].contains(&&json!("budget_exceeded")), "{path}: {error}");
        let details = &error["details"];
        assert_eq!(details["scope"], format!("key:{hash}"), "{path}");
        assert_eq!((details["spent"].as_f64(), details["max_budget"].as_f64()), (Some(0.0), Some(0.0)), "{path}");
        assert!(details["needed"].as_f64() > Some(0.0), "{path}: {details}");
    }
    gw.get("/v1/models").bearer(&key).send().await.expect(200);
    let count = gw.post("/v1/messages/count_tokens").bearer(&key).json(&anthropic::request("sonnet"));
    count.send().await.expect(200);
    let log = gw.stderr();
    assert_eq!(log.lines().filter(|line| line.contains("call refused")).count(), 1, "{log}");
}

#[tokio::test]
async fn the_operators_status_is_every_dialects() {
    let upstream = Upstream::start().await;
    let gw = Gateway::start(|c| {
        c.deployment("gpt-x", "openai/gpt-4.1-mini", &upstream, &json!({}))
            .deployment("sonnet", "anthropic/claude-sonnet-4-5", &upstream, &json!({}))
            .set("litellm_settings", "budget_exceeded_status_code", json!(400))
    })
    .await;
    let key = gw.key(&json!({"max_budget": 0})).await;
    for (path, body) in [
        ("/v1/chat/completions", request()),
        ("/v1/responses", responses::request("gpt-x")),
        ("/v1/messages", anthropic::request("sonnet")),
    ] {
        let refused = gw.post(path).bearer(&key).json(&body).send().await.expect(400);
        assert_eq!(refused.json()["error"]["type"], "budget_exceeded", "{path}");
        assert_eq!(refused.header("x-should-retry"), "false", "{path}");
    }
}

#[tokio::test]
async fn fifty_refusals_are_one_line_in_the_log_for_each_key() {
    let upstream = Upstream::start().await;
    let gw = gateway(&upstream).await;
    for alias in ["vk-eager", "vk-other"] {
        let key = gw.key(&json!({"key_alias": alias, "max_budget": 0})).await;
        for _ in 0..50 {
            chat(&gw, &key, &request()).await.expect(402);
        }
    }
    let log = gw.stderr();
    for alias in ["vk-eager", "vk-other"] {
        let lines: Vec<_> = log.lines().filter(|line| line.contains("Budget") && line.contains(alias)).collect();
        assert_eq!(lines.len(), 1, "{lines:#?}");
    }
    let metrics = gw.get("/metrics").bearer(MASTER_KEY).send().await.expect(200).text();
    assert!(metrics.contains("fleetgate_budget_refusals_total{scope=\"key\"} 100"), "{metrics}");
}

#[tokio::test]
async fn a_budget_of_nothing_lets_pass_what_costs_nothing() {
    let upstream = Upstream::start().await;
    let gw = gateway(&upstream).await;
    let key = gw.key(&json!({"max_budget": 0})).await;
    chat(&gw, &key, &request()).await.expect(402);
    chat(&gw, &key, &chat_request("free")).await.expect(200);
    let count = gw.post("/v1/messages/count_tokens").bearer(&key).json(&anthropic::request("sonnet"));
    count.send().await.expect(200);
    let costs: Vec<_> = gw.rows().await.iter().map(|row| row.cost_nanousd).collect();
    assert_eq!(costs, [Some(0), Some(0)]);
}

#[tokio::test]
async fn a_model_without_price_passes_unless_the_operator_says_no() {
    let upstream = Upstream::start().await;
    let gw = gateway(&upstream).await;
    let key = gw.key(&json!({"max_budget": 1})).await;
    chat(&gw, &key, &chat_request("unknown")).await.expect(200);
    assert_eq!(gw.only_row().await.price_source, "unpriced");
    let strict = Gateway::start(|c| {
        c.deployment("unknown", "openai/nobody-knows-its-price", &upstream, &json!({})).set(
            "litellm_settings",
            "block_requests_for_models_without_pricing",
            json!(true),
        )
    })
    .await;
    let key = strict.key(&json!({})).await;
    let refused = chat(&strict, &key, &chat_request("unknown")).await.expect(403);
    assert_eq!(refused.header("x-fleetgate-reason"), "model_cost_map_missing");
    assert!(strict.rows().await.is_empty());
}

#[tokio::test]
async fn an_answer_is_limited_to_what_its_budgets_can_pay_for() {
    let upstream = Upstream::start().await;
    let gw = gateway(&upstream).await;
    let long = |body: Value, limits: Value| {
        let mut body = body;
        for (name, value) in limits.as_object().into_iter().flatten() {
            body[name] = value.clone();
        }
        body
    };
    let message = json!({"model": "sonnet", "messages": [{"role": "user", "content": prompt().repeat(2)}]});
    let response = json!({"model": "gpt-x", "input": prompt()});
    for (path, body, member) in [
        ("/v1/chat/completions", request(), "max_completion_tokens"),
        ("/v1/chat/completions", long(request(), json!({"max_tokens": 9000})), "max_tokens"),
        ("/v1/chat/completions", long(request(), json!({"max_tokens": 9000, "stream": true})), "max_tokens"),
        ("/v1/chat/completions", long(request(), json!({"max_completion_tokens": 9000})), "max_completion_tokens"),
        ("/v1/responses", response.clone(), "max_output_tokens"),
        ("/v1/responses", long(response, json!({"max_output_tokens": 9000})), "max_output_tokens"),
        ("/v1/messages", long(message, json!({"max_tokens": 9000})), "max_tokens"),
    ] {
        // A hundred tokens and the prompt at its longest, and nearly that for the dearer model.
        let cap = if path == "/v1/messages" { 0.02 } else { ONE_CALL_CAP };
        let key = gw.key(&json!({"max_budget": cap})).await;
        let answer = gw.post(path).bearer(&key).json(&body).send().await.expect(200);
        let limit: u64 = answer.header("x-fleetgate-output-limit").parse().expect("the limit is in a header");
        assert!((16..9000).contains(&limit), "{path} {member}: {limit}");
        let sent = upstream.requests().pop().expect("it was sent").json();
        assert_eq!(sent[member], limit, "{path}: {sent}");
        let others = ["max_tokens", "max_completion_tokens", "max_output_tokens"].map(|name| sent.get(name).is_some());
        assert_eq!(others.iter().filter(|is_there| **is_there).count(), 1, "{path}: {sent}");
    }
}

#[tokio::test]
async fn a_limit_that_the_budget_can_pay_for_is_left_alone() {
    let upstream = Upstream::start().await;
    let gw = gateway(&upstream).await;
    let key = gw.key(&json!({"max_budget": 5})).await;
    let mut body = request();
    body["max_tokens"] = json!(100);
    for body in [request(), body] {
        let answer = chat(&gw, &key, &body).await.expect(200);
        assert_eq!(answer.header("x-fleetgate-output-limit"), "");
        let sent = upstream.requests().pop().expect("it was sent").text();
        assert_eq!(sent, body.to_string().replace("gpt-x", "gpt-4.1-mini"));
    }
}

#[tokio::test]
async fn a_dearer_service_tier_is_reserved_whoever_asks_for_it() {
    let upstream = Upstream::start().await;
    let gw = Gateway::start(|c| {
        let tier = json!({"service_tier": "priority"});
        c.deployment("plain", "openai/gpt-4.1-mini", &upstream, &json!({}))
            .deployment("default", "openai/gpt-4.1-mini", &upstream, &tier)
            .deployment("forced", "openai/gpt-4.1-mini", &upstream, &json!({"extra_body": tier}))
    })
    .await;
    let key = gw.key(&json!({"max_budget": 0})).await;
    let needed = async |model: &str| {
        let mut body = request();
        body["model"] = json!(model);
        let refused = chat(&gw, &key, &body).await.expect(402).json();
        refused["error"]["details"]["needed"].as_f64().unwrap_or_default()
    };
    let plain = needed("plain").await;
    for model in ["default", "forced"] {
        // The priority tier costs 1.75 times as much.
        assert!(needed(model).await > 1.7 * plain, "{model} {plain}");
    }
}

#[tokio::test]
async fn a_call_waits_for_money_and_a_raised_cap_frees_it() {
    let upstream = Upstream::start().await;
    let gw = gateway(&upstream).await;
    let key = gw.key(&json!({"max_budget": ONE_CALL_CAP})).await;
    let gate = Gate::new();
    upstream.reply(Reply::json(200, &json!({})).held_by(&gate));
    let call = gw.post("/v1/chat/completions").bearer(&key).json(&request());
    let (first, second) = (tokio::spawn(call.clone().send()), tokio::spawn(call.send()));
    upstream.arrived(1).await;
    eventually("one waits for the other", async || {
        (gw.admin_get("/api/budgets").await["budgets"][0]["waiting"] == 1).then_some(())
    })
    .await;
    gw.admin_post("/key/update", &json!({"key": key, "max_budget": 10})).await;
    upstream.arrived(2).await;
    gate.open();
    first.await.expect("no panic").expect(200);
    second.await.expect("no panic").expect(200);
}

#[tokio::test]
async fn a_call_waits_no_longer_than_the_operator_says() {
    let upstream = Upstream::start().await;
    let gw = Gateway::start(|c| {
        c.deployment("gpt-x", "openai/gpt-4.1-mini", &upstream, &json!({})).set("fleetgate", "budget_wait", json!(0.2))
    })
    .await;
    let key = gw.key(&json!({"max_budget": ONE_CALL_CAP})).await;
    let gate = Gate::new();
    upstream.reply(Reply::json(200, &json!({})).held_by(&gate));
    let first = tokio::spawn(gw.post("/v1/chat/completions").bearer(&key).json(&request()).send());
    upstream.arrived(1).await;
    let refused = chat(&gw, &key, &request()).await.expect(402).json();
    let message = refused["error"]["message"].as_str().unwrap_or_default();
    assert!(message.contains("still reserved by 1 call in flight"), "{message}");
    gate.open();
    first.await.expect("no panic").expect(200);
}

#[tokio::test]
async fn what_was_spent_outlives_kill_9() {
    let upstream = Upstream::start().await;
    let mut gw = gateway(&upstream).await;
    let key = gw.key(&json!({"max_budget": ONE_CALL_CAP})).await;
    chat(&gw, &key, &request()).await.expect(200);
    gw.kill().await;
    gw.restart().await;
    let refused = chat(&gw, &key, &request()).await.expect(402).json();
    assert_eq!(refused["error"]["details"]["spent"], json!(ONE_CALL));
    let budget = &gw.admin_get("/api/budgets").await["budgets"][0];
    assert_eq!((&budget["spent_nanousd"], &budget["reserved_nanousd"]), (&json!(420_000), &json!(0)), "{budget}");
}

#[tokio::test]
async fn a_call_that_failed_gives_its_money_back() {
    let upstream = Upstream::start().await;
    let gw = gateway(&upstream).await;
    let key = gw.key(&json!({"max_budget": ONE_CALL_CAP})).await;
    for _ in 0..3 {
        upstream.reply(Reply::literal(400, r#"{"error":{"message":"no"}}"#));
        chat(&gw, &key, &request()).await.expect(400);
    }
    chat(&gw, &key, &request()).await.expect(200);
}
