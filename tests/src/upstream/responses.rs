//! What OpenAI's Responses API answers. Its usage has the same figures as chat's, under other names.

use serde_json::{Value, json};

use super::Reply;
use super::openai::{CACHED, COMPLETION, PROMPT, REASONING};

/// A request's body for this model.
#[must_use]
pub fn request(model: &str) -> Value {
    json!({"model": model, "input": "say hi"})
}

/// The same, streamed.
#[must_use]
pub fn stream_request(model: &str) -> Value {
    json!({"model": model, "input": "say hi", "stream": true})
}

/// Answers as the request asks: whole or as a stream.
#[must_use]
pub fn response(request: &Value) -> Reply {
    let model = request["model"].as_str().unwrap_or("unnamed");
    if request["stream"] == json!(true) {
        return Reply::stream(events(model, "Hello"));
    }
    Reply::json(200, &object(model, "completed", "Hello"))
}

fn object(model: &str, status: &str, text: &str) -> Value {
    let done = status == "completed";
    let usage = json!({
        "input_tokens": PROMPT,
        "input_tokens_details": {"cached_tokens": CACHED},
        "output_tokens": COMPLETION,
        "output_tokens_details": {"reasoning_tokens": REASONING},
        "total_tokens": PROMPT + COMPLETION,
    });
    json!({
        "id": "resp_fake1",
        "object": "response",
        "created_at": 1_790_000_000,
        "status": status,
        "model": model,
        "output": if done { json!([item(text, "completed")]) } else { json!([]) },
        "parallel_tool_calls": true,
        "tool_choice": "auto",
        "tools": [],
        "usage": if done { usage } else { Value::Null },
    })
}

fn item(text: &str, status: &str) -> Value {
    let content = if status == "completed" { json!([part(text)]) } else { json!([]) };
    json!({"id": "msg_fake1", "type": "message", "role": "assistant", "status": status, "content": content})
}

fn part(text: &str) -> Value {
    json!({"type": "output_text", "text": text, "annotations": []})
}

/// The events of a streamed answer; usage is in the last one.
#[must_use]
pub fn events(model: &str, text: &str) -> Vec<String> {
    let place = json!({"item_id": "msg_fake1", "output_index": 0, "content_index": 0});
    let at_place = |mut event: Value| {
        for (name, value) in place.as_object().into_iter().flatten() {
            event[name] = value.clone();
        }
        event
    };
    let in_progress = object(model, "in_progress", "");
    let events = [
        json!({"type": "response.created", "response": in_progress}),
        json!({"type": "response.in_progress", "response": in_progress}),
        json!({"type": "response.output_item.added", "output_index": 0, "item": item("", "in_progress")}),
        at_place(json!({"type": "response.content_part.added", "part": part("")})),
        at_place(json!({"type": "response.output_text.delta", "delta": text, "logprobs": []})),
        at_place(json!({"type": "response.output_text.done", "text": text, "logprobs": []})),
        at_place(json!({"type": "response.content_part.done", "part": part(text)})),
        json!({"type": "response.output_item.done", "output_index": 0, "item": item(text, "completed")}),
        json!({"type": "response.completed", "response": object(model, "completed", text)}),
    ];
    let numbered = events.into_iter().enumerate().map(|(number, mut event)| {
        event["sequence_number"] = number.into();
        format!("event: {}\ndata: {event}\n\n", event["type"].as_str().unwrap_or_default())
    });
    numbered.collect()
}
