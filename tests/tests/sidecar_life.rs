//! A sidecar's life: what it tells its service manager and whoever asks, how it ends, and how it survives other networks.

#![allow(clippy::print_stdout, reason = "a skipped test says so on stdout")]

use std::io::{BufRead, BufReader};
use std::os::unix::net::UnixDatagram;
use std::path::Path;
use std::process::{Command, Stdio};

use fleetgate_tests::binaries::{binary, workspace};
use fleetgate_tests::closed_port::ClosedPort;
use fleetgate_tests::netns::Netns;
use fleetgate_tests::process::{Finished, Program};
use fleetgate_tests::raw_gateway::RawGateway;
use fleetgate_tests::upstream::openai::{chat_request, stream_request};
use fleetgate_tests::wait::{Gate, PATIENCE, soon};
use fleetgate_tests::{Gateway, Reply, Sidecar, Upstream, eventually};
use serde_json::{Value, json};
use tempfile::TempDir;
use tokio::net::TcpStream;

const KEY: &str = "sk-fg-0123456789abcdef";

async fn fleet() -> (Upstream, Gateway, String) {
    let upstream = Upstream::start().await;
    let gateway = Gateway::start(|c| c.model("gpt-x", &upstream)).await;
    let key = gateway.key(&json!({"key_alias": "vk-mac", "host": "mac", "max_budget": 2.5})).await;
    (upstream, gateway, key)
}

async fn fleetgate(home: &Path, arguments: &[&str]) -> Finished {
    Program::new("fleetgate", home).args(arguments.iter().copied()).run().await
}

/// A streamed call that stands in its middle until the gate opens.
async fn held(upstream: &Upstream, sidecar: &Sidecar, gate: &Gate) -> fleetgate_tests::client::Open {
    upstream.reply(Reply::stream(["data: {\"choices\":[]}\n\n", "data: [DONE]\n\n"]).pause_after(1, gate));
    let mut open = sidecar.post("/v1/chat/completions").json(&stream_request("gpt-x")).open().await;
    open.read_until("choices").await;
    open
}

async fn refuses_connections(sidecar: &Sidecar) {
    let address = sidecar.address();
    eventually("nobody listens", async || TcpStream::connect(address).await.is_err().then_some(())).await;
}

#[tokio::test]
async fn what_is_under_way_finishes_and_nothing_new_is_taken() {
    let (upstream, gateway, key) = fleet().await;
    let mut sidecar = Sidecar::for_host("mac").gateway(&gateway).key(&key).arguments(&["--drain", "60"]).start().await;
    let gate = Gate::new();
    let open = held(&upstream, &sidecar, &gate).await;
    sidecar.signal("TERM").await;
    refuses_connections(&sidecar).await;
    gate.open();
    let answer = open.finish().await;
    assert!(answer.whole && answer.text().ends_with("[DONE]\n\n"), "{}", answer.text());
    assert!(sidecar.ended().await.success());
}

#[tokio::test]
async fn a_second_signal_ends_it_at_once() {
    let (upstream, gateway, key) = fleet().await;
    let mut sidecar =
        Sidecar::for_host("mac").gateway(&gateway).key(&key).arguments(&["--drain", "3600"]).start().await;
    let gate = Gate::new();
    let open = held(&upstream, &sidecar, &gate).await;
    sidecar.signal("TERM").await;
    refuses_connections(&sidecar).await;
    sidecar.signal("TERM").await;
    assert!(sidecar.ended().await.success());
    assert!(!open.finish().await.whole, "a cut is a cut");
    assert!(sidecar.stderr().contains("calls=1"), "{}", sidecar.stderr());
}

#[tokio::test]
async fn the_time_for_what_is_under_way_has_an_end() {
    let (upstream, gateway, key) = fleet().await;
    let mut sidecar = Sidecar::for_host("mac").gateway(&gateway).key(&key).arguments(&["--drain", "0.2"]).start().await;
    let gate = Gate::new();
    let open = held(&upstream, &sidecar, &gate).await;
    sidecar.signal("TERM").await;
    assert!(sidecar.ended().await.success());
    assert!(!open.finish().await.whole);
}

/// Reads datagrams until one holds the text.
async fn told(manager: &UnixDatagram, text: &str) -> String {
    let (manager, wanted) = (manager.try_clone().unwrap_or_else(|e| panic!("{e}")), text.to_owned());
    manager.set_read_timeout(Some(PATIENCE)).unwrap_or_else(|e| panic!("{e}"));
    let reading = tokio::task::spawn_blocking(move || {
        let mut buffer = [0; 4096];
        loop {
            let length = manager.recv(&mut buffer).unwrap_or_else(|e| panic!("nobody said {wanted}: {e}"));
            let said = String::from_utf8_lossy(&buffer[..length]).into_owned();
            if said.contains(&wanted) {
                return said;
            }
        }
    });
    soon(text, reading).await.unwrap_or_else(|e| panic!("{e}"))
}

#[tokio::test]
async fn the_service_manager_is_told_each_step_and_that_it_lives() {
    let home = TempDir::new().unwrap_or_else(|e| panic!("{e}"));
    let place = home.path().join("notify");
    let manager = UnixDatagram::bind(&place).unwrap_or_else(|e| panic!("{e}"));
    let sidecar = Sidecar::for_host("mac").gateway_url("http://127.0.0.1:9").key(KEY);
    let sidecar = sidecar.variable("NOTIFY_SOCKET", &place.display().to_string()).variable("WATCHDOG_USEC", "100000");
    let mut sidecar = sidecar.start().await;
    let ready = told(&manager, "READY=1").await;
    assert!(ready.contains("STATUS=calls of mac go to http://127.0.0.1:9"), "{ready}");
    for _ in 0..3 {
        told(&manager, "WATCHDOG=1").await;
    }
    sidecar.signal("HUP").await;
    told(&manager, "RELOADING=1").await;
    told(&manager, "READY=1").await;
    // A sidecar that hangs says nothing: this is what the service manager notices.
    sidecar.signal("STOP").await;
    while manager.set_nonblocking(true).is_ok_and(|()| manager.recv(&mut [0; 64]).is_ok()) {}
    manager.set_nonblocking(false).unwrap_or_else(|e| panic!("{e}"));
    manager.set_read_timeout(Some(std::time::Duration::from_millis(400))).unwrap_or_else(|e| panic!("{e}"));
    assert!(manager.recv(&mut [0; 64]).is_err(), "a stopped process still says that it lives");
    sidecar.signal("CONT").await;
    told(&manager, "WATCHDOG=1").await;
    sidecar.signal("TERM").await;
    told(&manager, "STOPPING=1").await;
    assert!(sidecar.ended().await.success());
}

#[tokio::test]
async fn status_tells_of_calls_gateways_and_the_key() {
    let (_upstream, gateway, key) = fleet().await;
    let spare = ClosedPort::new().unwrap_or_else(|e| panic!("{e}"));
    let urls = format!("{},http://{}", gateway.url(), spare.address());
    let sidecar = Sidecar::for_host("mac").gateway_url(&urls).key(&key).start().await;
    let sent = chat_request("gpt-x");
    sidecar.post("/v1/chat/completions").json(&sent).send().await.expect(200);
    sidecar.get("/v1/models").header("origin", "https://evil.example").send().await.expect(403);
    let answer = sidecar.get("/__fleetgate/status").send().await.expect(200);
    assert!(!answer.text().contains(&key));
    let status = answer.json();
    assert_eq!((&status["host"], &status["version"]), (&json!("mac"), &json!(env!("CARGO_PKG_VERSION"))));
    assert_eq!((&status["calls"]["total"], &status["calls"]["open"]), (&json!(1), &json!(0)));
    assert_eq!(status["bytes"]["calls_up"], sent.to_string().len());
    assert!(status["bytes"]["calls_down"].as_u64() > Some(100), "{status}");
    assert_eq!(status["errors"], json!({"browser_request": 1}));
    let [first, second] = [&status["gateways"][0], &status["gateways"][1]];
    assert!(first["latency_ms"].as_f64() > Some(0.0) && first["is_in_use"] == true, "{first}");
    assert_eq!((&first["version"], &first["is_same_version"]), (&json!(env!("CARGO_PKG_VERSION")), &json!(true)));
    assert_eq!((&first["state"], &second["state"]), (&json!("up"), &json!("away")));
    assert!(second["problem"].as_str().is_some_and(|problem| problem.contains("connection refused")), "{second}");
    assert_eq!((&status["key"]["key_alias"], &status["key"]["host"]), (&json!("vk-mac"), &json!("mac")));
    let row = gateway.only_row().await;
    assert_eq!(status["key"]["newest_row"]["started_at"], row.started_at.as_str());
    assert_eq!(status["key"]["left_nanousd"], 2_500_000_000_i64 - row.cost_nanousd.unwrap_or_default());

    let home = TempDir::new().unwrap_or_else(|e| panic!("{e}"));
    let said = fleetgate(home.path(), &["status", "--url", &sidecar.url()]).await;
    for expected in
        ["vk-mac, for host mac", "connection refused", "in use, answers in", "1 since the start", &row.started_at]
    {
        assert!(said.stdout.contains(expected), "{expected}: {}", said.said());
    }
    let said = fleetgate(home.path(), &["status", "--json", "--url", &sidecar.url()]).await;
    let parsed: Value = serde_json::from_str(&said.stdout).unwrap_or_else(|e| panic!("{e}: {}", said.said()));
    assert_eq!(parsed["key"]["key_alias"], "vk-mac");
}

#[tokio::test]
async fn status_says_what_is_wrong_with_the_key_or_the_way() {
    let (_upstream, gateway, _) = fleet().await;
    let stranger = Sidecar::for_host("mac").gateway(&gateway).key(KEY).start().await;
    let status = stranger.get("/__fleetgate/status").send().await.expect(200).json();
    assert!(status["key"]["problem"].as_str().is_some_and(|said| said.contains("does not know this key")), "{status}");
    let keyless = Sidecar::for_host("mac").gateway(&gateway).hosts("").start().await;
    keyless.get("/__fleetgate/ready").send().await.expect(503);
    let status = keyless.get("/__fleetgate/status").send().await.expect(200).json();
    assert!(status["key"]["problem"].as_str().is_some_and(|said| said.contains("mac")), "{status}");
    assert_eq!(status["errors"], json!({}), "a question is no refused call");

    let home = TempDir::new().unwrap_or_else(|e| panic!("{e}"));
    let port = ClosedPort::new().unwrap_or_else(|e| panic!("{e}"));
    let nobody = fleetgate(home.path(), &["status", "--url", &format!("http://{}", port.address())]).await;
    assert!(!nobody.status.success() && nobody.stderr.contains("fleetgate sidecar"), "{}", nobody.said());
    let other = fleetgate(home.path(), &["status", "--url", &gateway.url()]).await;
    assert!(!other.status.success() && other.stderr.contains("other than a sidecar"), "{}", other.said());
}

#[tokio::test]
async fn a_key_may_ask_about_itself_and_nobody_else() {
    let (_upstream, gateway, key) = fleet().await;
    gateway.post("/v1/chat/completions").bearer(&key).json(&chat_request("gpt-x")).send().await.expect(200);
    let own = gateway.get("/api/self").bearer(&key).send().await.expect(200).json();
    assert_eq!((&own["key_alias"], &own["host_source"]), (&json!("vk-mac"), &json!("key")));
    assert_eq!(own["newest_row"]["started_at"], gateway.only_row().await.started_at.as_str());

    // Another key that only claims to be of that host sees nothing of it.
    let other = gateway.key(&json!({"key_alias": "vk-other"})).await;
    let claim = gateway.get("/api/self").bearer(&other).header("x-fleetgate-host", "mac");
    let seen = claim.send().await.expect(200).json();
    assert_eq!((&seen["host_source"], &seen["newest_row"]), (&json!("claimed"), &Value::Null));
    assert_eq!(seen["left_nanousd"], Value::Null);
    gateway.get("/api/self").send().await.expect(401);
}

#[tokio::test]
async fn metrics_are_prometheus_text() {
    let (_upstream, gateway, key) = fleet().await;
    let sidecar = Sidecar::for_host("mac").gateway(&gateway).key(&key).start().await;
    sidecar.post("/v1/chat/completions").json(&chat_request("gpt-x")).send().await.expect(200);
    let answer = sidecar.get("/__fleetgate/metrics").send().await.expect(200);
    assert_eq!(answer.header("content-type"), "text/plain; version=0.0.4; charset=utf-8");
    let page = answer.text();
    let mut families = std::collections::HashSet::new();
    for line in page.lines() {
        match line.strip_prefix("# TYPE ") {
            Some(family) => assert!(families.insert(family.to_owned()), "{family} comes twice"),
            None if line.starts_with('#') => {}
            None => {
                let value = line.rsplit(' ').next().and_then(|value| value.parse::<f64>().ok());
                assert!(line.starts_with("fleetgate_sidecar_") && value.is_some(), "{line}");
            }
        }
    }
    assert!(page.contains("fleetgate_sidecar_info{version=\"") && page.contains("host=\"mac\"} 1\n"), "{page}");
    assert_eq!(sidecar.count("fleetgate_sidecar_calls_total").await, 1);
    assert_eq!(sidecar.count("fleetgate_sidecar_connections_open").await, 1, "the one that asks");
}

#[tokio::test]
async fn a_tunnel_is_counted_with_its_bytes() {
    let gateway = RawGateway::start().await;
    let sidecar = Sidecar::for_host("mac").gateway_url(&gateway.url()).key(KEY).start().await;
    let opening = fleetgate_tests::client::Tunnel::open(sidecar.address(), "api.example.com:443", "");
    let accepting = async {
        let mut connection = gateway.accept().await;
        assert!(connection.read_head().await.starts_with("CONNECT api.example.com:443 "));
        connection.write("HTTP/1.1 200 OK\r\nx-fleetgate-gateway: test\r\n\r\nearly").await;
        connection
    };
    let (mut tunnel, mut connection) = tokio::join!(opening, accepting);
    assert_eq!(tunnel.status(), 200);
    let mut early = [0; 5];
    tokio::io::AsyncReadExt::read_exact(&mut tunnel.stream, &mut early).await.unwrap_or_else(|e| panic!("{e}"));
    tokio::io::AsyncWriteExt::write_all(&mut tunnel.stream, b"up").await.unwrap_or_else(|e| panic!("{e}"));
    connection.read_until("up").await;
    assert_eq!(sidecar.count("fleetgate_sidecar_tunnels_open").await, 1);
    drop((tunnel, connection));
    eventually("the tunnel ends", async || (sidecar.count("fleetgate_sidecar_tunnels_open").await == 0).then_some(()))
        .await;
    for (way, count) in [("up", 2), ("down", 5)] {
        let name = format!("fleetgate_sidecar_bytes_total{{of=\"tunnels\",way=\"{way}\"}}");
        assert_eq!(sidecar.count(&name).await, count, "{way}");
    }
}

#[tokio::test]
async fn waiting_ends_when_it_is_ready_or_says_why_it_is_not() {
    let (_upstream, gateway, key) = fleet().await;
    let home = TempDir::new().unwrap_or_else(|e| panic!("{e}"));
    let sidecar = Sidecar::for_host("mac").gateway(&gateway).key(&key).start().await;
    let waited = fleetgate(home.path(), &["wait", "--url", &sidecar.url()]).await;
    assert!(waited.status.success(), "{}", waited.said());

    let port = ClosedPort::new().unwrap_or_else(|e| panic!("{e}"));
    let lost = Sidecar::for_host("mac").gateway_url(&format!("http://{}", port.address())).key(KEY).start().await;
    let keyless = Sidecar::for_host("mac").gateway(&gateway).hosts("").start().await;
    let nobody = ClosedPort::new().unwrap_or_else(|e| panic!("{e}"));
    let nobody = format!("http://{}", nobody.address());
    let cases = [(lost.url(), "connection refused"), (keyless.url(), "mac"), (nobody, "connection refused")];
    let other = Upstream::start().await;
    let stranger = (other.origin(), "something other than a sidecar");
    for (url, why) in cases.into_iter().chain([stranger]) {
        let gave_up = fleetgate(home.path(), &["wait", "--timeout", "1", "--url", &url]).await;
        assert!(!gave_up.status.success() && gave_up.stderr.contains("not ready after 1 s"), "{}", gave_up.said());
        assert!(gave_up.stderr.contains(why), "{why}: {}", gave_up.said());
    }
}

#[tokio::test]
async fn a_port_that_another_sidecar_has_is_told_with_its_owner() {
    let older = Sidecar::for_host("mac").gateway_url("http://127.0.0.1:9").key(KEY).start().await;
    let address = older.address().to_string();
    refused_for(&address, &["another fleetgate sidecar", &older.pid().to_string()]).await;
}

#[tokio::test]
async fn a_port_that_litellm_has_is_told_with_its_owner() {
    // Its default port is ours. The last argument makes this one look like it.
    let listen = "import socket,sys\ns=socket.create_server(('127.0.0.1',0))\nprint(s.getsockname()[1],flush=True)\nsys.stdin.read()";
    let mut other = Command::new("python3");
    let other = other.args(["-c", listen, "/usr/bin/litellm"]).stdin(Stdio::piped()).stdout(Stdio::piped());
    let mut other = other.spawn().unwrap_or_else(|e| panic!("python3: {e}"));
    let mut port = String::new();
    let stdout = other.stdout.take().unwrap_or_else(|| panic!("it is piped"));
    BufReader::new(stdout).read_line(&mut port).unwrap_or_else(|e| panic!("{e}"));
    refused_for(&format!("127.0.0.1:{}", port.trim()), &["LiteLLM", &other.id().to_string()]).await;
    drop(other.stdin.take());
    other.wait().unwrap_or_else(|e| panic!("{e}"));
}

async fn refused_for(address: &str, words: &[&str]) {
    let home = TempDir::new().unwrap_or_else(|e| panic!("{e}"));
    let hosts = home.path().join("hosts.toml").display().to_string();
    let gateway = ["sidecar", "--gateway", "http://127.0.0.1:9", "--listen", address];
    let refused = fleetgate(home.path(), &[&gateway[..], &["--hosts", &hosts, "--host", "mac"]].concat()).await;
    assert_eq!(refused.status.code(), Some(3), "{}", refused.said());
    for expected in words.iter().chain(&[address, "--listen"]) {
        assert!(refused.stderr.contains(*expected), "{expected}: {}", refused.said());
    }
}

#[tokio::test]
async fn the_log_is_json_for_whoever_wants_it() {
    let mut sidecar = Sidecar::for_host("mac").gateway_url("http://127.0.0.1:9").key(KEY);
    sidecar = sidecar.variable("FLEETGATE_LOG_FORMAT", "json");
    let mut sidecar = sidecar.start().await;
    sidecar.signal("TERM").await;
    assert!(sidecar.ended().await.success());
    let log = sidecar.stderr();
    let lines: Vec<Value> =
        log.lines().map(|line| serde_json::from_str(line).unwrap_or_else(|e| panic!("{e}: {line}"))).collect();
    assert_eq!((&lines[0]["message"], &lines[0]["host"]), (&json!("sidecar starts"), &json!("mac")));
}

#[tokio::test]
async fn another_network_does_not_leave_calls_on_dead_connections() {
    let (Some(here), Some(there)) = (Netns::new("carry-a"), Netns::new("carry-b")) else { return };
    there.link(&here, "10.79.3");
    let gateway = Gateway::start(|c| {
        let entry = json!({"model_name": "gpt-x", "litellm_params": {"model": "openai/gpt-4.1-mini", "mock_response": "hello"}});
        c.entry(entry).listen("10.79.3.1:4000").inside(there.name())
    })
    .await;
    let made = there.curl(&[
        "-H",
        &format!("Authorization: Bearer {}", fleetgate_tests::MASTER_KEY),
        "-H",
        "Content-Type: application/json",
        "-d",
        &json!({"key_alias": "vk-mac", "host": "mac"}).to_string(),
        "http://10.79.3.1:4000/key/generate",
    ]);
    let made: Value = serde_json::from_slice(&made.stdout).unwrap_or_else(|e| panic!("{e}: {made:?}"));
    let key = made["key"].as_str().unwrap_or_else(|| panic!("no key: {made}"));
    let sidecar = Sidecar::for_host("mac").gateway(&gateway).key(key).inside(here.name()).start().await;
    let call = |what: &str| {
        let url = format!("{}/v1/chat/completions", sidecar.url());
        let body = chat_request("gpt-x").to_string();
        let answer =
            here.curl(&["-w", " status=%{http_code}", "-H", "Content-Type: application/json", "-d", &body, &url]);
        let said = String::from_utf8_lossy(&answer.stdout).into_owned();
        assert!(said.ends_with(" status=200"), "{what}: {said}{}", String::from_utf8_lossy(&answer.stderr));
    };
    call("at first");
    // As after a change of the network: the old address is gone, and what is sent from it gets nowhere.
    here.ip(&["address", "add", "10.79.3.3/24", "dev", "b10-79-3"]);
    here.ip(&["address", "del", "10.79.3.2/24", "dev", "b10-79-3"]);
    here.ip(&["address", "replace", "10.79.3.3/24", "dev", "b10-79-3"]);
    call("from another address");
    here.ip(&["link", "set", "b10-79-3", "down"]);
    here.ip(&["link", "set", "b10-79-3", "up"]);
    call("after the link was away");
}

/// `systemd-analyze verify` reads a unit as systemd would; it wants the program to exist.
#[test]
fn the_units_are_such_as_systemd_understands() {
    let home = TempDir::new().unwrap_or_else(|e| panic!("{e}"));
    let program = binary("fleetgate").display().to_string();
    let mut units = Vec::new();
    for name in ["fleetgate-sidecar.service", "fleetgate-sidecar.socket"] {
        for (of, directory) in [("--system", "install/systemd"), ("--user", "install/systemd/user")] {
            let unit =
                std::fs::read_to_string(workspace().join(directory).join(name)).unwrap_or_else(|e| panic!("{e}"));
            let unit = unit.replace("/usr/bin/fleetgate", &program).replace("%h/.local/bin/fleetgate", &program);
            let directory = home.path().join(of);
            std::fs::create_dir_all(&directory).unwrap_or_else(|e| panic!("{e}"));
            std::fs::write(directory.join(name), unit).unwrap_or_else(|e| panic!("{e}"));
            units.push((of, directory.join(name)));
        }
    }
    for (of, unit) in units {
        let verifying = Command::new("systemd-analyze").args(["verify", "--man=no", of]).arg(&unit).output();
        let Ok(verified) = verifying else {
            println!("SKIPPED: no systemd-analyze here");
            return;
        };
        let said = String::from_utf8_lossy(&verified.stderr).into_owned();
        // Where systemd does not run there is no manager to ask, and that is all that may be missing.
        assert!(
            verified.status.success() || said.contains("Failed to initialize manager"),
            "{}: {said}",
            unit.display()
        );
        assert!(!said.contains("fleetgate-sidecar"), "{}: {said}", unit.display());
    }
}
