//! Who may not talk to us, and what they hear.

use crate::world::{FakeGateway, World, header, status};

/// Request, status, reason.
const REFUSED: &[(&str, u16, &str)] = &[
    ("POST /v1/messages HTTP/1.1\r\nHost: evil.example:4000\r\n\r\n", 403, "foreign_host"),
    ("GET /__fleetgate/health HTTP/1.1\r\nHost: rebound.example\r\n\r\n", 403, "foreign_host"),
    ("POST /v1/messages HTTP/1.1\r\nHost: localhost\r\nOrigin: http://localhost:4000\r\n\r\n", 403, "browser_request"),
    ("GET /__fleetgate/whoami HTTP/1.1\r\nHost: localhost\r\nOrigin: null\r\n\r\n", 403, "browser_request"),
    ("GET / HTTP/1.1\r\nHost: localhost\r\nSec-Fetch-Site: same-origin\r\n\r\n", 403, "browser_request"),
    ("OPTIONS /v1/messages HTTP/1.1\r\nHost: localhost\r\nOrigin: https://a.example\r\n\r\n", 403, "browser_request"),
    (
        "CONNECT a.example:443 HTTP/1.1\r\nHost: a.example:443\r\nOrigin: https://a.example\r\n\r\n",
        403,
        "browser_request",
    ),
    ("POST /v1/messages HTTP/1.1\r\n\r\n", 400, "missing_host"),
    ("POST /v1/messages HTTP/1.1\r\nHost: localhost\r\nHost: localhost\r\n\r\n", 400, "missing_host"),
    ("GET http://example.com/ HTTP/1.1\r\nHost: example.com\r\n\r\n", 400, "absolute_form"),
    ("OPTIONS * HTTP/1.1\r\nHost: localhost\r\n\r\n", 400, "bad_target"),
    ("CONNECT 127.1:443 HTTP/1.1\r\nHost: 127.1:443\r\n\r\n", 400, "bad_target"),
    ("POST /v1/messages HTTP/1.1\r\nHost: localhost\r\nContent-Type: text/plain\r\n\r\n", 415, "text_plain"),
    (
        "GET /v1/responses HTTP/1.1\r\nHost: localhost\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n",
        426,
        "websocket",
    ),
    ("POST /v1/messages HTTP/1.1\r\nHost: localhost\r\nx-fleetgate-sidecar: 0.1.0\r\n\r\n", 508, "loop"),
    ("GET /__fleetgate/keys HTTP/1.1\r\nHost: localhost\r\n\r\n", 404, "unknown_path"),
];

#[tokio::test]
async fn strangers_are_refused_with_a_reason_and_the_gateway_never_hears_of_them() {
    let gateway = FakeGateway::bind().await;
    let world = World::start(gateway.address()).await;
    for (request, expected, reason) in REFUSED {
        let answer = world.ask(request).await;
        assert_eq!((status(&answer), header(&answer, "x-fleetgate-reason")), (*expected, Some(*reason)), "{request}");
        assert!(!answer.to_lowercase().contains("access-control-"), "{answer}");
        assert!(answer.contains("\"error\""), "{answer}");
    }
    assert!(gateway.is_unvisited());
}

#[tokio::test]
async fn a_refused_client_may_send_its_whole_body_first() {
    let gateway = FakeGateway::bind().await;
    let world = World::start(gateway.address()).await;
    let body = "x".repeat(8 * 1024 * 1024);
    let head = format!("POST /v1/messages HTTP/1.1\r\nHost: evil.example\r\nContent-Length: {}\r\n\r\n", body.len());
    assert_eq!(status(&world.ask(&(head + &body)).await), 403);
}

#[tokio::test]
async fn health_is_answered_without_a_gateway_and_ready_is_not() {
    let closed = FakeGateway::bind().await.address();
    let world = World::start(closed).await;
    let get = |path: &str| format!("GET /__fleetgate/{path} HTTP/1.1\r\nHost: 127.0.0.1:4000\r\n\r\n");
    assert_eq!(status(&world.ask(&get("health")).await), 200);
    assert_eq!(status(&world.ask(&get("version")).await), 200);
    let ready = world.ask(&get("ready")).await;
    assert_eq!((status(&ready), header(&ready, "x-fleetgate-reason")), (503, Some("gateway_refused")));
    let whoami = world.ask(&get("whoami")).await;
    assert!(whoami.contains(r#""host":"mac""#) && whoami.contains(r#""state":"found""#), "{whoami}");
    assert!(!whoami.contains("canary"), "{whoami}");
}

#[tokio::test]
async fn ready_needs_a_living_gateway() {
    let gateway = FakeGateway::bind().await;
    let world = World::start(gateway.address()).await;
    let answer = crate::world::ok();
    let request = "GET /__fleetgate/ready HTTP/1.1\r\nHost: localhost\r\n\r\n";
    let (ready, head) = tokio::join!(world.ask(request), gateway.serve_one(&answer));
    assert_eq!(status(&ready), 200, "{ready}");
    assert!(head.starts_with("GET /health/liveliness HTTP/1.1\r\n"));
    assert_eq!(header(&head, "authorization"), None);
}

#[tokio::test]
async fn our_own_address_in_absolute_form_is_ours() {
    let gateway = FakeGateway::bind().await;
    let world = World::start(gateway.address()).await;
    let port = world.address.port();
    let request = format!("GET http://localhost:{port}/__fleetgate/health HTTP/1.1\r\nHost: localhost:{port}\r\n\r\n");
    assert_eq!(status(&world.ask(&request).await), 200);
}
