use bytes::Bytes;
use fleetgate_wire::endpoint::Endpoint;
use http::{HeaderMap, HeaderName, HeaderValue, Request};
use http_body_util::BodyExt;
use serde_json::{Value, json};

use super::*;
use crate::config::{Deployment, Environment, Origin, RateCaps};
use crate::dialect::Ask;
use crate::route::Choice;

const KEY: &str = "provider-secret";

fn deployment(model: &str, params: &Value) -> Deployment {
    let text = |name: &str| params[name].as_str().map(str::to_owned);
    let members = |name: &str| params[name].as_object().cloned().unwrap_or_default();
    let headers = members("extra_headers");
    Deployment {
        index: 0,
        id: "d".into(),
        model_name: "public".into(),
        model: model.into(),
        custom_provider: text("custom_llm_provider"),
        api_key: Some(text("api_key").unwrap_or_else(|| KEY.into()).into()),
        names_key: true,
        api_base: text("api_base"),
        api_version: text("api_version"),
        organization: text("organization"),
        extra_headers: headers.into_iter().map(|(name, value)| (name, value.as_str().unwrap().to_owned())).collect(),
        extra_body: members("extra_body"),
        defaults: members("defaults"),
        drop_params: params["drop_params"].as_bool(),
        additional_drop_params: serde_json::from_value(params["additional_drop_params"].clone()).unwrap_or_default(),
        weight: 1,
        rates: RateCaps::default(),
        order: 0,
        cooldown: Default::default(),
        timeout: None,
        stream_timeout: None,
        mock_response: None,
        prices: Default::default(),
        base_model: None,
        model_info: Default::default(),
        origin: Origin::Default,
    }
}

/// What goes upstream for a client's request: its address, headers and body.
fn sent(
    model: &str,
    params: &Value,
    endpoint: Endpoint,
    query: &str,
    headers: &[(&'static str, &'static str)],
    body: &Value,
) -> (String, HeaderMap, Value) {
    let deployment = deployment(model, params);
    let upstream = Upstream::resolve(&deployment, &Environment::from_process([])).unwrap();
    let choice = Choice { deployment: deployment.into(), model: model.into(), group: "public".into() };
    let ask = Ask::read(endpoint, Bytes::from(body.to_string())).unwrap();
    let mut request = Request::builder().uri(format!("http://gateway/v1{}{query}", endpoint.path())).body(()).unwrap();
    for (name, value) in headers {
        request.headers_mut().append(HeaderName::from_static(name), HeaderValue::from_static(value));
    }
    let outgoing = shape(&ask, &request.into_parts().0, &choice, &upstream, false, None).unwrap();
    let (head, body) = outgoing.request.into_parts();
    let text = futures_util::FutureExt::now_or_never(body.collect()).unwrap().unwrap().to_bytes();
    // Serde takes the last of two members of the same name; a provider may not.
    crate::dialect::Fields::parse(&text).expect("no member stands twice");
    (head.uri.to_string(), head.headers, serde_json::from_slice(&text).unwrap())
}

fn address(model: &str, params: &Value, endpoint: Endpoint, query: &str) -> String {
    sent(model, params, endpoint, query, &[], &json!({"model": "public"})).0
}

#[test]
fn each_provider_is_reached_where_it_is() {
    use Endpoint::{Chat, CountTokens, Embeddings, Messages, Responses};
    let azure = "https://x.openai.azure.com";
    let foundry = "https://x.services.ai.azure.com";
    let base = |base: &str| json!({"api_base": base});
    let dated = json!({"api_base": azure, "api_version": "2024-10-21"});
    let pasted = format!("{azure}/openai/deployments/dep/chat/completions?api-version=2024-06-01");
    for (model, params, endpoint, expected) in [
        ("openai/m", json!({}), Chat, "https://api.openai.com/v1/chat/completions".to_owned()),
        ("openai/m", base("http://box:8000/v1/"), Embeddings, "http://box:8000/v1/embeddings".into()),
        ("openai/m", base("http://box:8000/v1/chat/completions"), Chat, "http://box:8000/v1/chat/completions".into()),
        (
            "azure/dep",
            base(azure),
            Chat,
            format!("{azure}/openai/deployments/dep/chat/completions?api-version=2025-02-01-preview"),
        ),
        ("azure/dep", base(azure), Responses, format!("{azure}/openai/v1/responses?api-version=preview")),
        (
            "azure/dep",
            dated.clone(),
            Embeddings,
            format!("{azure}/openai/deployments/dep/embeddings?api-version=2024-10-21"),
        ),
        ("azure/dep", dated, Responses, format!("{azure}/openai/responses?api-version=2024-10-21")),
        (
            "azure/dep",
            json!({"api_base": azure, "api_version": "v1"}),
            Chat,
            format!("{azure}/openai/v1/chat/completions"),
        ),
        (
            "azure/dep",
            json!({"api_base": format!("{azure}/openai/v1/"), "api_version": "latest"}),
            Chat,
            format!("{azure}/openai/v1/chat/completions?api-version=preview"),
        ),
        ("azure/dep", base(&pasted), Chat, pasted.clone()),
        (
            "azure/../x?y",
            base(azure),
            Chat,
            format!("{azure}/openai/deployments/..%2Fx%3Fy/chat/completions?api-version=2025-02-01-preview"),
        ),
        ("azure_ai/m", base(foundry), Chat, format!("{foundry}/models/chat/completions")),
        (
            "azure_ai/m",
            base(&format!("{foundry}/models/chat/completions")),
            Chat,
            format!("{foundry}/models/chat/completions"),
        ),
        (
            "azure_ai/m",
            json!({"api_base": "https://eastus.api.cognitive.microsoft.com/models", "api_version": "2024-05-01-preview"}),
            Chat,
            "https://eastus.api.cognitive.microsoft.com/models/chat/completions?api-version=2024-05-01-preview".into(),
        ),
        ("openrouter/a/b", json!({}), Chat, "https://openrouter.ai/api/v1/chat/completions".into()),
        ("openrouter/a/b", json!({}), Messages, "https://openrouter.ai/api/v1/messages".into()),
        ("anthropic/m", json!({}), Messages, "https://api.anthropic.com/v1/messages".into()),
        ("anthropic/m", base("https://a.example/v1"), CountTokens, "https://a.example/v1/messages/count_tokens".into()),
        ("anthropic/m", base("https://a.example/v1/messages"), Messages, "https://a.example/v1/messages".into()),
        (
            "zai/m",
            base("https://api.z.ai/api/anthropic/"),
            Messages,
            "https://api.z.ai/api/anthropic/v1/messages".into(),
        ),
        (
            "gemini/m",
            json!({}),
            Chat,
            "https://generativelanguage.googleapis.com/v1beta/openai/chat/completions".into(),
        ),
        ("gemini/m", base("https://g.example/v1beta"), Chat, "https://g.example/v1beta/openai/chat/completions".into()),
        ("gemini/m", base("https://g.example"), Chat, "https://g.example/v1beta/openai/chat/completions".into()),
        (
            "gemini/m",
            base("https://g.example/v1beta/openai/"),
            Chat,
            "https://g.example/v1beta/openai/chat/completions".into(),
        ),
        ("ollama/m", base("http://box:11434"), Chat, "http://box:11434/v1/chat/completions".into()),
        ("ollama_chat/m", base("http://box:11434/v1/"), Messages, "http://box:11434/v1/messages".into()),
    ] {
        assert_eq!(address(model, &params, endpoint, ""), expected, "{model} {params}");
    }
}

#[test]
fn a_clients_query_passes_less_its_key_and_azure_gets_one_version() {
    let azure = json!({"api_base": "https://x.openai.azure.com", "api_version": "2024-10-21"});
    let sent = address("azure/dep", &azure, Endpoint::Chat, "?api-version=2023-05-15&key=sk-secret&a=1");
    assert!(sent.ends_with("/chat/completions?a=1&api-version=2024-10-21"), "{sent}");
    assert!(address("anthropic/m", &json!({}), Endpoint::Messages, "?beta=true").ends_with("/v1/messages?beta=true"));
}

#[test]
fn nothing_of_the_caller_but_what_it_says_to_the_provider_goes_upstream() {
    let from_client = [
        ("authorization", "Bearer sk-client"),
        ("x-api-key", "sk-client"),
        ("cookie", "a=1"),
        ("accept-encoding", "gzip, br"),
        ("content-length", "7"),
        ("connection", "close, x-private"),
        ("x-private", "1"),
        ("x-forwarded-for", "10.0.0.1"),
        ("x-forwarded-port", "443"),
        ("tailscale-user-login", "anna@example.com"),
        ("x-fleetgate-host", "mac"),
        ("x-litellm-end-user-id", "anna"),
        ("x-litellm-spend-logs-metadata", "{}"),
        ("user-agent", "claude-cli"),
        ("anthropic-beta", "one"),
        ("anthropic-beta", "two"),
        ("x-stainless-lang", "js"),
    ];
    let params = json!({"extra_headers": {"X-Team": "blue", "user-agent": "ours", "anthropic-beta": "three"}, "api_key": "sk-ant-oat-1"});
    let (_, headers, _) =
        sent("anthropic/m", &params, Endpoint::Messages, "", &from_client, &json!({"model": "public"}));
    let mut lines: Vec<String> =
        headers.iter().map(|(name, value)| format!("{name}: {}", value.to_str().unwrap())).collect();
    lines.sort();
    assert_eq!(
        lines,
        [
            "accept-encoding: identity",
            "anthropic-beta: oauth-2025-04-20",
            "anthropic-beta: one",
            "anthropic-beta: three",
            "anthropic-beta: two",
            "anthropic-version: 2023-06-01",
            "authorization: Bearer sk-ant-oat-1",
            "content-type: application/json",
            "user-agent: ours",
            "x-stainless-lang: js",
            "x-team: blue",
        ]
    );
    assert!(headers["authorization"].is_sensitive());
}

#[test]
fn each_provider_gets_its_key_as_it_wants_it() {
    let shown = |model: &str, params: &Value, endpoint| {
        let (_, headers, _) = sent(model, params, endpoint, "", &[], &json!({"model": "public"}));
        ["authorization", "api-key", "x-api-key"].map(|name| headers.contains_key(name))
    };
    let base = json!({"api_base": "https://x.example"});
    assert_eq!(shown("openai/m", &json!({}), Endpoint::Chat), [true, false, false]);
    assert_eq!(shown("azure/m", &base, Endpoint::Chat), [false, true, false]);
    assert_eq!(shown("azure_ai/m", &base, Endpoint::Chat), [true, true, false]);
    assert_eq!(shown("anthropic/m", &json!({}), Endpoint::Messages), [false, false, true]);
    assert_eq!(shown("anthropic/m", &base, Endpoint::Messages), [true, false, true]);
}

#[test]
fn a_body_is_changed_only_where_the_entry_says_so() {
    let chat = |model: &str, params: Value, mut body: Value| {
        body["model"] = json!("public");
        let mut after = sent(model, &params, Endpoint::Chat, "", &[], &body).2;
        after.as_object_mut().unwrap().remove("model");
        after
    };
    for (model, params, body, expected) in [
        (
            "openai/m",
            json!({"defaults": {"temperature": 0.5, "top_p": 1}}),
            json!({"temperature": null}),
            json!({"temperature": null, "top_p": 1}),
        ),
        (
            "openai/m",
            json!({"defaults": {"max_tokens": 5}}),
            json!({"max_completion_tokens": 9}),
            json!({"max_completion_tokens": 9}),
        ),
        ("openai/m", json!({"extra_body": {"a": 1}, "defaults": {"a": 2}}), json!({}), json!({"a": 1})),
        ("openai/m", json!({"extra_body": {"a": {"b": 1}}}), json!({"a": 2}), json!({"a": {"b": 1}})),
        (
            "openai/m",
            json!({"additional_drop_params": ["a"], "defaults": {"a": 2}}),
            json!({"a": 1, "b": 1}),
            json!({"b": 1}),
        ),
        (
            "openai/o3",
            json!({"drop_params": true, "defaults": {"temperature": 1}}),
            json!({"top_p": 1, "n": 1}),
            json!({"n": 1}),
        ),
        ("openai/o3", json!({}), json!({"top_p": 1}), json!({"top_p": 1})),
        ("openrouter/a/b", json!({}), json!({}), json!({"usage": {"include": true}})),
        (
            "openrouter/a/b",
            json!({"extra_body": {"usage": {"include": true}, "provider": {}}}),
            json!({}),
            json!({"usage": {"include": true}, "provider": {}}),
        ),
        ("openrouter/a/b", json!({}), json!({"usage": {"include": false}}), json!({"usage": {"include": false}})),
        (
            "openai/m",
            json!({}),
            json!({"stream": true, "stream_options": {"x": 1}}),
            json!({"stream": true, "stream_options": {"x": 1, "include_usage": true}}),
        ),
        (
            "openai/m",
            json!({"extra_body": {"stream_options": {"x": 1}}}),
            json!({"stream": true}),
            json!({"stream": true, "stream_options": {"x": 1, "include_usage": true}}),
        ),
        (
            "openai/m",
            json!({"additional_drop_params": ["stream_options"]}),
            json!({"stream": true}),
            json!({"stream": true}),
        ),
        ("mistral/m", json!({}), json!({"stream": true}), json!({"stream": true})),
    ] {
        assert_eq!(chat(model, params.clone(), body.clone()), expected, "{model} {params} {body}");
    }
}

#[test]
fn an_entry_that_cannot_be_called_says_why() {
    for (model, params, words) in [
        ("m", json!({}), "names no provider"),
        ("azure/m", json!({}), "needs an api_base"),
        ("openai/m", json!({"api_base": "ftp://x"}), "no http:// or https://"),
        ("openai/m", json!({"api_key": "new\nline"}), "no header can carry"),
        ("openai/m", json!({"extra_headers": {"no name": "x"}}), "no header can carry"),
    ] {
        let error = Upstream::resolve(&deployment(model, &params), &Environment::from_process([])).unwrap_err();
        assert!(error.to_string().contains(words), "{model}: {error}");
        assert!(!error.to_string().contains("new\nline"));
    }
}
