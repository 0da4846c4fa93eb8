//! A gateway that finds its own address in the mesh: waits for it, listens only there, and follows it. Machines are network
//! namespaces, meshes are interfaces with a mesh's name.

#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a broken expectation is a failed test")]

use std::collections::BTreeMap;
use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::os::unix::net::UnixDatagram as StdDatagram;
use std::path::PathBuf;

use fleetgate_tests::netns::Netns;
use fleetgate_tests::process::{Finished, Program};
use fleetgate_tests::wait::soon;
use fleetgate_tests::{Gateway, eventually};
use serde_json::{Value, json};
use tempfile::TempDir;
use tokio::net::UnixDatagram;

/// What a service manager hears.
struct Manager {
    dir: TempDir,
    socket: UnixDatagram,
}

impl Manager {
    fn new() -> Self {
        let dir = TempDir::new().unwrap();
        let socket = StdDatagram::bind(dir.path().join("notify")).unwrap();
        socket.set_nonblocking(true).unwrap();
        Self { dir, socket: UnixDatagram::from_std(socket).unwrap() }
    }

    fn place(&self) -> String {
        let place: PathBuf = self.dir.path().join("notify");
        place.display().to_string()
    }

    async fn hears(&self, what: &str) -> String {
        let mut buffer = [0; 4096];
        loop {
            let size = soon(what, self.socket.recv(&mut buffer)).await.unwrap();
            let said = String::from_utf8_lossy(&buffer[..size]).into_owned();
            if said.contains(what) {
                return said;
            }
        }
    }
}

fn add(machine: &Netns, interface: &str, address: &str) {
    // Not every kernel has dummies.
    let other = format!("p-{interface}");
    machine.ip(&["link", "add", interface, "type", "veth", "peer", "name", &other]);
    machine.ip(&["link", "set", &other, "up"]);
    machine.ip(&["link", "set", interface, "up"]);
    give(machine, interface, address);
}

fn give(machine: &Netns, interface: &str, address: &str) {
    let family: &[&str] = if address.contains(':') { &["nodad"] } else { &[] };
    machine.ip(&[&["address", "add", address, "dev", interface], family].concat());
}

/// The status and body of an answer; `None` where nobody listens.
fn get(machine: &Netns, place: &str, path: &str) -> Option<(String, String)> {
    let output = machine.curl(&["-w", "\n%{http_code}", &format!("http://{place}{path}")]);
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    let (body, status) = text.rsplit_once('\n')?;
    output.status.success().then(|| (status.to_owned(), body.to_owned()))
}

fn answers(machine: &Netns, place: &str) -> bool {
    get(machine, place, "/health/liveliness").is_some()
}

fn readiness(machine: &Netns) -> (String, Value) {
    let (status, body) = get(machine, "127.0.0.1:4100", "/health/readiness").expect("loopback is served");
    (status, serde_json::from_str(&body).unwrap())
}

async fn start(machine: &Netns, listen: &str) -> Gateway {
    Gateway::start(|c| c.inside(machine.name()).listen(listen)).await
}

async fn refuses(machine: &Netns, settings: Value) -> Finished {
    Gateway::refuses(|c| c.inside(machine.name()).listen("mesh").set("fleetgate", "mesh", settings)).await
}

#[tokio::test]
async fn a_start_waits_for_the_meshs_address_and_serves_it_and_loopback_alone() {
    let Some(machine) = Netns::new("meshwait") else { return };
    add(&machine, "eth0", "192.168.77.1/24");
    let manager = Manager::new();
    let place = manager.place();
    let starting = Gateway::start(|c| c.inside(machine.name()).listen("mesh:4000").env("NOTIFY_SOCKET", &place));
    let mesh = async {
        let waiting = manager.hears("STATUS=waiting").await;
        assert!(waiting.contains("is the mesh up?") && waiting.contains("EXTEND_TIMEOUT_USEC="), "{waiting}");
        assert!(!answers(&machine, "127.0.0.1:4100"), "nothing is served yet");
        add(&machine, "tailscale0", "100.64.0.7/32");
        give(&machine, "tailscale0", "fd7a:115c:a1e0::7/128");
        manager.hears("READY=1").await
    };
    let (gw, ready) = tokio::join!(starting, mesh);
    assert!(ready.contains("100.64.0.7:4000"), "{ready}");
    for served in ["100.64.0.7:4000", "127.0.0.1:4100"] {
        assert!(answers(&machine, served), "{served}: {}", gw.stderr());
    }
    eventually("IPv6 follows", async || answers(&machine, "[fd7a:115c:a1e0::7]:4000").then_some(())).await;
    for closed in ["192.168.77.1:4000", "127.0.0.1:4000", "192.168.77.1:4100", "100.64.0.7:4100"] {
        assert!(!answers(&machine, closed), "{closed} is served");
    }
    assert_eq!(readiness(&machine), ("200".to_owned(), json!({"status": "healthy", "db": "connected"})));
}

#[tokio::test]
async fn an_address_that_goes_is_said_and_the_one_that_comes_is_served() {
    let Some(machine) = Netns::new("meshmove") else { return };
    add(&machine, "wt0", "100.92.0.1/16");
    let gw = start(&machine, "mesh:4000").await;
    assert!(answers(&machine, "100.92.0.1:4000"), "{}", gw.stderr());

    machine.ip(&["link", "delete", "wt0"]);
    let (_, unready) = eventually("the missing mesh is said", async || {
        Some(readiness(&machine)).filter(|(status, _)| status == "503")
    })
    .await;
    assert!(unready["reason"].as_str().unwrap().contains("through the mesh"), "{unready}");

    // Made anew as it was.
    add(&machine, "wt0", "100.92.0.1/16");
    eventually("it is served again", async || answers(&machine, "100.92.0.1:4000").then_some(())).await;
    eventually("that is said", async || (readiness(&machine).0 == "200").then_some(())).await;

    // And with another address: at once, then after a while without any.
    machine.ip(&["address", "replace", "100.92.0.2/32", "dev", "wt0"]);
    machine.ip(&["address", "del", "100.92.0.1/16", "dev", "wt0"]);
    eventually("the new address is served", async || answers(&machine, "100.92.0.2:4000").then_some(())).await;
    machine.ip(&["address", "del", "100.92.0.2/32", "dev", "wt0"]);
    eventually("that is said", async || (readiness(&machine).0 == "503").then_some(())).await;
    give(&machine, "wt0", "100.92.0.3/16");
    eventually("the next one is served", async || answers(&machine, "100.92.0.3:4000").then_some(())).await;
    eventually("all is well", async || (readiness(&machine).0 == "200").then_some(())).await;
}

#[tokio::test]
async fn a_mesh_that_does_not_come_ends_the_start_with_the_reason() {
    let Some(machine) = Netns::new("meshnone") else { return };
    let nothing = refuses(&machine, json!({"wait": 0.3})).await;
    assert_eq!(nothing.status.code(), Some(1), "{}", nothing.said());
    assert!(nothing.stderr.contains("fleetgate.mesh.wait") && nothing.stderr.contains("is the mesh up?"));
    // What an internet provider gives its customers.
    add(&machine, "eth0", "100.72.3.4/24");
    let doubtful = refuses(&machine, json!({"wait": 0.3})).await;
    assert!(
        doubtful.stderr.contains("eth0 has 100.72.3.4") && doubtful.stderr.contains("fleetgate.mesh.interface: eth0")
    );
    let other = refuses(&machine, json!({"wait": 0.3, "interface": "corp0"})).await;
    assert!(other.stderr.contains("corp0"), "{}", other.said());
    let named = Gateway::start(|c| {
        let mesh = json!({"interface": "eth0", "loopback": "off"});
        c.inside(machine.name()).listen("mesh").set("fleetgate", "mesh", mesh)
    })
    .await;
    assert_eq!(named.address().to_string(), "100.72.3.4:4000");
    assert!(!answers(&machine, "127.0.0.1:4100"), "loopback is off");
}

#[tokio::test]
async fn a_taken_port_in_the_mesh_and_a_weak_master_key_are_refused() {
    let Some(machine) = Netns::new("meshbusy") else { return };
    add(&machine, "wg0", "10.8.0.1/24");
    let _first = start(&machine, "mesh:4000").await;
    let second = refuses(&machine, json!({"loopback": "off"})).await;
    assert!(second.stderr.contains("10.8.0.1:4000 is taken"), "{}", second.said());
    let weak =
        Gateway::refuses(|c| c.inside(machine.name()).listen("mesh:4001").env("LITELLM_MASTER_KEY", "sk-1234")).await;
    assert!(weak.stderr.contains("master key"), "{}", weak.said());
}

#[tokio::test]
async fn a_first_set_up_leads_to_an_enrolled_machine_by_the_commands_that_it_names() {
    let Some(machine) = Netns::new("meshsetup") else { return };
    add(&machine, "tailscale0", "100.64.0.9/32");
    let home = TempDir::new().unwrap();
    let etc = home.path().join("etc");
    let folder = etc.display().to_string();
    let program = |name| Program::new(name, home.path()).inside(Some(machine.name()));
    let setup = program("fleetgate-gateway").args(["setup", "--dir", &folder]).run().await;
    assert!(setup.status.success(), "{}", setup.said());
    assert!(setup.stdout.contains("mesh  tailscale0: the gateway listens at 100.64.0.9:4000, and at 127.0.0.1:4100"));
    let variables = fs::read_to_string(etc.join(".env")).unwrap();
    let key = variables.lines().find_map(|line| line.strip_prefix("LITELLM_MASTER_KEY=")).unwrap();
    assert!(key.starts_with("sk-") && key.len() > 40 && !setup.said().contains(key));
    for name in [".env", "config.yaml"] {
        assert_eq!(fs::metadata(etc.join(name)).unwrap().permissions().mode() & 0o777, 0o600, "{name}");
    }
    let again = program("fleetgate-gateway").args(["setup", "--dir", &folder]).run().await;
    assert!(again.stdout.contains("kept  "), "{}", again.said());
    assert_eq!(fs::read_to_string(etc.join(".env")).unwrap(), variables, "nothing is overwritten");

    let serve = |line: &str| line.trim().starts_with("fleetgate-gateway serve");
    let line = setup.stdout.lines().find(|line| serve(line)).unwrap();
    let arguments: Vec<&str> = line.split_whitespace().skip(1).collect();
    let gateway = program("fleetgate-gateway").args(arguments).serve(&home.path().join("log")).await;
    assert_eq!(gateway.addresses().len(), 2, "{:?}", gateway.addresses());
    let line = setup.stdout.lines().find(|line| line.trim().starts_with("fleetgate keys invite")).unwrap();
    let arguments: Vec<&str> = line.split_whitespace().skip(1).collect();
    let admin = BTreeMap::from([("FLEETGATE_ADMIN_KEY".to_owned(), key.to_owned())]);
    let invited = program("fleetgate").args(arguments).envs(&admin).run().await;
    assert!(invited.status.success(), "{}", invited.said());
    let token = invited.stdout.split_whitespace().find(|word| word.starts_with("fgi_") || word.len() > 30).unwrap();
    let line = setup.stdout.lines().find(|line| line.trim().starts_with("fleetgate enroll")).unwrap();
    assert!(line.contains("http://100.64.0.9:4000"), "{line}");
    let own = |name: &str| (name.to_owned(), home.path().join("machine").display().to_string());
    let places =
        [own("CONFIGURATION_DIRECTORY"), own("STATE_DIRECTORY"), ("FLEETGATE_HOST".to_owned(), "mac".to_owned())];
    let arguments: Vec<&str> = line.split_whitespace().skip(1).collect();
    let enrolled = program("fleetgate").args(arguments).envs(&BTreeMap::from(places)).run_with(token).await;
    assert!(enrolled.status.success(), "{}", enrolled.said());
}
