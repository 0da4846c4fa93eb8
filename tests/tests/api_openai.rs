//! OpenAI's API through the gateway: what the upstream sees, and what the client gets back.

use fleetgate_tests::upstream::openai::{chat_events, chat_request, stream_request};
use fleetgate_tests::upstream::{PROVIDER_KEY, anthropic};
use fleetgate_tests::wait::Gate;
use fleetgate_tests::{Gateway, MASTER_KEY, Reply, Upstream};
use serde_json::{Value, json};

/// A gateway with the model `gpt-x`, which the upstream knows as `gpt-real`, and a host's key.
async fn gateway(upstream: &Upstream) -> (Gateway, String) {
    let gw = Gateway::start(|c| c.deployment("gpt-x", "openai/gpt-real", upstream, &json!({}))).await;
    let key = gw.key(&json!({"key_alias": "vk-mac", "host": "mac"})).await;
    (gw, key)
}

#[tokio::test]
async fn a_chat_answer_comes_back_with_the_gateways_identifiers() {
    let upstream = Upstream::start().await;
    let (gw, key) = gateway(&upstream).await;
    let answer = gw.post("/v1/chat/completions").bearer(&key).json(&chat_request("gpt-x")).send().await.expect(200);
    assert_eq!(answer.json()["choices"][0]["message"]["content"], "Hello");
    let id = answer.header("x-fleetgate-request-id");
    assert!(!id.is_empty() && id == answer.header("x-litellm-call-id"), "{:?}", answer.headers);
    assert!(!answer.header("x-fleetgate-gateway").is_empty());
    assert_eq!(gw.only_row().await.request_id, id);
}

#[tokio::test]
async fn the_upstream_sees_the_provider_key_and_nothing_of_the_client() {
    let upstream = Upstream::start().await;
    let (gw, key) = gateway(&upstream).await;
    let call = gw.post("/v1/chat/completions?key=sk-in-the-query-0001").bearer(&key).json(&chat_request("gpt-x"));
    let call = call.header("x-api-key", "sk-second-credential-1").header("x-goog-api-key", "sk-third-credential-1");
    let call = call.header("x-fleetgate-workload", "claude-glm").header("x-fleetgate-host", "claimed");
    call.header("cookie", "session=of-the-client").send().await.expect(200);
    let seen = upstream.only_request();
    assert_eq!(seen.header("authorization"), format!("Bearer {PROVIDER_KEY}"));
    let everything = seen.everything().to_ascii_lowercase();
    for absent in [key.as_str(), "credential-1", "sk-in-the-query", "x-fleetgate", "claude-glm", "x-litellm"] {
        assert!(!everything.contains(&absent.to_ascii_lowercase()), "{absent} reached the upstream: {everything}");
    }
    assert_eq!(seen.path, "/v1/chat/completions");
}

#[tokio::test]
async fn a_key_that_the_entry_names_is_never_replaced_by_another_providers() {
    let upstream = Upstream::start().await;
    let params = json!({
        "model": "anthropic/glm", "api_base": upstream.origin(), "api_key": "os.environ/ZAI_API_KEY",
    });
    let usual = json!({"model": "openai/gpt-x", "api_base": upstream.base()});
    let gw = Gateway::start(|c| {
        c.entry(json!({"model_name": "glm", "litellm_params": params}))
            .entry(json!({"model_name": "gpt-x", "litellm_params": usual}))
            .env("ANTHROPIC_API_KEY", "sk-ant-of-another-vendor")
            .env("OPENAI_API_KEY", "sk-the-usual-variable")
    })
    .await;
    let key = gw.key(&json!({"key_alias": "vk"})).await;
    gw.post("/v1/messages").bearer(&key).json(&anthropic::request("glm")).send().await;
    gw.post("/v1/chat/completions").bearer(&key).json(&chat_request("gpt-x")).send().await;
    let [named, usual] = &upstream.requests()[..] else { panic!("two requests") };
    assert!(!format!("{named:?}").contains("sk-ant-of-another-vendor"));
    assert_eq!(usual.header("authorization"), "Bearer sk-the-usual-variable");
}

#[tokio::test]
async fn a_call_to_this_machine_says_that_it_comes_from_the_gateway() {
    let upstream = Upstream::start().await;
    let (gw, key) = gateway(&upstream).await;
    gw.post("/v1/chat/completions").bearer(&key).json(&chat_request("gpt-x")).send().await.expect(200);
    assert_eq!(upstream.requests()[0].header("via"), "1.1 fleetgate-gateway");
}

#[tokio::test]
async fn a_body_passes_byte_for_byte_except_the_models_name() {
    let upstream = Upstream::start().await;
    let (gw, key) = gateway(&upstream).await;
    // Odd blanks, escapes, a huge and a precise number, unknown members, and the name again where it is no model.
    let sent = "{ \"zzz_unknown\" : [1e400, 0.1000, 12345678901234567890123],\n\t\"model\" :\"gpt-x\" , \"messages\":\
                [{\"role\":\"user\",\"content\":\"\\u00fc\\/ gpt-x \u{1F980}\",\"model\":\"gpt-x\"}], \"n\":1 }";
    gw.post("/v1/chat/completions").bearer(&key).body(sent).send().await.expect(200);
    let expected = sent.replacen("\"model\" :\"gpt-x\"", "\"model\" :\"gpt-real\"", 1);
    assert_eq!(upstream.only_request().text(), expected);
}

#[tokio::test]
async fn an_answer_passes_byte_for_byte() {
    let upstream = Upstream::start().await;
    let (gw, key) = gateway(&upstream).await;
    let literal = "{\"id\" : \"chatcmpl-1\",  \"choices\":[ ],\n \"usage\":{\"prompt_tokens\":1,\"completion_tokens\":2,\
                   \"total_tokens\":3, \"unknown\":1.50}, \"zzz\":\"\\u00e9\" }\n";
    let reply = Reply::literal(200, literal).header("openai-organization", "org-1").header("x-request-id", "up-1");
    upstream.reply(reply.header("x-ratelimit-remaining-tokens", "99"));
    let answer = gw.post("/v1/chat/completions").bearer(&key).json(&chat_request("gpt-x")).send().await.expect(200);
    assert_eq!(answer.text(), literal);
    for (name, value) in
        [("openai-organization", "org-1"), ("x-request-id", "up-1"), ("x-ratelimit-remaining-tokens", "99")]
    {
        assert_eq!(answer.header(name), value, "{name}");
    }
}

#[tokio::test]
async fn unknown_headers_pass_to_the_upstream() {
    let upstream = Upstream::start().await;
    let (gw, key) = gateway(&upstream).await;
    let call = gw.post("/v1/chat/completions").bearer(&key).json(&chat_request("gpt-x"));
    let call = call.header("openai-beta", "assistants=v2").header("x-stainless-retry-count", "1");
    call.header("user-agent", "OpenAI/Python 3.54.0").header("x-unheard-of", "yes").send().await.expect(200);
    let seen = upstream.only_request();
    for (name, value) in [
        ("openai-beta", "assistants=v2"),
        ("x-stainless-retry-count", "1"),
        ("user-agent", "OpenAI/Python 3.54.0"),
        ("x-unheard-of", "yes"),
    ] {
        assert_eq!(seen.header(name), value, "{name}");
    }
    assert_eq!(seen.header("host"), upstream.address().to_string());
}

#[tokio::test]
async fn an_error_of_the_upstream_passes_untouched() {
    let upstream = Upstream::start().await;
    let (gw, key) = gateway(&upstream).await;
    let literal =
        "{\"error\" : {\"message\":\"Unknown parameter\",  \"type\":\"invalid_request_error\",\"code\":null}}";
    upstream.reply(Reply::literal(400, literal).header("x-should-retry", "false").header("x-request-id", "up-2"));
    let answer = gw.post("/v1/chat/completions").bearer(&key).json(&chat_request("gpt-x")).send().await.expect(400);
    assert_eq!(answer.text(), literal);
    assert_eq!((answer.header("x-should-retry"), answer.header("x-request-id")), ("false", "up-2"));
    assert_eq!(upstream.requests().len(), 1, "a 400 is not tried again");
}

#[tokio::test]
async fn a_stream_passes_byte_for_byte_when_the_client_asked_for_usage() {
    let upstream = Upstream::start().await;
    let (gw, key) = gateway(&upstream).await;
    let sent = r#"{"stream":true, "stream_options" : {"include_usage":true},"model":"gpt-x","messages":[]}"#;
    let answer = gw.post("/v1/chat/completions").bearer(&key).body(sent).send().await.expect(200);
    assert_eq!(upstream.only_request().text(), sent.replace("gpt-x", "gpt-real"));
    assert_eq!(answer.text(), chat_events("gpt-real", &["Hel", "lo"], true).concat());
    assert!(answer.header("content-type").starts_with("text/event-stream"));
}

#[tokio::test]
async fn usage_is_asked_for_and_taken_out_again_when_the_client_did_not_ask() {
    for options in [None, Some(json!({"include_usage": false})), Some(json!({"include_obfuscation": false}))] {
        let upstream = Upstream::start().await;
        let (gw, key) = gateway(&upstream).await;
        let mut request = stream_request("gpt-x");
        if let Some(options) = &options {
            request["stream_options"] = options.clone();
        }
        let answer = gw.post("/v1/chat/completions").bearer(&key).json(&request).send().await.expect(200);
        let asked = upstream.only_request().json();
        assert_eq!(asked["stream_options"]["include_usage"], true, "{options:?}");
        if options.is_some_and(|o| o.get("include_obfuscation").is_some()) {
            assert_eq!(asked["stream_options"]["include_obfuscation"], false, "the client's other options stay");
        }
        let text = answer.text();
        assert!(!text.contains("\"choices\":[]"), "the usage chunk is for the ledger only: {text}");
        assert!(text.contains("\"Hel\"") && text.contains("\"lo\"") && text.ends_with("data: [DONE]\n\n"), "{text}");
        let row = gw.only_row().await;
        assert_eq!((row.input_tokens, row.output_tokens), (Some(1000), Some(50)));
    }
}

#[tokio::test]
async fn events_are_handed_on_as_they_come_however_they_are_split() {
    let upstream = Upstream::start().await;
    let (gw, key) = gateway(&upstream).await;
    let whole = chat_events("gpt-real", &["\u{1F980}\u{fc}"], true).concat();
    let bytes: Vec<Vec<u8>> = whole.bytes().map(|byte| vec![byte]).collect();
    upstream.reply(Reply::stream(bytes));
    let mut request = stream_request("gpt-x");
    request["stream_options"] = json!({"include_usage": true});
    let answer = gw.post("/v1/chat/completions").bearer(&key).json(&request).send().await.expect(200);
    assert_eq!(answer.text(), whole);
    assert_eq!(gw.only_row().await.input_tokens, Some(1000));

    let gate = Gate::new();
    upstream.reply(Reply::stream(chat_events("gpt-real", &["one", "two"], false)).pause_after(2, &gate));
    let mut open = gw.post("/v1/chat/completions").bearer(&key).json(&request).open().await;
    open.read_until("\"one\"").await;
    gate.open();
    assert!(open.finish().await.text().contains("\"two\""));
}

#[tokio::test]
async fn a_cut_upstream_reaches_the_client_as_a_cut() {
    let upstream = Upstream::start().await;
    let (gw, key) = gateway(&upstream).await;
    let script = Reply::stream(chat_events("gpt-real", &["one", "two"], false));
    for reply in [script.clone().close_after(2), script.reset_after(2)] {
        upstream.reply(reply);
        let call = gw.post("/v1/chat/completions").bearer(&key).json(&stream_request("gpt-x"));
        let answer = call.send().await;
        assert!(!answer.whole, "no invented end: {}", answer.text());
        assert!(answer.text().contains("\"one\"") && !answer.text().contains("[DONE]"), "{}", answer.text());
    }
    assert_eq!(upstream.requests().len(), 2, "nothing is tried again once the client has seen a byte");
}

#[tokio::test]
async fn completions_and_embeddings_pass() {
    let upstream = Upstream::start().await;
    let (gw, key) = gateway(&upstream).await;
    let prompt = json!({"model": "gpt-x", "prompt": "say hi"});
    let answer = gw.post("/v1/completions").bearer(&key).json(&prompt).send().await.expect(200);
    assert_eq!(answer.json()["choices"][0]["text"], "Hello");
    let input = json!({"model": "gpt-x", "input": "text", "encoding_format": "base64"});
    let answer = gw.post("/v1/embeddings").bearer(&key).json(&input).send().await.expect(200);
    assert_eq!(answer.json()["data"][0]["embedding"], "AAAAPwAAgL8=");
    let seen: Vec<String> = upstream.requests().into_iter().map(|request| request.path).collect();
    assert_eq!(seen, ["/v1/completions", "/v1/embeddings"]);
    let rows = gw.rows().await;
    let counted: Vec<_> = rows.iter().map(|r| (r.endpoint.as_str(), r.input_tokens, r.output_tokens)).collect();
    assert_eq!(counted[1], ("completions", Some(1000), Some(50)));
    assert_eq!((counted[0].0, counted[0].1), ("embeddings", Some(8)));
    assert!(matches!(counted[0].2, None | Some(0)), "an embedding produces no tokens: {:?}", counted[0]);
}

#[tokio::test]
async fn the_list_of_models_speaks_both_dialects() {
    let upstream = Upstream::start().await;
    let (gw, key) = gateway(&upstream).await;
    for path in ["/v1/models", "/models"] {
        let list = gw.get(path).bearer(&key).send().await.expect(200).json();
        assert_eq!((&list["object"], &list["data"][0]["id"]), (&json!("list"), &json!("gpt-x")), "{path}");
        assert_eq!(list["data"][0]["object"], "model");
    }
    let call = gw.get("/v1/models?limit=1000").bearer(&key).header("anthropic-version", "2023-06-01");
    let list = call.send().await.expect(200).json();
    assert_eq!((&list["data"][0]["id"], &list["data"][0]["type"]), (&json!("gpt-x"), &json!("model")));
    assert!(upstream.requests().is_empty());
}

#[tokio::test]
async fn a_forgotten_or_doubled_version_is_understood() {
    let upstream = Upstream::start().await;
    let (gw, key) = gateway(&upstream).await;
    for path in ["/chat/completions", "/v1/chat/completions", "/v1/v1/chat/completions"] {
        gw.post(path).bearer(&key).json(&chat_request("gpt-x")).send().await.expect(200);
    }
    assert!(upstream.requests().iter().all(|request| request.path == "/v1/chat/completions"));
}

#[tokio::test]
async fn a_wildcard_carries_what_it_matched() {
    let upstream = Upstream::start().await;
    let gw = Gateway::start(|c| c.deployment("openrouter/*", "openrouter/*", &upstream, &json!({}))).await;
    let call = gw.post("/v1/chat/completions").bearer(MASTER_KEY);
    call.json(&chat_request("openrouter/meta-llama/llama-4")).send().await.expect(200);
    let seen = upstream.only_request();
    assert_eq!(seen.json()["model"], "meta-llama/llama-4");
    assert_eq!(seen.header("authorization"), format!("Bearer {PROVIDER_KEY}"));
    let row = gw.only_row().await;
    assert_eq!((row.model_requested.as_str(), row.provider.as_str()), ("openrouter/meta-llama/llama-4", "openrouter"));
}

#[tokio::test]
async fn named_parameters_are_dropped_and_no_others() {
    let upstream = Upstream::start().await;
    let drop = json!({"additional_drop_params": ["logit_bias"]});
    let gw = Gateway::start(|c| {
        let c = c.deployment("gpt-x", "openai/gpt-real", &upstream, &drop);
        c.set("litellm_settings", "drop_params", json!(true))
    })
    .await;
    let mut request = chat_request("gpt-x");
    request["logit_bias"] = json!({"50256": -100});
    request["temperature"] = json!(0.5);
    gw.post("/v1/chat/completions").bearer(MASTER_KEY).json(&request).send().await.expect(200);
    let seen = upstream.only_request().json();
    assert_eq!((&seen["logit_bias"], &seen["temperature"]), (&Value::Null, &json!(0.5)));
    assert!(seen.get("logit_bias").is_none());
}

#[tokio::test]
async fn an_unknown_model_is_named_and_writes_no_row() {
    let upstream = Upstream::start().await;
    let (gw, key) = gateway(&upstream).await;
    let answer = gw.post("/v1/chat/completions").bearer(&key).json(&chat_request("gpt-none")).send().await.expect(400);
    let message = answer.json()["error"]["message"].as_str().unwrap_or_default().to_owned();
    assert!(message.contains("gpt-none"), "{message}");
    assert!(upstream.requests().is_empty() && gw.rows().await.is_empty());
}

#[tokio::test]
async fn a_large_body_and_expect_continue_are_no_problem() {
    let upstream = Upstream::start().await;
    let (gw, key) = gateway(&upstream).await;
    let text = "x".repeat(6 << 20);
    let request = json!({"model": "gpt-x", "messages": [{"role": "user", "content": text}]});
    let call = gw.post("/v1/chat/completions").bearer(&key).header("expect", "100-continue");
    call.json(&request).send().await.expect(200);
    assert_eq!(upstream.only_request().json()["messages"][0]["content"].as_str().map(str::len), Some(6 << 20));
}

#[tokio::test]
async fn health_needs_no_key() {
    let upstream = Upstream::start().await;
    let (gw, _) = gateway(&upstream).await;
    let alive = gw.get("/health/liveliness").send().await.expect(200);
    assert!(alive.text().contains("I'm alive!"), "{}", alive.text());
    gw.get("/health/readiness").send().await.expect(200);
}

#[tokio::test]
async fn a_deployment_of_weight_0_is_parked_until_the_others_fail() {
    let (used, parked) = (Upstream::start().await, Upstream::start().await);
    let gw = Gateway::start(|c| {
        c.deployment("gpt-x", "openai/gpt-x", &parked, &json!({"weight": 0})).deployment(
            "gpt-x",
            "openai/gpt-x",
            &used,
            &json!({"weight": 1}),
        )
    })
    .await;
    let call = || gw.post("/v1/chat/completions").bearer(MASTER_KEY).json(&chat_request("gpt-x")).send();
    for _ in 0..12 {
        call().await.expect(200);
    }
    assert_eq!((used.requests().len(), parked.requests().len()), (12, 0));
    used.reply(Reply::literal(503, "{}"));
    call().await.expect(200);
    assert_eq!(parked.requests().len(), 1);
}

#[tokio::test]
async fn a_models_name_of_any_length_does_not_fill_rows_and_answers() {
    let upstream = Upstream::start().await;
    let gw = Gateway::start(|c| c.model("*", &upstream)).await;
    let call = |model: &str| gw.post("/v1/chat/completions").bearer(MASTER_KEY).json(&chat_request(model)).send();
    let refused = call(&"m".repeat(100_000)).await.expect(400);
    assert!(refused.body.len() < 1000 && gw.rows().await.is_empty());
    call(&"m".repeat(300)).await.expect(200);
}
