//! What the mesh says of machines, and what sidecars say of programs: on the row, in the lists, and never at a provider's.

#![allow(clippy::expect_used, reason = "a broken expectation is a failed test")]

use std::collections::BTreeMap;

use fleetgate_tests::client::Tunnel;
use fleetgate_tests::process::Program;
use fleetgate_tests::upstream::openai::chat_request;
use fleetgate_tests::{Gateway, MASTER_KEY, Sidecar, Tailscaled, Upstream, eventually};
use fleetgate_wire::row::{Mark, Row};
use fleetgate_wire::seen::{Sighting, Straggler};
use serde_json::{Value, json};

const CHAT: &str = "/v1/chat/completions";

async fn gateway(upstream: &Upstream, daemon: &Tailscaled, check: &str) -> Gateway {
    let mesh = json!({"check": check, "socket": daemon.socket(), "names": {"laptop": "johns-macbook"}});
    Gateway::start(|c| c.model("gpt-x", upstream).set("fleetgate", "mesh", mesh)).await
}

#[tokio::test]
async fn a_host_that_the_mesh_calls_otherwise_has_marked_rows_until_its_operator_says_that_both_are_one() {
    let (upstream, daemon) = (Upstream::start().await, Tailscaled::start("gateway"));
    daemon.calls_everyone(Some("Johns-MacBook"));
    let gw = gateway(&upstream, &daemon, "report").await;
    for host in ["tower", "laptop", "johns-macbook"] {
        let key = gw.key(&json!({"key_alias": host, "host": host})).await;
        let row = eventually("the mesh is asked in time for a row", async || {
            gw.post(CHAT).bearer(&key).json(&chat_request("gpt-x")).send().await.expect(200);
            // A loaded machine may answer the call before its daemon has said a word.
            let rows = gw.rows().await.into_iter().filter(|row| row.host == host);
            rows.into_iter().find(|row| (host == "tower") == (row.marks == [Mark::HostMismatch]))
        });
        let row = row.await;
        assert_eq!(row.host_seen.as_deref(), (host == "tower").then_some("johns-macbook"), "{row:#?}");
        assert_eq!(row.host_source, "key");
    }
    assert!(daemon.asked().iter().all(|line| line.starts_with("GET /localapi/v0/whois?addr=127.0.0.1:")));
    assert!(upstream.requests().iter().all(|request| !request.everything().contains("macbook")));
}

#[tokio::test]
async fn where_the_mesh_is_enforced_another_hosts_key_is_refused_for_calls_and_tunnels() {
    let (upstream, daemon) = (Upstream::start().await, Tailscaled::start("gateway"));
    daemon.calls_everyone(Some("mac"));
    let gw = gateway(&upstream, &daemon, "enforce").await;
    let tower = gw.key(&json!({"key_alias": "vk-tower", "host": "tower"})).await;
    let mac = gw.key(&json!({"key_alias": "vk-mac", "host": "mac"})).await;

    let refused = gw.post(CHAT).bearer(&tower).json(&chat_request("gpt-x")).send().await.expect(403);
    assert_eq!((refused.header("x-fleetgate-reason"), refused.header("x-should-retry")), ("host_mismatch", "false"));
    assert!(refused.text().contains("'tower'") && refused.text().contains("'mac'"), "{}", refused.text());
    let headers = format!("Proxy-Authorization: Bearer {tower}\r\n");
    let tunnel = Tunnel::open(gw.address(), "example.com:443", &headers).await;
    assert_eq!((tunnel.status(), tunnel.header("x-fleetgate-reason")), (403, "host_mismatch"));
    assert_eq!(upstream.requests().len(), 0);

    gw.post(CHAT).bearer(&mac).json(&chat_request("gpt-x")).send().await.expect(200);
    // Nobody vouches for a name that is merely said, from an address that the mesh does not know.
    daemon.calls_everyone(None);
    let claim = gw.post(CHAT).bearer(MASTER_KEY).header("x-fleetgate-host", "mac").json(&chat_request("gpt-x"));
    claim.send().await.expect(200);
    let rows = gw.rows().await;
    let names: Vec<_> = rows.iter().map(|row| (row.host.as_str(), row.host_source.as_str())).collect();
    assert_eq!(names, [("127.0.0.1", "address"), ("mac", "key")]);
    assert!(rows.iter().all(|row| row.marks.is_empty()), "{rows:#?}");

    drop(daemon);
    let unchecked = gw.post(CHAT).bearer(&mac).json(&chat_request("gpt-x")).send().await.expect(503);
    assert_eq!(unchecked.header("x-fleetgate-reason"), "mesh_unavailable");
}

#[tokio::test]
async fn what_a_sidecar_found_is_on_the_row_and_in_the_lists_and_stays_from_the_provider() {
    let upstream = Upstream::start().await;
    let gw = Gateway::start(|c| c.model("gpt-x", &upstream)).await;
    let key = gw.key(&json!({"key_alias": "vk-mac", "host": "mac"})).await;
    let spare = gw.key(&json!({"key_alias": "vk-spare"})).await;
    let said = |key: &str| {
        let call = gw.post(CHAT).bearer(key).json(&chat_request("gpt-x")).header("x-fleetgate-workload", "hermes");
        let call = call.header("x-fleetgate-process", "/usr/bin/python3 unit:hermes.service");
        call.header("x-fleetgate-user", "anna").header("x-fleetgate-sighting", "openrouter:0123456789abcdef")
    };
    said(&key).send().await.expect(200);
    said(&key).send().await.expect(200);
    let fallback = said(&spare).header("x-fleetgate-host", "attic").header("x-fleetgate-fallback-key", "1");
    fallback.send().await.expect(200);
    gw.post(CHAT).bearer(MASTER_KEY).json(&chat_request("gpt-x")).send().await.expect(200);
    for request in upstream.requests() {
        let everything = request.everything();
        for absent in ["x-fleetgate", "hermes", "anna", "0123456789abcdef"] {
            assert!(!everything.contains(absent), "{absent} reached the upstream: {everything}");
        }
    }

    let rows = gw.rows().await;
    for row in &rows[2..] {
        assert_eq!(row.process.as_deref(), Some("/usr/bin/python3 unit:hermes.service"));
        assert_eq!((row.os_user.as_deref(), row.marks.as_slice()), (Some("anna"), [Mark::RawProviderKey].as_slice()));
        assert_eq!(row.sighting.as_deref(), Some("openrouter:0123456789abcdef"));
    }
    let marked = &rows[1];
    assert_eq!((marked.host.as_str(), marked.marks.as_slice()), ("attic", [Mark::FallbackKey].as_slice()));
    assert_eq!(
        (&marked.process, &marked.os_user, &marked.sighting),
        (&None, &None, &None),
        "its key is bound to no host"
    );

    let sightings: Vec<Sighting> =
        serde_json::from_value(gw.admin_get("/api/sightings").await["sightings"].take()).expect("sightings");
    assert_eq!(sightings.len(), 1, "{sightings:?}");
    let seen = &sightings[0];
    assert_eq!((seen.provider.as_str(), seen.fingerprint.as_str()), ("openrouter", "0123456789abcdef"));
    assert_eq!(
        (seen.host.as_str(), seen.workload.as_str(), seen.place.as_str(), seen.count),
        ("mac", "hermes", "live", 2)
    );
    assert_eq!((&seen.first_seen, &seen.last_seen), (&rows[3].started_at, &rows[2].started_at));

    let stragglers: Vec<Straggler> =
        serde_json::from_value(gw.admin_get("/api/stragglers").await["stragglers"].take()).expect("stragglers");
    let straggler = |s: &Straggler| (s.host.clone(), s.reason.clone(), s.key_alias.clone(), s.calls);
    let expected = [("127.0.0.1", "master_key", "master-key"), ("attic", "fallback_key", "vk-spare")];
    let expected = expected.map(|(host, reason, alias)| (host.to_owned(), reason.to_owned(), alias.to_owned(), 1));
    assert_eq!(stragglers.iter().map(straggler).collect::<Vec<_>>(), expected);
    gw.get("/api/stragglers").bearer(&key).send().await.expect(403);
    gw.get("/api/sightings").bearer(&key).send().await.expect(403);

    let printed = gw.fleetgate(&["logs", "--json"]).await;
    let printed: Vec<Row> = printed.stdout.lines().map(|line| serde_json::from_str(line).expect("a row")).collect();
    assert_eq!(printed, rows);
    assert!(gw.fleetgate(&["logs"]).await.stdout.contains("fallback_key"));
}

#[tokio::test]
async fn a_sidecar_on_the_fallback_key_marks_its_rows() {
    let upstream = Upstream::start().await;
    let gw = Gateway::start(|c| c.model("gpt-x", &upstream)).await;
    let spare = gw.key(&json!({"key_alias": "vk-spare"})).await;
    let hosts = "[fallback]\nkey = \"file:KEY_FILE\"\n[[host]]\nmatch = [\"mac\"]\nkey = \"env:NONE\"\n";
    let sidecar = Sidecar::for_host("Guest").gateway(&gw).key(&spare).hosts(hosts).start().await;
    sidecar.post(CHAT).json(&chat_request("gpt-x")).send().await.expect(200);
    let row = gw.only_row().await;
    assert_eq!((row.host.as_str(), row.marks.as_slice()), ("guest", [Mark::FallbackKey].as_slice()));
    let listed = gw.fleetgate(&["spend", "--stragglers", "--json"]).await;
    let straggler: Straggler = serde_json::from_str(&listed.stdout).expect("one line");
    assert_eq!((straggler.host.as_str(), straggler.reason.as_str(), straggler.calls), ("guest", "fallback_key", 1));
}

#[tokio::test]
async fn a_machine_is_called_by_its_name_in_the_mesh_unless_it_was_pinned() {
    let daemon = Tailscaled::start("Mac-Mini");
    let home = tempfile::TempDir::new().expect("a temporary directory");
    let whoami = async |arguments: &[&str]| -> Value {
        let variables = [
            ("FLEETGATE_TAILSCALE_SOCKET", daemon.socket().display().to_string()),
            ("STATE_DIRECTORY", home.path().display().to_string()),
        ];
        let variables = variables.map(|(name, value)| (name.to_owned(), value));
        let program = Program::new("fleetgate", home.path()).envs(&BTreeMap::from(variables));
        let said = program.args(["whoami", "--json"]).args(arguments.iter().copied()).run().await;
        serde_json::from_str(&said.stdout).unwrap_or_else(|error| panic!("{error}: {}", said.said()))
    };
    let verdict = |whoami: &Value, source: &str| -> String {
        let candidates = whoami["candidates"].as_array().expect("a list");
        let found = candidates.iter().find(|candidate| candidate["source"] == source).expect("a candidate");
        found["verdict"].as_str().expect("a word").to_owned()
    };
    // On a loaded machine the daemon may take longer than a start waits for it.
    let by_mesh = eventually("the mesh answers in time", async || {
        Some(whoami(&[]).await).filter(|whoami| whoami["why"] == "tailscale")
    });
    let by_mesh = by_mesh.await;
    assert_eq!((&by_mesh["host"], &by_mesh["why"]), (&json!("mac-mini"), &json!("tailscale")), "{by_mesh}");
    assert_eq!((verdict(&by_mesh, "tailscale"), verdict(&by_mesh, "pinned")), ("wins".into(), "unusable".into()));
    assert!(by_mesh["because"].as_str().expect("a sentence").contains("mesh"));

    std::fs::write(home.path().join("host-label"), "attic\n").expect("our own directory");
    let pinned = whoami(&[]).await;
    assert_eq!((&pinned["host"], &pinned["why"]), (&json!("attic"), &json!("pinned")), "{pinned}");
    let said = whoami(&["--host", "Tower.local"]).await;
    assert_eq!((&said["host"], &said["why"]), (&json!("tower"), &json!("explicit")), "{said}");
    assert!(said["notes"].to_string().contains("attic"), "{said}");
    assert_eq!(verdict(&said, "pinned"), "comes_later");
}
