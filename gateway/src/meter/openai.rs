//! OpenAI's usage object, and what its imitators made of it.
//!
//! Sources: platform.openai.com (chat, responses, embeddings objects), api-docs.deepseek.com (`prompt_cache_hit_tokens`),
//! openrouter.ai/docs/use-cases/usage-accounting (`cost`, `cost_details`).

use fleetgate_wire::usage::Usage;
use serde_json::Value;

/// Tokens; `None` when the object counts nothing.
pub(super) fn usage(usage: &Value) -> Option<Usage> {
    let count = |names: &[&str]| names.iter().find_map(|name| number(usage.pointer(name)));
    let input = count(&["/prompt_tokens", "/input_tokens"]);
    let output = count(&["/completion_tokens", "/output_tokens"]);
    if input.is_none() && output.is_none() {
        return None;
    }
    let either = |detail: &str| {
        let sides = ["/prompt_tokens_details", "/input_tokens_details"].map(|side| format!("{side}/{detail}"));
        count(&[&sides[0], &sides[1]])
    };
    let output_detail = |detail: &str| {
        let sides = ["/completion_tokens_details", "/output_tokens_details"].map(|side| format!("{side}/{detail}"));
        count(&[&sides[0], &sides[1]]).unwrap_or(0)
    };
    Some(Usage {
        input: input.unwrap_or(0),
        cache_read: either("cached_tokens").or_else(|| count(&["/prompt_cache_hit_tokens"])).unwrap_or(0),
        cache_write_5m: either("cache_write_tokens").unwrap_or(0),
        cache_write_1h: 0,
        audio_input: either("audio_tokens").unwrap_or(0),
        output: output.unwrap_or(0),
        reasoning: output_detail("reasoning_tokens"),
        audio_output: output_detail("audio_tokens"),
    })
}

/// OpenRouter's price of the answer in dollars; what a key of one's own cost at the provider comes on top.
pub(super) fn reported_cost(usage: &Value) -> Option<f64> {
    let cost = usage.get("cost")?.as_f64()?;
    let own_key = usage.get("is_byok").and_then(Value::as_bool).unwrap_or(false);
    let upstream = usage.pointer("/cost_details/upstream_inference_cost").and_then(Value::as_f64);
    Some(cost + upstream.filter(|_| own_key).unwrap_or(0.0))
}

/// More tokens than this are nonsense, and would overflow sums of money.
const MOST_TOKENS: f64 = 1e12;

/// A count, also from servers that write `12.0`.
pub(super) fn number(value: Option<&Value>) -> Option<u64> {
    let value = value?;
    #[expect(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "the range is checked in the same line"
    )]
    let count = || value.as_f64().filter(|count| (0.0..MOST_TOKENS).contains(count)).map(|count| count as u64);
    count()
}
