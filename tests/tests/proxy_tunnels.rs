//! How tunnels end, byte by byte, and that nothing of them is left.

#![allow(clippy::expect_used, reason = "a broken expectation is a failed test")]

use std::io::ErrorKind;

use fleetgate_tests::client::Tunnel;
use fleetgate_tests::wait::soon;
use fleetgate_tests::{Gateway, MASTER_KEY, eventually};
use fleetgate_wire::row::Row;
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};

async fn listener() -> (TcpListener, u16) {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
    let port = listener.local_addr().expect("it is bound").port();
    (listener, port)
}

async fn gateway(port: u16, more: Value) -> Gateway {
    let mut egress = json!({"dangerously_allow_networks": ["127.0.0.0/8"], "ports": [port], "drain_timeout": 0.2});
    for (name, value) in more.as_object().into_iter().flatten() {
        egress[name] = value.clone();
    }
    Gateway::start(|c| c.set("fleetgate", "egress", egress)).await
}

/// Both ends of a new tunnel.
async fn tunnel(gw: &Gateway, listener: &TcpListener) -> (TcpStream, TcpStream) {
    let to = listener.local_addr().expect("it is bound").to_string();
    let headers = format!("Proxy-Authorization: Bearer {MASTER_KEY}\r\n");
    let (client, server) = tokio::join!(Tunnel::open(gw.address(), &to, &headers), listener.accept());
    assert_eq!(client.status(), 200, "{}", client.head);
    (client.stream, server.expect("the gateway comes").0)
}

/// Ends a connection as a crash does.
fn reset(stream: TcpStream) {
    stream.set_zero_linger().expect("a live socket");
    drop(stream);
}

async fn read(stream: &mut TcpStream, count: usize) {
    soon("bytes", stream.read_exact(&mut vec![0; count])).await.expect("they come");
}

/// The kind of error that a read ends with.
async fn broken(stream: &mut TcpStream) -> Option<ErrorKind> {
    soon("the end", stream.read_to_end(&mut Vec::new())).await.err().map(|error| error.kind())
}

async fn only_row(gw: &Gateway) -> Row {
    eventually("the tunnel's row", async || gw.rows().await.pop()).await
}

#[tokio::test]
async fn a_reset_on_one_side_is_a_reset_on_the_other_and_every_byte_is_counted() {
    let (listener, port) = listener().await;
    for client_breaks in [true, false] {
        let gw = gateway(port, json!({})).await;
        let (mut client, mut server) = tunnel(&gw, &listener).await;
        client.write_all(&[1; 100_000]).await.expect("it takes bytes");
        read(&mut server, 100_000).await;
        server.write_all(&[2; 33]).await.expect("it takes bytes");
        read(&mut client, 33).await;
        let (breaks, mut hears) = if client_breaks { (client, server) } else { (server, client) };
        reset(breaks);
        assert_eq!(broken(&mut hears).await, Some(ErrorKind::ConnectionReset), "client breaks: {client_breaks}");
        let row = only_row(&gw).await;
        assert_eq!((row.status.as_str(), row.bytes_up, row.bytes_down), ("broken", Some(100_000), Some(33)));
    }
}

#[tokio::test]
async fn either_side_may_finish_first_and_the_other_goes_on() {
    let (listener, port) = listener().await;
    for client_first in [true, false] {
        let gw = gateway(port, json!({})).await;
        let (mut client, mut server) = tunnel(&gw, &listener).await;
        let (first, second) = if client_first { (&mut client, &mut server) } else { (&mut server, &mut client) };
        first.write_all(b"first").await.expect("it takes bytes");
        first.shutdown().await.expect("half-close");
        let mut seen = Vec::new();
        soon("the end of one way", second.read_to_end(&mut seen)).await.expect("a clean end");
        assert_eq!(seen, b"first");
        second.write_all(&[3; 70_000]).await.expect("the other way is open");
        second.shutdown().await.expect("half-close");
        seen.clear();
        soon("the end of the other", first.read_to_end(&mut seen)).await.expect("a clean end");
        assert_eq!(seen.len(), 70_000);
        let row = only_row(&gw).await;
        let bytes = if client_first { (Some(5), Some(70_000)) } else { (Some(70_000), Some(5)) };
        assert_eq!((row.status.as_str(), (row.bytes_up, row.bytes_down)), ("closed", bytes));
    }
}

#[tokio::test]
async fn bytes_that_come_with_the_connect_go_first_and_count() {
    let (listener, port) = listener().await;
    let gw = gateway(port, json!({})).await;
    let mut client = TcpStream::connect(gw.address()).await.expect("the gateway listens");
    let head =
        format!("CONNECT 127.0.0.1:{port} HTTP/1.1\r\nHost: x\r\nProxy-Authorization: Bearer {MASTER_KEY}\r\n\r\n");
    client.write_all(format!("{head}GET /early").as_bytes()).await.expect("the gateway reads");
    client.write_all(b" and late").await.expect("the gateway reads");
    client.shutdown().await.expect("half-close");
    let (mut server, _) = listener.accept().await.expect("the gateway comes");
    let mut seen = Vec::new();
    soon("the bytes", server.read_to_end(&mut seen)).await.expect("they come");
    assert_eq!(seen, b"GET /early and late");
    drop(server);
    let row = only_row(&gw).await;
    assert_eq!((row.status.as_str(), row.bytes_up, row.bytes_down), ("closed", Some(19), Some(0)));
}

#[tokio::test]
async fn silence_a_long_life_and_a_silent_half_each_end_a_tunnel_by_its_name() {
    let (listener, port) = listener().await;
    for (limits, half_close, status) in [
        (json!({"idle_timeout": 2}), false, "idle_timeout"),
        (json!({"half_closed_timeout": 2}), true, "idle_timeout"),
        (json!({"max_lifetime": 2}), false, "max_lifetime"),
    ] {
        let gw = gateway(port, limits.clone()).await;
        let (mut client, mut server) = tunnel(&gw, &listener).await;
        client.write_all(b"12345").await.expect("it takes bytes");
        read(&mut server, 5).await;
        if half_close {
            client.shutdown().await.expect("half-close");
        }
        let _how = broken(&mut client).await;
        let row = only_row(&gw).await;
        assert_eq!((row.status.as_str(), row.bytes_up, row.bytes_down), (status, Some(5), Some(0)), "{limits}");
    }
}

#[tokio::test]
async fn a_gateway_that_stops_lets_tunnels_finish_for_a_while_and_counts_those_that_do_not() {
    let (listener, port) = listener().await;
    let mut gw = gateway(port, json!({"drain_timeout": 5})).await;
    let (mut quick, mut quick_server) = tunnel(&gw, &listener).await;
    let (mut slow, mut slow_server) = tunnel(&gw, &listener).await;
    slow.write_all(b"123").await.expect("it takes bytes");
    read(&mut slow_server, 3).await;
    let address = gw.address();
    let using = async {
        // It takes no connection any more, and the tunnel still works.
        eventually("it stops", async || TcpStream::connect(address).await.is_err().then_some(())).await;
        quick.write_all(b"still here").await.expect("it takes bytes");
        read(&mut quick_server, 10).await;
        drop((quick, quick_server));
    };
    tokio::join!(gw.terminate(), using);
    assert_eq!(soon("the end", slow.read_to_end(&mut Vec::new())).await.ok(), Some(0));
    gw.start_again().await;
    let mut rows: Vec<_> = gw.rows().await.into_iter().map(|row| (row.bytes_up, row.status)).collect();
    rows.sort();
    assert_eq!(rows, [(Some(3), "stopped".to_owned()), (Some(10), "closed".to_owned())]);
}

fn descriptors(pid: u32) -> usize {
    std::fs::read_dir(format!("/proc/{pid}/fd")).map(Iterator::count).unwrap_or(usize::MAX)
}

/// `FLEETGATE_TEST_TUNNELS=100000` for the long form.
#[tokio::test]
async fn no_descriptor_is_left_of_thousands_of_tunnels_however_they_end() {
    const AT_ONCE: usize = 50;
    let count: usize =
        std::env::var("FLEETGATE_TEST_TUNNELS").ok().and_then(|count| count.parse().ok()).unwrap_or(2000);
    let (listener, port) = listener().await;
    let gw = gateway(port, json!({"idle_timeout": 5, "half_closed_timeout": 0.2})).await;
    drop(tunnel(&gw, &listener).await);
    eventually("the first row", async || (!gw.rows().await.is_empty()).then_some(())).await;
    let before = descriptors(gw.pid());
    for round in 0..count.div_ceil(AT_ONCE) {
        let mut dead = Vec::new();
        for number in 0..AT_ONCE {
            let (mut client, mut server) = tunnel(&gw, &listener).await;
            client.write_all(b"x").await.expect("it takes bytes");
            match (round + number) % 6 {
                0 => reset(client),
                1 => reset(server),
                2 => drop((client, server)),
                3 => drop(client.shutdown().await),
                4 => drop(server.shutdown().await),
                // A peer that never says another word.
                _ => {
                    client.shutdown().await.expect("half-close");
                    dead.push((client, server));
                }
            }
        }
        for (mut client, server) in dead {
            let _how = broken(&mut client).await;
            drop(server);
        }
    }
    // Connections that a keep-alive holds are a handful.
    let few = before + 8;
    eventually("all descriptors are back", async || (descriptors(gw.pid()) <= few).then_some(())).await;
    let total = async || gw.admin_get("/api/egress/spend").await["total"].clone();
    let opened = count.div_ceil(AT_ONCE) * AT_ONCE + 1;
    let total = eventually("all rows", async || Some(total().await).filter(|total| total["tunnels"] == opened)).await;
    assert!(total["bytes_up"].as_u64().is_some_and(|up| up <= opened as u64), "{total}");
}
