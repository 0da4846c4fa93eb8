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
const SETTINGS: [&str; 11] = [
    "model",
    "stream",
    "stream_options",
    "max_tokens",
    "max_completion_tokens",
    "max_output_tokens",
    "temperature",
    "top_p",
    "seed",
    "user",
    "metadata",
];

/// Bytes of the body that are neither text for the model nor stand for any. Never more than there are. `member` gives the text of
/// a member.
pub(super) fn not_prompt<'a>(json: &str, member: impl Fn(&str) -> Option<&'a str>) -> usize {
    if json.len() > LARGEST {
        return 0;
    }
    let given = |name: &str| member(name).filter(|raw| *raw != "null");
    let messages = given("messages").map(serde_json::from_str::<Vec<&RawValue>>).transpose();
    let Ok(messages) = messages else { return 0 };
    // The name with its quotes, the colon, the value.
    let set: usize = SETTINGS.iter().filter_map(|name| Some(name.len() + 3 + given(name)?.len())).sum();
    let messages = messages.unwrap_or_default();
    let around = |message: &&RawValue| message.get().len().saturating_sub(PER_MESSAGE).min(SYNTAX);
    let syntax: usize = messages.iter().map(around).sum();
    let list = if messages.is_empty() { 0 } else { "\"messages\":[]".len() };
    set + syntax + list
}

#[cfg(test)]
mod tests {
    use std::collections::HashMap;

    use super::*;

    fn not_prompt(json: &str) -> usize {
        let members: HashMap<String, &RawValue> = serde_json::from_str(json).unwrap();
        super::not_prompt(json, |name| members.get(name).map(|raw| raw.get()))
    }

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
        assert_eq!(not_prompt(r#"{"model":"x","messages":1}"#), 0);
        assert_eq!(not_prompt(&format!(r#"{{"model":"{}"}}"#, "x".repeat(20_000))), 0);
    }
}
