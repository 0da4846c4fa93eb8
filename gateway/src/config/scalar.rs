//! Reading a scalar as the type that its reader wants. Quoted numbers, floats for whole numbers and YAML 1.1 truth words are
//! all fine: LiteLLM takes them too.

use std::time::Duration;

use serde_json::{Map, Number, Value as Json};

use super::node::{Node, Value};

/// YAML 1.1's null words.
pub(super) fn is_null(text: &str) -> bool {
    matches!(text, "" | "~" | "null" | "Null" | "NULL")
}

/// YAML 1.1's truth words, and 0 and 1.
pub(super) fn truth(text: &str) -> Option<bool> {
    match text.to_ascii_lowercase().as_str() {
        "true" | "yes" | "on" | "1" => Some(true),
        "false" | "no" | "off" | "0" => Some(false),
        _ => None,
    }
}

/// A finite number, `1_000` and `1e-6` included.
pub(super) fn number(text: &str) -> Option<f64> {
    let text = text.trim();
    let starts_like_one = text.starts_with(|c: char| c.is_ascii_digit() || matches!(c, '+' | '-' | '.'));
    let digits = text.replace('_', "");
    digits.parse::<f64>().ok().filter(|number| starts_like_one && number.is_finite())
}

/// A whole number of at least 0; `300.0` is one.
pub(super) fn whole(text: &str) -> Option<u64> {
    if let Ok(exact) = text.trim().replace('_', "").parse::<u64>() {
        return Some(exact);
    }
    let number = number(text)?;
    #[expect(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "the range is checked in the same line"
    )]
    (number.fract() == 0.0 && (0.0..1e15).contains(&number)).then_some(number as u64)
}

/// A time in seconds, more than none.
pub(super) fn seconds(text: &str) -> Option<Duration> {
    number(text).filter(|seconds| *seconds > 0.0).and_then(|seconds| Duration::try_from_secs_f64(seconds).ok())
}

/// The node as JSON, with the types that YAML gives plain scalars.
pub(super) fn json(node: &Node) -> Json {
    match &node.value {
        Value::Null => Json::Null,
        Value::Scalar { text, plain: true } => plain(text),
        Value::Scalar { text, plain: false } => Json::String(text.clone()),
        Value::List(items) => Json::Array(items.iter().map(json).collect()),
        Value::Map(_) => Json::Object(object(node)),
    }
}

/// The entries of a map as JSON; empty for anything else.
pub(super) fn object(node: &Node) -> Map<String, Json> {
    node.map().unwrap_or_default().iter().map(|entry| (entry.key.clone(), json(&entry.node))).collect()
}

fn plain(text: &str) -> Json {
    // 0 and 1 are numbers here, and a leading zero or plus makes a text of what JSON could not give back.
    if text.len() > 1
        && let Some(truth) = truth(text)
    {
        return Json::Bool(truth);
    }
    if let Ok(whole) = text.parse::<i64>()
        && whole.to_string() == text
    {
        return Json::from(whole);
    }
    let is_float = text.contains(['.', 'e', 'E']) && !text.ends_with('.');
    match number(text).filter(|_| is_float).and_then(Number::from_f64) {
        Some(number) => Json::Number(number),
        None => Json::String(text.to_owned()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn plain_scalars_become_what_yaml_says_they_are() {
        for (text, expected) in [
            ("True", Json::Bool(true)),
            ("off", Json::Bool(false)),
            ("0", Json::from(0)),
            ("4096", Json::from(4096)),
            ("0.7", Json::from(0.7)),
            ("1e-6", Json::from(1e-6)),
            ("2024-10-21", Json::from("2024-10-21")),
            ("007", Json::from("007")),
            ("qwen3:8b", Json::from("qwen3:8b")),
            ("infinity", Json::from("infinity")),
            ("-", Json::from("-")),
        ] {
            assert_eq!(plain(text), expected, "{text}");
        }
    }

    #[test]
    fn whole_numbers_may_be_written_as_floats_or_in_quotes() {
        assert_eq!(whole("300.0"), Some(300));
        assert_eq!(whole("67108864"), Some(67_108_864));
        assert_eq!(whole("-1"), None);
        assert_eq!(whole("1.5"), None);
        assert_eq!(seconds("0"), None);
        assert_eq!(seconds("0.5"), Some(Duration::from_millis(500)));
        assert_eq!(number("nan"), None);
    }
}
