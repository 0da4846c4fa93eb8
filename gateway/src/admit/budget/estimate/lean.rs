//! What of a small request is certainly no prompt: settings, and the syntax around messages.
//!
//! It matters where money is short. Of a request that says "hello" most bytes are names and brackets, and a bound that counts
//! them asks for several times what the call will cost: the last calls that a budget could pay for would be refused.

use serde_json::value::RawValue;

/// Larger requests are mostly text; what could be saved is not worth reading them again.
const LARGEST: usize = 16 << 10;
/// Around each message, tokenisers put at most 8 tokens, its role included.
const PER_MESSAGE: usize = 8;
/// `{"role":"","content":""}` less what is counted for it.
const SYNTAX: usize = 20;

/// Members that no provider puts into the prompt.
#[derive(Debug, Default, serde::Deserialize)]
#[serde(default)]
struct Settings<'a> {
    #[serde(borrow)]
    messages: Option<Vec<&'a RawValue>>,
    #[serde(borrow)]
    model: Option<&'a RawValue>,
    #[serde(borrow)]
    stream: Option<&'a RawValue>,
    #[serde(borrow)]
    stream_options: Option<&'a RawValue>,
    #[serde(borrow)]
    max_tokens: Option<&'a RawValue>,
    #[serde(borrow)]
    max_completion_tokens: Option<&'a RawValue>,
    #[serde(borrow)]
    max_output_tokens: Option<&'a RawValue>,
    #[serde(borrow)]
    temperature: Option<&'a RawValue>,
    #[serde(borrow)]
    top_p: Option<&'a RawValue>,
    #[serde(borrow)]
    seed: Option<&'a RawValue>,
    #[serde(borrow)]
    user: Option<&'a RawValue>,
    #[serde(borrow)]
    metadata: Option<&'a RawValue>,
}

/// Bytes of the body that are neither text for the model nor stand for any. Never more than there are.
pub(super) fn not_prompt(json: &str) -> usize {
    if json.len() > LARGEST {
        return 0;
    }
    let Ok(settings) = serde_json::from_str::<Settings<'_>>(json) else { return 0 };
    let members = [
        ("model", settings.model),
        ("stream", settings.stream),
        ("stream_options", settings.stream_options),
        ("max_tokens", settings.max_tokens),
        ("max_completion_tokens", settings.max_completion_tokens),
        ("max_output_tokens", settings.max_output_tokens),
        ("temperature", settings.temperature),
        ("top_p", settings.top_p),
        ("seed", settings.seed),
        ("user", settings.user),
        ("metadata", settings.metadata),
    ];
    // The name with its quotes, the colon, the value.
    let set: usize = members.into_iter().filter_map(|(name, raw)| Some(name.len() + 3 + raw?.get().len())).sum();
    let messages = settings.messages.as_deref().unwrap_or_default();
    let around = |message: &&&RawValue| message.get().len().saturating_sub(PER_MESSAGE).min(SYNTAX);
    let syntax: usize = messages.iter().map(|message| around(&message)).sum();
    let list = if messages.is_empty() { 0 } else { "\"messages\":[]".len() };
    set + syntax + list
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_short_question_is_counted_as_its_text_and_little_more() {
        let json = r#"{"model":"gpt-x","messages":[{"role":"user","content":"Say hello."}],"max_tokens":5}"#;
        // The text's 10 bytes, 8 for the message, the outer brackets and commas.
        assert_eq!(json.len() - not_prompt(json), 10 + 8 + 4);
    }

    #[test]
    fn messages_without_text_do_not_pay_for_others() {
        let empty = r#"{"messages":[{},{},{},{"role":"a"}]}"#;
        assert_eq!(not_prompt(empty), "\"messages\":[]".len() + (r#"{"role":"a"}"#.len() - 8));
        assert_eq!(not_prompt("[]"), 0);
        assert_eq!(not_prompt(&format!(r#"{{"model":"{}"}}"#, "x".repeat(20_000))), 0);
    }
}
