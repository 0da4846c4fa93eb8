//! Anthropic's Messages API through the gateway.

use fleetgate_tests::upstream::PROVIDER_KEY;
use fleetgate_tests::upstream::anthropic::{events, message, request, stream_request};
use fleetgate_tests::{Gateway, Reply, Upstream};
use serde_json::{Value, json};

async fn gateway(upstream: &Upstream) -> (Gateway, String) {
    let gw = Gateway::start(|c| c.deployment("sonnet", "anthropic/claude-sonnet-4-5", upstream, &json!({}))).await;
    let key = gw.key(&json!({"key_alias": "vk-mac", "host": "mac"})).await;
    (gw, key)
}

#[tokio::test]
async fn a_message_passes_with_query_and_beta_headers_kept() {
    let upstream = Upstream::start().await;
    let (gw, key) = gateway(&upstream).await;
    let beta = "claude-code-20250219,interleaved-thinking-2025-05-14,context-management-2025-06-27";
    let call = gw.post("/v1/messages?beta=true").bearer(&key).json(&request("sonnet"));
    let call = call.header("anthropic-version", "2026-10-21").header("anthropic-beta", beta);
    let answer = call.header("x-claude-code-session-id", "4711").send().await.expect(200);
    assert_eq!(answer.body, message(&request("claude-sonnet-4-5")).body());
    assert_eq!(answer.header("request-id"), "req_fake1");
    let seen = upstream.only_request();
    assert_eq!(seen.path, "/v1/messages?beta=true");
    assert_eq!((seen.header("anthropic-version"), seen.header("anthropic-beta")), ("2026-10-21", beta));
    assert_eq!(seen.header("x-claude-code-session-id"), "4711");
}

#[tokio::test]
async fn the_upstream_gets_its_key_as_it_wants_it() {
    let upstream = Upstream::start().await;
    let (gw, key) = gateway(&upstream).await;
    // Claude Code sends both when both variables are set.
    let call = gw.post("/v1/messages").bearer(&key).header("x-api-key", "sk-junk-that-nobody-knows");
    call.json(&request("sonnet")).send().await.expect(200);
    let seen = upstream.only_request();
    // Compatible servers want a bearer; Anthropic's own host gets `x-api-key` alone.
    let bearer = format!("Bearer {PROVIDER_KEY}");
    assert_eq!((seen.header("x-api-key"), seen.header("authorization")), (PROVIDER_KEY, bearer.as_str()));
    assert_eq!(seen.header("anthropic-version"), "2023-06-01", "clients that send none get the one everybody speaks");
    let everything = seen.everything();
    assert!(!everything.contains(&key) && !everything.contains("sk-junk"), "{everything}");
}

#[tokio::test]
async fn what_real_clients_send_passes_byte_for_byte() {
    let upstream = Upstream::start().await;
    let (gw, key) = gateway(&upstream).await;
    let sent = r#"{"model":"sonnet","messages":[{"role":"user","content":[{"type":"text","text":"say hi"}]},
        {"role":"system","content":[{"type":"text","text":"env","cache_control":{"type":"ephemeral"}}],"output_config":{"effort":"medium"}}],
        "tools":[{"name":"DeferredToolPlaceholder","defer_loading":true}], "max_tokens":128000, "thinking" : {"type":"adaptive"},
        "metadata":{"user_id":"{\"session_id\":\"…\"}"},"context_management":{"edits":[]},"stream":true}"#;
    let answer = gw.post("/v1/messages?beta=true").bearer(&key).body(sent).send().await.expect(200);
    assert_eq!(upstream.only_request().text(), sent.replace(r#""model":"sonnet""#, r#""model":"claude-sonnet-4-5""#));
    assert_eq!(answer.text(), events("claude-sonnet-4-5", &["Hel", "lo"]).concat());
}

#[tokio::test]
async fn a_stream_is_metered_from_its_first_and_last_events() {
    let upstream = Upstream::start().await;
    let (gw, key) = gateway(&upstream).await;
    gw.post("/v1/messages").bearer(&key).json(&stream_request("sonnet")).send().await.expect(200);
    let row = gw.only_row().await;
    assert_eq!((row.endpoint.as_str(), row.provider.as_str()), ("messages", "anthropic"));
    assert_eq!((row.input_tokens, row.output_tokens), (Some(2400), Some(40)));
    assert_eq!((row.cache_read_tokens, row.cache_write_tokens), (Some(2000), Some(300)));
    assert_eq!(row.usage_source, "provider");
}

#[tokio::test]
async fn counting_tokens_is_passed_on_and_costs_nothing() {
    let upstream = Upstream::start().await;
    let (gw, key) = gateway(&upstream).await;
    let call = gw.post("/v1/messages/count_tokens?beta=true").bearer(&key).json(&request("sonnet"));
    assert_eq!(call.send().await.expect(200).json()["input_tokens"], 2095);
    assert_eq!(upstream.only_request().path, "/v1/messages/count_tokens?beta=true");
    for row in gw.rows().await {
        assert!(matches!(row.cost_nanousd, None | Some(0)), "{row:#?}");
        assert_eq!(row.price_source, "free", "{row:#?}");
    }
}

#[tokio::test]
async fn an_error_of_the_upstream_passes_untouched() {
    let upstream = Upstream::start().await;
    let (gw, key) = gateway(&upstream).await;
    let literal = r#"{"type":"error", "error":{"type":"invalid_request_error","message":"thinking.display: unknown"}}"#;
    upstream.reply(Reply::literal(400, literal).header("request-id", "req_9"));
    let answer = gw.post("/v1/messages").bearer(&key).json(&request("sonnet")).send().await.expect(400);
    assert_eq!((answer.text().as_str(), answer.header("request-id")), (literal, "req_9"));
}

#[tokio::test]
async fn our_own_refusals_have_anthropics_shape() {
    let upstream = Upstream::start().await;
    let (gw, key) = gateway(&upstream).await;
    let refused = gw.post("/v1/messages").bearer("sk-nobody-knows-this-key").json(&request("sonnet")).send().await;
    let body = refused.expect(401).json();
    assert_eq!((&body["type"], &body["error"]["type"]), (&json!("error"), &json!("authentication_error")));
    let message = body["error"]["message"].as_str().unwrap_or_default();
    assert!(!message.is_empty() && !message.contains("invalid x-api-key"), "{message}");
    let unknown = gw.post("/v1/messages").bearer(&key).json(&request("nothing")).send().await.expect(400).json();
    assert_eq!(unknown["type"], "error");
    assert_ne!(unknown["error"]["message"], Value::Null);
    assert!(upstream.requests().is_empty());
}

#[tokio::test]
async fn a_path_without_version_is_understood() {
    let upstream = Upstream::start().await;
    let (gw, key) = gateway(&upstream).await;
    for path in ["/messages", "/v1/messages", "/v1/v1/messages"] {
        gw.post(path).header("x-api-key", &key).json(&request("sonnet")).send().await.expect(200);
    }
    assert!(upstream.requests().iter().all(|request| request.path == "/v1/messages"));
}
