//! How much a request lets the model write.

use fleetgate_wire::endpoint::{Dialect, Endpoint};
use serde_json::Value;

/// Anthropic takes no thinking budget that leaves nothing for the answer; this much is left for it.
const BESIDE_THINKING: u64 = 1_024;
/// OpenAI's Responses take no lower limit.
const RESPONSES_LEAST: u64 = 16;

/// The output limit that a request asks for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct OutputAsk {
    /// What it asks for, for one choice; `None` when it leaves that to the model.
    pub asked: Option<u64>,
    /// The member that sets it. Where the request has none, the one that every server of the dialect knows; OpenAI's own newer chat
    /// models want `max_completion_tokens` instead.
    pub member: &'static str,
    /// Below this the provider refuses the request, or its answer is worth nothing. Never more than what is asked for.
    pub floor: u64,
    /// How many answers are written, each up to the limit.
    pub choices: u64,
}

/// Reads the output limit; `None` where the model writes nothing. `member` gives the request's members by name.
#[must_use]
pub fn output_limit(endpoint: Endpoint, member: impl Fn(&str) -> Option<Value>) -> Option<OutputAsk> {
    if matches!(endpoint, Endpoint::Embeddings | Endpoint::CountTokens) {
        return None;
    }
    let number = |name: &str| member(name).as_ref().and_then(whole);
    let (asked, name) = match endpoint.dialect() {
        Dialect::Responses => (number("max_output_tokens"), "max_output_tokens"),
        Dialect::Anthropic => (number("max_tokens"), "max_tokens"),
        Dialect::OpenAi => match (number("max_completion_tokens"), number("max_tokens")) {
            // Servers differ in which of two they follow.
            (Some(one), other) => (Some(other.map_or(one, |other| one.max(other))), "max_completion_tokens"),
            (None, asked) => (asked, "max_tokens"),
        },
    };
    let floor = match endpoint.dialect() {
        Dialect::Responses => RESPONSES_LEAST,
        Dialect::Anthropic => {
            let budget = member("thinking").and_then(|thinking| whole(thinking.get("budget_tokens")?));
            budget.map_or(1, |budget| budget.saturating_add(BESIDE_THINKING))
        }
        Dialect::OpenAi => 1,
    };
    let choices = match endpoint {
        Endpoint::Chat => number("n"),
        Endpoint::Completions => number("n").max(number("best_of")),
        _ => None,
    };
    let floor = asked.map_or(floor, |asked| floor.min(asked));
    Some(OutputAsk { asked, member: name, floor, choices: choices.unwrap_or(1).max(1) })
}

/// A whole number, `4096.0` included. Anything else asks for nothing: the provider would refuse it.
fn whole(value: &Value) -> Option<u64> {
    #[expect(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "the range is checked in the same line"
    )]
    let from_float = |number: f64| ((0.0..1e15).contains(&number) && number.fract() == 0.0).then_some(number as u64);
    value.as_u64().or_else(|| value.as_f64().and_then(from_float))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn ask(endpoint: Endpoint, body: &Value) -> (Option<u64>, &'static str, u64, u64) {
        let ask = output_limit(endpoint, |name| body.get(name).cloned()).unwrap();
        (ask.asked, ask.member, ask.floor, ask.choices)
    }

    #[test]
    fn each_dialect_has_its_member_and_its_floor() {
        assert_eq!(ask(Endpoint::Chat, &json!({})), (None, "max_tokens", 1, 1));
        assert_eq!(ask(Endpoint::Chat, &json!({"max_tokens": 5, "n": 3})), (Some(5), "max_tokens", 1, 3));
        assert_eq!(ask(Endpoint::Chat, &json!({"max_completion_tokens": 7})), (Some(7), "max_completion_tokens", 1, 1));
        assert_eq!(
            ask(Endpoint::Chat, &json!({"max_completion_tokens": 7, "max_tokens": 9})),
            (Some(9), "max_completion_tokens", 1, 1)
        );
        assert_eq!(ask(Endpoint::Completions, &json!({"n": 2, "best_of": 5})), (None, "max_tokens", 1, 5));
        assert_eq!(ask(Endpoint::Responses, &json!({"max_tokens": 5, "n": 4})), (None, "max_output_tokens", 16, 1));
        assert_eq!(ask(Endpoint::Messages, &json!({"max_tokens": 32_000})), (Some(32_000), "max_tokens", 1, 1));
        assert_eq!(
            ask(
                Endpoint::Messages,
                &json!({"max_tokens": 32_000, "thinking": {"type": "enabled", "budget_tokens": 10_000}})
            ),
            (Some(32_000), "max_tokens", 11_024, 1)
        );
        assert_eq!(output_limit(Endpoint::Embeddings, |_| None), None);
    }

    #[test]
    fn what_is_no_number_asks_for_nothing() {
        for bad in [json!(null), json!("5"), json!(-1), json!(1.5), json!(1e300)] {
            assert_eq!(ask(Endpoint::Chat, &json!({"max_tokens": bad, "n": bad})), (None, "max_tokens", 1, 1), "{bad}");
        }
        assert_eq!(ask(Endpoint::Chat, &json!({"max_tokens": 4096.0})).0, Some(4_096));
    }
}
