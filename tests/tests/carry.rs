//! How the sidecar carries calls: what is passed on and what is not, and when a call is sent a second time.

use std::net::SocketAddr;

use fleetgate_tests::client::raw;
use fleetgate_tests::closed_port::ClosedPort;
use fleetgate_tests::raw_gateway::RawGateway;
use fleetgate_tests::{Sidecar, eventually};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

const KEY: &str = "sk-fg-0123456789abcdef";
const WAITS: &str = "fleetgate_sidecar_waits_total";
const RETRIES: &str = "fleetgate_sidecar_retries_total";

async fn pair() -> (RawGateway, Sidecar) {
    let gateway = RawGateway::start().await;
    let sidecar = Sidecar::for_host("mac").gateway_url(&gateway.url()).key(KEY).start().await;
    (gateway, sidecar)
}

fn post(body: &str) -> String {
    format!(
        "POST /v1/x HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\nContent-Length: {}\r\n\r\n{body}",
        body.len()
    )
}

/// A client that sends this and reads to the end.
fn client(sidecar: &Sidecar, request: &str) -> tokio::task::JoinHandle<String> {
    let (address, request): (SocketAddr, _) = (sidecar.address(), request.to_owned());
    tokio::spawn(async move { raw(address, request.as_bytes()).await })
}

async fn answered(client: tokio::task::JoinHandle<String>) -> String {
    client.await.unwrap_or_else(|error| panic!("{error}"))
}

/// One whole call, after which the sidecar keeps a connection.
async fn warm(gateway: &RawGateway, sidecar: &Sidecar) -> fleetgate_tests::raw_gateway::RawConnection {
    let call = client(sidecar, &post("one"));
    let mut connection = gateway.accept().await;
    connection.read_until("one").await;
    connection.answer("1").await;
    assert!(answered(call).await.ends_with("\r\n\r\n1"));
    kept(gateway, sidecar, 1).await;
    connection
}

async fn kept(gateway: &RawGateway, sidecar: &Sidecar, count: u64) {
    let name = format!("fleetgate_sidecar_gateway_idle_connections{{gateway=\"{}\"}}", gateway.url());
    eventually("idle connections", async || (sidecar.count(&name).await == count).then_some(())).await;
}

#[tokio::test]
async fn one_connection_serves_one_call_after_the_other() {
    let (gateway, sidecar) = pair().await;
    let mut connection = warm(&gateway, &sidecar).await;
    for body in ["two", "three"] {
        let call = client(&sidecar, &post(body));
        connection.read_until(body).await;
        connection.answer(body).await;
        assert!(answered(call).await.ends_with(body));
        kept(&gateway, &sidecar, 1).await;
    }
}

#[tokio::test]
async fn a_connection_that_was_closed_while_idle_is_no_error() {
    let (gateway, sidecar) = pair().await;
    drop(warm(&gateway, &sidecar).await);
    kept(&gateway, &sidecar, 0).await;
    let call = client(&sidecar, &post("two"));
    let mut connection = gateway.accept().await;
    connection.read_until("two").await;
    connection.answer("2").await;
    assert!(answered(call).await.ends_with("\r\n\r\n2"));
}

#[tokio::test]
async fn a_call_that_the_gateway_may_have_begun_is_not_sent_twice() {
    let (gateway, sidecar) = pair().await;
    let mut connection = warm(&gateway, &sidecar).await;
    let call = client(&sidecar, &post("two"));
    connection.read_until("two").await;
    drop(connection);
    let answer = answered(call).await;
    assert!(answer.starts_with("HTTP/1.1 502") && answer.contains("gateway_gone"), "{answer}");
    assert_eq!(sidecar.count(RETRIES).await, 0);
    // What comes next on a new connection is the next call.
    let next = client(&sidecar, &post("three"));
    let mut connection = gateway.accept().await;
    assert!(connection.read_until("three").await.starts_with("POST"));
    connection.answer("3").await;
    assert!(answered(next).await.ends_with('3'));
}

#[tokio::test]
async fn a_question_that_changes_nothing_is_asked_again_when_a_kept_connection_breaks() {
    let (gateway, sidecar) = pair().await;
    let mut connection = warm(&gateway, &sidecar).await;
    let call = client(&sidecar, "GET /v1/models HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n");
    connection.read_head().await;
    drop(connection);
    let mut connection = gateway.accept().await;
    assert!(connection.read_head().await.starts_with("GET /v1/models HTTP/1.1\r\n"));
    connection.answer("[]").await;
    assert!(answered(call).await.ends_with("[]"));
    assert_eq!(sidecar.count(RETRIES).await, 1);

    // Once, and not for ever.
    kept(&gateway, &sidecar, 1).await;
    let call = client(&sidecar, "GET /v1/models HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n");
    connection.read_head().await;
    drop(connection);
    let mut connection = gateway.accept().await;
    connection.read_head().await;
    drop(connection);
    assert!(answered(call).await.starts_with("HTTP/1.1 502"));
}

#[tokio::test]
async fn a_call_whose_body_had_not_begun_goes_out_again() {
    let (gateway, sidecar) = pair().await;
    let mut connection = warm(&gateway, &sidecar).await;
    let mut stream = TcpStream::connect(sidecar.address()).await.unwrap_or_else(|e| panic!("{e}"));
    let write = async |stream: &mut TcpStream, text: &str| {
        stream.write_all(text.as_bytes()).await.unwrap_or_else(|e| panic!("{e}"));
    };
    write(&mut stream, "POST /v1/x HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\nContent-Length: 3\r\n\r\n")
        .await;
    connection.read_head().await;
    drop(connection);
    let mut connection = gateway.accept().await;
    connection.read_head().await;
    write(&mut stream, "two").await;
    connection.read_until("two").await;
    connection.answer("2").await;
    let mut answer = String::new();
    stream.read_to_string(&mut answer).await.unwrap_or_else(|e| panic!("{e}"));
    assert!(answer.starts_with("HTTP/1.1 200") && answer.ends_with('2'), "{answer}");
    assert_eq!(sidecar.count(RETRIES).await, 1);
}

#[tokio::test]
async fn a_gateway_that_says_close_gets_its_next_call_on_a_new_connection() {
    let (gateway, sidecar) = pair().await;
    let _idle = warm(&gateway, &sidecar).await;
    // A second connection at the same time: the first is in use.
    let first = client(&sidecar, &post("first"));
    let mut connection = _idle;
    connection.read_until("first").await;
    let second = client(&sidecar, &post("second"));
    let mut other = gateway.accept().await;
    other.read_until("second").await;
    other.answer("2").await;
    answered(second).await;
    kept(&gateway, &sidecar, 1).await;
    connection
        .write("HTTP/1.1 200 OK\r\nx-fleetgate-gateway: test\r\nconnection: close\r\ncontent-length: 1\r\n\r\n1")
        .await;
    let answer = answered(first).await;
    assert!(answer.ends_with('1'), "{answer}");
    assert!(other.is_closed_by_peer().await, "the idle one goes too: the gateway is about to end");
    kept(&gateway, &sidecar, 0).await;
}

#[tokio::test]
async fn a_call_waits_for_a_gateway_that_is_being_restarted() {
    let port = ClosedPort::new().unwrap_or_else(|e| panic!("{e}"));
    let address = port.address();
    let sidecar = Sidecar::for_host("mac").gateway_url(&format!("http://{address}")).key(KEY);
    let sidecar = sidecar.arguments(&["--gateway-patience", "60"]).start().await;
    let call = client(&sidecar, &post("one"));
    eventually("the call waits", async || (sidecar.count(WAITS).await == 1).then_some(())).await;
    drop(port);
    let gateway = RawGateway::start_at(address).await;
    // The sidecar asks whether it is a gateway before it lets calls go there.
    let mut probe = gateway.accept().await;
    assert!(probe.read_head().await.starts_with("GET /health/liveliness "));
    probe.answer("true").await;
    // The call takes a connection of its own, or that of the question.
    let mut connection = tokio::select! {
        connection = gateway.accept() => connection,
        _ = probe.read_until("one") => { probe.answer("1").await; assert!(answered(call).await.ends_with('1')); return }
    };
    connection.read_until("one").await;
    connection.answer("1").await;
    assert!(answered(call).await.ends_with('1'));
}

#[tokio::test]
async fn only_the_first_call_waits_for_a_gateway_that_does_not_come_back() {
    let port = ClosedPort::new().unwrap_or_else(|e| panic!("{e}"));
    let sidecar = Sidecar::for_host("mac").gateway_url(&format!("http://{}", port.address())).key(KEY);
    let sidecar = sidecar.arguments(&["--gateway-patience", "0.3"]).start().await;
    for _ in 0..3 {
        let answer = answered(client(&sidecar, &post("one"))).await;
        assert!(answer.starts_with("HTTP/1.1 502") && answer.contains("gateway_refused"), "{answer}");
    }
    assert_eq!(sidecar.count(WAITS).await, 1);
    assert_eq!(sidecar.count("fleetgate_sidecar_errors_total{reason=\"gateway_refused\"}").await, 3);
}

#[tokio::test]
async fn trailers_pass_both_ways_when_the_client_says_that_it_reads_them() {
    let (gateway, sidecar) = pair().await;
    let request = "POST /v1/x HTTP/1.1\r\nHost: localhost\r\nTE: trailers\r\nConnection: close, TE\r\nTrailer: x-sum\r\n\
                   Transfer-Encoding: chunked\r\n\r\n3\r\none\r\n0\r\nx-sum: 7\r\n\r\n";
    let call = client(&sidecar, request);
    let mut connection = gateway.accept().await;
    let head = connection.read_head().await;
    for line in ["\r\nte: trailers\r\n", "\r\nconnection: te\r\n", "\r\ntrailer: x-sum\r\n"] {
        assert!(head.to_ascii_lowercase().contains(line), "{line} is missing: {head}");
    }
    let body = connection.read_until("\r\n\r\n").await;
    assert_eq!(body.to_ascii_lowercase(), "3\r\none\r\n0\r\nx-sum: 7\r\n\r\n");
    let answer = "HTTP/1.1 200 OK\r\nx-fleetgate-gateway: test\r\ntrailer: x-cost\r\ntransfer-encoding: chunked\r\n\r\n\
                  2\r\nok\r\n0\r\nx-cost: 9\r\n\r\n";
    connection.write(answer).await;
    let seen = answered(call).await.to_ascii_lowercase();
    assert!(seen.contains("trailer: x-cost") && seen.ends_with("2\r\nok\r\n0\r\nx-cost: 9\r\n\r\n"), "{seen}");

    // Who does not say so gets the body, and no fields that it would not understand.
    kept(&gateway, &sidecar, 1).await;
    let call = client(&sidecar, &post("two"));
    assert!(!connection.read_until("two").await.to_ascii_lowercase().contains("\r\nte:"));
    connection.write(answer).await;
    let seen = answered(call).await;
    assert!(seen.ends_with("2\r\nok\r\n0\r\n\r\n"), "{seen}");
}

#[tokio::test]
async fn lengths_and_chunks_are_framed_as_they_came() {
    let (gateway, sidecar) = pair().await;
    let cases = [
        ("Content-Length: 0\r\n\r\n", "content-length: 0", ""),
        ("Content-Length: 3\r\n\r\none", "content-length: 3", "one"),
        (
            "Transfer-Encoding: chunked\r\n\r\n3\r\none\r\n0\r\n\r\n",
            "transfer-encoding: chunked",
            "3\r\none\r\n0\r\n\r\n",
        ),
    ];
    let mut connection = None;
    for (rest, framing, body) in cases {
        let call = client(&sidecar, &format!("POST /v1/x HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n{rest}"));
        let mut line = match connection.take() {
            Some(line) => line,
            None => gateway.accept().await,
        };
        let head = line.read_head().await.to_ascii_lowercase();
        assert!(head.contains(&format!("\r\n{framing}\r\n")), "{framing}: {head}");
        line.read_until(body).await;
        line.answer("ok").await;
        assert!(answered(call).await.ends_with("ok"));
        kept(&gateway, &sidecar, 1).await;
        connection = Some(line);
    }
}

#[tokio::test]
async fn answers_without_a_body_keep_the_connection() {
    let (gateway, sidecar) = pair().await;
    let mut connection = warm(&gateway, &sidecar).await;
    let marker = "x-fleetgate-gateway: test\r\n";
    for (method, answer, expected) in [
        ("HEAD", format!("HTTP/1.1 200 OK\r\n{marker}content-length: 1234\r\n\r\n"), "content-length: 1234"),
        ("GET", format!("HTTP/1.1 204 No Content\r\n{marker}\r\n"), "204 No Content"),
        ("GET", format!("HTTP/1.1 304 Not Modified\r\n{marker}etag: \"x\"\r\n\r\n"), "etag: \"x\""),
        // Hints that come before the answer go no further; the answer does.
        (
            "GET",
            format!(
                "HTTP/1.1 103 Early Hints\r\nlink: </x>\r\n\r\nHTTP/1.1 200 OK\r\n{marker}content-length: 0\r\n\r\n"
            ),
            "200 OK",
        ),
    ] {
        let call =
            client(&sidecar, &format!("{method} /v1/x HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n"));
        connection.read_head().await;
        connection.write(&answer).await;
        let seen = answered(call).await;
        assert!(seen.contains(expected) && seen.ends_with("\r\n\r\n") && !seen.contains("103"), "{method}: {seen}");
        kept(&gateway, &sidecar, 1).await;
    }
}

#[tokio::test]
async fn a_client_that_waits_for_continue_is_told_so_only_when_there_is_a_gateway() {
    let (gateway, sidecar) = pair().await;
    let mut stream = TcpStream::connect(sidecar.address()).await.unwrap_or_else(|e| panic!("{e}"));
    let head = "POST /v1/x HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\nExpect: 100-continue\r\nContent-Length: 3\r\n\r\n";
    stream.write_all(head.as_bytes()).await.unwrap_or_else(|e| panic!("{e}"));
    let mut told = [0; 25];
    stream.read_exact(&mut told).await.unwrap_or_else(|e| panic!("{e}"));
    assert_eq!(&told, b"HTTP/1.1 100 Continue\r\n\r\n");
    let mut connection = gateway.accept().await;
    assert!(!connection.read_head().await.to_ascii_lowercase().contains("expect"));
    stream.write_all(b"one").await.unwrap_or_else(|e| panic!("{e}"));
    connection.read_until("one").await;
    connection.answer("1").await;
    let mut answer = String::new();
    stream.read_to_string(&mut answer).await.unwrap_or_else(|e| panic!("{e}"));
    assert!(answer.starts_with("HTTP/1.1 200"), "{answer}");

    let port = ClosedPort::new().unwrap_or_else(|e| panic!("{e}"));
    let alone = Sidecar::for_host("mac").gateway_url(&format!("http://{}", port.address())).key(KEY);
    let alone = alone.arguments(&["--gateway-patience", "0"]).start().await;
    let answer = answered(client(&alone, head)).await;
    assert!(answer.starts_with("HTTP/1.1 502"), "the body is not asked for: {answer}");
}

#[tokio::test]
async fn no_proxy_of_the_environment_comes_between() {
    let gateway = RawGateway::start().await;
    let port = ClosedPort::new().unwrap_or_else(|e| panic!("{e}"));
    let proxy = format!("http://{}", port.address());
    let mut settings = Sidecar::for_host("mac").gateway_url(&gateway.url()).key(KEY);
    for name in ["HTTP_PROXY", "http_proxy", "HTTPS_PROXY", "https_proxy", "ALL_PROXY", "all_proxy"] {
        settings = settings.variable(name, &proxy);
    }
    let sidecar = settings.start().await;
    warm(&gateway, &sidecar).await;
}

#[tokio::test]
async fn a_websocket_is_told_to_use_plain_calls() {
    let (_gateway, sidecar) = pair().await;
    let request = "GET /v1/responses HTTP/1.1\r\nHost: localhost\r\nConnection: Upgrade, close\r\nUpgrade: websocket\r\n\
                   Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n";
    let answer = answered(client(&sidecar, request)).await;
    assert!(answer.starts_with("HTTP/1.1 426"), "{answer}");
}
