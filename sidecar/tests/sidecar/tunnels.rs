//! `CONNECT`, chained to the gateway.

use fleetgate_wire::ExposeSecret;
use fleetgate_wire::virtual_key::VirtualKey;
use tokio::io::AsyncWriteExt;

use crate::world::{FakeGateway, HOST_KEY, MARK, World, header, status};

#[tokio::test]
async fn early_bytes_of_both_sides_are_kept() {
    let gateway = FakeGateway::bind().await;
    let world = World::start(gateway.address()).await;
    let mut client = world.client().await;
    client
        .send(
            "CONNECT API.example.com:443 HTTP/1.1\r\nHost: api.example.com:443\r\nUser-Agent: curl/8\r\n\
             Proxy-Authorization: Basic c3RyYW5nZXI6eA==\r\nX-Other: 1\r\n\r\nearly",
        )
        .await;
    let mut upstream = gateway.accept().await;
    let head = upstream.head().await;
    assert!(head.starts_with("CONNECT api.example.com:443 HTTP/1.1\r\n"), "{head}");
    assert_eq!(header(&head, "host"), Some("api.example.com:443"));
    assert_eq!(header(&head, "proxy-authorization"), Some(format!("Bearer {HOST_KEY}").as_str()));
    assert_eq!(header(&head, "x-fleetgate-host"), Some("mac"));
    assert_eq!(header(&head, "user-agent"), Some("curl/8"));
    assert_eq!(header(&head, "x-other"), None);

    upstream.send(&format!("HTTP/1.1 200 Connection established\r\n{MARK}\r\nbanner")).await;
    let head = client.head().await;
    assert_eq!(status(&head), 200);
    // A length or an encoding here would make clients wait for a body (RFC 9110 §9.3.6).
    assert_eq!((header(&head, "content-length"), header(&head, "transfer-encoding")), (None, None));
    assert_eq!(client.read(6).await, "banner");
    assert_eq!(upstream.read(5).await, "early");
    client.send("more").await;
    assert_eq!(upstream.read(4).await, "more");

    // One way may end before the other.
    client.0.shutdown().await.unwrap();
    assert_eq!(upstream.rest().await, "");
    upstream.send("last words").await;
    drop(upstream);
    assert_eq!(client.rest().await, "last words");
}

#[tokio::test]
async fn what_the_gateway_refuses_is_passed_on_with_its_reason() {
    let gateway = FakeGateway::bind().await;
    let world = World::start(gateway.address()).await;
    let refusal = format!(
        "HTTP/1.1 403 Forbidden\r\n{MARK}x-fleetgate-reason: destination_private\r\nContent-Length: 4\r\n\r\nmesh"
    );
    let request = "CONNECT 10.0.0.1:443 HTTP/1.1\r\nHost: 10.0.0.1:443\r\n\r\n";
    let (answer, _) = tokio::join!(world.ask(request), gateway.serve_one(&refusal));
    assert_eq!((status(&answer), header(&answer, "x-fleetgate-reason")), (403, Some("destination_private")));
    assert!(answer.ends_with("mesh"), "{answer}");
}

#[tokio::test]
async fn a_minted_key_in_the_proxy_address_passes() {
    let gateway = FakeGateway::bind().await;
    let world = World::start(gateway.address()).await;
    let own = VirtualKey::mint().unwrap();
    let request = format!(
        "CONNECT a.example:443 HTTP/1.1\r\nHost: a.example:443\r\nProxy-Authorization: Bearer {}\r\n\r\n",
        own.expose_secret()
    );
    let refusal = format!("HTTP/1.1 403 Forbidden\r\n{MARK}Content-Length: 0\r\n\r\n");
    let (_, head) = tokio::join!(world.ask(&request), gateway.serve_one(&refusal));
    assert_eq!(header(&head, "proxy-authorization"), Some(format!("Bearer {}", own.expose_secret()).as_str()));
}

#[tokio::test]
async fn a_gateway_that_is_away_or_is_none_is_named() {
    let closed = FakeGateway::bind().await.address();
    let world = World::start(closed).await;
    let request = "CONNECT a.example:443 HTTP/1.1\r\nHost: a.example:443\r\n\r\n";
    let answer = world.ask(request).await;
    assert_eq!((status(&answer), header(&answer, "x-fleetgate-reason")), (502, Some("gateway_refused")));

    let other = FakeGateway::bind().await;
    let world = World::start(other.address()).await;
    let (answer, _) = tokio::join!(world.ask(request), other.serve_one("HTTP/1.1 200 OK\r\n\r\n"));
    assert_eq!((status(&answer), header(&answer, "x-fleetgate-reason")), (502, Some("not_a_gateway")));
}
