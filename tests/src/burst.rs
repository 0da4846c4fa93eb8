//! Many callers at once on little money.

use std::collections::BTreeMap;
use std::sync::Arc;

use serde_json::{Value, json};
use tokio::sync::Semaphore;
use tokio::task::JoinSet;

use crate::client::Call;
use crate::upstream::openai::{chat_request, stream_request};

/// What the fake provider's answer costs with gpt-4.1-mini's prices, in nano-dollars: 1,000 prompt tokens (200 of them cached) and 50
/// produced.
pub const ONE_CALL: i64 = 800 * 400 + 200 * 100 + 50 * 1600;

/// A prompt that may well have 1,000 tokens, for `gpt-x`.
#[must_use]
pub fn dear_request(stream: bool, max_tokens: Option<u64>) -> Value {
    let mut body = if stream { stream_request("gpt-x") } else { chat_request("gpt-x") };
    body["messages"][0]["content"] = json!("word ".repeat(240));
    body.as_object_mut().expect("an object").remove("max_tokens");
    if let Some(max_tokens) = max_tokens {
        body["max_tokens"] = json!(max_tokens);
    }
    body
}

/// Calls at once, and how many of each status came back.
///
/// # Panics
/// When an answer is cut off.
pub async fn burst(calls: Vec<Call>) -> BTreeMap<u16, usize> {
    let mut all = JoinSet::new();
    // A thousand sockets at once are more than a small machine's backlog takes.
    let room = Arc::new(Semaphore::new(256));
    for call in calls {
        let room = Arc::clone(&room);
        all.spawn(async move {
            let _place = room.acquire_owned().await;
            let answer = call.send().await;
            assert!(answer.whole);
            answer.status.as_u16()
        });
    }
    let mut seen = BTreeMap::new();
    for status in all.join_all().await {
        *seen.entry(status).or_default() += 1;
    }
    seen
}
