//! The ledger: exactly one row per call, durable before the last byte is out, with figures that a person can add up.

use fleetgate_tests::upstream::openai::{chat_events, chat_request, stream_request};
use fleetgate_tests::upstream::{anthropic, responses};
use fleetgate_tests::wait::Gate;
use fleetgate_tests::{Answer, ClosedPort, Gateway, Reply, Upstream, eventually};
use fleetgate_wire::row::Row;
use serde_json::{Value, json};

/// 800 uncached at 0.4, 200 cached at 0.1, 50 produced at 1.6 dollars a million.
const GPT_COST: i64 = 800 * 400 + 200 * 100 + 50 * 1600;
/// 100 uncached at 3, 2000 read at 0.3, 200 written at 3.75, 100 for an hour at 6, 40 produced at 15 dollars a million.
const SONNET_COST: i64 = 100 * 3000 + 2000 * 300 + 200 * 3750 + 100 * 6000 + 40 * 15_000;

async fn gateway(upstream: &Upstream, retries: u32) -> (Gateway, String) {
    let gw = Gateway::start(|c| {
        c.deployment("gpt-x", "openai/gpt-4.1-mini", upstream, &json!({}))
            .deployment("sonnet", "anthropic/claude-sonnet-4-5", upstream, &json!({}))
            .set("router_settings", "num_retries", json!(retries))
    })
    .await;
    let key = gw.key(&json!({"key_alias": "vk-mac", "host": "mac", "user_id": "anna"})).await;
    (gw, key)
}

async fn call(gw: &Gateway, key: &str, path: &str, body: &Value) -> Answer {
    gw.post(path).bearer(key).json(body).header("x-fleetgate-workload", "claude-glm").send().await
}

#[tokio::test]
async fn a_row_says_who_called_what_and_what_it_cost() {
    let upstream = Upstream::start().await;
    let (gw, key) = gateway(&upstream, 0).await;
    let answer = call(&gw, &key, "/v1/chat/completions", &chat_request("gpt-x")).await.expect(200);
    let row = gw.only_row().await;
    let expected = Row {
        request_id: answer.header("x-fleetgate-request-id").to_owned(),
        kind: "call".to_owned(),
        host: "mac".to_owned(),
        host_source: "key".to_owned(),
        workload: "claude-glm".to_owned(),
        key_alias: "vk-mac".to_owned(),
        key_hash: fleetgate_wire::virtual_key::KeyHash::digest(&key).to_string(),
        user: Some("anna".to_owned()),
        endpoint: "chat".to_owned(),
        model_requested: "gpt-x".to_owned(),
        model: "gpt-4.1-mini".to_owned(),
        provider: "openai".to_owned(),
        status: "success".to_owned(),
        http_status: Some(200),
        error: None,
        input_tokens: Some(1000),
        cache_read_tokens: Some(200),
        cache_write_tokens: Some(0),
        output_tokens: Some(50),
        reasoning_tokens: Some(10),
        cost_nanousd: Some(GPT_COST),
        usage_source: "provider".to_owned(),
        price_source: "catalogue".to_owned(),
        price_name: Some("gpt-4.1-mini".to_owned()),
        upstream_id: Some("chatcmpl-fake1".to_owned()),
        started_at: row.started_at.clone(),
        first_byte_at: row.first_byte_at.clone(),
        ended_at: row.ended_at.clone(),
        ..Row::default()
    };
    assert_eq!(row, expected);
    let first_byte = row.first_byte_at.unwrap_or_default();
    assert!(row.started_at <= first_byte && first_byte <= row.ended_at, "{first_byte}");
    assert!(row.started_at.ends_with('Z') && row.started_at.len() == "2026-01-01T00:00:00.000000Z".len());
}

#[tokio::test]
async fn every_api_costs_what_a_person_adds_up() {
    let upstream = Upstream::start().await;
    let (gw, key) = gateway(&upstream, 0).await;
    let calls = [
        ("/v1/chat/completions", chat_request("gpt-x"), GPT_COST),
        ("/v1/chat/completions", stream_request("gpt-x"), GPT_COST),
        ("/v1/responses", responses::request("gpt-x"), GPT_COST),
        ("/v1/responses", responses::stream_request("gpt-x"), GPT_COST),
        ("/v1/messages", anthropic::request("sonnet"), SONNET_COST),
        ("/v1/messages", anthropic::stream_request("sonnet"), SONNET_COST),
    ];
    for (number, (path, body, cost)) in calls.iter().enumerate() {
        call(&gw, &key, path, body).await.expect(200);
        let rows = gw.rows().await;
        assert_eq!(rows.len(), number + 1, "one row per call, there as soon as the answer is: {path} {body}");
        assert_eq!(rows[0].cost_nanousd, Some(*cost), "{path} {body}");
    }
}

#[tokio::test]
async fn a_price_of_the_entry_beats_the_catalogue_and_no_price_is_no_zero() {
    let upstream = Upstream::start().await;
    let prices = json!({"input_cost_per_token": 1e-6, "output_cost_per_token": 2e-6});
    let gw = Gateway::start(|c| {
        c.deployment("own", "openai/gpt-4.1-mini", &upstream, &prices).deployment(
            "nameless",
            "openai/a-model-without-price",
            &upstream,
            &json!({}),
        )
    })
    .await;
    let key = gw.key(&json!({"key_alias": "vk-mac"})).await;
    call(&gw, &key, "/v1/chat/completions", &chat_request("own")).await.expect(200);
    // No cache price is given, so cached tokens cost what others cost.
    let row = gw.only_row().await;
    assert_eq!((row.cost_nanousd, row.price_source.as_str()), (Some(1000 * 1000 + 50 * 2000), "override"));
    call(&gw, &key, "/v1/chat/completions", &chat_request("nameless")).await.expect(200);
    let row = gw.rows().await.remove(0);
    assert_eq!((row.cost_nanousd, row.price_source.as_str()), (None, "unpriced"));
    assert_eq!((row.usage_source.as_str(), row.input_tokens), ("provider", Some(1000)));
}

#[tokio::test]
async fn a_caller_without_host_is_named_by_its_address_and_a_claim_is_marked() {
    let upstream = Upstream::start().await;
    let (gw, _) = gateway(&upstream, 0).await;
    let key = gw.key(&json!({"key_alias": "vk-loose"})).await;
    let plain = gw.post("/v1/chat/completions").bearer(&key).json(&chat_request("gpt-x"));
    plain.header("user-agent", "curl/8.5.0").send().await.expect(200);
    let row = gw.only_row().await;
    assert_eq!((row.host.as_str(), row.host_source.as_str(), row.workload.as_str()), ("127.0.0.1", "address", "curl"));
    let claimed = gw.post("/v1/chat/completions").bearer(&key).json(&chat_request("gpt-x"));
    claimed.header("x-fleetgate-host", "Mac.local").send().await.expect(200);
    let row = gw.rows().await.remove(0);
    assert_eq!((row.host.as_str(), row.host_source.as_str(), row.workload.as_str()), ("mac", "claimed", "unknown"));
}

#[tokio::test]
async fn the_master_key_has_a_name_in_the_rows() {
    let upstream = Upstream::start().await;
    let (gw, _) = gateway(&upstream, 0).await;
    call(&gw, fleetgate_tests::MASTER_KEY, "/v1/chat/completions", &chat_request("gpt-x")).await.expect(200);
    let row = gw.only_row().await;
    assert_eq!((row.key_alias.as_str(), row.key_hash.as_str()), ("master-key", "master"));
}

#[tokio::test]
async fn an_answer_in_a_clients_hand_has_its_row_even_after_kill_9() {
    let upstream = Upstream::start().await;
    let (mut gw, key) = gateway(&upstream, 0).await;
    let mut finished = Vec::new();
    for (path, body) in [
        ("/v1/chat/completions", chat_request("gpt-x")),
        ("/v1/chat/completions", stream_request("gpt-x")),
        ("/v1/messages", anthropic::stream_request("sonnet")),
    ] {
        let answer = call(&gw, &key, path, &body).await;
        gw.kill().await;
        finished.push(answer.expect(200).header("x-fleetgate-request-id").to_owned());
        gw.restart().await;
    }
    let rows = gw.rows().await;
    assert_eq!(rows.iter().rev().map(|row| row.request_id.clone()).collect::<Vec<_>>(), finished);
    assert!(rows.iter().all(|row| row.status == "success" && row.cost_nanousd.is_some()), "{rows:#?}");
}

#[tokio::test]
async fn kill_9_under_load_loses_no_answer_that_a_client_finished_reading() {
    let upstream = Upstream::start().await;
    let (mut gw, key) = gateway(&upstream, 0).await;
    let mut finished: Vec<String> = Vec::new();
    for round in 0..4 {
        let (done, mut answers) = tokio::sync::mpsc::unbounded_channel();
        let mut clients = tokio::task::JoinSet::new();
        for client in 0..8 {
            let body = if client % 2 == 0 { chat_request("gpt-x") } else { stream_request("gpt-x") };
            let request = gw.post("/v1/chat/completions").bearer(&key).json(&body);
            let done = done.clone();
            clients.spawn(async move {
                while let Ok(open) = request.clone().try_open().await {
                    let answer = open.finish().await;
                    if !answer.whole {
                        break;
                    }
                    let _ = done.send(answer.expect(200).header("x-fleetgate-request-id").to_owned());
                }
            });
        }
        drop(done);
        for _ in 0..20 + 7 * round {
            finished.extend(answers.recv().await);
        }
        gw.kill().await;
        clients.join_all().await;
        while let Some(id) = answers.recv().await {
            finished.push(id);
        }
        gw.restart().await;
    }
    let rows = gw.rows().await;
    let missing: Vec<&String> = finished.iter().filter(|id| !rows.iter().any(|row| row.request_id == **id)).collect();
    assert!(missing.is_empty(), "{} of {} answers have no row: {missing:?}", missing.len(), finished.len());
    let mut ids: Vec<&str> = rows.iter().map(|row| row.request_id.as_str()).collect();
    ids.sort_unstable();
    ids.dedup();
    assert_eq!(ids.len(), rows.len(), "a row stands twice");
}

#[tokio::test]
async fn a_client_that_goes_away_leaves_a_row_and_stops_the_upstream() {
    let upstream = Upstream::start().await;
    let (gw, key) = gateway(&upstream, 0).await;
    let gate = Gate::new();
    upstream.reply(Reply::stream(chat_events("gpt-4.1-mini", &["one", "two"], true)).pause_after(2, &gate));
    let mut open = gw.post("/v1/chat/completions").bearer(&key).json(&stream_request("gpt-x")).open().await;
    open.read_until("\"one\"").await;
    drop(open);
    upstream.abandoned().await;
    let row = eventually("the row of the aborted call", async || gw.rows().await.pop()).await;
    assert_eq!((row.status.as_str(), row.usage_source.as_str()), ("client_gone", "estimated"));
    // One token of four bytes of text, and the request's own bytes.
    let prompt = stream_request("gpt-x").to_string().len().div_ceil(4) as i64;
    assert_eq!(row.cost_nanousd, Some(prompt * 400 + 1600), "{row:?}");
    assert_eq!(row.http_status, Some(200));
}

#[tokio::test]
async fn a_client_that_closes_after_the_last_event_has_had_its_answer() {
    let upstream = Upstream::start().await;
    let (gw, key) = gateway(&upstream, 0).await;
    let gate = Gate::new();
    let events = chat_events("gpt-4.1-mini", &["one"], true);
    // OpenAI's Python client closes at [DONE], before the transfer coding ends.
    upstream.reply(Reply::stream(events.clone()).pause_after(events.len(), &gate));
    let mut open = gw.post("/v1/chat/completions").bearer(&key).json(&stream_request("gpt-x")).open().await;
    open.read_until("[DONE]").await;
    drop(open);
    let row = eventually("the row of the call", async || gw.rows().await.pop()).await;
    assert_eq!((row.status.as_str(), row.cost_nanousd), ("success", Some(GPT_COST)));
}

#[tokio::test]
async fn a_cut_upstream_leaves_a_row_with_the_usage_that_was_seen() {
    let upstream = Upstream::start().await;
    let (gw, key) = gateway(&upstream, 0).await;
    upstream.reply(Reply::stream(chat_events("gpt-4.1-mini", &["one", "two"], false)).close_after(2));
    let cut = call(&gw, &key, "/v1/chat/completions", &stream_request("gpt-x")).await;
    assert!(!cut.whole);
    let row = gw.only_row().await;
    assert_eq!(
        (row.status.as_str(), row.usage_source.as_str(), row.cost_nanousd),
        ("upstream_cut", "estimated", row.cost_nanousd)
    );
    assert!(row.cost_nanousd.is_some_and(|cost| cost > 0), "{row:?}");
    assert!(row.error.is_some(), "a cut says what happened");
}

#[tokio::test]
async fn a_failed_call_has_a_row() {
    let upstream = Upstream::start().await;
    let (gw, key) = gateway(&upstream, 0).await;
    upstream.reply(Reply::literal(500, r#"{"error":{"message":"overloaded"}}"#));
    let failed = call(&gw, &key, "/v1/chat/completions", &chat_request("gpt-x")).await.expect(500);
    assert_eq!(failed.text(), r#"{"error":{"message":"overloaded"}}"#);
    let row = gw.only_row().await;
    assert_eq!((row.status.as_str(), row.http_status, row.usage_source.as_str()), ("failure", Some(500), "none"));
    assert_eq!(row.input_tokens, None, "unknown is not zero");
}

#[tokio::test]
async fn each_attempt_has_a_row_of_its_own() {
    let upstream = Upstream::start().await;
    let (gw, key) = gateway(&upstream, 1).await;
    upstream.reply(Reply::literal(503, "{}"));
    let answer = call(&gw, &key, "/v1/chat/completions", &chat_request("gpt-x")).await.expect(200);
    assert_eq!(upstream.requests().len(), 2);
    let rows = gw.rows().await;
    let seen: Vec<_> = rows.iter().map(|row| (row.status.as_str(), row.http_status)).collect();
    assert_eq!(seen, [("success", Some(200)), ("failure", Some(503))]);
    assert_ne!(rows[0].request_id, rows[1].request_id);
    assert_eq!(rows[0].request_id, answer.header("x-fleetgate-request-id"));
}

#[tokio::test]
async fn an_upstream_that_is_not_there_is_a_failure_in_the_callers_dialect() {
    let nobody = ClosedPort::new().expect("a free port");
    let base = format!("http://{}", nobody.address());
    let params = json!({"model": "anthropic/claude-sonnet-4-5", "api_base": base, "api_key": "k"});
    let gw = Gateway::start(|c| c.entry(json!({"model_name": "sonnet", "litellm_params": params}))).await;
    let key = gw.key(&json!({"key_alias": "vk-mac"})).await;
    let failed = call(&gw, &key, "/v1/messages", &anthropic::request("sonnet")).await;
    assert!(matches!(failed.status.as_u16(), 502 | 503), "{}", failed.status);
    assert_eq!(failed.json()["type"], "error");
    let row = gw.only_row().await;
    assert_eq!((row.status.as_str(), row.http_status), ("failure", None));
    assert!(row.error.is_some());
}

#[tokio::test]
async fn logs_are_filtered_by_host_key_and_request() {
    let upstream = Upstream::start().await;
    let (gw, mac) = gateway(&upstream, 0).await;
    let dgx = gw.key(&json!({"key_alias": "vk-dgx", "host": "dgx"})).await;
    for key in [&mac, &dgx, &dgx] {
        call(&gw, key, "/v1/chat/completions", &chat_request("gpt-x")).await.expect(200);
    }
    let newest = gw.rows().await.remove(0).request_id;
    for (query, count) in [
        ("host=dgx", 2),
        ("key_alias=vk-mac", 1),
        ("host=mac&key_alias=vk-dgx", 0),
        ("limit=1", 1),
        (&format!("request_id={newest}"), 1),
    ] {
        let answer = gw.admin_get(&format!("/api/logs?{query}")).await;
        assert_eq!(answer["rows"].as_array().map(Vec::len), Some(count), "{query}: {answer}");
    }
    assert_eq!(gw.admin_get("/api/logs?limit=1").await["rows"][0]["request_id"], newest.as_str());
}

#[tokio::test]
async fn spend_logs_have_litellms_shape() {
    let upstream = Upstream::start().await;
    let (gw, key) = gateway(&upstream, 0).await;
    call(&gw, &key, "/v1/chat/completions", &chat_request("gpt-x")).await.expect(200);
    let logs = gw.admin_get(&format!("/spend/logs?api_key={key}")).await;
    let row = &logs[0];
    assert_eq!(logs.as_array().map(Vec::len), Some(1), "{logs}");
    let hash = fleetgate_wire::virtual_key::KeyHash::digest(&key).to_string();
    for (name, value) in [
        ("api_key", json!(hash)),
        ("prompt_tokens", json!(1000)),
        ("completion_tokens", json!(50)),
        ("total_tokens", json!(1050)),
        ("spend", json!(0.00042)),
        ("model_group", json!("gpt-x")),
        ("custom_llm_provider", json!("openai")),
        ("status", json!("success")),
        ("user", json!("anna")),
    ] {
        assert_eq!(row[name], value, "{name} in {row}");
    }
    for name in ["request_id", "call_type", "startTime", "endTime", "model", "metadata"] {
        assert!(row.get(name).is_some(), "{name} in {row}");
    }
    assert_eq!(row["metadata"]["user_api_key_alias"], "vk-mac");
    let info = gw.admin_get(&format!("/key/info?key={key}")).await;
    assert_eq!(info["info"]["spend"], json!(0.00042), "a key's spend is the sum of its rows");
}
