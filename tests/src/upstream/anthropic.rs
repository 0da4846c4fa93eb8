//! What Anthropic's Messages API answers.

use serde_json::{Value, json};

use super::Reply;

/// Prompt tokens that were neither read from nor written to the cache.
pub const UNCACHED: u64 = 100;
/// Prompt tokens read from the cache.
pub const CACHE_READ: u64 = 2000;
/// Prompt tokens written for five minutes.
pub const WRITE_5M: u64 = 200;
/// Prompt tokens written for an hour.
pub const WRITE_1H: u64 = 100;
/// Produced tokens.
pub const OUTPUT: u64 = 40;
/// The whole prompt, as a row counts it.
pub const PROMPT: u64 = UNCACHED + CACHE_READ + WRITE_5M + WRITE_1H;

/// A request's body for this model.
#[must_use]
pub fn request(model: &str) -> Value {
    json!({"model": model, "max_tokens": 64, "messages": [{"role": "user", "content": "say hi"}]})
}

/// The same, streamed.
#[must_use]
pub fn stream_request(model: &str) -> Value {
    json!({"model": model, "max_tokens": 64, "messages": [{"role": "user", "content": "say hi"}], "stream": true})
}

fn usage(output: u64) -> Value {
    json!({
        "input_tokens": UNCACHED,
        "cache_creation_input_tokens": WRITE_5M + WRITE_1H,
        "cache_read_input_tokens": CACHE_READ,
        "cache_creation": {"ephemeral_5m_input_tokens": WRITE_5M, "ephemeral_1h_input_tokens": WRITE_1H},
        "output_tokens": output,
        "service_tier": "standard",
    })
}

/// Answers as the request asks: whole or as a stream.
#[must_use]
pub fn message(request: &Value) -> Reply {
    let model = request["model"].as_str().unwrap_or("unnamed");
    if request["stream"] == json!(true) {
        return Reply::stream(events(model, &["Hel", "lo"]));
    }
    Reply::json(
        200,
        &json!({
            "id": "msg_fake1",
            "type": "message",
            "role": "assistant",
            "model": model,
            "content": [{"type": "text", "text": "Hello"}],
            "stop_reason": "end_turn",
            "stop_sequence": null,
            "usage": usage(OUTPUT),
        }),
    )
    .header("request-id", "req_fake1")
}

/// The events of a streamed answer. Usage is cumulative: the start says one output token, the end all of them.
#[must_use]
pub fn events(model: &str, pieces: &[&str]) -> Vec<String> {
    let event = |data: Value| format!("event: {}\ndata: {data}\n\n", data["type"].as_str().unwrap_or_default());
    let start = json!({"type": "message_start", "message": {
        "id": "msg_fake1", "type": "message", "role": "assistant", "model": model, "content": [],
        "stop_reason": null, "stop_sequence": null, "usage": usage(1),
    }});
    let text = |piece: &&str| {
        event(json!({"type": "content_block_delta", "index": 0, "delta": {"type": "text_delta", "text": piece}}))
    };
    let mut events = vec![
        event(start),
        event(json!({"type": "content_block_start", "index": 0, "content_block": {"type": "text", "text": ""}})),
        event(json!({"type": "ping"})),
    ];
    events.extend(pieces.iter().map(text));
    events.push(event(json!({"type": "content_block_stop", "index": 0})));
    let stop = json!({"stop_reason": "end_turn", "stop_sequence": null});
    events.push(event(json!({"type": "message_delta", "delta": stop, "usage": {"output_tokens": OUTPUT}})));
    events.push(event(json!({"type": "message_stop"})));
    events
}
