//! Whatever the client sends, the gateway sees this host's key.

use fleetgate_wire::ExposeSecret;
use fleetgate_wire::header::CREDENTIALS;
use fleetgate_wire::virtual_key::VirtualKey;

use crate::world::{FakeGateway, HOST_KEY, World, header, ok, status, write_key};

async fn seen_by_gateway(world: &World, gateway: &FakeGateway, target: &str, lines: &str) -> String {
    let request = format!("POST {target} HTTP/1.1\r\nHost: localhost:4000\r\n{lines}Content-Length: 2\r\n\r\n{{}}");
    let answer = ok();
    let (answer, head) = tokio::join!(world.ask(&request), gateway.serve_one(&answer));
    assert_eq!(status(&answer), 200, "{answer}");
    head
}

#[tokio::test]
async fn every_credential_of_a_client_is_exchanged_for_the_hosts() {
    let gateway = FakeGateway::bind().await;
    for name in &CREDENTIALS {
        // A world of its own: pooled connections would hide the next request from a gateway that reads one per connection.
        let world = World::start(gateway.address()).await;
        let lines = format!("{name}: Bearer sk-ant-stranger-000000000\r\n");
        let head = seen_by_gateway(&world, &gateway, "/v1/messages", &lines).await;
        assert!(!head.contains("stranger"), "{name}: {head}");
        assert_eq!(header(&head, "authorization"), Some(format!("Bearer {HOST_KEY}").as_str()), "{name}");
        assert_eq!(head.matches(HOST_KEY).count(), 1, "{name}: {head}");
    }
}

#[tokio::test]
async fn all_of_them_at_once_and_the_query_too() {
    let gateway = FakeGateway::bind().await;
    let world = World::start(gateway.address()).await;
    let lines: String = CREDENTIALS.iter().map(|name| format!("{name}: stranger\r\n")).collect();
    let head = seen_by_gateway(&world, &gateway, "/v1beta/models/m:go?alt=sse&key=stranger", &lines).await;
    assert!(head.starts_with("POST /v1beta/models/m:go?alt=sse HTTP/1.1\r\n"), "{head}");
    assert!(!head.contains("stranger"), "{head}");
    assert_eq!(header(&head, "host"), Some(gateway.address().to_string().as_str()));
}

#[tokio::test]
async fn who_calls_is_said_by_the_sidecar_and_by_nobody_else() {
    let gateway = FakeGateway::bind().await;
    let world = World::start(gateway.address()).await;
    let lines = "x-fleetgate-host: victim\r\nx-fleetgate-anything: 1\r\nx-fleetgate-workload: claude-glm\r\n\
                 Connection: keep-alive, x-hop\r\nx-hop: 1\r\nanthropic-beta: b, a\r\n";
    let head = seen_by_gateway(&world, &gateway, "/v1/messages?beta=true", lines).await;
    assert_eq!(header(&head, "x-fleetgate-host"), Some("mac"));
    assert_eq!(header(&head, "x-fleetgate-sidecar"), Some(env!("CARGO_PKG_VERSION")));
    assert_eq!(header(&head, "x-fleetgate-workload"), Some("claude-glm"));
    assert_eq!(header(&head, "anthropic-beta"), Some("b, a"));
    for gone in ["x-fleetgate-anything", "x-hop", "x-fleetgate-fallback-key", "x-fleetgate-sighting"] {
        assert_eq!(header(&head, gone), None, "{gone}");
    }
}

#[tokio::test]
async fn a_workload_name_that_is_none_is_dropped() {
    let gateway = FakeGateway::bind().await;
    let world = World::start(gateway.address()).await;
    let head = seen_by_gateway(&world, &gateway, "/v1/messages", "x-fleetgate-workload: two words\r\n").await;
    assert!(!head.contains("two words"), "{head}");
}

#[tokio::test]
async fn a_minted_key_of_the_client_passes() {
    let gateway = FakeGateway::bind().await;
    let world = World::start(gateway.address()).await;
    let own = VirtualKey::mint().unwrap();
    let lines = format!("x-api-key: {}\r\nAuthorization: Bearer dummy\r\n", own.expose_secret());
    let head = seen_by_gateway(&world, &gateway, "/v1/messages", &lines).await;
    assert_eq!(header(&head, "authorization"), Some(format!("Bearer {}", own.expose_secret()).as_str()));
    assert_eq!(header(&head, "x-api-key"), None);
}

#[tokio::test]
async fn a_workload_with_a_key_of_its_own_uses_it() {
    let gateway = FakeGateway::bind().await;
    let hosts = "[[host]]\nmatch=['mac']\nkey='file:mac.key'\n[host.workloads]\nglm='file:glm.key'\n";
    let world = World::with_hosts(gateway.address(), hosts).await;
    write_key(&world.directory.path().join("glm.key"), "sk-glm-0123456789012");
    world.keys.reload_soon();
    while world.keys.current().problems() != Vec::<String>::new() {
        tokio::task::yield_now().await;
    }
    let head = seen_by_gateway(&world, &gateway, "/v1/messages", "x-fleetgate-workload: glm\r\n").await;
    assert_eq!(header(&head, "authorization"), Some("Bearer sk-glm-0123456789012"));
}

#[tokio::test]
async fn a_fallback_key_is_marked() {
    let gateway = FakeGateway::bind().await;
    let hosts = "[fallback]\nkey='file:mac.key'\n[[host]]\nmatch=['tower']\nkey='env:NONE'\n";
    let world = World::with_hosts(gateway.address(), hosts).await;
    let head = seen_by_gateway(&world, &gateway, "/v1/messages", "").await;
    assert_eq!(header(&head, "x-fleetgate-fallback-key"), Some("1"));
    assert_eq!(header(&head, "x-fleetgate-host"), Some("mac"));
}
