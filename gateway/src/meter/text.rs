//! How much text a piece of an answer holds, counted without parsing it: nearly every event of a stream passes here.

use std::sync::LazyLock;

use fleetgate_wire::endpoint::Dialect;
use memchr::memchr2;
use memchr::memmem::Finder;

type Members = Vec<Finder<'static>>;

fn members(names: &[&'static str]) -> Members {
    names.iter().map(|name| Finder::new(*name)).collect()
}

// The members that hold produced text in each dialect's deltas and whole answers.
static CHAT: LazyLock<Members> = LazyLock::new(|| {
    members(&["\"content\":", "\"reasoning_content\":", "\"reasoning\":", "\"arguments\":", "\"text\":"])
});
static MESSAGES: LazyLock<Members> = LazyLock::new(|| members(&["\"text\":", "\"thinking\":", "\"partial_json\":"]));
static RESPONSES: LazyLock<Members> = LazyLock::new(|| members(&["\"delta\":"]));

/// What stands in front of this in a chunk is the same in every one of them, and long.
static DELTA: LazyLock<Finder<'static>> = LazyLock::new(|| Finder::new("\"delta\":"));

/// Bytes of produced text in an event's data, escapes counted as what they stand for.
pub(super) fn produced(dialect: Dialect, data: &[u8]) -> u64 {
    let (members, data) = match dialect {
        Dialect::OpenAi => (&CHAT, &data[DELTA.find(data).unwrap_or(0)..]),
        Dialect::Anthropic => (&MESSAGES, data),
        Dialect::Responses => (&RESPONSES, data),
    };
    members.iter().map(|member| strings_behind(member, data)).sum()
}

fn strings_behind(member: &Finder<'_>, data: &[u8]) -> u64 {
    let mut bytes = 0;
    let mut rest = data;
    while let Some(at) = member.find(rest) {
        rest = rest[at + member.needle().len()..].trim_ascii_start();
        if let Some(text) = rest.strip_prefix(b"\"") {
            let (length, behind) = measure(text);
            bytes += length;
            rest = behind;
        }
    }
    bytes
}

/// The length of a JSON string that has begun, and what stands behind it.
fn measure(text: &[u8]) -> (u64, &[u8]) {
    let mut length = 0;
    let mut rest = text;
    while let Some(at) = memchr2(b'"', b'\\', rest) {
        length += at as u64;
        if rest[at] == b'"' {
            return (length, &rest[at + 1..]);
        }
        // `\n` is one byte, `\u00e9` two.
        let (bytes, escape) = if rest.get(at + 1) == Some(&b'u') { (2, 6) } else { (1, 2) };
        length += bytes;
        rest = rest.get(at + escape..).unwrap_or_default();
    }
    (length + rest.len() as u64, &[])
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn produced_text_is_counted_and_what_surrounds_it_is_not() {
        let chat = br#"{"id":"x","choices":[{"delta":{"role":"assistant","content":"a \"b\"\n\u00e9"}}]}"#;
        assert_eq!(produced(Dialect::OpenAi, chat), 8);
        let tool = br#"{"choices":[{"delta":{"content":null,"tool_calls":[{"function":{"arguments":"{}"}}]}}]}"#;
        assert_eq!(produced(Dialect::OpenAi, tool), 2);
        let think = br#"{"type":"content_block_delta","delta":{"type":"thinking_delta","thinking":"hm"}}"#;
        assert_eq!(produced(Dialect::Anthropic, think), 2);
        let delta = br#"{"type":"response.output_text.delta","delta":"four"}"#;
        assert_eq!(produced(Dialect::Responses, delta), 4);
        assert_eq!(produced(Dialect::OpenAi, br#"{"content":"cut in the mid"#), 14);
        assert_eq!(produced(Dialect::OpenAi, b"\"content\":\"\\"), 1);
    }

    proptest! {
        #[test]
        fn text_is_as_long_as_it_is_and_never_longer_when_cut(text in "\\PC{0,40}", cut in 0usize..200) {
            let data = serde_json::json!({"choices": [{"index": 0, "delta": {"content": text}}]}).to_string().into_bytes();
            prop_assert_eq!(produced(Dialect::OpenAi, &data), text.len() as u64);
            prop_assert!(produced(Dialect::OpenAi, &data[..cut.min(data.len())]) <= text.len() as u64 + 1);
        }
    }
}
