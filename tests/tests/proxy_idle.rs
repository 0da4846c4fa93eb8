//! Thousands of tunnels at once in which nothing happens.

#![allow(clippy::expect_used, reason = "a broken expectation is a failed test")]
#![allow(clippy::print_stdout, clippy::cast_precision_loss, reason = "counted tests print what they counted")]

use std::sync::Arc;

use fleetgate_tests::client::Tunnel;
use fleetgate_tests::process::{allow_descriptors, memory_kb, most_descriptors, open_sockets, threads};
use fleetgate_tests::wait::soon;
use fleetgate_tests::{Gateway, eventually};
use serde_json::json;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpSocket;
use tokio::sync::Semaphore;
use tokio::task::JoinSet;

/// As many as a fleet's agents and browsers leave open, or as a process may hold here.
const TUNNELS: usize = 10_000;
/// What a process needs beside two descriptors for each.
const OTHERS: usize = 200;
const AT_ONCE: usize = 64;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn thousands_of_idle_tunnels_are_held_answer_and_have_their_rows() {
    let count = TUNNELS.min((most_descriptors() - OTHERS) / 2);
    // Both ends of each are this process's.
    allow_descriptors(2 * count + OTHERS);
    let socket = TcpSocket::new_v4().expect("a socket");
    socket.bind(([127, 0, 0, 1], 0).into()).expect("a free port");
    let listener = socket.listen(1024).expect("a bound socket");
    let to = listener.local_addr().expect("it is bound");
    tokio::spawn(async move {
        while let Ok((mut stream, _)) = listener.accept().await {
            tokio::spawn(async move {
                let (mut reads, mut writes) = stream.split();
                drop(tokio::io::copy(&mut reads, &mut writes).await);
            });
        }
    });
    let egress = json!({
        "dangerously_allow_networks": ["127.0.0.0/8"], "ports": [to.port()], "max_tunnels": count + 1, "drain_timeout": 0.2,
    });
    let gw = Gateway::start(|c| c.set("fleetgate", "egress", egress)).await;
    let key = gw.key(&json!({"host": "mac", "max_tunnels": count})).await;
    let (memory, open, threads_before) = (memory_kb(gw.pid(), "VmRSS"), open_sockets(gw.pid()), threads(gw.pid()));

    let (address, to) = (gw.address(), to.to_string());
    let headers = Arc::new(format!("Proxy-Authorization: Bearer {key}\r\n"));
    let places = Arc::new(Semaphore::new(AT_ONCE));
    let mut opening = JoinSet::new();
    for _ in 0..count {
        let (headers, to) = (Arc::clone(&headers), to.clone());
        let place = Arc::clone(&places).acquire_owned().await.expect("it is never closed");
        opening.spawn(async move {
            let tunnel = Tunnel::open(address, &to, &headers).await;
            assert_eq!(tunnel.status(), 200, "{}", tunnel.head);
            drop(place);
            tunnel
        });
    }
    let mut tunnels = opening.join_all().await;
    let grown = memory_kb(gw.pid(), "VmRSS") - memory;
    println!(
        "{count} tunnels: {grown} kB more, {:.1} kB each; {} sockets, {} threads",
        grown as f64 / count as f64,
        open_sockets(gw.pid()),
        threads(gw.pid()),
    );
    assert!(open_sockets(gw.pid()) >= 2 * count);
    assert!(threads(gw.pid()) <= threads_before + 1, "a tunnel has no thread of its own");
    assert_eq!(Tunnel::open(address, &to, &headers).await.status(), 429, "it is the number that was set");

    for tunnel in &mut tunnels {
        tunnel.stream.write_all(b"are you there?").await.expect("it takes bytes");
    }
    for tunnel in &mut tunnels {
        soon("an answer", tunnel.stream.read_exact(&mut [0; 14])).await.expect("it is there");
    }
    drop(tunnels);
    // The journal keeps the files in which so many calls had their room.
    eventually("every socket is given back", async || (open_sockets(gw.pid()) <= open + 2).then_some(())).await;
    let total = eventually("all rows", async || {
        let spend = gw.admin_get("/api/egress/spend").await;
        (spend["total"]["tunnels"] == count).then(|| spend["total"].clone())
    })
    .await;
    assert_eq!((&total["bytes_up"], &total["bytes_down"]), (&json!(14 * count), &json!(14 * count)), "{total}");
}
