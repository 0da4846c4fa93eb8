//! What Google's Gemini API answers.

use serde_json::{Value, json};

use super::Reply;

/// Answers `generateContent` and its like as the verb asks: whole, or as a stream, which has no comments and no last `[DONE]`.
#[must_use]
pub fn generated(verb: &str) -> Reply {
    let chunk = |text: &str, reason: Option<&str>| {
        let mut candidate = json!({"content": {"role": "model", "parts": [{"text": text}]}, "index": 0});
        if let Some(reason) = reason {
            candidate["finishReason"] = json!(reason);
        }
        json!({"candidates": [candidate], "usageMetadata": usage(), "modelVersion": "fake", "responseId": "fake1"})
    };
    match verb {
        "streamGenerateContent" => {
            let events = [chunk("Hel", None), chunk("lo", Some("STOP"))];
            Reply::stream(events.map(|event| format!("data: {event}\r\n\r\n")))
        }
        "countTokens" => Reply::json(200, &json!({"totalTokens": 10})),
        _ => Reply::json(200, &chunk("Hello", Some("STOP"))),
    }
}

fn usage() -> Value {
    json!({"promptTokenCount": 10, "candidatesTokenCount": 5, "totalTokenCount": 15})
}
