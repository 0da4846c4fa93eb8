//! One durable row per attempt, whatever becomes of the answer.

#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a broken expectation is a failed test")]

use std::process::Command;
use std::time::{Duration, Instant};

use fleetgate_tests::sockets::all_closed;
use fleetgate_tests::upstream::anthropic;
use fleetgate_tests::upstream::openai::{chat_events, chat_request, stream_request};
use fleetgate_tests::wait::Gate;
use fleetgate_tests::{Answer, Gateway, MASTER_KEY, Reply, Upstream, eventually};
use serde_json::{Value, json};

async fn gateway(upstream: &Upstream) -> Gateway {
    Gateway::start(|c| {
        c.model("gpt-x", upstream).deployment("sonnet", "anthropic/claude-sonnet-4-5", upstream, &json!({}))
    })
    .await
}

async fn chat(gw: &Gateway, body: &Value) -> Answer {
    gw.post("/v1/chat/completions").bearer(MASTER_KEY).json(body).send().await
}

async fn statuses(gw: &Gateway) -> Vec<(String, Option<u16>)> {
    gw.rows().await.into_iter().rev().map(|row| (row.status, row.http_status)).collect()
}

/// Changes the gateway's ledger behind its back.
fn sql(gw: &Gateway, statement: &str) {
    let script = "import sqlite3,sys\nsqlite3.connect(sys.argv[1], isolation_level=None).execute(sys.argv[2])";
    let ledger = gw.dir().join("ledger.db");
    let done = Command::new("python3").args(["-c", script]).arg(ledger).arg(statement).status();
    assert!(done.expect("python3 starts").success(), "{statement}");
}

#[tokio::test]
async fn an_answer_without_a_body_is_no_client_that_went_away() {
    let upstream = Upstream::start().await;
    let gw = gateway(&upstream).await;
    for (status, word) in [(503, "failure"), (429, "failure"), (200, "success"), (204, "success")] {
        upstream.reply(Reply::literal(status, ""));
        let answer = chat(&gw, &chat_request("gpt-x")).await.expect(status);
        let row = gw.rows().await.remove(0);
        assert_eq!(row.request_id, answer.header("x-fleetgate-request-id"), "the row is there with the answer");
        assert_eq!((row.status.as_str(), row.http_status), (word, Some(status)), "{status}");
    }
}

#[tokio::test]
async fn an_answer_of_known_length_has_its_row_even_if_it_is_labelled_as_a_stream() {
    let upstream = Upstream::start().await;
    let gw = gateway(&upstream).await;
    let events = chat_events("gpt-x", &["one"], true).concat();
    let unfinished = events.trim_end_matches("data: [DONE]\n\n").to_owned();
    let error = r#"{"error":{"message":"no such model"}}"#.to_owned();
    let label = "text/event-stream";
    for (status, body, word) in [(200, events, "success"), (200, unfinished, "success"), (404, error, "failure")] {
        upstream.reply(Reply::literal(status, body.clone()).header("content-type", label));
        let mut request = stream_request("gpt-x");
        request["stream_options"] = json!({"include_usage": true});
        let answer = chat(&gw, &request).await.expect(status);
        assert_eq!(answer.text(), body);
        let row = gw.rows().await.remove(0);
        assert_eq!(row.request_id, answer.header("x-fleetgate-request-id"));
        assert_eq!((row.status.as_str(), row.http_status), (word, Some(status)), "{body}");
        assert_eq!(row.error.is_some(), status == 404, "{:?}", row.error);
    }
}

#[tokio::test]
async fn a_last_event_without_its_empty_line_waits_for_it_because_clients_do_not() {
    let upstream = Upstream::start().await;
    let gw = gateway(&upstream).await;
    let gate = Gate::new();
    let mut pieces = chat_events("gpt-x", &["one"], true);
    pieces.pop();
    let events = pieces.len();
    pieces.extend(["data: [DONE]\n".to_owned(), "\n".to_owned()]);
    upstream.reply(Reply::stream(pieces).pause_after(events + 1, &gate));
    let mut request = stream_request("gpt-x");
    request["stream_options"] = json!({"include_usage": true});
    let mut open = gw.post("/v1/chat/completions").bearer(MASTER_KEY).json(&request).open().await;
    open.read_until("\"prompt_tokens\"").await;
    let early = tokio::time::timeout(Duration::from_millis(300), open.next()).await;
    assert!(early.is_err(), "a client would close now, and the row is not written: {early:?}");
    gate.open();
    assert_eq!(open.finish().await.text(), "data: [DONE]\n\n");
    assert_eq!(gw.only_row().await.status, "success");
}

#[tokio::test]
async fn odd_ends_of_a_stream_pass_byte_for_byte_and_are_successes() {
    let upstream = Upstream::start().await;
    let gw = gateway(&upstream).await;
    let whole = chat_events("gpt-x", &["one"], true).concat();
    let bodies = [
        vec![whole.clone()],
        vec![whole.clone(), ": bye\n\n".to_owned(), "data: more\n\n".to_owned()],
        vec![format!("{whole}data: more\n\n")],
        vec![whole.trim_end().to_owned()],
        whole.bytes().map(|byte| char::from(byte).to_string()).collect(),
        vec!["\n".to_owned(), whole.clone()],
    ];
    for body in &bodies {
        let mut request = stream_request("gpt-x");
        request["stream_options"] = json!({"include_usage": true});
        upstream.reply(Reply::stream(body.clone()).header("content-type", "application/json"));
        let answer = chat(&gw, &request).await.expect(200);
        assert_eq!(answer.text(), body.concat());
        let row = gw.rows().await.remove(0);
        assert_eq!(row.request_id, answer.header("x-fleetgate-request-id"));
        assert_eq!((row.status.as_str(), row.input_tokens), ("success", Some(1000)), "{body:?}");
    }
    assert_eq!(gw.rows().await.len(), bodies.len());
}

#[tokio::test]
async fn a_fallback_that_speaks_another_dialect_does_not_hide_the_providers_answer() {
    let upstream = Upstream::start().await;
    let gw = Gateway::start(|c| {
        c.model("gpt-x", &upstream).deployment("sonnet", "anthropic/claude-sonnet-4-5", &upstream, &json!({})).set(
            "router_settings",
            "fallbacks",
            json!([{"gpt-x": ["sonnet"]}]),
        )
    })
    .await;
    let said = r#"{"error":{"message":"overloaded"}}"#;
    upstream.reply(Reply::literal(503, said).header("retry-after", "7"));
    let answer = chat(&gw, &chat_request("gpt-x")).await.expect(503);
    assert_eq!((answer.text().as_str(), answer.header("retry-after")), (said, "7"));
    assert_eq!(statuses(&gw).await, [("failure".to_owned(), Some(503))]);
}

#[tokio::test]
async fn a_fallback_serves_when_the_first_is_not_there_and_both_have_rows() {
    let (upstream, gone) = (Upstream::start().await, Upstream::start().await);
    let gw = Gateway::start(|c| {
        c.model("gpt-x", &gone).model("gpt-y", &upstream).set(
            "router_settings",
            "fallbacks",
            json!([{"gpt-x": ["gpt-y"]}]),
        )
    })
    .await;
    drop(gone);
    let answer = chat(&gw, &chat_request("gpt-x")).await.expect(200);
    assert_eq!(answer.header("x-litellm-model-group"), "gpt-y");
    let rows = gw.rows().await;
    assert_eq!(rows.len(), 2, "{rows:#?}");
    assert!(rows[1].error.is_some() && rows[1].started_at <= rows[0].started_at);
    assert_eq!((rows[0].status.as_str(), rows[0].model_requested.as_str()), ("success", "gpt-x"));
}

#[tokio::test]
async fn a_provider_that_does_not_answer_in_time_is_a_504() {
    let upstream = Upstream::start().await;
    let gw = Gateway::start(|c| c.model("gpt-x", &upstream).set("litellm_settings", "request_timeout", json!(1))).await;
    upstream.always(Reply::json(200, &json!({})).held_by(&Gate::new()));
    let began = Instant::now();
    chat(&gw, &chat_request("gpt-x")).await.expect(504);
    assert!(began.elapsed() < Duration::from_secs(3));
    let row = gw.only_row().await;
    assert_eq!((row.status.as_str(), row.http_status, row.cost_nanousd), ("failure", None, None));
}

#[tokio::test]
async fn a_cut_in_the_head_is_a_failure_and_a_cut_in_a_json_body_stays_a_cut() {
    let upstream = Upstream::start().await;
    let gw = gateway(&upstream).await;
    upstream.reply(Reply::raw("HTTP/1.1 200 OK\r\ncontent-len"));
    chat(&gw, &chat_request("gpt-x")).await.expect(502);
    upstream
        .reply(Reply::raw("HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: 100\r\n\r\n{\"id\":"));
    assert!(!chat(&gw, &chat_request("gpt-x")).await.whole);
    assert_eq!(statuses(&gw).await, [("failure".to_owned(), None), ("upstream_cut".to_owned(), Some(200))]);
}

#[tokio::test]
async fn a_client_that_leaves_before_the_head_or_between_two_attempts_leaves_its_rows() {
    let upstream = Upstream::start().await;
    let gw = Gateway::start(|c| c.model("gpt-x", &upstream).set("router_settings", "num_retries", json!(1))).await;
    upstream.reply(Reply::json(200, &json!({})).held_by(&Gate::new()));
    let call = gw.post("/v1/chat/completions").bearer(MASTER_KEY).json(&chat_request("gpt-x"));
    let waiting = tokio::spawn(call.clone().try_open());
    upstream.arrived(1).await;
    waiting.abort();
    let row = eventually("the row of a call that was left", async || gw.rows().await.pop()).await;
    assert_eq!((row.status.as_str(), row.http_status), ("client_gone", None));

    upstream.reply(Reply::literal(503, "{}").header("retry-after", "9"));
    let waiting = tokio::spawn(call.try_open());
    upstream.arrived(2).await;
    eventually("the row of the first attempt", async || (gw.rows().await.len() == 2).then_some(())).await;
    waiting.abort();
    all_closed(gw.address()).await;
    assert_eq!(gw.rows().await.len(), 2);
    assert_eq!(upstream.requests().len(), 2);
}

#[tokio::test]
async fn while_the_database_cannot_be_written_calls_under_way_end_well_and_new_ones_are_refused() {
    let upstream = Upstream::start().await;
    let gw = gateway(&upstream).await;
    let gate = Gate::new();
    upstream.reply(Reply::stream(chat_events("gpt-x", &["one"], true)).pause_after(2, &gate));
    let mut open = gw.post("/v1/chat/completions").bearer(MASTER_KEY).json(&stream_request("gpt-x")).open().await;
    open.read_until("\"one\"").await;
    sql(&gw, "ALTER TABLE entry RENAME TO entry_away");
    // Its row is in the journal, durable, whatever the database says.
    chat(&gw, &chat_request("gpt-x")).await.expect(200);
    eventually("the trouble is noticed", async || {
        (gw.get("/health/readiness").send().await.status == 503).then_some(())
    })
    .await;
    gate.open();
    let answer = open.finish().await;
    assert!(answer.whole && answer.text().contains("[DONE]"), "{}", answer.text());
    let refused =
        gw.post("/v1/messages").bearer(MASTER_KEY).json(&anthropic::request("sonnet")).send().await.expect(503);
    assert_eq!(
        (refused.header("x-fleetgate-reason"), &refused.json()["type"]),
        ("ledger_unavailable", &json!("error"))
    );
    assert_eq!(upstream.requests().len(), 2, "nothing is spent that cannot be written down");
    sql(&gw, "ALTER TABLE entry_away RENAME TO entry");
    eventually("the ledger writes again", async || {
        (gw.get("/health/readiness").send().await.status == 200).then_some(())
    })
    .await;
    assert_eq!(gw.rows().await.len(), 2, "no row was lost");
    chat(&gw, &chat_request("gpt-x")).await.expect(200);
}

#[tokio::test]
async fn an_answer_may_be_read_to_its_end_for_the_sake_of_its_row() {
    let upstream = Upstream::start().await;
    let gw = Gateway::start(|c| {
        c.deployment("gpt-x", "openai/gpt-4.1-mini", &upstream, &json!({})).set(
            "fleetgate",
            "on_client_gone",
            json!("finish"),
        )
    })
    .await;
    let gate = Gate::new();
    upstream.reply(Reply::stream(chat_events("gpt-4.1-mini", &["one", "two"], true)).pause_after(2, &gate));
    let mut open = gw.post("/v1/chat/completions").bearer(MASTER_KEY).json(&stream_request("gpt-x")).open().await;
    open.read_until("\"one\"").await;
    drop(open);
    all_closed(gw.address()).await;
    gate.open();
    let row = eventually("the row of the call", async || gw.rows().await.pop()).await;
    assert_eq!((row.status.as_str(), row.usage_source.as_str()), ("client_gone", "provider"));
    assert!(row.cost_nanousd.is_some(), "{row:?}");

    // The same where not even the head had come.
    let gate = Gate::new();
    upstream.reply(
        Reply::json(200, &json!({"id": "late", "usage": {"prompt_tokens": 7, "completion_tokens": 1}})).held_by(&gate),
    );
    let waiting =
        tokio::spawn(gw.post("/v1/chat/completions").bearer(MASTER_KEY).json(&chat_request("gpt-x")).try_open());
    upstream.arrived(2).await;
    waiting.abort();
    all_closed(gw.address()).await;
    gate.open();
    let row = eventually("the second row", async || {
        let rows = gw.rows().await;
        (rows.len() == 2).then(|| rows[0].clone())
    })
    .await;
    assert_eq!((row.status.as_str(), row.input_tokens), ("client_gone", Some(7)));
}
