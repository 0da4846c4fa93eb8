//! What tunnels cost, how fast they are, and how many bytes they have in a day.

#![allow(clippy::expect_used, reason = "a broken expectation is a failed test")]

use std::time::Instant;

use fleetgate_tests::client::Tunnel;
use fleetgate_tests::wait::soon;
use fleetgate_tests::{Gateway, eventually};
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpListener;

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

async fn gateway(port: u16, egress: Value, proxy: Value) -> Gateway {
    let mut all = json!({"dangerously_allow_networks": ["127.0.0.0/8"], "ports": [port], "drain_timeout": 0.1});
    for (name, value) in egress.as_object().into_iter().flatten() {
        all[name] = value.clone();
    }
    Gateway::start(|c| c.set("fleetgate", "egress", all).set("fleetgate", "forward_proxy", proxy)).await
}

async fn open(gw: &Gateway, port: u16, key: &str) -> Tunnel {
    let headers = format!("Proxy-Authorization: Bearer {key}\r\n");
    Tunnel::open(gw.address(), &format!("127.0.0.1:{port}"), &headers).await
}

/// Sends so many bytes through a new tunnel, and waits for its end.
async fn send(gw: &Gateway, port: u16, key: &str, bytes: usize) {
    let mut tunnel = open(gw, port, key).await;
    assert_eq!(tunnel.status(), 200, "{}", tunnel.head);
    // A limit may end it before all has gone.
    let _cut = tunnel.stream.write_all(&vec![1; bytes]).await;
    let _cut = tunnel.stream.shutdown().await;
    let _cut = soon("the end", tunnel.stream.read_to_end(&mut Vec::new())).await;
}

#[tokio::test]
async fn a_gigabyte_has_a_price_that_rows_sums_and_budgets_hold() {
    let port = quiet().await;
    let gw = gateway(port, json!({}), json!({"price_per_gb": 5})).await;
    let key = gw.key(&json!({"key_alias": "vk-mac", "host": "mac", "max_budget": 0.001})).await;
    send(&gw, port, &key, 300_000).await;
    let row = eventually("the row", async || gw.rows().await.pop()).await;
    assert_eq!((row.cost_nanousd, row.price_source.as_str()), (Some(1_500_000), "override"));
    assert_eq!(row.price_name.as_deref(), Some("forward_proxy.price_per_gb"));
    let spent = eventually("the key's spend", async || {
        let info = gw.admin_get(&format!("/key/info?key={key}")).await;
        info["info"]["spend"].as_f64().filter(|spend| *spend > 0.0)
    });
    assert!((spent.await - 0.0015).abs() < 1e-9);
    assert_eq!(gw.admin_get("/api/egress/spend").await["total"]["cost_nanousd"], 1_500_000);
    let refused = open(&gw, port, &key).await;
    assert_eq!((refused.status(), refused.header("x-fleetgate-reason")), (402, "budget_exceeded"), "{}", refused.head);
}

#[tokio::test]
async fn a_days_bytes_end_a_tunnel_refuse_the_next_and_are_remembered() {
    let port = quiet().await;
    for limit in ["bytes_per_day_per_key", "bytes_per_day_per_host"] {
        let mut gw = gateway(port, json!({limit: 50_000}), json!({})).await;
        let key = gw.key(&json!({"host": "mac"})).await;
        let other = gw.key(&json!({"host": "tower"})).await;
        send(&gw, port, &key, 20_000).await;
        send(&gw, port, &key, 2_000_000).await;
        let rows = eventually("both rows", async || Some(gw.rows().await).filter(|rows| rows.len() == 2)).await;
        assert_eq!((rows[1].status.as_str(), rows[0].status.as_str()), ("closed", "byte_limit"), "{limit}");
        for _ in 0..2 {
            let refused = open(&gw, port, &key).await;
            assert_eq!((refused.status(), refused.header("x-fleetgate-reason")), (429, "byte_limit"), "{limit}");
            gw.restart().await;
        }
        assert_eq!(open(&gw, port, &other).await.status(), 200, "others have their own");
    }
}

#[tokio::test]
async fn a_keys_own_limit_of_bytes_counts_before_the_general_one() {
    let port = quiet().await;
    let gw = gateway(port, json!({"bytes_per_day_per_key": 10}), json!({})).await;
    let key = gw.key(&json!({"max_tunnel_bytes_per_day": 1_000_000})).await;
    send(&gw, port, &key, 20_000).await;
    assert_eq!(open(&gw, port, &key).await.status(), 200);
    gw.post("/key/generate")
        .bearer(fleetgate_tests::MASTER_KEY)
        .json(&json!({"max_tunnel_bytes_per_day": "5"}))
        .send()
        .await
        .expect(400);
}

#[tokio::test]
async fn a_keys_tunnels_share_its_pace() {
    let port = quiet().await;
    let gw = gateway(port, json!({"bytes_per_second_per_key": 200_000}), json!({})).await;
    let key = gw.key(&json!({})).await;
    let began = Instant::now();
    tokio::join!(send(&gw, port, &key, 150_000), send(&gw, port, &key, 150_000));
    // Never faster: 300,000 bytes less a burst and what is in the sockets' buffers at the end.
    assert!(began.elapsed().as_millis() >= 800, "{:?}", began.elapsed());
    let rows = eventually("both rows", async || Some(gw.rows().await).filter(|rows| rows.len() == 2)).await;
    assert!(rows.iter().all(|row| row.bytes_up == Some(150_000)), "{rows:#?}");
}
