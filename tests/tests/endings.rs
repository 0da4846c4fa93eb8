//! However an answer ends, its row says how, what it used, who counted that, and what it cost.

use fleetgate_tests::sockets::all_closed;
use fleetgate_tests::upstream::openai::{chat_events, chat_request, stream_request};
use fleetgate_tests::upstream::{anthropic, responses};
use fleetgate_tests::wait::Gate;
use fleetgate_tests::{Answer, Gateway, Reply, Upstream, eventually};
use fleetgate_wire::row::Row;
use serde_json::{Value, json};

async fn gateway(upstream: &Upstream, settings: &[(&str, Value)]) -> (Gateway, String) {
    let gw = Gateway::start(|c| {
        let c = c.deployment("gpt-x", "openai/gpt-4.1-mini", upstream, &json!({})).deployment(
            "sonnet",
            "anthropic/claude-sonnet-4-5",
            upstream,
            &json!({}),
        );
        settings.iter().fold(c, |c, (name, value)| c.set("fleetgate", name, value.clone()))
    })
    .await;
    let key = gw.key(&json!({"key_alias": "vk-mac"})).await;
    (gw, key)
}

/// What the row says of an ending: how, who counted, and whether the cost is known.
fn told(row: &Row) -> (&str, &str, bool) {
    (&row.status, &row.usage_source, row.cost_nanousd.is_some())
}

/// The row of one call that got this reply.
async fn row_of(path: &str, body: &Value, reply: Reply) -> (Row, Answer) {
    let upstream = Upstream::start().await;
    let (gw, key) = gateway(&upstream, &[]).await;
    upstream.reply(reply);
    let answer = gw.post(path).bearer(&key).json(body).send().await;
    (gw.only_row().await, answer)
}

#[tokio::test]
async fn anthropics_cut_stream_has_the_prompt_that_was_counted_and_an_estimate_of_the_rest() {
    let events = anthropic::events("claude-sonnet-4-5", &["Hello, how", " are you?"]);
    let body = anthropic::stream_request("sonnet");
    let (row, answer) = row_of("/v1/messages", &body, Reply::stream(events).close_after(5)).await;
    assert!(!answer.whole);
    assert_eq!(told(&row), ("upstream_cut", "partial", true));
    assert_eq!(row.input_tokens, Some(anthropic::PROMPT));
    // Nineteen bytes of text at four a token.
    assert_eq!(row.output_tokens, Some(5));
    assert!(row.error.is_some());
}

#[tokio::test]
async fn a_client_that_leaves_anthropics_stream_pays_for_what_was_produced() {
    let upstream = Upstream::start().await;
    let (gw, key) = gateway(&upstream, &[]).await;
    let gate = Gate::new();
    let events = anthropic::events("claude-sonnet-4-5", &["Hello, how", " are you?"]);
    upstream.reply(Reply::stream(events).pause_after(5, &gate));
    let body = anthropic::stream_request("sonnet");
    let mut open = gw.post("/v1/messages").bearer(&key).json(&body).open().await;
    open.read_until("are you").await;
    drop(open);
    upstream.abandoned().await;
    let row = eventually("its row", async || gw.rows().await.pop()).await;
    assert_eq!(told(&row), ("client_gone", "partial", true));
    assert_eq!(row.output_tokens, Some(5));
}

#[tokio::test]
async fn an_answer_is_read_to_its_end_for_a_client_that_left_where_the_operator_wants_it() {
    let upstream = Upstream::start().await;
    let (gw, key) = gateway(&upstream, &[("on_client_gone", json!("finish"))]).await;
    let gate = Gate::new();
    upstream.reply(Reply::stream(chat_events("gpt-4.1-mini", &["one", "two"], true)).pause_after(2, &gate));
    let mut open = gw.post("/v1/chat/completions").bearer(&key).json(&stream_request("gpt-x")).open().await;
    open.read_until("\"one\"").await;
    drop(open);
    all_closed(gw.address()).await;
    gate.open();
    let row = eventually("its row", async || gw.rows().await.pop()).await;
    assert_eq!(told(&row), ("client_gone", "provider", true));
    assert_eq!((row.input_tokens, row.output_tokens), (Some(1000), Some(50)));
}

#[tokio::test]
async fn an_answer_is_read_no_longer_than_the_operator_says() {
    let upstream = Upstream::start().await;
    let settings = [("on_client_gone", json!("finish")), ("finish_within", json!(0.2))];
    let (gw, key) = gateway(&upstream, &settings).await;
    let gate = Gate::new();
    upstream.reply(Reply::stream(chat_events("gpt-4.1-mini", &["one", "two"], true)).pause_after(2, &gate));
    let mut open = gw.post("/v1/chat/completions").bearer(&key).json(&stream_request("gpt-x")).open().await;
    open.read_until("\"one\"").await;
    drop(open);
    upstream.abandoned().await;
    let row = eventually("its row", async || gw.rows().await.pop()).await;
    assert_eq!(told(&row), ("client_gone", "estimated", true));
}

#[tokio::test]
async fn a_response_that_reached_its_limit_is_an_answer_with_a_price() {
    let mut events = responses::events("gpt-4.1-mini", "Hello");
    let last = events.pop().expect("there are events").replace("response.completed", "response.incomplete");
    events.push(last.replace("\"status\":\"completed\"", "\"status\":\"incomplete\""));
    let (row, answer) =
        row_of("/v1/responses", &responses::stream_request("gpt-x"), Reply::stream(events.clone())).await;
    assert_eq!(answer.expect(200).text(), events.concat());
    assert_eq!(told(&row), ("success", "provider", true));
    assert_eq!((row.input_tokens, row.output_tokens), (Some(1000), Some(50)));
}

#[tokio::test]
async fn a_response_that_failed_says_why() {
    let mut events = responses::events("gpt-4.1-mini", "Hello")[..5].to_vec();
    let failed = json!({"type": "response.failed", "response": {
        "id": "resp_fake1", "status": "failed", "model": "gpt-4.1-mini", "usage": null,
        "error": {"code": "server_error", "message": "the model stumbled"},
    }});
    events.push(format!("event: response.failed\ndata: {failed}\n\n"));
    let (row, _) = row_of("/v1/responses", &responses::stream_request("gpt-x"), Reply::stream(events)).await;
    assert_eq!((row.status.as_str(), row.error.as_deref()), ("failure", Some("the model stumbled")));
    assert_eq!(row.http_status, Some(200));
}

#[tokio::test]
async fn an_error_in_a_stream_is_a_failure_with_what_was_seen_before_it() {
    let mut chat = chat_events("gpt-4.1-mini", &["one"], false)[..2].to_vec();
    chat.push("data: {\"error\":{\"message\":\"overloaded\",\"code\":529}}\n\n".to_owned());
    let mut message = anthropic::events("claude-sonnet-4-5", &["one"])[..4].to_vec();
    let error = json!({"type": "error", "error": {"type": "overloaded_error", "message": "overloaded"}});
    message.push(format!("event: error\ndata: {error}\n\n"));
    for (path, body, events) in [
        ("/v1/chat/completions", stream_request("gpt-x"), chat),
        ("/v1/messages", anthropic::stream_request("sonnet"), message),
    ] {
        let (row, answer) = row_of(path, &body, Reply::stream(events.clone())).await;
        assert_eq!(answer.expect(200).text(), events.concat(), "{path}");
        assert_eq!((row.status.as_str(), row.error.as_deref()), ("failure", Some("overloaded")), "{path}");
        assert_ne!(row.usage_source, "provider", "{path}: nobody counted the whole answer");
    }
}

#[tokio::test]
async fn an_answer_without_a_byte_makes_up_nothing() {
    let (row, answer) = row_of("/v1/chat/completions", &chat_request("gpt-x"), Reply::literal(200, "")).await;
    assert!(answer.expect(200).body.is_empty());
    assert_eq!(told(&row), ("success", "none", false));
    assert_eq!((row.http_status, row.input_tokens, row.output_tokens), (Some(200), None, None));
    assert_eq!(row.price_source, "unpriced");
}

#[tokio::test]
async fn a_stream_without_an_event_makes_up_nothing() {
    let empty = Reply::stream(Vec::<String>::new());
    let (row, _) = row_of("/v1/chat/completions", &stream_request("gpt-x"), empty).await;
    assert_eq!(told(&row), ("success", "none", false));
    assert_eq!(row.output_tokens, None);
}

#[tokio::test]
async fn what_nobody_counted_keeps_its_money_reserved_unless_the_operator_says_otherwise() {
    for (policy, status) in [("reserve", 402), ("release", 200)] {
        let upstream = Upstream::start().await;
        let (mut gw, _) = gateway(&upstream, &[("unknown_cost", json!(policy))]).await;
        let key = gw.key(&json!({"max_budget": 0.000_1})).await;
        let call = gw.post("/v1/chat/completions").bearer(&key).json(&chat_request("gpt-x"));
        upstream.reply(Reply::literal(200, "{}"));
        call.clone().send().await.expect(200);
        let row = gw.only_row().await;
        assert_eq!(told(&row), ("success", "none", false));
        call.clone().send().await.expect(status);
        gw.restart().await;
        if status == 402 {
            call.send().await.expect(402);
        }
    }
}
