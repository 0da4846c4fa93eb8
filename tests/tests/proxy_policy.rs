//! Which names tunnels may lead to: rules, modes, limits of tunnels, and what rows, headers and commands say of them.

#![allow(clippy::expect_used, reason = "a broken expectation is a failed test")]

use fleetgate_tests::client::Tunnel;
use fleetgate_tests::wait::soon;
use fleetgate_tests::{Gateway, MASTER_KEY, Postgres, eventually};
use fleetgate_wire::row::Row;
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpListener;

/// A server on loopback that takes everything in until the other side ends, and answers nothing.
async fn quiet() -> u16 {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
    let port = listener.local_addr().expect("it is bound").port();
    tokio::spawn(async move {
        while let Ok((mut stream, _)) = listener.accept().await {
            tokio::spawn(async move { drop(stream.read_to_end(&mut Vec::new()).await) });
        }
    });
    port
}

async fn gateway(port: u16, more: Value) -> Gateway {
    let mut egress =
        json!({"dangerously_allow_networks": ["127.0.0.0/8", "::1"], "ports": [port], "drain_timeout": 0.1});
    for (name, value) in more.as_object().into_iter().flatten() {
        egress[name] = value.clone();
    }
    Gateway::start(|c| c.set("fleetgate", "egress", egress)).await
}

async fn open(gw: &Gateway, to: &str, key: &str) -> Tunnel {
    Tunnel::open(gw.address(), to, &format!("Proxy-Authorization: Bearer {key}\r\n")).await
}

async fn ended(gw: &Gateway, count: usize) -> Vec<Row> {
    eventually("the tunnels' rows", async || {
        let rows = gw.rows().await;
        (rows.len() >= count).then_some(rows)
    })
    .await
}

#[tokio::test]
async fn the_most_specific_rule_decides_and_row_header_and_command_say_which() {
    let port = quiet().await;
    let gw = gateway(
        port,
        json!({
            "allow": ["localhost", "*.example.com"],
            "deny": ["internal.example.com"],
            "rules": [
                {"key": "vk-free", "allow": ["*"]},
                {"host": "tower", "deny": ["*"]},
                {"workload": "hermes", "deny": ["localhost"]},
            ],
        }),
    )
    .await;
    let mac = gw.key(&json!({"key_alias": "vk-mac", "host": "mac"})).await;
    let free = gw.key(&json!({"key_alias": "vk-free", "host": "tower"})).await;
    let tower = gw.key(&json!({"key_alias": "vk-tower", "host": "tower"})).await;
    let (name, dotted, literal) =
        (format!("localhost:{port}"), format!("LOCALHOST.:{port}"), format!("127.0.0.1:{port}"));
    let table = [
        (&mac, "vk-mac", name.as_str(), 200, "domain_allowed", "fleetgate.egress.allow \"localhost\""),
        (&mac, "vk-mac", dotted.as_str(), 200, "domain_allowed", "fleetgate.egress.allow \"localhost\""),
        (&mac, "vk-mac", literal.as_str(), 403, "address_literal", "fleetgate.egress.allow"),
        (&free, "vk-free", literal.as_str(), 200, "domain_allowed", "fleetgate.egress.rules[0].allow \"*\""),
        (&tower, "vk-tower", name.as_str(), 403, "domain_denied", "fleetgate.egress.rules[1].deny \"*\""),
    ];
    for (key, alias, to, status, reason, rule) in table {
        let tunnel = open(&gw, to, key).await;
        assert_eq!(tunnel.status(), status, "{alias} {to}: {}", tunnel.head);
        assert_eq!(tunnel.header("x-fleetgate-reason"), if status == 200 { "" } else { reason }, "{alias} {to}");
        let said = gw.admin_get(&format!("/api/egress/explain?to={to}&as={alias}")).await;
        assert_eq!(
            (&said["allowed"], &said["reason"], &said["rule"]),
            (&json!(status == 200), &json!(reason), &json!(rule))
        );
    }
    for name in ["evilexample.com", "example.com", "internal.example.com", "example.com.evil.org"] {
        let tunnel = open(&gw, &format!("{name}:{port}"), &mac).await;
        assert_eq!(tunnel.status(), 403, "{name}: {}", tunnel.head);
        assert!(tunnel.header("x-fleetgate-reason").starts_with("domain_"), "{name}: {}", tunnel.head);
    }
    let headers = format!("Proxy-Authorization: Bearer {mac}\r\nX-Fleetgate-Workload: hermes\r\n");
    let hermes = Tunnel::open(gw.address(), &name, &headers).await;
    assert_eq!((hermes.status(), hermes.header("x-fleetgate-reason")), (403, "domain_denied"));

    let rows = ended(&gw, 10).await;
    let refused: Vec<_> = rows.iter().filter(|row| row.status == "refused").collect();
    assert_eq!(refused.len(), 7, "{rows:#?}");
    assert!(refused.iter().all(|row| row.error.as_deref().is_some_and(|error| error.contains("fleetgate.egress"))));
    assert!(rows.iter().any(|row| row.destination.as_deref() == Some(name.as_str())), "destinations are canonical");
    assert!(gw.stderr().contains("fleetgate.egress.rules[1].deny"), "the log line names the rule");

    let shown = gw.fleetgate(&["egress", "explain", &name, "--as", "vk-tower"]).await;
    assert!(shown.status.success(), "{}", shown.said());
    assert!(shown.stdout.contains("refused (domain_denied)") && shown.stdout.contains("rules[1]"), "{}", shown.stdout);
    let nobody = gw.fleetgate(&["egress", "explain", &name, "--as", "vk-nobody"]).await;
    assert!(!nobody.status.success() && nobody.stderr.contains("no key is called vk-nobody"), "{}", nobody.said());
    gw.get(&format!("/api/egress/explain?to={name}")).bearer(&mac).send().await.expect(403);
}

#[tokio::test]
async fn an_explanation_judges_addresses_and_connects_to_nobody() {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
    let port = listener.local_addr().expect("it is bound").port();
    let gw = gateway(port, json!({"dangerously_allow_networks": []})).await;
    for (to, reason) in [
        (format!("localhost:{port}"), "destination_loopback"),
        (format!("169.254.169.254:{port}"), "destination_metadata"),
        (format!("100.64.0.9:{port}"), "destination_mesh"),
        ("localhost:22".to_owned(), "port_not_allowed"),
        ("0x7f.1:443".to_owned(), "bad_authority"),
    ] {
        let said = gw.admin_get(&format!("/api/egress/explain?to={to}")).await;
        assert_eq!((&said["allowed"], &said["reason"]), (&json!(false), &json!(reason)), "{said}");
    }
    let said = gw.admin_get(&format!("/api/egress/explain?to=127.0.0.1:{port}")).await;
    assert_eq!(said["addresses"], json!([{"address": "127.0.0.1", "class": "loopback", "allowed": false}]));
    let listener = listener.into_std().expect("a plain socket");
    assert!(listener.accept().is_err(), "somebody was connected to");
    assert!(gw.rows().await.is_empty(), "what was only asked has no row");
}

#[tokio::test]
async fn a_report_lets_tunnels_through_and_says_what_it_would_have_refused() {
    let port = quiet().await;
    let gw = gateway(port, json!({"mode": "report", "deny": ["*"]})).await;
    let tunnel = open(&gw, &format!("localhost:{port}"), MASTER_KEY).await;
    assert_eq!((tunnel.status(), tunnel.header("x-fleetgate-reason")), (200, "reported_domain_denied"));
    drop(tunnel);
    let row = ended(&gw, 1).await.remove(0);
    assert!(row.error.as_deref().is_some_and(|error| error.starts_with("would be refused: ")), "{row:#?}");
    // The mode concerns names: what must never be reached stays closed.
    let metadata = open(&gw, &format!("169.254.169.254:{port}"), MASTER_KEY).await;
    assert_eq!(metadata.status(), 403, "{}", metadata.head);
}

#[tokio::test]
async fn an_open_gateway_looks_at_no_rule() {
    let port = quiet().await;
    let gw = gateway(port, json!({"mode": "open", "deny": ["*"]})).await;
    let tunnel = open(&gw, &format!("127.0.0.1:{port}"), MASTER_KEY).await;
    assert_eq!((tunnel.status(), tunnel.header("x-fleetgate-reason")), (200, ""));
}

#[tokio::test]
async fn a_rule_with_a_mistake_stops_the_start() {
    for egress in [
        json!({"allow": ["*example.com"]}),
        json!({"allow": []}),
        json!({"deny": {"a": "b"}}),
        json!({"mode": "strict"}),
        json!({"rules": [{"allow": ["example.com"]}]}),
        json!({"rules": [{"key": "vk-mac", "alow": ["example.com"]}]}),
        json!({"rules": [{"host": "no host", "allow": ["example.com"]}]}),
        json!({"rules": {"key": "vk-mac"}}),
    ] {
        let refused = Gateway::refuses(|c| c.set("fleetgate", "egress", egress.clone())).await;
        assert_eq!(refused.status.code(), Some(2), "{egress}: {}", refused.said());
    }
}

#[tokio::test]
async fn a_key_has_so_many_tunnels_at_once_and_a_place_comes_back_with_its_tunnels_end() {
    let port = quiet().await;
    let gw = gateway(port, json!({"max_tunnels_per_key": 2})).await;
    let plain = gw.key(&json!({"key_alias": "vk-plain"})).await;
    let one = gw.key(&json!({"key_alias": "vk-one", "max_tunnels": 1})).await;
    let to = format!("127.0.0.1:{port}");
    let held = [open(&gw, &to, &plain).await, open(&gw, &to, &plain).await, open(&gw, &to, &one).await];
    assert!(held.iter().all(|tunnel| tunnel.status() == 200));
    for key in [&plain, &one] {
        let refused = open(&gw, &to, key).await;
        assert_eq!((refused.status(), refused.header("x-fleetgate-reason")), (429, "too_many_tunnels_of_key"));
        assert_eq!((refused.header("retry-after"), refused.header("x-should-retry")), ("1", ""));
    }
    drop(held);
    eventually("a place", async || (open(&gw, &to, &one).await.status() == 200).then_some(())).await;
    gw.post("/key/generate").bearer(MASTER_KEY).json(&json!({"max_tunnels": "5"})).send().await.expect(400);
}

#[tokio::test]
async fn bytes_and_tunnels_are_summed_by_host_and_destination_in_a_file_and_in_postgresql() {
    let port = quiet().await;
    summed(port, gateway(port, json!({})).await).await;
    let server = Postgres::start().await;
    let url = server.database("ledger").await;
    summed(port, Gateway::start(|c| c.tunnels_to_loopback(&[port]).database(&url)).await).await;
}

async fn summed(port: u16, gw: Gateway) {
    let (name, literal) = (format!("localhost:{port}"), format!("127.0.0.1:{port}"));
    for (host, to, bytes) in [("mac", &name, 70_000), ("mac", &name, 5), ("mac", &literal, 10), ("tower", &name, 3)] {
        let key = gw.key(&json!({"host": host})).await;
        let mut tunnel = open(&gw, to, &key).await;
        tunnel.stream.write_all(&vec![7; bytes]).await.expect("the tunnel takes bytes");
        tunnel.stream.shutdown().await.expect("half-close");
        soon("the end", tunnel.stream.read_to_end(&mut Vec::new())).await.expect("it ends");
        assert_eq!(open(&gw, "10.1.1.1:22", &key).await.status(), 403);
    }
    ended(&gw, 8).await;
    let spend = gw.admin_get("/api/egress/spend").await;
    assert_eq!(
        spend["total"],
        json!({"tunnels": 4, "refused": 4, "bytes_up": 70_018, "bytes_down": 0, "cost_nanousd": 0})
    );
    let mac = json!({
        "host": "mac", "destination": name, "address": literal, "addresses": 1, "tunnels": 2, "refused": 0, "bytes_up": 70_005,
        "bytes_down": 0, "cost_nanousd": 0,
    });
    assert_eq!(spend["groups"][0], mac);
    assert_eq!(spend["groups"].as_array().map(Vec::len), Some(5), "{spend}");
    let refused = &spend["groups"].as_array().into_iter().flatten().find(|group| group["refused"] != 0);
    assert_eq!(refused.map(|group| &group["address"]), Some(&Value::Null), "nobody was dialled: {spend}");
    let addresses: Vec<_> = gw.rows().await.into_iter().map(|row| row.address).collect();
    assert_eq!(addresses.iter().flatten().filter(|address| **address == literal).count(), 4, "{addresses:?}");
    let later = gw.admin_get("/api/egress/spend?since=2999-01-01").await;
    assert_eq!(later["total"]["tunnels"], 0);
    let shown = gw.fleetgate(&["spend", "--egress"]).await;
    let line = shown.stdout.lines().nth(1).unwrap_or_default().split_whitespace().collect::<Vec<_>>().join(" ");
    assert_eq!(line, format!("mac {name} {literal} 2 0 70005 0 $0.00"), "{}", shown.said());
    let json = gw.fleetgate(&["spend", "--egress", "--json"]).await;
    assert_eq!(serde_json::from_str::<Value>(json.stdout.lines().next().unwrap_or_default()).ok(), Some(mac));
}
