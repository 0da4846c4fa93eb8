//! `fleetgate doctor` between network namespaces: whatever stands between a machine and its gateway is named, by the right word and
//! alone.

#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a broken expectation is a failed test")]

use std::fs;
use std::os::unix::fs::PermissionsExt;

use fleetgate_tests::netns::{Netns, Peer};
use fleetgate_tests::process::Program;
use fleetgate_tests::upstream::tls::TestCa;
use fleetgate_tests::{Diagnosis, Gateway, MASTER_KEY, Sidecar};
use tempfile::TempDir;

const GATEWAY: &str = "10.77.1.2:4000";
const BY_NAME: &str = "http://box.fleet.test:4000";

/// A machine with a sidecar and a cable to the gateway's machine.
struct Fleet {
    host: Netns,
    box_: Netns,
    gateway: Option<Gateway>,
    sidecar: Sidecar,
    files: TempDir,
}

impl Fleet {
    /// With a gateway that runs.
    async fn new(purpose: &str) -> Option<Self> {
        let (host, box_) = (Netns::new(&format!("{purpose}-h"))?, Netns::new(&format!("{purpose}-b"))?);
        host.link(&box_, "10.77.1");
        Some(Self::on(host, box_, GATEWAY).await)
    }

    async fn on(host: Netns, box_: Netns, address: &str) -> Self {
        let gateway = Gateway::start(|c| c.inside(box_.name()).listen(address)).await;
        let files = TempDir::new().unwrap();
        let key = files.path().join("mac.key");
        let made = Program::new("fleetgate", files.path())
            .args([
                "keys",
                "create",
                "--gateway",
                &gateway.url(),
                "--key",
                MASTER_KEY,
                "--alias",
                "vk-mac",
                "--host",
                "mac",
            ])
            .args(["--out", &key.display().to_string()])
            .inside(Some(box_.name()));
        let made = made.run().await;
        assert!(made.status.success(), "{}", made.said());
        let text = fs::read_to_string(&key).unwrap();
        Self::with_key(host, box_, Some(gateway), files, text.trim()).await
    }

    /// Without any gateway: somebody else has its place.
    async fn without_gateway(purpose: &str) -> Option<Self> {
        let (host, box_) = (Netns::new(&format!("{purpose}-h"))?, Netns::new(&format!("{purpose}-b"))?);
        host.link(&box_, "10.77.1");
        let files = TempDir::new().unwrap();
        fs::write(files.path().join("mac.key"), "sk-fg-canary-0123456789abcdefgh").unwrap();
        Some(Self::with_key(host, box_, None, files, "sk-fg-canary-0123456789abcdefgh").await)
    }

    async fn with_key(host: Netns, box_: Netns, gateway: Option<Gateway>, files: TempDir, key: &str) -> Self {
        fs::set_permissions(files.path().join("mac.key"), fs::Permissions::from_mode(0o600)).unwrap();
        fs::write(files.path().join("hosts.toml"), "[[host]]\nmatch = [\"mac\"]\nkey = \"file:mac.key\"\n").unwrap();
        let url = gateway.as_ref().map_or_else(|| format!("http://{GATEWAY}"), Gateway::url);
        let sidecar = Sidecar::for_host("mac").inside(host.name()).gateway_url(&url).key(key).start().await;
        Self { host, box_, gateway, sidecar, files }
    }

    async fn doctor(&self) -> Diagnosis {
        let url = self.gateway.as_ref().map_or_else(|| format!("http://{GATEWAY}"), Gateway::url);
        self.doctor_of(&url).await
    }

    async fn doctor_of(&self, url: &str) -> Diagnosis {
        let hosts = self.files.path().join("hosts.toml").display().to_string();
        let arguments = [
            "doctor",
            "--json",
            "--gateway",
            url,
            "--host",
            "mac",
            "--hosts",
            &hosts,
            "--sidecar",
            &self.sidecar.url(),
        ];
        let program = Program::new("fleetgate", self.files.path()).args(arguments).inside(Some(self.host.name()));
        let finished = program.run().await;
        let key = fs::read_to_string(self.files.path().join("mac.key")).unwrap();
        assert!(!finished.said().contains(key.trim()), "the key was printed: {}", finished.said());
        Diagnosis::read(&finished)
    }

    fn impostor(&self, answer: &str) -> Peer {
        self.box_.impostor(&["http", GATEWAY, answer])
    }
}

fn http(head: &str, body: &str) -> String {
    format!("HTTP/1.1 {head}\r\nContent-Length: {}\r\n\r\n{body}", body.len())
}

#[tokio::test]
async fn a_healthy_fleet_has_no_problem_and_one_free_call_arrives() {
    let Some(fleet) = Fleet::new("well").await else { return };
    let diagnosis = fleet.doctor().await;
    let levels: Vec<&str> = diagnosis.findings().filter_map(|finding| finding["level"].as_str()).collect();
    assert!(levels.iter().all(|level| *level == "ok"), "{:#}", diagnosis.report);
    assert_eq!(diagnosis.code, Some(0));
    assert_eq!(diagnosis.report["verdict"], "ok");
    for (check, words) in [
        ("route", "by a10-77-1 (MTU 1500)"),
        ("key", "vk-mac of host \"mac\""),
        ("mtu", "up to 6000 bytes"),
        ("call", "through the sidecar reaches http://10.77.1.2:4000"),
    ] {
        let what = diagnosis.finding(check)["what"].as_str().unwrap();
        assert!(what.contains(words), "{what}");
    }
}

#[tokio::test]
async fn packets_that_a_firewall_drops_are_told_from_a_machine_that_is_off() {
    let Some(fleet) = Fleet::new("drop").await else { return };
    fleet.box_.firewall("input", "tcp dport 4000 drop;");
    fleet.doctor().await.is(
        "tcp",
        "filtered",
        &["does not answer", "dropped", "ping is answered", "mesh ACL", "firewall"],
    );
    // Nothing gets through any more, ping included.
    fleet.box_.run("nft", &["flush ruleset"]);
    fleet.box_.firewall("input", "drop;");
    fleet.doctor().await.is(
        "tcp",
        "silent",
        &["ping is not answered", "port 22 of the same machine is silent too", "off"],
    );
}

#[tokio::test]
async fn a_port_that_alone_is_silent_is_filtered_although_ping_is_too() {
    let Some(fleet) = Fleet::new("noping").await else { return };
    fleet.box_.firewall("input", "tcp dport 4000 drop; meta l4proto icmp drop;");
    fleet.doctor().await.is(
        "tcp",
        "filtered",
        &["ping is not answered", "port 22 of the same machine refuses (the machine is up)"],
    );
}

#[tokio::test]
async fn a_firewall_that_rejects_is_no_acl() {
    let Some(fleet) = Fleet::new("reject").await else { return };
    fleet.box_.firewall("input", "tcp dport 4000 reject with tcp reset;");
    fleet.doctor().await.is("tcp", "refused", &["refuses the connection (RST)", "REJECT", "A mesh ACL drops silently"]);
    fleet.box_.run("nft", &["flush ruleset"]);
    fleet.box_.firewall("input", "tcp dport 4000 reject with icmpx admin-prohibited;");
    fleet.doctor().await.is(
        "tcp",
        "rejected",
        &["rejected by ICMP", "administratively prohibited", "A mesh ACL drops silently"],
    );
}

#[tokio::test]
async fn a_port_without_listener_is_refused() {
    let Some(fleet) = Fleet::without_gateway("nobody").await else { return };
    fleet.doctor().await.is(
        "tcp",
        "refused",
        &["10.77.1.2:4000 refuses", "nothing listens there", "bound to another address"],
    );
}

#[tokio::test]
async fn this_machines_own_firewall_and_routes_are_named() {
    let Some(fleet) = Fleet::new("route").await else { return };
    fleet.host.firewall("output", "tcp dport 4000 ip daddr 10.77.1.2 drop;");
    fleet.doctor().await.is("tcp", "filtered", &["ping is answered"]);
    fleet.host.run("nft", &["flush ruleset"]);
    fleet.doctor_of("http://10.99.0.1:4000").await.is("route", "no_route", &["no route leads there", "mesh is down"]);
    fleet.host.run("ip", &["route", "add", "unreachable", "10.99.0.1"]);
    fleet.doctor_of("http://10.99.0.1:4000").await.is("route", "unreachable", &["EHOSTUNREACH"]);
    fleet.host.run("ip", &["route", "add", "prohibit", "10.99.0.2"]);
    fleet.doctor_of("http://10.99.0.2:4000").await.is("route", "prohibited", &["prohibits"]);
}

#[tokio::test]
async fn a_mesh_address_that_leaves_by_another_network_means_that_the_mesh_is_down() {
    let Some(fleet) = Fleet::new("stray").await else { return };
    fleet.host.run("ip", &["route", "add", "default", "via", "10.77.1.2"]);
    let words = ["100.64.9.9 is a mesh address", "leave by a10-77-1", "the mesh is down here"];
    fleet.doctor_of("http://100.64.9.9:4000").await.is("tcp", "silent", &words);
}

#[tokio::test]
async fn a_name_that_does_not_exist_and_a_name_server_that_fails_are_told_apart() {
    let Some(fleet) = Fleet::new("dns").await else { return };
    fleet.host.name_server("10.77.1.2");
    for (reply, code, words) in [
        ("3", "nxdomain", &["10.77.1.2 says NXDOMAIN", "typo", "MagicDNS"][..]),
        ("2", "servfail", &["10.77.1.2 says SERVFAIL"]),
        ("silent", "no_answer", &["10.77.1.2 says nothing", "name server does not answer"]),
    ] {
        let _server = fleet.box_.impostor(&["dns", "10.77.1.2:53", reply]);
        fleet.doctor_of(BY_NAME).await.is("dns", code, words);
    }
}

#[tokio::test]
async fn a_name_that_leads_to_another_machine_is_the_cause_of_what_answers_there() {
    let Some(fleet) = Fleet::new("other").await else { return };
    let Some(other) = Netns::new("other-o") else { return };
    fleet.host.link(&other, "203.0.113");
    fleet.host.name_server("10.77.1.2");
    let _server = fleet.box_.impostor(&["dns", "10.77.1.2:53", "203.0.113.2"]);
    fleet.doctor_of(BY_NAME).await.is("dns", "wrong_address", &["resolves to 203.0.113.2", "refuses the connection"]);
    let _web = other.impostor(&["http", "203.0.113.2:4000", &http("404 Not Found\r\nServer: nginx", "")]);
    fleet.doctor_of(BY_NAME).await.is("dns", "wrong_address", &["resolves to 203.0.113.2", "nginx"]);
}

#[tokio::test]
async fn a_name_that_leads_to_the_gateway_is_fine() {
    let Some(fleet) = Fleet::new("name").await else { return };
    fleet.host.name_server("10.77.1.2");
    let _server = fleet.box_.impostor(&["dns", "10.77.1.2:53", "10.77.1.2"]);
    let diagnosis = fleet.doctor_of(BY_NAME).await;
    assert_eq!(diagnosis.code, Some(0), "{:#}", diagnosis.report);
    assert_eq!(diagnosis.finding("dns")["what"], "box.fleet.test is 10.77.1.2 (private)");
}

/// Three machines in a row; the cable behind the middle one takes small packets only, and nobody may say so.
#[tokio::test]
async fn a_path_that_swallows_large_packets_is_a_black_hole() {
    let Some(host) = Netns::new("mtu-h") else { return };
    let (Some(middle), Some(box_)) = (Netns::new("mtu-m"), Netns::new("mtu-b")) else { return };
    host.link(&middle, "10.77.2");
    middle.link(&box_, "10.77.3");
    middle.run("sh", &["-c", "echo 1 > /proc/sys/net/ipv4/ip_forward"]);
    host.run("ip", &["route", "add", "10.77.3.0/24", "via", "10.77.2.2"]);
    box_.run("ip", &["route", "add", "10.77.2.0/24", "via", "10.77.3.1"]);
    let fleet = Fleet::on(host, box_, "10.77.3.2:4000").await;
    let diagnosis = fleet.doctor().await;
    assert_eq!(diagnosis.code, Some(0), "{:#}", diagnosis.report);
    // Only now, and only the router's own interface: both ends still believe in 1500.
    middle.run("ip", &["link", "set", "dev", "a10-77-3", "mtu", "1100"]);
    middle.firewall("output", "icmp type destination-unreachable drop;");
    let words =
        ["requests of 900 bytes arrive", "of 1150 bytes they do not", "a10-77-2 has MTU 1500", "MTU black hole"];
    let diagnosis = fleet.doctor().await;
    diagnosis.is("mtu", "black_hole", &words);
    assert!(diagnosis.finding("mtu")["next"][0].as_str().unwrap().starts_with("ping -M do -s 1252 10.77.3.2"));
}

#[tokio::test]
async fn whatever_else_answers_on_the_port_is_named() {
    let Some(fleet) = Fleet::without_gateway("foreign").await else { return };
    let html = "<html><h1>Log in</h1></html>";
    for (answer, code, words) in [
        (http("404 Not Found\r\nServer: nginx/1.24", "no"), "not_a_gateway", &["nginx/1.24", "404"][..]),
        (http("200 OK\r\nServer: uvicorn", "\"I'm alive!\""), "litellm", &["LiteLLM", "default port is 4000 too"]),
        (
            http("302 Found\r\nLocation: http://login.hotel.example/?t=x", ""),
            "captive_portal",
            &["captive portal", "http://login.hotel.example)"],
        ),
        (http("200 OK\r\nContent-Type: text/html", html), "captive_portal", &["captive portal"]),
        (http("403 Filtered\r\nServer: tinyproxy/1.11.1", ""), "proxy", &["forward proxy", "tinyproxy/1.11.1"]),
        (http("404 Not Found\r\nx-fleetgate-sidecar: 0.1.0", "{}"), "sidecar", &["Fleetgate sidecar", "circle"]),
    ] {
        let _impostor = fleet.impostor(&answer);
        fleet.doctor().await.is("marker", code, words);
    }
}

#[tokio::test]
async fn another_protocol_on_the_port_is_named() {
    let Some(fleet) = Fleet::without_gateway("proto").await else { return };
    {
        let _ssh = fleet.box_.impostor(&["banner", GATEWAY, "SSH-2.0-OpenSSH_9.6\r\n"]);
        fleet.doctor().await.is("protocol", "foreign", &["an SSH server answers at 10.77.1.2:4000"]);
    }
    {
        let _mute = fleet.box_.impostor(&["mute", GATEWAY]);
        fleet.doctor().await.is("protocol", "mute", &["takes the connection and says nothing", "hangs"]);
    }
    let ca = TestCa::new();
    let (certificate, private) = ca.server_files(&["10.77.1.2"]);
    let _tls = fleet.box_.peer(&[GATEWAY, &certificate.display().to_string(), &private.display().to_string()]);
    fleet.doctor().await.is("protocol", "tls", &["speaks TLS (https)", "plain HTTP"]);
}

#[tokio::test]
async fn the_gateways_machine_sees_what_arrives_and_what_its_firewall_drops() {
    let Some(fleet) = Fleet::new("listen").await else { return };
    let watched = watch_while_dialled(&fleet).await;
    assert_eq!(
        (watched.code, watched.finding("listen")["code"].as_str()),
        (Some(0), Some("ok")),
        "{:#}",
        watched.report
    );
    fleet.box_.firewall("input", "tcp dport 4000 drop;");
    watch_while_dialled(&fleet).await.is("listen", "dropped_here", &["10.77.1.1:", "0 accepted", "firewall here"]);
    fleet.box_.run("nft", &["flush ruleset"]);
    fleet.box_.firewall("input", "tcp dport 4000 reject with tcp reset;");
    watch_while_dialled(&fleet).await.is("listen", "refused_here", &["10.77.1.1:"]);
    // What an ACL drops does not arrive at all; here the client's own machine keeps it.
    fleet.host.firewall("output", "tcp dport 4000 drop;");
    let watched = watch_while_dialled(&fleet).await;
    assert_eq!(watched.finding("listen")["code"], "nothing_arrives", "{:#}", watched.report);
}

/// Tries to connect again and again for as long as is watched.
async fn watch_while_dialled(fleet: &Fleet) -> Diagnosis {
    let watch = Program::new("fleetgate", fleet.files.path())
        .args(["doctor", "--json", "--listen", "3", "--gateway", "http://10.77.1.2:4000"])
        .inside(Some(fleet.box_.name()));
    let watched = watch.run();
    let dialled = async {
        loop {
            let program = Program::new("fleetgate", fleet.files.path()).args([
                "wait",
                "--timeout",
                "1",
                "--url",
                "http://10.77.1.2:4000",
            ]);
            program.inside(Some(fleet.host.name())).run().await;
        }
    };
    tokio::select! {
        finished = watched => Diagnosis::read(&finished),
        () = dialled => unreachable!("it never ends by itself"),
    }
}
