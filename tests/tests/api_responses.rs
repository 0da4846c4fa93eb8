//! OpenAI's Responses API through the gateway.

use fleetgate_tests::upstream::responses::{events, request, response, stream_request};
use fleetgate_tests::{Gateway, Reply, Upstream};
use serde_json::json;

async fn gateway(upstream: &Upstream) -> (Gateway, String) {
    let gw = Gateway::start(|c| c.deployment("gpt-x", "openai/gpt-real", upstream, &json!({}))).await;
    let key = gw.key(&json!({"key_alias": "vk-mac", "host": "mac"})).await;
    (gw, key)
}

#[tokio::test]
async fn an_answer_passes_and_is_metered() {
    let upstream = Upstream::start().await;
    let (gw, key) = gateway(&upstream).await;
    let answer = gw.post("/v1/responses").bearer(&key).json(&request("gpt-x")).send().await.expect(200);
    assert_eq!(answer.body, response(&request("gpt-real")).body());
    assert_eq!(upstream.only_request().path, "/v1/responses");
    let row = gw.only_row().await;
    assert_eq!((row.endpoint.as_str(), row.status.as_str()), ("responses", "success"));
    assert_eq!((row.input_tokens, row.cache_read_tokens), (Some(1000), Some(200)));
    assert_eq!((row.output_tokens, row.reasoning_tokens), (Some(50), Some(10)));
}

#[tokio::test]
async fn a_stream_passes_byte_for_byte_and_is_metered_from_its_last_event() {
    let upstream = Upstream::start().await;
    let (gw, key) = gateway(&upstream).await;
    // Codex: namespaces of tools, metadata of its own, reasoning kept encrypted.
    let sent = r#"{"model":"gpt-x","stream":true,"input":[{"role":"developer","content":"d"}],"tools":[{"type":"namespace","name":"n",
        "tools":[]},{"type":"web_search"}],"store":false,"include":["reasoning.encrypted_content"],"client_metadata":{"a":"b"}}"#;
    let answer = gw.post("/v1/responses").bearer(&key).body(sent).send().await.expect(200);
    assert_eq!(upstream.only_request().text(), sent.replace("gpt-x", "gpt-real"));
    assert_eq!(answer.text(), events("gpt-real", "Hello").concat());
    let row = gw.only_row().await;
    assert_eq!((row.input_tokens, row.output_tokens, row.usage_source.as_str()), (Some(1000), Some(50), "provider"));
}

#[tokio::test]
async fn a_stream_without_its_last_event_has_an_estimate_that_says_so() {
    let upstream = Upstream::start().await;
    let (gw, key) = gateway(&upstream).await;
    let whole = events("gpt-real", "Hello");
    upstream.reply(Reply::stream(whole[..5].to_vec()).close_after(5));
    let answer = gw.post("/v1/responses").bearer(&key).json(&stream_request("gpt-x")).send().await;
    assert!(!answer.whole);
    let row = gw.only_row().await;
    assert_eq!((row.status.as_str(), row.usage_source.as_str()), ("upstream_cut", "estimated"));
    // Four bytes a token: the request's own bytes, and "Hello".
    let prompt = stream_request("gpt-x").to_string().len().div_ceil(4) as u64;
    assert_eq!((row.input_tokens, row.output_tokens), (Some(prompt), Some(2)));
    assert_eq!((row.cost_nanousd, row.price_source.as_str()), (None, "unpriced"), "gpt-real has no price");
}

#[tokio::test]
async fn a_websocket_is_sent_back_to_plain_http_at_once() {
    let upstream = Upstream::start().await;
    let (gw, key) = gateway(&upstream).await;
    let call = gw.get("/v1/responses").bearer(&key).header("upgrade", "websocket").header("connection", "upgrade");
    let call = call.header("sec-websocket-version", "13").header("sec-websocket-key", "dGhlIHNhbXBsZSBub25jZQ==");
    // Codex falls back in 0.1 s on 426, and loses 6 s on anything else.
    call.send().await.expect(426);
    assert!(upstream.requests().is_empty());
}
