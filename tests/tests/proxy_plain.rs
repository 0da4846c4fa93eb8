//! Plain `http://` through the forward proxy: what arrives, what does not, and what the rows say.

#![allow(clippy::expect_used, reason = "a broken expectation is a failed test")]

use std::net::SocketAddr;

use fleetgate_tests::client::Tunnel;
use fleetgate_tests::wait::soon;
use fleetgate_tests::{Gateway, MASTER_KEY, eventually};
use fleetgate_wire::row::Row;
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::mpsc;

/// A server that notes each connection's bytes to the end, and answers each with the same bytes.
struct Server {
    address: SocketAddr,
    seen: mpsc::UnboundedReceiver<String>,
}

/// Whether a request's head and body are all there.
fn is_whole(bytes: &[u8]) -> bool {
    let text = String::from_utf8_lossy(bytes).to_lowercase();
    let Some((head, body)) = text.split_once("\r\n\r\n") else { return false };
    let length = head.split("\r\n").find_map(|line| line.strip_prefix("content-length: ")?.parse().ok());
    if head.contains("transfer-encoding") { body.ends_with("0\r\n\r\n") } else { body.len() >= length.unwrap_or(0) }
}

impl Server {
    async fn start(answer: &'static str) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
        let address = listener.local_addr().expect("it is bound");
        let (note, seen) = mpsc::unbounded_channel();
        tokio::spawn(async move {
            while let Ok((mut stream, _)) = listener.accept().await {
                let note = note.clone();
                tokio::spawn(async move {
                    let mut bytes = Vec::new();
                    while !is_whole(&bytes) && stream.read_buf(&mut bytes).await.is_ok_and(|count| count > 0) {}
                    drop(stream.write_all(answer.as_bytes()).await);
                    drop(stream.shutdown().await);
                    // What would be read as a second request.
                    drop(stream.read_to_end(&mut bytes).await);
                    drop(note.send(String::from_utf8_lossy(&bytes).into_owned()));
                });
            }
        });
        Self { address, seen }
    }

    async fn saw(&mut self) -> String {
        soon("a request", self.seen.recv()).await.expect("somebody comes")
    }
}

const OK: &str = "HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhello";

async fn gateway(port: u16, egress: Value) -> Gateway {
    let mut all = json!({"dangerously_allow_networks": ["127.0.0.0/8"]});
    for (name, value) in egress.as_object().into_iter().flatten() {
        all[name] = value.clone();
    }
    let proxy = json!({"listen": "127.0.0.1:0", "plain_http": true, "plain_http_ports": [port]});
    Gateway::start(|c| c.set("fleetgate", "egress", all).set("fleetgate", "forward_proxy", proxy)).await
}

fn bearer(key: &str) -> String {
    format!("Proxy-Authorization: Bearer {key}\r\n")
}

/// One request as literal bytes, and all that comes back.
async fn send(to: SocketAddr, line: &str, headers: &str, body: &str) -> String {
    exchange(to, &format!("{line} HTTP/1.1\r\nHost: elsewhere.test\r\n{headers}Connection: close\r\n\r\n{body}"), false)
        .await
}

/// Literal bytes, then perhaps the client's end, and all that comes back.
async fn exchange(to: SocketAddr, bytes: &str, ends: bool) -> String {
    let mut stream = TcpStream::connect(to).await.expect("the gateway listens");
    // It may have answered and closed before it was told everything.
    let _refused_early = stream.write_all(bytes.as_bytes()).await;
    if ends {
        let _closed = stream.shutdown().await;
    }
    let mut answer = Vec::new();
    let _reset = soon("a raw answer", stream.read_to_end(&mut answer)).await;
    String::from_utf8_lossy(&answer).into_owned()
}

async fn rows(gw: &Gateway, count: usize) -> Vec<Row> {
    eventually("the rows", async || Some(gw.rows().await).filter(|rows| rows.len() == count)).await
}

#[tokio::test]
async fn a_request_arrives_as_if_sent_to_the_destination_and_has_a_row_of_a_tunnels_kind() {
    let mut server = Server::start(OK).await;
    let gw = gateway(server.address.port(), json!({})).await;
    let key = gw.key(&json!({"key_alias": "vk-mac", "host": "mac"})).await;
    for proxy in [gw.proxy(), gw.address()] {
        let headers = format!(
            "{}Authorization: Bearer for-the-destination\r\nProxy-Connection: keep-alive\r\nProxy: evil\r\n\
             X-Fleetgate-Anything: 1\r\nConnection: x-hop, host\r\nX-Hop: 1\r\nX-Kept: 1\r\nUpgrade: h2c\r\n",
            bearer(&key)
        );
        let answer = send(proxy, &format!("GET http://{}/a%2Fb?c=d&e", server.address), &headers, "").await;
        assert!(answer.starts_with("HTTP/1.1 200 ") && answer.ends_with("\r\n\r\nhello"), "{answer}");
        assert!(answer.contains("\r\nx-fleetgate-request-id: "), "{answer}");
        let seen = server.saw().await;
        let mut lines: Vec<&str> = seen.trim_end().split("\r\n").collect();
        assert_eq!(lines.remove(0), "GET /a%2Fb?c=d&e HTTP/1.1");
        lines.sort_unstable();
        let host = format!("host: {}", server.address);
        let expected = [
            "authorization: Bearer for-the-destination",
            "connection: close",
            &host,
            "via: 1.1 fleetgate-gateway",
            "x-kept: 1",
        ];
        assert_eq!(lines, expected);
    }
    let rows = rows(&gw, 2).await;
    for row in rows {
        assert_eq!((row.kind.as_str(), row.endpoint.as_str(), row.status.as_str()), ("tunnel", "http", "success"));
        assert_eq!((row.host.as_str(), row.key_alias.as_str()), ("mac", "vk-mac"));
        assert_eq!(row.destination.as_deref(), Some(server.address.to_string().as_str()));
        assert_eq!(row.address, Some(server.address.to_string()));
        let up = "GET /a%2Fb?c=d&e HTTP/1.1\r\nauthorization: Bearer for-the-destination\r\nx-kept: 1\r\n".len()
            + format!("host: {}\r\nvia: 1.1 fleetgate-gateway\r\nconnection: close\r\n\r\n", server.address).len();
        assert_eq!((row.bytes_up, row.bytes_down), (Some(up as u64), Some(OK.len() as u64)), "{row:#?}");
    }
}

#[tokio::test]
async fn without_the_setting_it_is_refused_with_a_reason_on_both_ports_and_nobody_is_called() {
    let server = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
    let address = server.local_addr().expect("it is bound");
    let gw = Gateway::start(|c| {
        let c = c.tunnels_to_loopback(&[address.port()]);
        c.set("fleetgate", "forward_proxy", json!({"listen": "127.0.0.1:0"}))
    })
    .await;
    for proxy in [gw.proxy(), gw.address()] {
        let answer = send(proxy, &format!("GET http://{address}/"), &bearer(MASTER_KEY), "").await;
        assert!(answer.starts_with("HTTP/1.1 400 "), "{answer}");
        assert!(answer.contains("x-fleetgate-reason: plain_http_off") && answer.contains("NO_PROXY"), "{answer}");
    }
    assert!(gw.rows().await.is_empty());
    let explained = gw.admin_get("/api/egress/explain?to=http://example.com/").await;
    assert_eq!(explained["reason"], "plain_http_off", "{explained}");
}

#[tokio::test]
async fn whoever_shows_no_key_is_asked_for_one_and_the_destinations_own_is_none() {
    let server = Server::start(OK).await;
    let gw = gateway(server.address.port(), json!({})).await;
    for proxy in [gw.proxy(), gw.address()] {
        let headers = format!("Authorization: Bearer {MASTER_KEY}\r\n");
        let answer = send(proxy, &format!("GET http://{}/", server.address), &headers, "").await;
        assert!(answer.starts_with("HTTP/1.1 407 "), "{answer}");
        assert!(answer.to_lowercase().contains("proxy-authenticate: basic"), "{answer}");
        assert!(answer.contains("Proxy-Authorization: Bearer"), "{answer}");
    }
    assert!(gw.rows().await.is_empty());
}

#[tokio::test]
async fn port_80_public_addresses_and_the_rules_hold_as_for_tunnels() {
    let proxy = json!({"listen": "127.0.0.1:0", "plain_http": true});
    let egress = json!({"deny": [".refused.test"], "ports": [443, 8080]});
    let gw = Gateway::start(|c| c.set("fleetgate", "forward_proxy", proxy).set("fleetgate", "egress", egress)).await;
    for (to, status, reason) in [
        ("http://10.0.0.1/", 403, "destination_private"),
        ("http://127.0.0.1:80/", 403, "destination_loopback"),
        ("http://[::ffff:100.64.0.1]/", 403, "destination_mesh"),
        ("http://169.254.169.254/latest/meta-data/", 403, "destination_metadata"),
        ("http://[64:ff9b::7f00:1]/", 403, "destination_embedded_ipv4"),
        ("http://93.184.216.34:8080/", 403, "port_not_allowed"),
        ("http://93.184.216.34:443/", 403, "port_not_allowed"),
        ("http://a.refused.test./", 403, "domain_denied"),
        ("http://127.1/", 400, "bad_authority"),
        ("http://2130706433/", 400, "bad_authority"),
        ("http://user:secret-word@example.com/", 400, "bad_authority"),
        ("https://example.com/", 400, "bad_scheme"),
        ("ftp://example.com/", 400, "bad_scheme"),
    ] {
        let answer = send(gw.proxy(), &format!("GET {to}"), &bearer(MASTER_KEY), "").await;
        assert!(answer.starts_with(&format!("HTTP/1.1 {status} ")), "{to}: {answer}");
        assert!(answer.contains(&format!("x-fleetgate-reason: {reason}\r\n")), "{to}: {answer}");
        if to.starts_with("http:") {
            let to = to.replace('[', "%5B").replace(']', "%5D");
            let explained = gw.admin_get(&format!("/api/egress/explain?to={to}")).await;
            assert_eq!(explained["reason"], reason, "{to}: {explained}");
        }
    }
    for row in rows(&gw, 13).await {
        assert_eq!((row.status.as_str(), row.endpoint.as_str()), ("refused", "http"), "{row:#?}");
        assert!(!format!("{row:?}").contains("secret-word"), "{row:#?}");
    }
    assert!(!gw.stderr().contains("secret-word"));
}

#[tokio::test]
async fn a_body_has_one_end_for_everybody_or_the_request_goes_nowhere() {
    let mut server = Server::start(OK).await;
    let gw = gateway(server.address.port(), json!({})).await;
    let to = server.address;
    let key = bearer(MASTER_KEY);
    let behind = format!("GET http://{to}/behind HTTP/1.1\r\nHost: x\r\n{key}Connection: close\r\n\r\n");
    let chunked = "3\r\nabc\r\n0\r\n\r\n";
    // What arrives where something may.
    for (lengths, body, arrives) in [
        ("Content-Length: 3\r\n", "abc", Some("content-length: 3")),
        ("Transfer-Encoding: chunked\r\n", chunked, Some("transfer-encoding: chunked")),
        ("Transfer-Encoding: Chunked\r\n", chunked, Some("transfer-encoding: chunked")),
        ("Transfer-Encoding: chunked\t\r\n", chunked, Some("transfer-encoding: chunked")),
        ("Content-Length: 13\r\nTransfer-Encoding: chunked\r\n", chunked, Some("transfer-encoding: chunked")),
        ("Transfer-Encoding: chunked\r\nContent-Length: 3\r\n", chunked, Some("transfer-encoding: chunked")),
        ("Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n", chunked, None),
        ("Transfer-Encoding: gzip, chunked\r\n", chunked, None),
        ("Transfer-Encoding: chunked,\r\n", chunked, None),
        ("Transfer-Encoding: chunked, gzip\r\n", chunked, None),
        ("Transfer-Encoding: identity\r\n", chunked, None),
        ("Transfer-Encoding : chunked\r\n", chunked, None),
        ("Transfer-Encoding:\r\n chunked\r\n", chunked, None),
        ("Transfer-Encoding: \u{b}chunked\r\n", chunked, None),
        ("Content-Length: 3\r\nContent-Length: 4\r\n", "abc", None),
        ("Content-Length: 3, 4\r\n", "abc", None),
        ("Content-Length: +3\r\n", "abc", None),
        ("Content-Length: -1\r\n", "abc", None),
        ("Content-Length: 18446744073709551619\r\n", "abc", None),
        ("Transfer-Encoding: chunked\r\n", "ffffffffffffffff\r\nabc\r\n0\r\n\r\n", None),
        ("Transfer-Encoding: chunked\r\n", "10000000000000003\r\nabc\r\n0\r\n\r\n", None),
        ("Transfer-Encoding: chunked\r\n", "-3\r\nabc\r\n0\r\n\r\n", None),
        ("Transfer-Encoding: chunked\r\n", "+3\r\nabc\r\n0\r\n\r\n", None),
        ("Transfer-Encoding: chunked\r\n", "0x3\r\nabc\r\n0\r\n\r\n", None),
        ("Transfer-Encoding: chunked\r\n", "3;a\nb\r\nabc\r\n0\r\n\r\n", None),
    ] {
        let request = format!("POST http://{to}/first HTTP/1.1\r\nHost: x\r\n{key}{lengths}\r\n{body}{behind}");
        // The largest size is a number still, whose chunk never comes.
        let answer = exchange(gw.proxy(), &request, arrives.is_none()).await;
        let Some(framing) = arrives else {
            assert!(!answer.starts_with("HTTP/1.1 200 "), "{lengths:?} {body:?}: {answer}");
            assert!(answer.matches("HTTP/1.1 ").count() <= 1, "{lengths:?} {body:?}: {answer}");
            continue;
        };
        assert!(answer.starts_with("HTTP/1.1 200 "), "{lengths:?}: {answer}");
        // Requests may come while no body of this one is meant as such: those of before.
        let seen = loop {
            let seen = server.saw().await;
            if is_whole(seen.as_bytes()) {
                break seen;
            }
        };
        assert!(seen.starts_with("POST /first HTTP/1.1\r\n"), "{lengths:?}: {seen}");
        let framings = seen.matches("content-length").count() + seen.matches("transfer-encoding").count();
        assert!(framings == 1 && seen.contains(framing), "{lengths:?}: {seen}");
        assert_eq!(seen.matches("HTTP/1.1").count(), 1, "{lengths:?}: {seen}");
        let has_two_lengths = lengths.contains("Length") && lengths.contains("Encoding");
        let answers = if has_two_lengths { 1 } else { 2 };
        assert_eq!(answer.matches("HTTP/1.1 200 ").count(), answers, "two lengths end the connection: {lengths:?}");
        if !has_two_lengths {
            assert!(server.saw().await.starts_with("GET /behind "), "it is a request of its own, with its own key");
        }
    }
}

#[tokio::test]
async fn a_get_may_have_a_body_and_a_head_has_none() {
    let mut server = Server::start("HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\n").await;
    let gw = gateway(server.address.port(), json!({})).await;
    let headers = bearer(MASTER_KEY);
    let answer = send(gw.proxy(), &format!("HEAD http://{}", server.address), &headers, "").await;
    assert!(answer.starts_with("HTTP/1.1 200 ") && answer.ends_with("\r\n\r\n"), "{answer}");
    assert!(answer.to_lowercase().contains("content-length: 5"), "{answer}");
    assert!(server.saw().await.starts_with("HEAD / HTTP/1.1\r\n"));
    assert_eq!(rows(&gw, 1).await[0].status, "success");

    let mut server = Server::start(OK).await;
    let gw = gateway(server.address.port(), json!({})).await;
    let headers = format!("{}Transfer-Encoding: chunked\r\n", bearer(MASTER_KEY));
    let answer = send(gw.proxy(), &format!("GET http://{}/", server.address), &headers, "3\r\nabc\r\n0\r\n\r\n").await;
    assert!(answer.ends_with("hello"), "{answer}");
    assert!(server.saw().await.ends_with("\r\n\r\n3\r\nabc\r\n0\r\n\r\n"));
}

#[tokio::test]
async fn an_answer_is_passed_on_as_it_comes_and_one_connection_serves_many_requests() {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
    let address = listener.local_addr().expect("it is bound");
    let gw = gateway(address.port(), json!({})).await;
    let mut client = TcpStream::connect(gw.proxy()).await.expect("the gateway listens");
    let request = format!("GET http://{address}/ HTTP/1.1\r\nHost: x\r\n{}\r\n", bearer(MASTER_KEY));
    for _ in 0..2 {
        client.write_all(request.as_bytes()).await.expect("the gateway reads");
        let (mut server, _) = soon("the gateway", listener.accept()).await.expect("it comes");
        read_until(&mut server, "\r\n\r\n").await;
        // Two lengths, of which one counts (RFC 9112 §6.3).
        let head =
            "HTTP/1.1 200 OK\r\nContent-Length: 3\r\nTransfer-Encoding: chunked\r\nX-Fleetgate-Host: liar\r\n\r\n";
        server.write_all(format!("{head}5\r\nfirst\r\n").as_bytes()).await.expect("the gateway reads");
        let seen = read_until(&mut client, "first").await.to_lowercase();
        assert!(!seen.contains("content-length") && !seen.contains("liar"), "{seen}");
        server.write_all(b"4\r\nlast\r\n0\r\n\r\n").await.expect("the gateway reads");
        read_until(&mut client, "0\r\n\r\n").await;
    }
    assert!(rows(&gw, 2).await.iter().all(|row| row.status == "success"));
}

async fn read_until(stream: &mut TcpStream, text: &str) -> String {
    let mut seen = Vec::new();
    while !String::from_utf8_lossy(&seen).contains(text) {
        let count = soon("bytes", stream.read_buf(&mut seen)).await.expect("they come");
        assert!(count > 0, "it ended before {text:?}: {}", String::from_utf8_lossy(&seen));
    }
    String::from_utf8_lossy(&seen).into_owned()
}

#[tokio::test]
async fn a_row_says_how_an_exchange_ended_and_counts_what_came() {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
    let address = listener.local_addr().expect("it is bound");
    let cut = "HTTP/1.1 200 OK\r\nContent-Length: 50\r\n\r\nonly this";
    for (answer, client_leaves, status, error) in [
        (cut, true, "client_gone", ""),
        (cut, false, "upstream_cut", "the answer was cut"),
        ("HTTP/1.1 200 OK\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\n", false, "failure", "gave no answer"),
        ("SSH-2.0-OpenSSH\r\n", false, "failure", "gave no answer"),
        ("", false, "failure", "gave no answer"),
        ("HTTP/1.1 101 Switching Protocols\r\n\r\n", false, "failure", "another protocol"),
    ] {
        let gw = gateway(address.port(), json!({})).await;
        let mut client = TcpStream::connect(gw.proxy()).await.expect("the gateway listens");
        let request = format!("GET http://{address}/ HTTP/1.1\r\nHost: x\r\n{}\r\n", bearer(MASTER_KEY));
        client.write_all(request.as_bytes()).await.expect("the gateway reads");
        let (mut server, _) = soon("the gateway", listener.accept()).await.expect("it comes");
        let asked = read_until(&mut server, "\r\n\r\n").await;
        server.write_all(answer.as_bytes()).await.expect("the gateway reads");
        if client_leaves {
            read_until(&mut client, "only this").await;
            drop(client);
            let end = soon("the end of an abandoned exchange", server.read_to_end(&mut Vec::new())).await;
            assert!(end.is_ok_and(|count| count == 0));
        } else {
            drop(server);
            let mut seen = Vec::new();
            let _cut = soon("the end", client.read_to_end(&mut seen)).await;
            let seen = String::from_utf8_lossy(&seen);
            assert!(status == "upstream_cut" || seen.starts_with("HTTP/1.1 502 "), "{answer:?}: {seen}");
        }
        let row = rows(&gw, 1).await.remove(0);
        assert_eq!(row.status, status, "{answer:?}: {row:#?}");
        assert!(row.error.as_deref().unwrap_or_default().contains(error), "{row:#?}");
        assert_eq!((row.bytes_up, row.bytes_down), (Some(asked.len() as u64), Some(answer.len() as u64)), "{row:#?}");
    }
}

#[tokio::test]
async fn limits_of_tunnels_and_bytes_are_those_of_tunnels() {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
    let address = listener.local_addr().expect("it is bound");
    let gw = gateway(address.port(), json!({"max_tunnels_per_key": 1, "bytes_per_day_per_key": 50_000})).await;
    let key = gw.key(&json!({"host": "mac"})).await;
    let mut client = TcpStream::connect(gw.proxy()).await.expect("the gateway listens");
    let request = format!("GET http://{address}/ HTTP/1.1\r\nHost: x\r\n{}\r\n", bearer(&key));
    client.write_all(request.as_bytes()).await.expect("the gateway reads");
    let (mut server, _) = soon("the gateway", listener.accept()).await.expect("it comes");
    read_until(&mut server, "\r\n\r\n").await;
    let refused = Tunnel::open(gw.proxy(), "93.184.216.34:443", &bearer(&key)).await;
    assert_eq!(refused.header("x-fleetgate-reason"), "too_many_tunnels_of_key", "{}", refused.head);
    let body = "x".repeat(2_000_000);
    let _cut = server.write_all(format!("HTTP/1.1 200 OK\r\n\r\n{body}").as_bytes()).await;
    let _cut = soon("the end", client.read_to_end(&mut Vec::new())).await;
    let row = eventually("the row", async || gw.rows().await.into_iter().find(|row| row.endpoint == "http")).await;
    assert_eq!(row.status, "byte_limit", "{row:#?}");
    let answer = exchange(gw.proxy(), &request, false).await;
    assert!(answer.starts_with("HTTP/1.1 429 ") && answer.contains("x-fleetgate-reason: byte_limit"), "{answer}");
}

#[tokio::test]
async fn an_upload_is_asked_for_and_passes_whole() {
    const SIZE: usize = 3_000_000;
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
    let address = listener.local_addr().expect("it is bound");
    let gw = gateway(address.port(), json!({})).await;
    let upload = async {
        let mut client = TcpStream::connect(gw.proxy()).await.expect("the gateway listens");
        let key = bearer(MASTER_KEY);
        let head = format!("PUT http://{address}/up HTTP/1.1\r\nHost: x\r\n{key}Content-Length: {SIZE}\r\n");
        let head = format!("{head}Expect: 100-continue\r\nConnection: close\r\n\r\n");
        client.write_all(head.as_bytes()).await.expect("the gateway reads");
        read_until(&mut client, "HTTP/1.1 100 Continue\r\n\r\n").await;
        client.write_all(&vec![b'x'; SIZE]).await.expect("the gateway reads");
        read_until(&mut client, "hello").await
    };
    let serve = async {
        let (mut stream, _) = soon("the gateway", listener.accept()).await.expect("it comes");
        let mut bytes = Vec::new();
        while bytes.len() < SIZE {
            let count = soon("bytes", stream.read_buf(&mut bytes)).await.expect("they come");
            assert!(count > 0, "it ended after {} bytes", bytes.len());
        }
        let head = bytes.windows(4).position(|window| window == b"\r\n\r\n").expect("a head") + 4;
        let mut rest = vec![0; SIZE - (bytes.len() - head)];
        soon("the rest", stream.read_exact(&mut rest)).await.expect("it comes");
        stream.write_all(OK.as_bytes()).await.expect("it reads");
        (String::from_utf8_lossy(&bytes[..head]).into_owned(), bytes.len() + rest.len())
    };
    let (answer, (head, size)) = tokio::join!(upload, serve);
    assert!(answer.starts_with("HTTP/1.1 200 "), "{answer}");
    assert!(head.contains("content-length: 3000000") && !head.contains("expect"), "{head}");
    let row = rows(&gw, 1).await.remove(0);
    assert_eq!((row.status.as_str(), row.bytes_up), ("success", Some(size as u64)), "{row:#?}");
}

#[tokio::test]
async fn a_gateway_that_stops_finishes_the_request_under_way_and_its_row_is_there() {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
    let address = listener.local_addr().expect("it is bound");
    let mut gw = gateway(address.port(), json!({"drain_timeout": 0.1})).await;
    let mut client = TcpStream::connect(gw.address()).await.expect("the gateway listens");
    let request = format!("GET http://{address}/ HTTP/1.1\r\nHost: x\r\n{}\r\n", bearer(MASTER_KEY));
    client.write_all(request.as_bytes()).await.expect("the gateway reads");
    let (mut server, _) = soon("the gateway", listener.accept()).await.expect("it comes");
    read_until(&mut server, "\r\n\r\n").await;
    server.write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nfirst").await.expect("the gateway reads");
    read_until(&mut client, "first").await;
    let gateway_address = gw.address();
    let finish = async {
        // It is stopping once it takes nobody any more.
        eventually("the gateway stops", async || TcpStream::connect(gateway_address).await.err()).await;
        server.write_all(b"last").await.expect("the gateway reads");
        read_until(&mut client, "last").await
    };
    let ((), _last) = tokio::join!(gw.terminate(), finish);
    gw.start_again().await;
    let row = rows(&gw, 1).await.remove(0);
    assert_eq!(row.status, "success", "{row:#?}");
}
