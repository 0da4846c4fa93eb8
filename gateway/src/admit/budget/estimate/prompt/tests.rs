use std::collections::HashMap;

use serde_json::{Value, json};

use super::*;

fn bound(endpoint: Endpoint, body: &Value) -> PromptBound {
    bound_of(endpoint, &body.to_string())
}

fn bound_of(endpoint: Endpoint, body: &str) -> PromptBound {
    let members: HashMap<String, &RawValue> = serde_json::from_str(body).unwrap();
    exact(endpoint, body, |name| members.get(name).map(|raw| raw.get()))
}

fn message(block: &Value) -> Value {
    json!({"messages": [{"role": "user", "content": [{"type": "text", "text": "look"}, block]}]})
}

#[test]
fn text_counts_its_bytes_and_no_more_than_the_body_has() {
    let body = json!({"instructions": "m", "input": "Grüße\n"});
    let found = bound(Endpoint::Responses, &body);
    assert_eq!(found.tokens, FIXED + body.to_string().len() as u64 - 1, "the escape of the line's end is one byte");
    assert!(!found.is_open() && found.tokens < rough(body.to_string().len()));
}

#[test]
fn an_image_is_not_text() {
    let data = "A".repeat(100_000);
    for (endpoint, block) in [
        (
            Endpoint::Messages,
            json!({"type": "image", "source": {"type": "base64", "media_type": "image/png", "data": data}}),
        ),
        (Endpoint::Chat, json!({"type": "image_url", "image_url": {"url": format!("data:image/png;base64,{data}")}})),
        (Endpoint::Chat, json!({"type": "image_url", "image_url": format!("data:image/png;base64,{data}")})),
    ] {
        let found = bound(endpoint, &message(&block));
        assert_eq!(found.images, 1, "{endpoint:?}");
        assert!(found.tokens < image_bound(endpoint) + 500 && found.tokens >= image_bound(endpoint), "{found:?}");
        assert!(!found.is_open());
    }
    let shown = json!({"type": "tool_result", "tool_use_id": "t", "content": [
        {"type": "image", "source": {"type": "base64", "media_type": "image/png", "data": data}},
    ]});
    assert_eq!(bound(Endpoint::Messages, &message(&shown)).images, 1);
    let item = json!({"input": [{"type": "computer_call_output", "output": {"type": "computer_screenshot", "image_url": "data:x"}}]});
    assert_eq!(bound(Endpoint::Responses, &item).images, 1);
}

#[test]
fn what_only_looks_like_an_image_is_text() {
    let data = "A".repeat(100_000);
    let arguments = json!({"type": "tool_use", "name": "draw", "input": {"type": "image", "source": {"type": "base64", "data": data}}});
    let mislabelled =
        json!({"type": "text", "text": "x", "source": {"type": "base64", "data": data}, "image_url": data});
    for block in [arguments, mislabelled] {
        let found = bound(Endpoint::Messages, &message(&block));
        assert!(found.images == 0 && found.tokens > 100_000, "{found:?}");
    }
}

#[test]
fn what_is_not_in_the_body_is_bounded_by_the_window_only() {
    let open = |endpoint, body: Value| bound(endpoint, &body).is_open();
    for block in [
        json!({"type": "document", "source": {"type": "base64", "media_type": "application/pdf", "data": "QQ"}}),
        json!({"type": "document", "source": {"type": "url", "url": "https://x/y.pdf"}}),
        json!({"type": "file", "file": {"file_id": "f"}}),
        json!({"type": "input_file", "file_url": "https://x"}),
        json!({"type": "video_url", "video_url": {"url": "https://x"}}),
        json!({"type": "im\u{61}ge2", "image_url": "https://x"}),
    ] {
        assert!(open(Endpoint::Messages, message(&block)), "{block}");
    }
    for body in [
        json!({"input": "go on", "previous_response_id": "r"}),
        json!({"input": "go on", "conversation": "c"}),
        json!({"prompt": {"id": "p"}}),
        json!({"input": [{"type": "item_reference", "id": "i"}]}),
        json!({"input": "x", "tools": [{"type": "web_search"}]}),
        json!({"input": "x", "tools": [{"type": "mcp", "server_url": "https://x"}]}),
        json!({"input": 5, "messages": 5, "tools": 5}),
    ] {
        assert!(open(Endpoint::Responses, body.clone()), "{body}");
    }
    assert!(exact(Endpoint::Chat, "{", |_| Some("{")).is_open());
    for body in [
        message(&json!({"type": "document", "source": {"type": "text", "media_type": "text/plain", "data": "long"}})),
        json!({"input": "x", "previous_response_id": null, "tools": [{"type": "function", "name": "f"}, {"type": "custom"}]}),
        json!({"messages": [], "tools": [{"name": "f", "input_schema": {}}, {"type": "bash_20250124", "name": "bash"}]}),
        json!({"input": [{"type": "reasoning", "encrypted_content": "x"}, {"type": "function_call_output", "output": "text"}]}),
        json!({"input": [[1, 2, 3], [4]]}),
        json!({"prompt": "once", "input": ["a", "b"]}),
    ] {
        assert!(!open(Endpoint::Embeddings, body.clone()), "{body}");
    }
}

#[test]
fn an_escaped_name_is_read_as_what_it_stands_for() {
    let body = r#"{"messages":[{"content":[{"ty\u0070e":"im\u0061ge","source":{"type":"url","url":"https://x"}}]}]}"#;
    assert_eq!(bound_of(Endpoint::Messages, body).images, 1);
}

#[test]
fn an_hour_of_cache_and_the_tier_are_seen_wherever_they_stand() {
    let hour = json!({"type": "ephemeral", "ttl": "1h"});
    for body in [
        json!({"system": [{"type": "text", "text": "x", "cache_control": hour}]}),
        json!({"tools": [{"name": "f", "cache_control": hour}]}),
        json!({"cache_control": hour}),
        message(&json!({"type": "tool_result", "content": [{"type": "text", "cache_control": hour}]})),
    ] {
        assert!(bound(Endpoint::Messages, &body).cache_1h, "{body}");
    }
    let short =
        json!({"system": [{"type": "text", "cache_control": {"type": "ephemeral"}}], "service_tier": "priority"});
    let found = bound(Endpoint::Messages, &short);
    assert_eq!((found.cache_1h, found.tier.as_deref()), (false, Some("priority")));
}
