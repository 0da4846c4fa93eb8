//! `fleetgate doctor --egress`: a destination sees the gateway's address through the proxy, and this machine's without it.

#![allow(clippy::expect_used, reason = "a broken expectation is a failed test")]

use std::collections::BTreeMap;
use std::fs;
use std::os::unix::fs::PermissionsExt;

use fleetgate_tests::netns::{Netns, Peer};
use fleetgate_tests::process::{Finished, Program};
use fleetgate_tests::upstream::tls::TestCa;
use fleetgate_tests::{ClosedPort, Diagnosis, Gateway, MASTER_KEY, Sidecar};
use serde_json::json;
use tempfile::TempDir;

const URL: &str = "https://198.18.81.2/ip";

struct World {
    host: Netns,
    ca: TestCa,
    files: TempDir,
    gateway: Gateway,
    sidecar: Sidecar,
    /// Gone with this.
    _others: (Netns, Netns, Peer),
}

/// A host, the gateway's machine and the world, which both reach by cables of their own.
async fn world(egress: serde_json::Value) -> Option<World> {
    let (host, middle, world) = (Netns::new("dehost")?, Netns::new("degw")?, Netns::new("deworld")?);
    host.link(&middle, "10.77.6");
    middle.link(&world, "198.18.81");
    host.link(&world, "198.18.82");
    host.add_route("198.18.81.2", "198.18.82.2");
    let ca = TestCa::new();
    let (certificate, private) = ca.server_files(&["198.18.81.2"]);
    let (certificate, private) = (certificate.display().to_string(), private.display().to_string());
    let server = world.peer(&["198.18.81.2:443", &certificate, &private]);
    let gateway =
        Gateway::start(|c| c.inside(middle.name()).listen("10.77.6.2:4000").set("fleetgate", "egress", egress)).await;
    let files = TempDir::new().expect("a temporary directory");
    let key = files.path().join("mac.key");
    fs::write(&key, MASTER_KEY).expect("a file");
    fs::set_permissions(&key, fs::Permissions::from_mode(0o600)).expect("it is ours");
    let hosts = "[[host]]\nmatch = [\"mac\"]\nkey = \"file:mac.key\"\n";
    fs::write(files.path().join("hosts.toml"), hosts).expect("a file");
    let sidecar =
        Sidecar::for_host("mac").inside(host.name()).gateway_url(&gateway.url()).key(MASTER_KEY).start().await;
    Some(World { host, ca, files, gateway, sidecar, _others: (middle, world, server) })
}

impl World {
    async fn doctor(&self, sidecar: &str, url: &str) -> Finished {
        let hosts = self.files.path().join("hosts.toml").display().to_string();
        let gateway = self.gateway.url();
        let arguments = ["doctor", "--json", "--host", "mac", "--hosts", &hosts, "--gateway", &gateway];
        // What would lead curl elsewhere.
        let variables = [
            ("CURL_CA_BUNDLE", self.ca.file().display().to_string()),
            ("https_proxy", "http://127.0.0.1:9".to_owned()),
            ("NO_PROXY", "198.18.81.2".to_owned()),
        ];
        let variables: BTreeMap<_, _> = variables.map(|(name, value)| (name.to_owned(), value)).into();
        let program = Program::new("fleetgate", self.files.path()).args(arguments);
        let program = program.args(["--sidecar", sidecar, "--egress", url]).envs(&variables);
        let finished = program.inside(Some(self.host.name())).run().await;
        assert!(!finished.said().contains(MASTER_KEY), "the key was printed: {}", finished.said());
        finished
    }
}

fn says(diagnosis: &Diagnosis, check: &str, words: &str) {
    let what = diagnosis.finding(check)["what"].as_str().unwrap_or_default();
    assert!(what.contains(words), "{check} lacks {words:?}: {:#}", diagnosis.report);
}

#[tokio::test]
async fn a_destination_sees_the_gateways_address_through_the_proxy_and_the_hosts_without() {
    let Some(world) = world(json!({"dangerously_allow_networks": ["198.18.81.0/24"]})).await else { return };
    let diagnosis = Diagnosis::read(&world.doctor(&world.sidecar.url(), URL).await);
    diagnosis.has_no_problem();
    says(&diagnosis, "egress", "through the sidecar at 127.0.0.1:");
    says(&diagnosis, "egress", "198.18.81.2 sees 198.18.81.1");
    says(&diagnosis, "direct", "without it, 198.18.81.2 sees 198.18.82.1");
    says(&diagnosis, "one_ip", "sees 198.18.81.1 instead of 198.18.82.1");

    // Without a sidecar the gateway itself is the proxy, by the host's key.
    let nobody = ClosedPort::new().expect("a free port");
    let diagnosis = Diagnosis::read(&world.doctor(&format!("http://{}", nobody.address()), URL).await);
    diagnosis.has_no_problem();
    says(
        &diagnosis,
        "egress",
        "through the gateway at 10.77.6.2:4000 (no sidecar answers), 198.18.81.2 sees 198.18.81.1",
    );

    // The host has no way of its own any more.
    world.host.ip(&["route", "del", "198.18.81.2/32"]);
    let diagnosis = Diagnosis::read(&world.doctor(&world.sidecar.url(), URL).await);
    diagnosis.has_no_problem();
    assert_eq!(diagnosis.code_of("direct"), "skipped");
    says(&diagnosis, "one_ip", "198.18.81.1, and there is no other way from here");

    let bad = Diagnosis::read(&world.doctor(&world.sidecar.url(), "https://u:sEcReT@198.18.81.2/").await);
    bad.is("egress", "bad_url", &["198.18.81.2"]);
    assert!(!bad.report.to_string().contains("sEcReT"));
}

#[tokio::test]
async fn a_refusal_is_shown_with_its_reason() {
    let Some(world) = world(json!({})).await else { return };
    let diagnosis = Diagnosis::read(&world.doctor(&world.sidecar.url(), URL).await);
    diagnosis.is("egress", "refused", &["destination_reserved"]);
    says(&diagnosis, "direct", "198.18.82.1");
    assert_eq!(diagnosis.code_of("one_ip"), "skipped");
}
