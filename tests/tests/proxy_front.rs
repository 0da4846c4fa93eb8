//! What comes before a tunnel: the forward proxy's own port, who may use it, and what strangers send there.

#![allow(clippy::expect_used, reason = "a broken expectation is a failed test")]

use std::net::SocketAddr;

use fleetgate_tests::client::{Tunnel, raw};
use fleetgate_tests::wait::soon;
use fleetgate_tests::{Gateway, MASTER_KEY, Tailscaled, Upstream, eventually};
use fleetgate_wire::row::Row;
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};

/// A server on loopback that sends back what it gets, to as many as come.
async fn echo() -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
    let address = listener.local_addr().expect("it is bound");
    tokio::spawn(async move {
        while let Ok((mut stream, _)) = listener.accept().await {
            tokio::spawn(async move {
                let (mut reads, mut writes) = stream.split();
                drop(tokio::io::copy(&mut reads, &mut writes).await);
                drop(writes.shutdown().await);
            });
        }
    });
    address
}

async fn gateway(port: u16, trust: &Value, socket: Option<&Tailscaled>) -> Gateway {
    let mut proxy = json!({"listen": "127.0.0.1:0"});
    if !trust.is_null() {
        proxy["trust"] = trust.clone();
    }
    Gateway::start(|c| {
        let c = c.tunnels_to_loopback(&[port]).set("fleetgate", "forward_proxy", proxy);
        match socket {
            Some(daemon) => c.set("fleetgate", "mesh", json!({"check": "off", "socket": daemon.socket()})),
            None => c,
        }
    })
    .await
}

fn bearer(key: &str) -> String {
    format!("Proxy-Authorization: Bearer {key}\r\n")
}

async fn there_and_back(mut tunnel: Tunnel) {
    assert_eq!(tunnel.status(), 200, "{}", tunnel.head);
    tunnel.stream.write_all(b"hello").await.expect("the tunnel takes bytes");
    tunnel.stream.shutdown().await.expect("half-close");
    let mut back = Vec::new();
    soon("the echo", tunnel.stream.read_to_end(&mut back)).await.expect("the tunnel gives bytes");
    assert_eq!(back, b"hello");
}

async fn only_tunnel(gw: &Gateway) -> Row {
    let find = async || gw.rows().await.into_iter().find(|row| row.kind == "tunnel");
    eventually("the tunnel's row", find).await
}

#[tokio::test]
async fn the_proxys_port_serves_tunnels_with_a_key_and_nothing_else() {
    let server = echo().await;
    let gw = gateway(server.port(), &Value::Null, None).await;
    let key = gw.key(&json!({"key_alias": "vk-mac", "host": "mac"})).await;
    there_and_back(Tunnel::open(gw.proxy(), &server.to_string(), &bearer(&key)).await).await;
    let row = only_tunnel(&gw).await;
    assert_eq!((row.key_alias.as_str(), row.bytes_up, row.bytes_down), ("vk-mac", Some(5), Some(5)));

    for headers in [String::new(), bearer("sk-nobody-knows-this-one")] {
        let refused = Tunnel::open(gw.proxy(), &server.to_string(), &headers).await;
        assert_eq!(refused.status(), 407, "{}", refused.head);
        assert!(refused.header("proxy-authenticate").starts_with("Basic "), "{}", refused.head);
    }
    let key = bearer(MASTER_KEY);
    for line in ["GET /v1/models", "GET /health/liveliness", "POST /key/generate", "GET /", "OPTIONS *", "GET /metrics"]
    {
        let request = format!("{line} HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {MASTER_KEY}\r\n{key}\r\n");
        let answer = raw(gw.proxy(), request.as_bytes()).await;
        assert!(answer.starts_with("HTTP/1.1 405 "), "{line}: {answer}");
        assert!(answer.to_lowercase().contains("\r\nallow: connect\r\n"), "{line}: {answer}");
    }
    let request = format!("GET http://{}/ HTTP/1.1\r\nHost: x\r\n{key}\r\n", gw.address());
    let answer = raw(gw.proxy(), request.as_bytes()).await;
    assert!(answer.starts_with("HTTP/1.1 400 "), "no plain http, and no magic name: {answer}");
}

#[tokio::test]
async fn a_machine_of_the_mesh_needs_no_key_where_the_mesh_is_trusted_and_the_row_names_it() {
    let (server, daemon) = (echo().await, Tailscaled::start("gateway"));
    daemon.calls_everyone(Some("Toms-Printer"));
    let gw = gateway(server.port(), &json!(["mesh"]), Some(&daemon)).await;
    there_and_back(Tunnel::open(gw.proxy(), &server.to_string(), "X-Fleetgate-Host: liar\r\n").await).await;
    let row = only_tunnel(&gw).await;
    assert_eq!((row.host.as_str(), row.host_source.as_str()), ("toms-printer", "mesh"), "{row:#?}");
    assert_eq!(row.key_alias, "trusted-address");

    let api = Tunnel::open(gw.address(), &server.to_string(), "").await;
    assert_eq!(api.status(), 407, "the API's port asks for a key all the same: {}", api.head);
    let wrong = Tunnel::open(gw.proxy(), &server.to_string(), &bearer("sk-nobody-knows-this-one")).await;
    assert_eq!(wrong.status(), 407, "a wrong key is not made good by an address: {}", wrong.head);
}

#[tokio::test]
async fn whom_the_mesh_does_not_know_has_to_show_a_key() {
    let (server, daemon) = (echo().await, Tailscaled::start("gateway"));
    daemon.calls_everyone(None);
    let gw = gateway(server.port(), &json!(["mesh", "10.0.0.0/8"]), Some(&daemon)).await;
    let stranger = Tunnel::open(gw.proxy(), &server.to_string(), "").await;
    assert_eq!(stranger.status(), 407, "{}", stranger.head);
    assert!(gw.rows().await.is_empty());
}

#[tokio::test]
async fn a_trusted_network_is_named_by_its_addresses_where_there_is_no_mesh() {
    let (server, daemon) = (echo().await, Tailscaled::start("gateway"));
    daemon.calls_everyone(None);
    let gw = gateway(server.port(), &json!("127.0.0.0/8"), Some(&daemon)).await;
    there_and_back(Tunnel::open(gw.proxy(), &server.to_string(), "").await).await;
    let row = only_tunnel(&gw).await;
    assert_eq!((row.host.as_str(), row.host_source.as_str()), ("127.0.0.1", "address"));
}

#[tokio::test]
async fn nobody_can_trust_everyone_or_listen_to_everyone_by_mistake() {
    for proxy in [
        json!({"listen": "127.0.0.1:0", "trust": ["0.0.0.0/0"]}),
        json!({"listen": "127.0.0.1:0", "trust": ["::/0"]}),
        json!({"listen": "127.0.0.1:0", "trust": ["nonsense"]}),
        json!({"listen": "0.0.0.0:8888"}),
        json!({"listen": "8.8.8.8:8888"}),
    ] {
        let refused = Gateway::refuses(|c| c.set("fleetgate", "forward_proxy", proxy.clone())).await;
        assert_eq!(refused.status.code(), Some(2), "{proxy}: {}", refused.said());
    }
}

#[tokio::test]
async fn no_tunnel_leads_to_the_gateways_own_ports() {
    // A loopback address of this process alone: its ports are known before, and nobody else's.
    let process = std::process::id();
    let own = format!("127.{}.{}.9", 64 + process / 250 % 64, process % 250);
    let (api, proxy) = (4000, 8888);
    let opened = json!({"dangerously_allow_networks": ["0.0.0.0/0"], "ports": [api, proxy]});
    let listen = json!({"listen": format!("{own}:{proxy}")});
    let gw = Gateway::start(|c| {
        let c = c.listen(&format!("{own}:{api}"));
        c.set("fleetgate", "forward_proxy", listen).set("fleetgate", "egress", opened)
    })
    .await;
    for destination in [own.clone(), "0.0.0.0".to_owned(), format!("[::ffff:{own}]")] {
        for port in [api, proxy] {
            let to = format!("{destination}:{port}");
            let tunnel = Tunnel::open(gw.proxy(), &to, &bearer(MASTER_KEY)).await;
            assert_eq!(tunnel.status(), 403, "{to}: {}", tunnel.head);
            assert_eq!(tunnel.header("x-fleetgate-reason"), "destination_self", "{to}");
        }
    }
}

#[tokio::test]
async fn a_connect_that_two_programs_could_read_differently_is_refused_and_its_connection_ends() {
    let server = echo().await;
    let gw = gateway(server.port(), &Value::Null, None).await;
    let key = bearer(MASTER_KEY);
    let smuggled = format!("GET /key/list HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {MASTER_KEY}\r\n\r\n");
    let bodies = [
        "Content-Length: 5\r\n",
        "Content-Length: 5\r\nTransfer-Encoding: chunked\r\n",
        "Content-Length: 5\r\nContent-Length: 6\r\n",
        "Transfer-Encoding: chunked\r\n",
        "Transfer-Encoding: chunked,\r\n",
        "Transfer-Encoding: chunked\t\r\n",
        "Transfer-Encoding: chunked, gzip\r\n",
        "Transfer-Encoding: Chunked\r\n",
        "Transfer-Encoding : chunked\r\n",
    ];
    let bad_targets =
        ["127.0.0.1:65536", "127.0.0.1:4294967739", "127.0.0.1", "[::1", "a:443:443", "host:-12", "host:https"];
    let target = server.to_string();
    let requests = bodies.iter().map(|body| (target.as_str(), *body)).chain(bad_targets.map(|target| (target, "")));
    for (target, body) in requests {
        for proxy in [gw.proxy(), gw.address()] {
            let request = format!("CONNECT {target} HTTP/1.1\r\nHost: {target}\r\n{key}{body}\r\n{smuggled}");
            let answer = raw(proxy, request.as_bytes()).await;
            assert!(answer.starts_with("HTTP/1.1 400 "), "{target} {body:?}: {answer}");
            assert_eq!(answer.matches("HTTP/1.1 ").count(), 1, "what stands behind is no request: {answer}");
        }
    }
}

#[tokio::test]
async fn what_a_client_sends_behind_a_refused_connect_is_never_read_as_a_request() {
    let gw = gateway(443, &Value::Null, None).await;
    let smuggled = format!("GET /key/list HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {MASTER_KEY}\r\n\r\n");
    for (headers, status) in [(bearer(MASTER_KEY), "403"), (String::new(), "407")] {
        let request = format!("CONNECT 10.0.0.1:443 HTTP/1.1\r\nHost: x\r\n{headers}\r\n{smuggled}");
        let answer = raw(gw.address(), request.as_bytes()).await;
        assert!(answer.starts_with(&format!("HTTP/1.1 {status} ")), "{answer}");
        assert_eq!(answer.matches("HTTP/1.1 ").count(), 1, "{answer}");
    }
}

#[tokio::test]
async fn headers_that_name_themselves_and_thousands_of_hop_headers_do_no_harm() {
    let server = echo().await;
    let gw = gateway(server.port(), &Value::Null, None).await;
    let many: String = (0..2000).map(|n| format!("h{n},")).collect();
    for hop in ["Connection: connection, host", "Proxy-Connection: proxy-connection", &format!("Connection: {many}")] {
        let headers = format!("{}{hop}\r\n", bearer(MASTER_KEY));
        there_and_back(Tunnel::open(gw.proxy(), &server.to_string(), &headers).await).await;
    }
    // More than a head may hold.
    let many: String = (0..20_000).map(|n| format!("X-{n}: 1\r\n")).collect();
    let request = format!("CONNECT {server} HTTP/1.1\r\nHost: {server}\r\n{many}\r\n");
    let answer = raw(gw.proxy(), request.as_bytes()).await;
    assert!(answer.is_empty() || answer.starts_with("HTTP/1.1 431"), "{answer}");
    there_and_back(Tunnel::open(gw.proxy(), &server.to_string(), &bearer(MASTER_KEY)).await).await;
}

#[tokio::test]
async fn a_chunk_that_is_no_number_never_reaches_a_provider() {
    let upstream = Upstream::start().await;
    let gw = Gateway::start(|c| c.model("gpt-x", &upstream)).await;
    let body = r#"{"model":"gpt-x","messages":[{"role":"user","content":"hi"}]}"#;
    for size in ["ffffffffffffffff", "10000000000000000", "-1", "+3d", "0x3d", "3 d", ""] {
        let request = format!(
            "POST /v1/chat/completions HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {MASTER_KEY}\r\nConnection: close\r\n\
             Content-Type: application/json\r\nTransfer-Encoding: chunked\r\n\r\n{size}\r\n{body}\r\n0\r\n\r\n"
        );
        let mut stream = TcpStream::connect(gw.address()).await.expect("the gateway listens");
        stream.write_all(request.as_bytes()).await.expect("the gateway reads");
        // The largest size is a number still, whose chunk never comes.
        stream.shutdown().await.expect("half-close");
        let mut answer = Vec::new();
        drop(soon("a raw answer", stream.read_to_end(&mut answer)).await);
        let answer = String::from_utf8_lossy(&answer);
        assert!(!answer.starts_with("HTTP/1.1 200"), "{size}: {answer}");
    }
    assert_eq!(upstream.requests().len(), 0);
}

/// A call on the API's port as literal bytes, with a request behind it that must never be read as one.
async fn call(gw: &Gateway, line: &str, headers: &str, body: &str) -> String {
    let smuggled = format!("GET /key/list HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {MASTER_KEY}\r\n\r\n");
    let head = format!("{line} HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {MASTER_KEY}\r\n{headers}\r\n");
    let mut stream = TcpStream::connect(gw.address()).await.expect("the gateway listens");
    // It may have answered and closed before it was told everything.
    let _refused_early = stream.write_all(format!("{head}{body}{smuggled}").as_bytes()).await;
    let _closed = stream.shutdown().await;
    let mut answer = Vec::new();
    let _reset = soon("a raw answer", stream.read_to_end(&mut answer)).await;
    String::from_utf8_lossy(&answer).into_owned()
}

#[tokio::test]
async fn a_call_with_two_lengths_ends_its_connection_and_hides_no_second_one() {
    let upstream = Upstream::start().await;
    let gw = Gateway::start(|c| c.model("gpt-x", &upstream)).await;
    let body = r#"{"model":"gpt-x","messages":[{"role":"user","content":"hi"}]}"#;
    let (length, chunked) = (body.len(), format!("{:x}\r\n{body}\r\n0\r\n\r\n", body.len()));
    for (lengths, body) in [
        (format!("Content-Length: {length}\r\nTransfer-Encoding: chunked\r\n"), &chunked),
        (format!("Transfer-Encoding: chunked\r\nContent-Length: {length}\r\n"), &chunked),
        ("Content-Length: 5\r\nTransfer-Encoding: Chunked\r\n".to_owned(), &chunked),
        (format!("Content-Length: {length}\r\nContent-Length: 6\r\n"), &body.to_owned()),
        ("Transfer-Encoding: chunked,\r\nContent-Length: 5\r\n".to_owned(), &chunked),
        ("Transfer-Encoding: chunked, gzip\r\n".to_owned(), &chunked),
        ("Transfer-Encoding: gzip, identity\r\n".to_owned(), &chunked),
        ("Transfer-Encoding : chunked\r\n".to_owned(), &chunked),
        ("Content-Length: +61\r\n".to_owned(), &body.to_owned()),
        ("Content-Length: 18446744073709551677\r\n".to_owned(), &body.to_owned()),
    ] {
        let before = upstream.requests().len();
        let headers = format!("Content-Type: application/json\r\n{lengths}");
        let answer = call(&gw, "POST /v1/chat/completions", &headers, body).await;
        assert!(answer.matches("HTTP/1.1 ").count() <= 1, "{lengths}: {answer}");
        let seen = upstream.requests().split_off(before);
        assert!(seen.len() <= 1, "{lengths}");
        assert!(seen.iter().all(|request| !request.headers.contains_key("transfer-encoding")), "{seen:?}");
        assert_eq!(seen.is_empty(), !answer.starts_with("HTTP/1.1 200 "), "{lengths}: {answer}");
    }
}

#[tokio::test]
async fn a_hop_header_that_names_what_is_needed_takes_nothing_from_a_call() {
    let upstream = Upstream::start().await;
    let gw = Gateway::start(|c| c.model("gpt-x", &upstream)).await;
    let body = r#"{"model":"gpt-x","messages":[{"role":"user","content":"hi"}]}"#;
    let many: String = (0..2000).map(|n| format!("h{n},")).collect();
    for hop in ["connection, host, close", "content-length, content-type, close", "authorization, close", &many] {
        let headers =
            format!("Connection: {hop}\r\nContent-Type: application/json\r\nContent-Length: {}\r\n", body.len());
        let answer = call(&gw, "POST /v1/chat/completions", &headers, body).await;
        assert!(answer.starts_with("HTTP/1.1 200 "), "{hop}: {answer}");
        let seen = upstream.requests().pop().expect("the provider was asked");
        assert!(seen.headers.contains_key("host") && !seen.headers.contains_key("connection"), "{seen:?}");
    }
}

#[tokio::test]
async fn a_port_that_overflows_is_no_port_on_the_apis_port_either() {
    let gw = gateway(443, &Value::Null, None).await;
    for target in ["http://127.0.0.1:65536/", "http://127.0.0.1:4294967739/", "http://127.0.0.1:-1/", "http://[::1/"] {
        let answer = call(&gw, &format!("GET {target}"), "", "").await;
        assert!(answer.starts_with("HTTP/1.1 400 "), "{target}: {answer}");
    }
    assert!(gw.rows().await.is_empty());
}
