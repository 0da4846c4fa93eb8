//! The gateway is away, dies, or is something else.

use std::sync::Arc;
use std::time::{Duration, Instant};

use crate::world::{FakeGateway, MARK, World, header, status};

fn post(path: &str) -> String {
    format!("POST {path} HTTP/1.1\r\nHost: localhost\r\nContent-Length: 2\r\n\r\n{{}}")
}

#[tokio::test]
async fn a_gateway_that_is_away_is_said_fast_and_in_the_clients_dialect() {
    let closed = FakeGateway::bind().await.address();
    let world = World::start(closed).await;
    for (path, shape) in [
        ("/v1/messages", r#"{"error":{"message":"nothing listens at "#),
        ("/v1/chat/completions", r#"{"error":{"code":"502","message":"nothing listens at "#),
        ("/v1/responses", r#"{"error":{"code":"502","message":"nothing listens at "#),
    ] {
        let began = Instant::now();
        let answer = world.ask(&post(path)).await;
        assert!(began.elapsed() < Duration::from_secs(3));
        assert_eq!((status(&answer), header(&answer, "x-fleetgate-reason")), (502, Some("gateway_refused")), "{path}");
        assert!(answer.contains(shape) && answer.contains(&closed.to_string()), "{answer}");
    }
}

#[tokio::test]
async fn the_answer_arrives_although_the_client_was_sending_much() {
    let closed = FakeGateway::bind().await.address();
    let world = World::start(closed).await;
    let body = "x".repeat(16 * 1024 * 1024);
    let head = format!("POST /v1/messages HTTP/1.1\r\nHost: localhost\r\nContent-Length: {}\r\n\r\n", body.len());
    assert_eq!(status(&world.ask(&(head + &body)).await), 502);
}

#[tokio::test]
async fn a_gateway_that_dies_while_a_call_waits_is_said_at_once() {
    let gateway = FakeGateway::bind().await;
    let world = World::start(gateway.address()).await;
    let dies = async {
        let mut wire = gateway.accept().await;
        wire.head().await;
        wire.read(2).await;
    };
    let (answer, ()) = tokio::join!(world.post(), dies);
    assert_eq!((status(&answer), header(&answer, "x-fleetgate-reason")), (502, Some("gateway_gone")));
}

#[tokio::test]
async fn a_pooled_connection_that_died_meanwhile_is_replaced() {
    let gateway = FakeGateway::bind().await;
    let world = World::start(gateway.address()).await;
    let kept = format!("HTTP/1.1 200 OK\r\n{MARK}Content-Length: 2\r\n\r\n{{}}");
    for _ in 0..3 {
        // `serve_one` drops its connection, although the answer promised to keep it.
        let (answer, _) = tokio::join!(world.post(), gateway.serve_one(&kept));
        assert_eq!(status(&answer), 200, "{answer}");
        // One turn of everything, in which the sidecar hears of it.
        world.ask("GET /__fleetgate/health HTTP/1.1\r\nHost: localhost\r\n\r\n").await;
    }
}

#[tokio::test]
async fn something_else_on_the_port_is_no_gateway() {
    let other = FakeGateway::bind().await;
    let world = World::start(other.address()).await;
    let litellm = "HTTP/1.1 401 Unauthorized\r\nserver: uvicorn\r\nContent-Length: 2\r\n\r\n{}";
    let (answer, _) = tokio::join!(world.post(), other.serve_one(litellm));
    assert_eq!((status(&answer), header(&answer, "x-fleetgate-reason")), (502, Some("not_a_gateway")));
    assert!(answer.contains("uvicorn") && answer.contains("LiteLLM"), "{answer}");
}

#[tokio::test]
async fn two_sidecars_in_a_row_are_a_loop() {
    let gateway = FakeGateway::bind().await;
    let second = World::start(gateway.address()).await;
    let first = World::start(second.address).await;
    let answer = first.post().await;
    assert_eq!((status(&answer), header(&answer, "x-fleetgate-reason")), (508, Some("loop")), "{answer}");
    assert!(gateway.is_unvisited());
}

#[tokio::test]
async fn a_name_without_an_address_is_a_dns_matter() {
    let gateway: fleetgate_sidecar::forward::GatewayUrl = "http://gateway.invalid:4000".parse().unwrap();
    let gateway = fleetgate_sidecar::forward::Gateway::new(&[gateway], Duration::ZERO, Arc::default());
    assert_eq!(gateway.check_alive().await.unwrap_err().refusal().reason, "gateway_dns");
}

/// A full backlog drops connection attempts as a firewall does.
#[cfg(target_os = "linux")]
#[tokio::test]
async fn a_gateway_that_drops_packets_is_said_within_three_seconds() {
    let deaf = socket2::Socket::new(socket2::Domain::IPV4, socket2::Type::STREAM, None).unwrap();
    deaf.bind(&"127.0.0.1:0".parse::<std::net::SocketAddr>().unwrap().into()).unwrap();
    deaf.listen(0).unwrap();
    let address = deaf.local_addr().unwrap().as_socket().unwrap();
    let mut queue = Vec::new();
    while let Ok(Ok(stream)) =
        tokio::time::timeout(Duration::from_millis(200), tokio::net::TcpStream::connect(address)).await
    {
        queue.push(stream);
    }
    let world = World::start(address).await;
    let began = Instant::now();
    let answer = world.post().await;
    assert!(began.elapsed() < Duration::from_secs(3), "{:?}", began.elapsed());
    assert_eq!((status(&answer), header(&answer, "x-fleetgate-reason")), (504, Some("gateway_timeout")), "{answer}");
    assert!(answer.contains("mesh ACL"), "{answer}");
}
