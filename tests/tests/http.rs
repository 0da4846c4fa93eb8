//! HTTP itself: methods, versions, framing, and what strangers try with it.

#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a broken expectation is a failed test")]

use fleetgate_tests::client::raw;
use fleetgate_tests::upstream::openai::chat_request;
use fleetgate_tests::{Gateway, MASTER_KEY, Upstream};

async fn gateway(upstream: &Upstream) -> Gateway {
    Gateway::start(|c| c.model("gpt-x", upstream)).await
}

fn head(version: &str, more: &str) -> String {
    format!("POST /v1/chat/completions HTTP/{version}\r\nhost: x\r\nauthorization: Bearer {MASTER_KEY}\r\n{more}")
}

#[tokio::test]
async fn a_body_with_two_framings_is_read_once_and_framed_anew() {
    let upstream = Upstream::start().await;
    let gw = gateway(&upstream).await;
    let body = chat_request("gpt-x").to_string();
    let hidden = "GET /smuggled HTTP/1.1\r\nhost: x\r\n\r\n";
    let chunked = format!("{:x}\r\n{body}\r\n0\r\n\r\n", body.len());
    let headers = "content-length: 4\r\ntransfer-encoding: chunked\r\nconnection: close\r\n\r\n";
    let answer = raw(gw.address(), format!("{}{chunked}{hidden}", head("1.1", headers)).as_bytes()).await;
    assert_eq!(answer.matches("HTTP/1.1 ").count(), 1, "{answer}");
    for request in upstream.requests() {
        assert_eq!(request.text(), body);
        assert_eq!(request.header("transfer-encoding"), "");
    }
    for framing in
        ["content-length: 4\r\ncontent-length: 5", "transfer-encoding: chunked, identity", "content-length: +4"]
    {
        let refused =
            raw(gw.address(), format!("{}\r\n{chunked}", head("1.1", &format!("{framing}\r\n"))).as_bytes()).await;
        assert!(refused.starts_with("HTTP/1.1 400 "), "{framing}: {refused}");
    }
}

#[tokio::test]
async fn a_flood_of_headers_is_refused_and_a_usual_amount_is_not() {
    let upstream = Upstream::start().await;
    let gw = gateway(&upstream).await;
    let flood = format!("x-flood: {}\r\n", "a".repeat(500_000));
    let refused = raw(gw.address(), head("1.1", &format!("{flood}connection: close\r\n\r\n")).as_bytes()).await;
    assert!(refused.starts_with("HTTP/1.1 431 "), "{refused}");
    let usual = format!("x-usual: {}\r\n", "a".repeat(30_000));
    let body = chat_request("gpt-x").to_string();
    let more = format!("{usual}connection: close\r\ncontent-length: {}\r\n\r\n{body}", body.len());
    let answer = raw(gw.address(), head("1.1", &more).as_bytes()).await;
    assert!(answer.starts_with("HTTP/1.1 200 "), "{answer}");
}

#[tokio::test]
async fn requests_in_a_row_are_answered_in_their_order() {
    let upstream = Upstream::start().await;
    let gw = gateway(&upstream).await;
    let body = chat_request("gpt-x").to_string();
    let call = head("1.1", &format!("content-length: {}\r\n\r\n{body}", body.len()));
    let last = "GET /health/liveliness HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n";
    let answers = raw(gw.address(), format!("{call}{call}{last}").as_bytes()).await;
    assert_eq!(answers.matches("HTTP/1.1 200 OK").count(), 3, "{answers}");
    assert!(answers.trim_end().ends_with("\"I'm alive!\""), "{answers}");
    assert_eq!(gw.rows().await.len(), 2);
}

#[tokio::test]
async fn an_old_client_gets_a_body_that_ends_with_the_connection() {
    let upstream = Upstream::start().await;
    let gw = gateway(&upstream).await;
    let body = r#"{"model":"gpt-x","stream":true,"messages":[]}"#;
    let answer =
        raw(gw.address(), head("1.0", &format!("content-length: {}\r\n\r\n{body}", body.len())).as_bytes()).await;
    assert!(answer.contains(" 200 OK") && answer.ends_with("data: [DONE]\n\n"), "{answer}");
    assert!(!answer.contains("transfer-encoding"), "{answer}");
    assert_eq!(gw.only_row().await.status, "success");
}

#[tokio::test]
async fn other_methods_are_named_and_cost_nothing() {
    let upstream = Upstream::start().await;
    let gw = gateway(&upstream).await;
    for method in ["GET", "HEAD", "OPTIONS", "PUT", "DELETE"] {
        let request = head("1.1", "connection: close\r\n\r\n").replacen("POST", method, 1);
        let answer = raw(gw.address(), request.as_bytes()).await;
        assert!(answer.starts_with("HTTP/1.1 405 ") && answer.contains("allow: POST"), "{method}: {answer}");
    }
    let elsewhere = head("1.1", "connection: close\r\n\r\n").replacen("/v1", "http://localhost/v1", 1);
    assert!(raw(gw.address(), elsewhere.as_bytes()).await.starts_with("HTTP/1.1 400 "));
    assert!(upstream.requests().is_empty() && gw.rows().await.is_empty());
}
