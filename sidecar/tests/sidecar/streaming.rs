//! Bodies pass as they come, and a cut stays a cut.

use std::fmt::Write;

use tokio::io::{AsyncReadExt, AsyncWriteExt};

use crate::world::{FakeGateway, MARK, World, header, ok, soon, status};

const ASK: &str = "POST /v1/messages HTTP/1.1\r\nHost: localhost\r\nContent-Length: 2\r\n\r\n{}";

#[tokio::test]
async fn twenty_megabytes_go_up_byte_for_byte() {
    const LENGTH: usize = 20 * 1024 * 1024;
    let gateway = FakeGateway::bind().await;
    let world = World::start(gateway.address()).await;
    // No period that divides a buffer's length: a lost or doubled piece shows.
    let body: Vec<u8> = (0..LENGTH).map(|i| (i % 251) as u8).collect();

    let client = async {
        let mut client = world.client().await;
        client.send(&format!("POST /v1/files HTTP/1.1\r\nHost: localhost\r\nContent-Length: {LENGTH}\r\n\r\n")).await;
        soon(client.0.write_all(&body)).await.unwrap();
        client.head().await
    };
    let upstream = async {
        let mut wire = gateway.accept().await;
        let head = wire.head().await;
        assert_eq!(header(&head, "content-length"), Some(LENGTH.to_string().as_str()));
        let mut received = vec![0; LENGTH];
        soon(wire.0.read_exact(&mut received)).await.unwrap();
        wire.send(&ok()).await;
        received
    };
    let (head, received) = tokio::join!(client, upstream);
    assert_eq!(status(&head), 200);
    assert!(received == body);
}

#[tokio::test]
async fn a_body_waits_for_continue_and_chunks_stay_chunks() {
    let gateway = FakeGateway::bind().await;
    let world = World::start(gateway.address()).await;
    let mut client = world.client().await;
    client
        .send(
            "POST /v1/messages HTTP/1.1\r\nHost: localhost\r\nExpect: 100-continue\r\nTransfer-Encoding: chunked\r\n\r\n",
        )
        .await;
    let mut upstream = gateway.accept().await;
    let head = upstream.head().await;
    assert_eq!((header(&head, "expect"), header(&head, "transfer-encoding")), (None, Some("chunked")));
    assert!(client.head().await.starts_with("HTTP/1.1 100 "));
    client.send("3\r\nabc\r\n").await;
    assert_eq!(upstream.read(8).await, "3\r\nabc\r\n");
    client.send("0\r\n\r\n").await;
    assert_eq!(upstream.read(5).await, "0\r\n\r\n");
}

#[tokio::test]
async fn each_event_arrives_before_the_next_is_sent() {
    let gateway = FakeGateway::bind().await;
    let world = World::start(gateway.address()).await;
    let mut client = world.client().await;
    client.send(ASK).await;
    let mut upstream = gateway.accept().await;
    upstream.head().await;
    upstream.read(2).await;
    upstream.send(&format!("HTTP/1.1 200 OK\r\n{MARK}Content-Type: text/event-stream\r\nretry-after: 7\r\nTransfer-Encoding: chunked\r\n\r\n")).await;
    let head = client.head().await;
    assert_eq!((header(&head, "retry-after"), header(&head, "x-fleetgate-gateway")), (Some("7"), Some("0.1.0")));
    for number in 0..20 {
        let event = format!("data: {number:04}\n\n");
        let chunk = format!("{:X}\r\n{event}\r\n", event.len());
        upstream.send(&chunk).await;
        assert_eq!(client.read(chunk.len()).await, chunk);
    }
    upstream.send("0\r\n\r\n").await;
    assert_eq!(client.read(5).await, "0\r\n\r\n");
}

#[tokio::test]
async fn a_burst_of_chunks_arrives_whole_and_joined() {
    let gateway = FakeGateway::bind().await;
    let world = World::start(gateway.address()).await;
    let mut client = world.client().await;
    client.send(ASK).await;
    let mut upstream = gateway.accept().await;
    upstream.head().await;
    let mut burst = format!("HTTP/1.1 200 OK\r\n{MARK}Transfer-Encoding: chunked\r\n\r\n");
    let mut expected = String::new();
    for number in 0..1000 {
        write!(burst, "6\r\n{number:06}\r\n").unwrap();
        write!(expected, "{number:06}").unwrap();
    }
    upstream.send(&(burst + "0\r\n\r\n")).await;
    client.head().await;
    let mut body = String::new();
    let mut chunks = 0;
    loop {
        let mut size = String::new();
        while !size.ends_with("\r\n") {
            size.push_str(&client.read(1).await);
        }
        let length = usize::from_str_radix(size.trim(), 16).unwrap();
        body.push_str(client.read(length + 2).await.trim_end());
        if length == 0 {
            break;
        }
        chunks += 1;
    }
    assert_eq!(body, expected);
    assert!(chunks <= 20, "1000 chunks of one burst became {chunks}");
}

#[tokio::test]
async fn an_upstream_that_breaks_off_reaches_the_client_as_a_break() {
    for framing in ["Transfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n", "Content-Length: 100\r\n\r\nhello"] {
        let gateway = FakeGateway::bind().await;
        let world = World::start(gateway.address()).await;
        let mut client = world.client().await;
        client.send(ASK).await;
        let mut upstream = gateway.accept().await;
        upstream.head().await;
        upstream.read(2).await;
        upstream.send(&format!("HTTP/1.1 200 OK\r\n{MARK}{framing}")).await;
        client.head().await;
        let start = if framing.contains("chunked") { "5\r\nhello\r\n" } else { "hello" };
        assert_eq!(client.read(start.len()).await, start);
        drop(upstream);
        // No `0\r\n\r\n`, not as many bytes as announced, and the connection is over.
        assert_eq!(client.rest().await, "");
    }
}

#[tokio::test]
async fn a_client_that_leaves_ends_the_call_at_the_gateway() {
    for answered in [false, true] {
        let gateway = FakeGateway::bind().await;
        let world = World::start(gateway.address()).await;
        let mut client = world.client().await;
        client.send(ASK).await;
        let mut upstream = gateway.accept().await;
        upstream.head().await;
        upstream.read(2).await;
        if answered {
            upstream.send(&format!("HTTP/1.1 200 OK\r\n{MARK}Transfer-Encoding: chunked\r\n\r\n1\r\na\r\n")).await;
            client.head().await;
            client.read(6).await;
        }
        drop(client);
        assert_eq!(upstream.rest().await, "");
    }
}

#[tokio::test]
async fn connections_to_the_gateway_are_kept() {
    let gateway = FakeGateway::bind().await;
    let world = World::start(gateway.address()).await;
    let mut client = world.client().await;
    client.send(ASK).await;
    let mut upstream = gateway.accept().await;
    for round in 0..3 {
        if round > 0 {
            client.send(ASK).await;
        }
        upstream.head().await;
        upstream.read(2).await;
        upstream.send(&format!("HTTP/1.1 200 OK\r\n{MARK}Content-Length: 2\r\n\r\n{{}}")).await;
        let head = client.head().await;
        assert_eq!(client.body_of(&head).await, "{}");
    }
    assert!(gateway.is_unvisited());
}

#[tokio::test]
async fn a_call_under_way_is_finished_after_the_end_was_asked_for() {
    let gateway = FakeGateway::bind().await;
    let mut world = World::start(gateway.address()).await;
    let mut client = world.client().await;
    client.send(ASK).await;
    let mut upstream = gateway.accept().await;
    upstream.head().await;
    world.stop();
    soon(async { while tokio::net::TcpStream::connect(world.address).await.is_ok() {} }).await;
    upstream.send(&ok()).await;
    let head = client.head().await;
    assert_eq!((status(&head), client.body_of(&head).await.as_str()), (200, "{}"));
    assert_eq!(client.rest().await, "");
}
