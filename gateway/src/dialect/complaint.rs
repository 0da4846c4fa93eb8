//! Why a provider did not do what was asked, where another model may: the request is too long for it, or it will not have the content.

use http::StatusCode;
use serde::Deserialize;

use crate::route::Complaint;

/// How providers say that a prompt is too long: their codes, and else the words of those that have none. In lower case.
const TOO_LONG: &[&str] = &[
    "context_length_exceeded",
    "maximum context length",
    "maximum context limit",
    "model's context length",
    "exceed context limit",
    "exceeds the context window",
    "exceeds the maximum number of tokens",
    "input tokens exceed",
    "prompt is too long",
    "prompt too long",
    "input is too long",
    "string too long. expected a string with maximum length",
    "`inputs` tokens + `max_new_tokens` must be",
];

/// How they say that they will not have it.
const NOT_THAT: &[&str] = &[
    "content_policy_violation",
    "content_filter",
    "content management policy",
    "content policy",
    "responsibleaipolicyviolation",
    "rejected as a result of our safety system",
    "violates our usage policies",
    "data_inspection_failed",
];

#[derive(Deserialize)]
struct Answer<'a> {
    #[serde(borrow, default)]
    choices: Vec<Choice<'a>>,
    #[serde(default)]
    stop_reason: Option<&'a str>,
    #[serde(default)]
    incomplete_details: Option<Incomplete<'a>>,
}

#[derive(Deserialize)]
struct Choice<'a> {
    #[serde(default)]
    finish_reason: Option<&'a str>,
}

#[derive(Deserialize)]
struct Incomplete<'a> {
    #[serde(default)]
    reason: Option<&'a str>,
}

/// What a whole answer complains about, if it is of these.
#[must_use]
pub fn complaint(status: StatusCode, body: &[u8]) -> Option<Complaint> {
    if status.is_success() {
        return is_filtered(body).then_some(Complaint::ContentPolicy);
    }
    if !matches!(status.as_u16(), 400 | 403 | 413 | 422) {
        return None;
    }
    let text = String::from_utf8_lossy(body).to_lowercase();
    let says = |words: &[&str]| words.iter().any(|word| text.contains(word));
    match () {
        () if says(TOO_LONG) => Some(Complaint::ContextWindow),
        () if says(NOT_THAT) => Some(Complaint::ContentPolicy),
        () => None,
    }
}

/// Whether an answer was cut off for its content. LiteLLM takes these for refusals too.
fn is_filtered(body: &[u8]) -> bool {
    // A list would be read as members in their order.
    let is_object = body.trim_ascii_start().starts_with(b"{");
    let Some(answer) = serde_json::from_slice::<Answer<'_>>(body).ok().filter(|_| is_object) else { return false };
    let reasons = answer.choices.iter().filter_map(|choice| choice.finish_reason);
    let reasons = reasons.chain(answer.incomplete_details.and_then(|details| details.reason));
    reasons.into_iter().any(|reason| reason == "content_filter") || answer.stop_reason == Some("refusal")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn said(status: u16, body: &str) -> Option<Complaint> {
        complaint(StatusCode::from_u16(status).unwrap(), body.as_bytes())
    }

    #[test]
    fn providers_are_understood_when_a_prompt_is_too_long() {
        for body in [
            r#"{"error":{"message":"This model's maximum context length is 8192 tokens.","code":"context_length_exceeded"}}"#,
            r#"{"type":"error","error":{"type":"invalid_request_error","message":"prompt is too long: 210000 tokens > 200000 maximum"}}"#,
            r#"{"error":{"code":400,"message":"The input token count (1200000) exceeds the maximum number of tokens allowed (1048576)."}}"#,
            r#"{"error":{"message":"Your input exceeds the context window of this model.","code":null}}"#,
        ] {
            assert_eq!(said(400, body), Some(Complaint::ContextWindow), "{body}");
            assert_eq!(said(500, body), None);
        }
    }

    #[test]
    fn providers_are_understood_when_they_refuse_the_content() {
        for (status, body) in [
            (400, r#"{"error":{"code":"content_filter","message":"The response was filtered"}}"#),
            (400, r#"{"error":{"message":"Your request was rejected as a result of our safety system."}}"#),
            (403, r#"{"error":{"code":"content_policy_violation"}}"#),
            (200, r#"{"choices":[{"finish_reason":"stop"},{"finish_reason":"content_filter"}]}"#),
            (200, r#"{"type":"message","stop_reason":"refusal","content":[]}"#),
            (200, r#"{"status":"incomplete","incomplete_details":{"reason":"content_filter"}}"#),
        ] {
            assert_eq!(said(status, body), Some(Complaint::ContentPolicy), "{body}");
        }
    }

    #[test]
    fn nothing_else_is_taken_for_a_complaint() {
        for (status, body) in [
            (400, r#"{"error":{"message":"temperature must be at most 2"}}"#),
            (200, r#"{"choices":[{"finish_reason":"length","message":{"content":"content_filter"}}]}"#),
            (200, "prompt is too long"),
            (429, r#"{"error":{"message":"content policy"}}"#),
            (200, r#"{"choices":null,"stop_reason":7}"#),
            (200, r#"[[{"finish_reason":"content_filter"}],null,null]"#),
        ] {
            assert_eq!(said(status, body), None, "{body}");
        }
    }
}
