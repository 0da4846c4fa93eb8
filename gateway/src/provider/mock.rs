//! The provider that answers by itself: for trying the gateway without a key, and for LiteLLM's `mock_response`.
//!
//! It counts four characters as a token, in the prompt's JSON as in the answer, and reports that as usage.

use std::collections::VecDeque;

use bytes::Bytes;
use fleetgate_wire::endpoint::Endpoint;
use http::{HeaderValue, Response, header};
use serde_json::{Value, json};
use uuid::Uuid;

use super::reply::{Reply, ReplyBody};
use crate::dialect::Ask;

const DEFAULT_TEXT: &str = "Hello from Fleetgate's mock provider: no provider was called.";
const CHARACTERS_PER_TOKEN: usize = 4;
/// OpenAI's smallest embedding has 1,536 numbers; tests need no more than a few.
const DIMENSIONS: usize = 8;

/// Answers a call in its dialect, with usage, as a stream when that was asked for.
#[must_use]
pub fn answer(ask: &Ask, model: &str, text: Option<&str>) -> Reply {
    let text = text.unwrap_or(DEFAULT_TEXT);
    let input = prompt_tokens(ask);
    let output = tokens(text);
    let id = Uuid::now_v7().simple().to_string();
    let answer = Mock { model, text, input, output, id: &id };
    match (ask.endpoint, ask.stream) {
        (Endpoint::Chat, false) => json_reply(&answer.chat()),
        (Endpoint::Chat, true) => stream_reply(answer.chat_events()),
        (Endpoint::Completions, false) => json_reply(&answer.completion()),
        (Endpoint::Completions, true) => stream_reply(answer.completion_events()),
        (Endpoint::Embeddings, _) => json_reply(&answer.embedding()),
        (Endpoint::Responses, false) => json_reply(&answer.response("completed")),
        (Endpoint::Responses, true) => stream_reply(answer.response_events()),
        (Endpoint::Messages, false) => json_reply(&answer.message()),
        (Endpoint::Messages, true) => stream_reply(answer.message_events()),
        (Endpoint::CountTokens, _) => json_reply(&json!({ "input_tokens": input })),
    }
}

struct Mock<'a> {
    model: &'a str,
    text: &'a str,
    input: usize,
    output: usize,
    id: &'a str,
}

impl Mock<'_> {
    fn openai_usage(&self) -> Value {
        json!({ "prompt_tokens": self.input, "completion_tokens": self.output, "total_tokens": self.input + self.output })
    }

    fn chat(&self) -> Value {
        json!({
            "id": format!("chatcmpl-{}", self.id), "object": "chat.completion", "created": 0, "model": self.model,
            "choices": [{ "index": 0, "message": { "role": "assistant", "content": self.text }, "finish_reason": "stop" }],
            "usage": self.openai_usage(),
        })
    }

    fn chat_chunk(&self, choices: &Value, usage: &Value) -> String {
        data(&json!({
            "id": format!("chatcmpl-{}", self.id), "object": "chat.completion.chunk", "created": 0, "model": self.model,
            "choices": choices, "usage": usage,
        }))
    }

    fn chat_events(&self) -> Vec<String> {
        let delta = |delta: Value, finish: Value| {
            self.chat_chunk(&json!([{ "index": 0, "delta": delta, "finish_reason": finish }]), &Value::Null)
        };
        let mut events = vec![delta(json!({ "role": "assistant", "content": "" }), Value::Null)];
        events.extend(words(self.text).map(|word| delta(json!({ "content": word }), Value::Null)));
        events.push(delta(json!({}), json!("stop")));
        events.push(self.chat_chunk(&json!([]), &self.openai_usage()));
        events.push("data: [DONE]\n\n".to_owned());
        events
    }

    fn completion(&self) -> Value {
        json!({
            "id": format!("cmpl-{}", self.id), "object": "text_completion", "created": 0, "model": self.model,
            "choices": [{ "index": 0, "text": self.text, "finish_reason": "stop" }], "usage": self.openai_usage(),
        })
    }

    fn completion_events(&self) -> Vec<String> {
        let chunk = |choices: Value, usage: Value| {
            data(&json!({
                "id": format!("cmpl-{}", self.id), "object": "text_completion", "created": 0, "model": self.model,
                "choices": choices, "usage": usage,
            }))
        };
        let piece = |text: &str, finish: Value| {
            chunk(json!([{ "index": 0, "text": text, "finish_reason": finish }]), Value::Null)
        };
        let mut events: Vec<String> = words(self.text).map(|word| piece(word, Value::Null)).collect();
        events.push(piece("", json!("stop")));
        events.push(chunk(json!([]), self.openai_usage()));
        events.push("data: [DONE]\n\n".to_owned());
        events
    }

    fn embedding(&self) -> Value {
        json!({
            "object": "list", "model": self.model,
            "data": [{ "object": "embedding", "index": 0, "embedding": vec![0.0; DIMENSIONS] }],
            "usage": { "prompt_tokens": self.input, "total_tokens": self.input },
        })
    }

    fn response(&self, status: &str) -> Value {
        let done = status == "completed";
        let output = json!([{
            "type": "message", "id": format!("msg_{}", self.id), "role": "assistant", "status": "completed",
            "content": [{ "type": "output_text", "text": self.text, "annotations": [] }],
        }]);
        let usage = json!({
            "input_tokens": self.input, "input_tokens_details": { "cached_tokens": 0 },
            "output_tokens": self.output, "output_tokens_details": { "reasoning_tokens": 0 },
            "total_tokens": self.input + self.output,
        });
        json!({
            "id": format!("resp_{}", self.id), "object": "response", "created_at": 0, "status": status, "model": self.model,
            "error": null, "incomplete_details": null, "instructions": null, "metadata": {}, "parallel_tool_calls": true,
            "temperature": 1.0, "tool_choice": "auto", "tools": [], "top_p": 1.0,
            "output": if done { output } else { json!([]) }, "usage": if done { usage } else { Value::Null },
        })
    }

    fn response_events(&self) -> Vec<String> {
        let item_id = format!("msg_{}", self.id);
        let part = json!({ "type": "output_text", "text": self.text, "annotations": [] });
        let empty = json!({ "type": "output_text", "text": "", "annotations": [] });
        let item = |status: &str, content: Value| json!({ "type": "message", "id": item_id, "role": "assistant", "status": status, "content": content });
        let place = |name: &str, mut more: Value| {
            more["type"] = json!(name);
            more["item_id"] = json!(item_id);
            more["output_index"] = json!(0);
            more["content_index"] = json!(0);
            more
        };
        let mut events = vec![
            json!({ "type": "response.created", "response": self.response("in_progress") }),
            json!({ "type": "response.in_progress", "response": self.response("in_progress") }),
            json!({ "type": "response.output_item.added", "output_index": 0, "item": item("in_progress", json!([])) }),
            place("response.content_part.added", json!({ "part": empty })),
        ];
        events.extend(
            words(self.text).map(|word| place("response.output_text.delta", json!({ "delta": word, "logprobs": [] }))),
        );
        events.extend([
            place("response.output_text.done", json!({ "text": self.text, "logprobs": [] })),
            place("response.content_part.done", json!({ "part": part })),
            json!({ "type": "response.output_item.done", "output_index": 0, "item": item("completed", json!([part])) }),
            json!({ "type": "response.completed", "response": self.response("completed") }),
        ]);
        let numbered = events.into_iter().enumerate().map(|(number, mut event)| {
            event["sequence_number"] = json!(number);
            event
        });
        numbered.map(|event| named(&event)).collect()
    }

    fn message(&self) -> Value {
        json!({
            "id": format!("msg_{}", self.id), "type": "message", "role": "assistant", "model": self.model,
            "content": [{ "type": "text", "text": self.text }], "stop_reason": "end_turn", "stop_sequence": null,
            "usage": { "input_tokens": self.input, "output_tokens": self.output },
        })
    }

    fn message_events(&self) -> Vec<String> {
        let mut start = self.message();
        start["content"] = json!([]);
        start["stop_reason"] = Value::Null;
        start["usage"]["output_tokens"] = json!(1);
        let mut events = vec![
            json!({ "type": "message_start", "message": start }),
            json!({ "type": "content_block_start", "index": 0, "content_block": { "type": "text", "text": "" } }),
        ];
        let delta = |word| json!({ "type": "content_block_delta", "index": 0, "delta": { "type": "text_delta", "text": word } });
        events.extend(words(self.text).map(delta));
        events.extend([
            json!({ "type": "content_block_stop", "index": 0 }),
            json!({ "type": "message_delta", "delta": { "stop_reason": "end_turn", "stop_sequence": null }, "usage": { "output_tokens": self.output } }),
            json!({ "type": "message_stop" }),
        ]);
        events.iter().map(named).collect()
    }
}

fn tokens(text: &str) -> usize {
    text.chars().count().div_ceil(CHARACTERS_PER_TOKEN).max(1)
}

fn prompt_tokens(ask: &Ask) -> usize {
    let fields = ask.fields();
    let prompt = ["messages", "input", "prompt"].iter().find_map(|name| fields.raw(name));
    tokens(prompt.unwrap_or_default())
}

fn words(text: &str) -> impl Iterator<Item = &str> {
    text.split_inclusive(' ')
}

fn data(event: &Value) -> String {
    format!("data: {event}\n\n")
}

fn named(event: &Value) -> String {
    format!("event: {}\ndata: {event}\n\n", event["type"].as_str().unwrap_or_default())
}

fn json_reply(body: &Value) -> Reply {
    reply("application/json", VecDeque::from([Bytes::from(body.to_string())]))
}

fn stream_reply(events: Vec<String>) -> Reply {
    reply("text/event-stream; charset=utf-8", events.into_iter().map(Bytes::from).collect())
}

fn reply(content_type: &'static str, pieces: VecDeque<Bytes>) -> Reply {
    let mut response = Response::new(());
    response.headers_mut().insert(header::CONTENT_TYPE, HeaderValue::from_static(content_type));
    let (head, ()) = response.into_parts();
    Reply { head, body: ReplyBody::local(pieces) }
}
