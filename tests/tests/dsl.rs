//! The fake provider does what its script says, seen through the bare pass-through proxy: a test that relies on a cut, a
//! reset or a pause must be able to.

#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a broken expectation is a failed test")]

use fleetgate_tests::process::{Program, Running};
use fleetgate_tests::upstream::openai::{chat_events, chat_request, stream_request};
use fleetgate_tests::wait::Gate;
use fleetgate_tests::{Call, Reply, Upstream};
use http::Method;
use tempfile::TempDir;

async fn floor(upstream: &Upstream, dir: &TempDir) -> Running {
    let program = Program::new("fleetgate-floor", dir.path()).args([upstream.address().to_string()]);
    program.serve(&dir.path().join("floor.log")).await
}

fn post(proxy: &Running) -> Call {
    Call::new(proxy.address(), Method::POST, "/v1/chat/completions")
}

#[tokio::test]
async fn an_answer_passes_and_its_request_is_recorded() {
    let (upstream, dir) = (Upstream::start().await, TempDir::new().unwrap());
    let proxy = floor(&upstream, &dir).await;
    let answer = post(&proxy).json(&chat_request("m")).bearer("k").send().await.expect(200);
    assert_eq!(answer.json()["usage"]["prompt_tokens"], 1000);
    let request = upstream.only_request();
    assert_eq!((request.path.as_str(), request.header("authorization")), ("/v1/chat/completions", "Bearer k"));
    assert_eq!(request.json(), chat_request("m"));

    let stream = post(&proxy).json(&stream_request("m")).send().await.expect(200);
    assert_eq!(stream.text(), chat_events("m", &["Hel", "lo"], false).concat());
}

#[tokio::test]
async fn a_cut_and_a_reset_are_cuts_and_what_came_before_them_arrives() {
    let upstream = Upstream::start().await;
    let script = Reply::stream(["data: one\n\n", "data: two\n\n"]);
    for reply in [script.clone().close_after(1), script.reset_after(1)] {
        upstream.reply(reply);
        // Straight: the bare proxy promises nothing about what it has buffered when an answer breaks.
        let call = Call::new(upstream.address(), Method::POST, "/v1/chat/completions");
        let answer = call.json(&stream_request("m")).send().await;
        assert_eq!((answer.text().as_str(), answer.whole), ("data: one\n\n", false));
    }
}

#[tokio::test]
async fn literal_bytes_and_held_answers() {
    let (upstream, dir) = (Upstream::start().await, TempDir::new().unwrap());
    let proxy = floor(&upstream, &dir).await;
    upstream.reply(Reply::raw("HTTP/1.1 418 Teapot\r\nX-Odd: 1\r\nContent-Length: 3\r\n\r\nhey"));
    let answer = post(&proxy).json(&chat_request("m")).send().await.expect(418);
    assert_eq!((answer.header("x-odd"), answer.text().as_str()), ("1", "hey"));

    let gate = Gate::new();
    upstream.reply(Reply::stream(["first", "second"]).pause_after(1, &gate));
    let mut open = post(&proxy).json(&stream_request("m")).open().await;
    assert_eq!(open.read_until("first").await, "first");
    gate.open();
    assert_eq!(open.finish().await.text(), "second");
}

#[tokio::test]
async fn a_client_that_goes_away_is_noticed_upstream() {
    let (upstream, dir) = (Upstream::start().await, TempDir::new().unwrap());
    let proxy = floor(&upstream, &dir).await;
    let gate = Gate::new();
    upstream.reply(Reply::stream(["first", "second"]).pause_after(1, &gate));
    let mut open = post(&proxy).json(&stream_request("m")).open().await;
    open.read_until("first").await;
    drop(open);
    upstream.abandoned().await;
}
