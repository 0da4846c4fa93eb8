//! One call as a span.

use std::fmt::Write as _;

use fleetgate_wire::money::NanoDollars;
use jiff::Timestamp;
use serde_json::{Value, json};

use super::context::{TraceContext, random};
use super::names;

/// OTLP's number for a span of a client that calls a server.
const KIND_CLIENT: u8 = 3;
const STATUS_ERROR: u8 = 2;

/// What is told of a call. Texts of prompts, answers and errors have no place in it.
#[derive(Debug, Clone)]
pub struct Span {
    /// Its place in a trace.
    pub context: TraceContext,
    /// The API, by its word in rows: `chat`, `messages` …
    pub endpoint: &'static str,
    /// Who answered.
    pub provider: String,
    /// The model by the caller's name.
    pub requested_model: String,
    /// The model that answered.
    pub model: String,
    /// The provider's identifier of the answer.
    pub response_id: Option<String>,
    /// The whole prompt, in tokens.
    pub input_tokens: Option<u64>,
    /// The part of it that was read from a cache.
    pub cache_read_tokens: Option<u64>,
    /// Everything produced, in tokens.
    pub output_tokens: Option<u64>,
    /// The provider's host and port.
    pub server: Option<(String, u16)>,
    /// The provider's HTTP status.
    pub http_status: Option<u16>,
    /// The row's status: `success`, `failure` …
    pub status: &'static str,
    /// The machine that called.
    pub host: String,
    /// What made the call there.
    pub workload: String,
    /// The key's name.
    pub key_alias: String,
    /// Known cost.
    pub cost: Option<NanoDollars>,
    /// The row's identifier.
    pub request_id: String,
    /// When the call was taken.
    pub started_at: Timestamp,
    /// When it ended.
    pub ended_at: Timestamp,
}

impl Span {
    /// The span in OTLP's JSON, in which identifiers are hexadecimal and large numbers are texts.
    pub(super) fn json(&self) -> Value {
        let operation = names::operation(self.endpoint);
        let text = |name: &str, value: &str| Some(json!({"key": name, "value": {"stringValue": value}}));
        let number = |name: &str, value: u64| json!({"key": name, "value": {"intValue": value.to_string()}});
        let count = |name: &str, value: Option<u64>| value.map(|value| number(name, value));
        let error = self.error();
        let attributes: Vec<Value> = [
            text(names::OPERATION, operation),
            text(names::PROVIDER, names::provider(&self.provider)),
            text(names::REQUEST_MODEL, &self.requested_model),
            text(names::RESPONSE_MODEL, &self.model),
            self.response_id.as_deref().and_then(|id| text(names::RESPONSE_ID, id)),
            count(names::INPUT_TOKENS, self.input_tokens),
            count(names::CACHE_READ_TOKENS, self.cache_read_tokens),
            count(names::OUTPUT_TOKENS, self.output_tokens),
            self.server.as_ref().and_then(|(address, _)| text(names::SERVER_ADDRESS, address)),
            count(names::SERVER_PORT, self.server.as_ref().map(|(_, port)| u64::from(*port))),
            count(names::HTTP_STATUS, self.http_status.map(u64::from)),
            error.as_deref().and_then(|error| text(names::ERROR_TYPE, error)),
            text(names::HOST, &self.host),
            text(names::WORKLOAD, &self.workload),
            text(names::KEY_ALIAS, &self.key_alias),
            text(names::REQUEST_ID, &self.request_id),
            text(names::STATUS, self.status),
            self.cost.map(|cost| json!({"key": names::COST_USD, "value": {"doubleValue": cost.dollars()}})),
        ]
        .into_iter()
        .flatten()
        .collect();
        let mut span = json!({
            "traceId": hex(&self.context.trace_id),
            "spanId": hex(&random::<8>()),
            "name": format!("{operation} {}", self.requested_model),
            "kind": KIND_CLIENT,
            "startTimeUnixNano": self.started_at.as_nanosecond().to_string(),
            "endTimeUnixNano": self.ended_at.as_nanosecond().to_string(),
            "attributes": attributes,
            "status": if error.is_some() { json!({"code": STATUS_ERROR}) } else { json!({}) },
        });
        if let Some(parent) = &self.context.parent {
            span["parentSpanId"] = hex(parent).into();
        }
        if let Some(state) = &self.context.state {
            span["traceState"] = state.as_str().into();
        }
        span
    }

    /// One word for what went wrong: the provider's status, or the row's.
    fn error(&self) -> Option<String> {
        match (self.http_status, self.status) {
            (Some(status), _) if status >= 400 => Some(status.to_string()),
            (_, "success") => None,
            (_, status) => Some(status.to_owned()),
        }
    }
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().fold(String::with_capacity(bytes.len() * 2), |mut text, byte| {
        // Writing to a text cannot fail.
        let _ = write!(text, "{byte:02x}");
        text
    })
}

#[cfg(test)]
pub(super) mod tests {
    use http::{HeaderMap, HeaderValue};

    use super::*;

    pub(in crate::trace) fn span() -> Span {
        let mut headers = HeaderMap::new();
        let parent = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01";
        headers.insert("traceparent", HeaderValue::from_static(parent));
        Span {
            context: TraceContext::of(&headers),
            endpoint: "messages",
            provider: "xai".into(),
            requested_model: "fast".into(),
            model: "grok-4".into(),
            response_id: None,
            input_tokens: Some(12),
            cache_read_tokens: None,
            output_tokens: Some(3),
            server: Some(("api.x.ai".into(), 443)),
            http_status: Some(200),
            status: "success",
            host: "mac".into(),
            workload: "codex".into(),
            key_alias: "vk-mac".into(),
            cost: Some(NanoDollars(1_500_000)),
            request_id: "r".into(),
            started_at: Timestamp::from_second(1).unwrap(),
            ended_at: Timestamp::from_second(2).unwrap(),
        }
    }

    fn attribute(span: &Value, name: &str) -> Option<Value> {
        let all = span["attributes"].as_array()?;
        let found = all.iter().find(|attribute| attribute["key"] == name)?;
        found["value"].as_object()?.values().next().cloned()
    }

    #[test]
    fn a_call_bears_the_conventions_names() {
        let json = span().json();
        for (name, value) in [
            ("gen_ai.operation.name", json!("chat")),
            ("gen_ai.provider.name", json!("x_ai")),
            ("gen_ai.request.model", json!("fast")),
            ("gen_ai.response.model", json!("grok-4")),
            ("gen_ai.usage.input_tokens", json!("12")),
            ("gen_ai.usage.output_tokens", json!("3")),
            ("server.address", json!("api.x.ai")),
            ("server.port", json!("443")),
            ("fleetgate.host", json!("mac")),
            ("fleetgate.workload", json!("codex")),
            ("fleetgate.key_alias", json!("vk-mac")),
            ("fleetgate.cost_usd", json!(0.0015)),
        ] {
            assert_eq!(attribute(&json, name), Some(value), "{name}");
        }
        assert_eq!(attribute(&json, "error.type"), None);
        assert_eq!(
            (&json["traceId"], &json["parentSpanId"]),
            (&json!("4bf92f3577b34da6a3ce929d0e0e4736"), &json!("00f067aa0ba902b7"))
        );
        assert_eq!((&json["name"], &json["kind"], &json["status"]), (&json!("chat fast"), &json!(3), &json!({})));
        assert_eq!(
            (&json["startTimeUnixNano"], &json["endTimeUnixNano"]),
            (&json!("1000000000"), &json!("2000000000"))
        );
    }

    #[test]
    fn an_error_is_a_word_and_unknown_cost_is_absent() {
        let refused = Span { http_status: Some(429), status: "failure", cost: None, ..span() }.json();
        assert_eq!(attribute(&refused, "error.type"), Some(json!("429")));
        assert_eq!((attribute(&refused, "fleetgate.cost_usd"), &refused["status"]["code"]), (None, &json!(2)));
        let gone = Span { status: "client_gone", ..span() }.json();
        assert_eq!(attribute(&gone, "error.type"), Some(json!("client_gone")));
    }
}
