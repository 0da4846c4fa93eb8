//! True names on every row: machines in network namespaces with host names of their own, one synced `hosts.toml`, one gateway.

#![allow(clippy::expect_used, reason = "a broken expectation is a failed test")]

use std::collections::{BTreeMap, HashSet};
use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;

use fleetgate_tests::netns::Netns;
use fleetgate_tests::process::{Program, Running};
use fleetgate_tests::upstream::openai::chat_request;
use fleetgate_tests::{Gateway, MASTER_KEY};
use fleetgate_wire::row::{Mark, Row};
use fleetgate_wire::seen::Straggler;
use serde_json::{Value, json};
use tempfile::TempDir;

/// The same on all machines. Only the keys beside it differ, and each machine has its own.
const HOSTS: &str = r#"
[fallback]
key = "file:spare.key"

[[host]]
match = ["mac-mini"]
key = "file:mac-mini.key"
[host.workloads]
nightly = "file:mac-mini-nightly.key"

[[host]]
match = ["dgx", "dgx-*"]
key = "file:dgx.key"
[host.workloads]
nightly = "file:dgx-nightly.key"

[[host]]
match = ["studio"]
key = "file:studio.key"
[host.workloads]
nightly = "file:studio-nightly.key"

[[host]]
match = ["tower"]
key = "file:tower.key"
[host.workloads]
nightly = "file:tower-nightly.key"

[[host]]
match = ["bench*"]
key = "file:bench.key"
[host.workloads]
nightly = "file:bench-nightly.key"
"#;

const GATEWAY: &str = "100.64.255.1";
/// Nobody's, so that a mesh of the machine that runs the tests names none of theirs.
const NO_MESH: (&str, &str) = ("FLEETGATE_TAILSCALE_SOCKET", "/nowhere/tailscaled.sock");

struct Machine {
    label: &'static str,
    host_name: &'static str,
    /// The label in its state directory.
    pinned: Option<&'static str>,
    /// `FLEETGATE_HOST`.
    explicit: Option<&'static str>,
    /// What `whoami` gives as the reason.
    why: &'static str,
    /// What it notes.
    note: Option<&'static str>,
}

const NAMED_BY_HOST_NAME: Machine =
    Machine { label: "", host_name: "", pinned: None, explicit: None, why: "host_name", note: None };

const MACHINES: [Machine; 5] = [
    Machine { label: "mac-mini", host_name: "Mac-Mini", ..NAMED_BY_HOST_NAME },
    Machine { label: "dgx", host_name: "dgx.lab.example.org", ..NAMED_BY_HOST_NAME },
    Machine { label: "studio", host_name: "STUDIO.local", ..NAMED_BY_HOST_NAME },
    Machine {
        label: "tower",
        host_name: "tower-2",
        pinned: Some("tower"),
        why: "pinned",
        note: Some("\"tower-2\""),
        ..NAMED_BY_HOST_NAME
    },
    Machine {
        label: "bench",
        host_name: "3f2a9c01b7de",
        explicit: Some("Bench.tail1234.ts.net."),
        why: "explicit",
        ..NAMED_BY_HOST_NAME
    },
];

const STRANGER: Machine = Machine { label: "guest-laptop", host_name: "Guest-Laptop", ..NAMED_BY_HOST_NAME };

/// A machine with a cable to the gateway's, and its sidecar.
struct Fellow {
    machine: &'static Machine,
    namespace: Netns,
    program: Program,
    sidecar: Running,
    files: TempDir,
}

/// Lays the cable, copies the file and the machine's own keys, and starts the sidecar.
async fn start(
    machine: &'static Machine,
    number: usize,
    middle: &Netns,
    keys: &BTreeMap<String, String>,
) -> Option<Fellow> {
    let namespace = Netns::new(&format!("name{number}"))?;
    let network = format!("100.64.{number}");
    namespace.link(middle, &network);
    namespace.add_route(GATEWAY, &format!("{network}.2"));
    let files = TempDir::new().expect("a temporary directory");
    let write = |name: &str, text: &str| {
        let path = files.path().join(name);
        fs::write(&path, text).expect("our own directory");
        fs::set_permissions(&path, fs::Permissions::from_mode(0o600)).expect("our own file");
    };
    write("hosts.toml", HOSTS);
    for (name, key) in keys {
        write(&format!("{name}.key"), key);
    }
    let state = files.path().join("state");
    fs::create_dir(&state).expect("our own directory");
    if let Some(label) = machine.pinned {
        fs::write(state.join("host-label"), label).expect("our own directory");
    }
    let mut variables = BTreeMap::from([
        (NO_MESH.0.to_owned(), NO_MESH.1.to_owned()),
        ("STATE_DIRECTORY".to_owned(), state.display().to_string()),
        ("FLEETGATE_HOSTS".to_owned(), files.path().join("hosts.toml").display().to_string()),
        ("FLEETGATE_GATEWAY".to_owned(), format!("http://{GATEWAY}:4000")),
        ("FLEETGATE_LISTEN".to_owned(), "127.0.0.1:0".to_owned()),
    ]);
    variables.extend(machine.explicit.map(|label| ("FLEETGATE_HOST".to_owned(), label.to_owned())));
    let program = Program::new("fleetgate", files.path())
        .envs(&variables)
        .inside(Some(namespace.name()))
        .on_host(machine.host_name);
    let sidecar = program.clone().args(["sidecar"]).serve(&files.path().join("sidecar.log")).await;
    Some(Fellow { machine, namespace, program, sidecar, files })
}

impl Fellow {
    /// Calls the model through the sidecar as a program of this machine.
    fn call(&self, path: &str, arguments: &[&str]) {
        let url = format!("http://{}{path}", self.sidecar.address());
        let body = chat_request("mock").to_string();
        let output = self.namespace.curl(&[&["--fail-with-body", "--json", &body, &url], arguments].concat());
        let said = String::from_utf8_lossy(&output.stdout);
        assert!(output.status.success(), "{}: {said}\n{}", self.machine.label, self.sidecar.stderr());
    }

    async fn whoami(&self) -> Value {
        let said = self.program.clone().args(["whoami", "--json"]).run().await;
        serde_json::from_str(&said.stdout).unwrap_or_else(|error| panic!("{error}: {}", said.said()))
    }
}

/// The gateway's machine, asked by its administrator.
struct Middle<'n>(&'n Netns);

impl Middle<'_> {
    fn ask(&self, path: &str, body: Option<&Value>) -> Value {
        let bearer = format!("Authorization: Bearer {MASTER_KEY}");
        let url = format!("http://{GATEWAY}:4000{path}");
        let body = body.map(Value::to_string);
        let body = body.as_ref().map(|body| ["--json", body]);
        let output = self.0.curl(&[&["-H", &bearer, &url][..], body.as_ref().map_or(&[], |body| body)].concat());
        serde_json::from_slice(&output.stdout)
            .unwrap_or_else(|error| panic!("{path}: {error}: {}", String::from_utf8_lossy(&output.stdout)))
    }

    fn key(&self, alias: &str, host: Option<&str>) -> String {
        let made = self.ask("/key/generate", Some(&json!({"key_alias": alias, "host": host})));
        made["key"].as_str().unwrap_or_else(|| panic!("no key: {made}")).to_owned()
    }
}

#[tokio::test]
async fn rows_of_five_hosts_bear_their_own_names_and_a_sixth_is_a_straggler() {
    let Some(middle) = Netns::new("names") else { return };
    middle.add_address(GATEWAY);
    let mock = json!({"model_name": "mock", "litellm_params": {"model": "openai/mock", "mock_response": "hello"}});
    let listen = format!("{GATEWAY}:4000");
    let _gateway = Gateway::start(|c| {
        c.inside(middle.name()).listen(&listen).entry(mock).set("fleetgate", "mesh", json!({"check": "off"}))
    })
    .await;
    let admin = Middle(&middle);
    let spare = admin.key("vk-spare", None);

    let mut expected = HashSet::new();
    for (number, machine) in MACHINES.iter().enumerate() {
        let label = machine.label;
        let keys = BTreeMap::from([
            (label.to_owned(), admin.key(&format!("vk-{label}"), Some(label))),
            (format!("{label}-nightly"), admin.key(&format!("vk-{label}-nightly"), Some(label))),
            ("spare".to_owned(), spare.clone()),
        ]);
        let own = admin.key(&format!("vk-{label}-own"), Some(label));
        let Some(running) = start(machine, number + 1, &middle, &keys).await else { return };

        let whoami = running.whoami().await;
        assert_eq!((&whoami["host"], &whoami["why"]), (&json!(label), &json!(machine.why)), "{whoami}");
        let notes = whoami["notes"].to_string();
        let log = running.sidecar.stderr();
        match machine.note {
            Some(note) => {
                assert!(notes.contains(&note.replace('"', "\\\"")), "{notes}");
                assert_eq!(log.matches(note).count(), 1, "said once in the log: {log}");
            }
            // The tests themselves may run in a container, which is said as well.
            None => assert!(!notes.contains("today the") && !log.contains("today the"), "{notes}\n{log}"),
        }

        running.call("/w/claude-glm/v1/chat/completions", &[]);
        running.call("/v1/chat/completions", &["-H", "x-fleetgate-workload: report"]);
        running.call("/v1/chat/completions", &["-H", "x-fleetgate-workload: nightly"]);
        running.call(
            "/v1/chat/completions",
            &["-H", &format!("Authorization: Bearer {own}"), "-H", "x-fleetgate-workload: agent"],
        );
        running.call("/v1/chat/completions", &["-H", "Authorization: Bearer DUMMY_KEY"]);
        for (workload, key) in
            [("claude-glm", ""), ("report", ""), ("nightly", "-nightly"), ("agent", "-own"), ("curl", "")]
        {
            expected.insert((label.to_owned(), workload.to_owned(), format!("vk-{label}{key}"), "key".to_owned()));
        }
    }
    let keys = BTreeMap::from([("spare".to_owned(), spare)]);
    let Some(stranger) = start(&STRANGER, 9, &middle, &keys).await else { return };
    stranger.call("/w/claude-glm/v1/chat/completions", &[]);
    stranger.call("/v1/chat/completions", &["-H", "x-fleetgate-workload: report"]);

    let rows: Vec<Row> = serde_json::from_value(admin.ask("/api/logs?limit=1000", None)["rows"].clone()).expect("rows");
    let (straggling, own): (Vec<_>, Vec<_>) = rows.into_iter().partition(|row| row.host == "guest-laptop");
    let name = |row: &Row| (row.host.clone(), row.workload.clone(), row.key_alias.clone(), row.host_source.clone());
    assert_eq!(own.len(), 5 * MACHINES.len());
    assert_eq!(own.iter().map(name).collect::<HashSet<_>>(), expected);
    assert!(own.iter().all(|row| row.marks.is_empty() && row.host_seen.is_none()), "{own:#?}");
    assert_eq!(straggling.len(), 2);
    for row in &straggling {
        assert_eq!((row.key_alias.as_str(), row.marks.as_slice()), ("vk-spare", [Mark::FallbackKey].as_slice()));
    }

    let stragglers = admin.ask("/api/stragglers", None);
    let stragglers: Vec<Straggler> = serde_json::from_value(stragglers["stragglers"].clone()).expect("stragglers");
    assert_eq!(stragglers.len(), 1, "{stragglers:?}");
    let found = &stragglers[0];
    assert_eq!((found.host.as_str(), found.reason.as_str(), found.calls), ("guest-laptop", "fallback_key", 2));
    assert_eq!(found.last_seen, straggling[0].started_at);
    let table = administrate(&middle, stranger.files.path(), &["spend", "--stragglers"]).await;
    assert!(table.contains("guest-laptop") && table.contains("fallback key") && table.contains("vk-spare"), "{table}");
}

/// What `fleetgate` prints on the gateway's machine.
async fn administrate(middle: &Netns, home: &Path, arguments: &[&str]) -> String {
    let variables =
        [("FLEETGATE_GATEWAY", format!("http://{GATEWAY}:4000")), ("FLEETGATE_ADMIN_KEY", MASTER_KEY.to_owned())];
    let variables = variables.map(|(name, value)| (name.to_owned(), value));
    let program = Program::new("fleetgate", home).args(arguments.iter().copied()).envs(&BTreeMap::from(variables));
    program.inside(Some(middle.name())).run().await.said()
}
