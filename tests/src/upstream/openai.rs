//! What OpenAI's API answers: chat, completions, embeddings.

use serde_json::{Value, json};

use super::Reply;

/// Prompt tokens of every chat answer, cached ones included.
pub const PROMPT: u64 = 1000;
/// Cached ones among them.
pub const CACHED: u64 = 200;
/// Produced tokens.
pub const COMPLETION: u64 = 50;
/// Reasoning tokens among them.
pub const REASONING: u64 = 10;
/// Prompt tokens of every embedding.
pub const EMBEDDED: u64 = 8;

/// A request's body for this model.
#[must_use]
pub fn chat_request(model: &str) -> Value {
    json!({"model": model, "messages": [{"role": "user", "content": "say hi"}]})
}

/// The same, streamed.
#[must_use]
pub fn stream_request(model: &str) -> Value {
    json!({"model": model, "messages": [{"role": "user", "content": "say hi"}], "stream": true})
}

/// The usage object of chat answers.
#[must_use]
pub fn usage() -> Value {
    json!({
        "prompt_tokens": PROMPT,
        "completion_tokens": COMPLETION,
        "total_tokens": PROMPT + COMPLETION,
        "prompt_tokens_details": {"cached_tokens": CACHED, "audio_tokens": 0},
        "completion_tokens_details": {"reasoning_tokens": REASONING, "audio_tokens": 0},
    })
}

/// Answers a chat request as it asks: whole, or as a stream with or without its usage.
#[must_use]
pub fn chat(request: &Value) -> Reply {
    if request["stream"] == json!(true) {
        let usage_wanted = request["stream_options"]["include_usage"] == json!(true);
        return Reply::stream(chat_events(model_of(request), &["Hel", "lo"], usage_wanted));
    }
    Reply::json(
        200,
        &json!({
            "id": "chatcmpl-fake1",
            "object": "chat.completion",
            "created": 1_790_000_000,
            "model": model_of(request),
            "choices": [{"index": 0, "message": {"role": "assistant", "content": "Hello"}, "finish_reason": "stop"}],
            "usage": usage(),
        }),
    )
}

/// The events of a streamed chat answer.
#[must_use]
pub fn chat_events(model: &str, pieces: &[&str], usage_wanted: bool) -> Vec<String> {
    let event = |choices: Value, usage: Option<Value>| {
        let mut chunk = json!({
            "id": "chatcmpl-fake1",
            "object": "chat.completion.chunk",
            "created": 1_790_000_000,
            "model": model,
            "choices": choices,
        });
        if usage_wanted {
            chunk["usage"] = usage.unwrap_or(Value::Null);
        }
        format!("data: {chunk}\n\n")
    };
    let choice = |delta: Value, reason: Option<&str>| json!([{"index": 0, "delta": delta, "finish_reason": reason}]);
    let mut events = vec![event(choice(json!({"role": "assistant", "content": ""}), None), None)];
    events.extend(pieces.iter().map(|piece| event(choice(json!({"content": piece}), None), None)));
    events.push(event(choice(json!({}), Some("stop")), None));
    if usage_wanted {
        events.push(event(json!([]), Some(usage())));
    }
    events.push("data: [DONE]\n\n".to_owned());
    events
}

/// Answers a text completion.
#[must_use]
pub fn completion(request: &Value) -> Reply {
    Reply::json(
        200,
        &json!({
            "id": "cmpl-fake1",
            "object": "text_completion",
            "created": 1_790_000_000,
            "model": model_of(request),
            "choices": [{"index": 0, "text": "Hello", "finish_reason": "stop", "logprobs": null}],
            "usage": usage(),
        }),
    )
}

/// Answers an embedding, in the encoding that was asked for.
#[must_use]
pub fn embedding(request: &Value) -> Reply {
    // [0.5, -1.0] as little-endian 32-bit floats.
    let vector = if request["encoding_format"] == "base64" { json!("AAAAPwAAgL8=") } else { json!([0.5, -1.0]) };
    Reply::json(
        200,
        &json!({
            "object": "list",
            "data": [{"object": "embedding", "index": 0, "embedding": vector}],
            "model": model_of(request),
            "usage": {"prompt_tokens": EMBEDDED, "total_tokens": EMBEDDED},
        }),
    )
}

fn model_of(request: &Value) -> &str {
    request["model"].as_str().unwrap_or("unnamed")
}
