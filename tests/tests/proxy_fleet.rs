//! A day's bytes where several gateways share a database: together they keep to one limit.

#![allow(clippy::expect_used, reason = "a broken expectation is a failed test")]

use fleetgate_tests::client::Tunnel;
use fleetgate_tests::wait::soon;
use fleetgate_tests::{Gateway, Postgres, eventually};
use fleetgate_wire::row::Row;
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};

/// What may pass at once before anybody is asked: two pipes full for each tunnel.
const AT_ONCE: u64 = 2 * 1024 * 1024;

/// A server on loopback that takes everything in until the other side ends.
async fn quiet() -> u16 {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
    let port = listener.local_addr().expect("it is bound").port();
    tokio::spawn(async move {
        while let Ok((mut stream, _)) = listener.accept().await {
            tokio::spawn(async move { drop(tokio::io::copy(&mut stream, &mut tokio::io::sink()).await) });
        }
    });
    port
}

async fn gateway(port: u16, url: &str, limit: &str, bytes: u64) -> Gateway {
    let egress = json!({"dangerously_allow_networks": ["127.0.0.0/8"], "ports": [port], limit: bytes});
    Gateway::start(|c| c.set("fleetgate", "egress", egress).database(url)).await
}

async fn open(gw: &Gateway, port: u16, key: &str) -> Tunnel {
    let headers = format!("Proxy-Authorization: Bearer {key}\r\n");
    // A gateway hears of a new key a moment later.
    eventually("the key is known", async || {
        let tunnel = Tunnel::open(gw.address(), &format!("127.0.0.1:{port}"), &headers).await;
        (tunnel.status() != 407).then_some(tunnel)
    })
    .await
}

/// Sends so many bytes through a new tunnel, or as many as it takes.
async fn send(gw: &Gateway, port: u16, key: &str, bytes: usize) {
    let mut tunnel = open(gw, port, key).await;
    assert_eq!(tunnel.status(), 200, "{}", tunnel.head);
    let _cut = soon("the bytes are taken, or the tunnel ends", tunnel.stream.write_all(&vec![1; bytes])).await;
    let _cut = tunnel.stream.shutdown().await;
    let _cut = soon("the end", tunnel.stream.read_to_end(&mut Vec::new())).await;
}

async fn ended(gw: &Gateway, count: usize) -> Vec<Row> {
    eventually("the rows", async || {
        let rows: Vec<Row> = gw.rows().await.into_iter().filter(|row| row.bytes_up.is_some()).collect();
        (rows.len() == count).then_some(rows)
    })
    .await
}

async fn is_refused(gw: &Gateway, port: u16, key: &str) {
    let refused = open(gw, port, key).await;
    assert_eq!((refused.status(), refused.header("x-fleetgate-reason")), (429, "byte_limit"), "{}", refused.head);
}

#[tokio::test]
async fn gateways_together_let_a_days_bytes_through_and_no_more_and_remember_it() {
    let (port, limit) = (quiet().await, 40_000_000);
    let server = Postgres::start().await;
    let url = server.database("fleet").await;
    let start = async || gateway(port, &url, "bytes_per_day_per_host", limit).await;
    let (mut one, mut other) = (start().await, start().await);
    let key = one.key(&json!({"host": "mac"})).await;
    let stranger = one.key(&json!({"host": "tower"})).await;
    let much = 30_000_000;
    tokio::join!(
        send(&one, port, &key, much),
        send(&one, port, &key, much),
        send(&other, port, &key, much),
        send(&other, port, &key, much),
    );
    let rows = ended(&one, 4).await;
    let passed: u64 = rows.iter().filter_map(|row| row.bytes_up).sum();
    assert!((limit * 9 / 10..=limit + 4 * AT_ONCE).contains(&passed), "{passed} bytes of {limit}");
    assert!(rows.iter().any(|row| row.status == "byte_limit"), "{rows:#?}");
    is_refused(&one, port, &key).await;
    is_refused(&other, port, &key).await;
    one.restart().await;
    other.terminate().await;
    other.start_again().await;
    is_refused(&one, port, &key).await;
    is_refused(&other, port, &key).await;
    send(&other, port, &stranger, 10).await;
}

#[tokio::test]
async fn one_gateway_may_use_what_the_others_do_not() {
    let (port, limit) = (quiet().await, 40_000_000);
    let server = Postgres::start().await;
    let url = server.database("fleet").await;
    let start = async || gateway(port, &url, "bytes_per_day_per_key", limit).await;
    let (one, other) = (start().await, start().await);
    let key = one.key(&json!({})).await;
    // It asks for a slice, and needs little of it.
    send(&other, port, &key, 1000).await;
    let held = open(&other, port, &key).await;
    assert_eq!(held.status(), 200);
    send(&one, port, &key, 50_000_000).await;
    let passed: u64 = ended(&one, 2).await.iter().filter_map(|row| row.bytes_up).sum();
    assert!((limit * 8 / 10..=limit + AT_ONCE).contains(&passed), "{passed} bytes of {limit}");
    drop(held);
}

#[tokio::test]
async fn a_plain_answer_that_needs_many_slices_comes_whole() {
    let body = vec![7; 20_000_000];
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
    let address = listener.local_addr().expect("it is bound");
    let server = Postgres::start().await;
    let url = server.database("fleet").await;
    let egress = json!({"dangerously_allow_networks": ["127.0.0.0/8"], "bytes_per_day_per_key": 40_000_000});
    let proxy = json!({"plain_http": true, "plain_http_ports": [address.port()]});
    let gw = Gateway::start(|c| {
        c.set("fleetgate", "egress", egress).set("fleetgate", "forward_proxy", proxy).database(&url)
    })
    .await;
    let key = gw.key(&json!({})).await;
    let serve = async {
        let (mut stream, _) = soon("the gateway", listener.accept()).await.expect("it comes");
        let mut head = Vec::new();
        while !head.ends_with(b"\r\n\r\n") {
            head.push(soon("the request", stream.read_u8()).await.expect("it comes"));
        }
        stream.write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 20000000\r\n\r\n").await.expect("it reads");
        soon("all is taken", stream.write_all(&body)).await.expect("it reads");
        drop(stream.read_to_end(&mut Vec::new()).await);
    };
    let ask = async {
        let mut client = TcpStream::connect(gw.address()).await.expect("the gateway listens");
        let key = format!("Proxy-Authorization: Bearer {key}");
        let request = format!("GET http://{address}/ HTTP/1.1\r\nHost: x\r\n{key}\r\nConnection: close\r\n\r\n");
        client.write_all(request.as_bytes()).await.expect("the gateway reads");
        let mut answer = Vec::new();
        soon("the answer", client.read_to_end(&mut answer)).await.expect("it comes");
        answer
    };
    let (answer, ()) = tokio::join!(ask, serve);
    assert!(answer.starts_with(b"HTTP/1.1 200 ") && answer.ends_with(&body), "{} bytes", answer.len());
    let row = ended(&gw, 1).await.remove(0);
    assert_eq!(row.status, "success", "{row:#?}");
    assert!(row.bytes_down > Some(20_000_000), "{row:#?}");
}

#[tokio::test]
async fn without_the_database_nobody_gets_more_than_was_granted() {
    let port = quiet().await;
    let mut server = Postgres::start().await;
    let url = server.database("fleet").await;
    let gw = gateway(port, &url, "bytes_per_day_per_key", 40_000_000).await;
    let (key, fresh) = (gw.key(&json!({})).await, gw.key(&json!({})).await);
    let mut tunnel = open(&gw, port, &key).await;
    assert_eq!(tunnel.status(), 200, "{}", tunnel.head);
    server.stop().await;
    let refused = open(&gw, port, &fresh).await;
    assert_eq!(
        (refused.status(), refused.header("x-fleetgate-reason")),
        (503, "ledger_unavailable"),
        "{}",
        refused.head
    );
    // The slice in hand lasts for this, but not for all.
    tunnel.stream.write_all(&[1; 10_000]).await.expect("the tunnel takes bytes");
    let _cut = soon("the tunnel takes no more, and ends", tunnel.stream.write_all(&vec![1; 60_000_000])).await;
    let _cut = soon("the end", tunnel.stream.read_to_end(&mut Vec::new())).await;
    assert!(gw.stderr().contains("\"status\":\"byte_limit\""), "{}", gw.stderr());
    server.restart().await;
    let rows: Value = json!(ended(&gw, 1).await);
    let passed = rows[0]["bytes_up"].as_u64().unwrap_or_default();
    assert!((10_000..20_000_000 + AT_ONCE).contains(&passed), "{rows:#}");
}
