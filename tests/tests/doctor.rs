//! `fleetgate doctor` on one machine: keys, budgets, clocks, the sidecar, its port, and what leads around it. What stands in a
//! network is in `doctor_network.rs`.

#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a broken expectation is a failed test")]
#![allow(clippy::print_stdout, reason = "a skipped test says so on stdout")]

use std::collections::BTreeMap;
use std::fs;
use std::net::TcpListener;
use std::os::unix::fs::PermissionsExt;
use std::process::Stdio;

use fleetgate_tests::process::{Finished, Program};
use fleetgate_tests::wait::soon;
use fleetgate_tests::{ClosedPort, Diagnosis, Gateway, MASTER_KEY, Reply, Sidecar, Upstream, eventually};
use serde_json::{Value, json};
use tempfile::TempDir;

/// A home with a key, from which the doctor looks.
struct Home(TempDir);

impl Home {
    fn with_key(key: &str) -> Self {
        let home = TempDir::new().unwrap();
        let file = home.path().join("mac.key");
        fs::write(&file, key).unwrap();
        fs::set_permissions(&file, fs::Permissions::from_mode(0o600)).unwrap();
        fs::write(home.path().join("hosts.toml"), "[[host]]\nmatch = [\"mac\"]\nkey = \"file:mac.key\"\n").unwrap();
        Self(home)
    }

    fn write(&self, name: &str, text: &str) {
        let path = self.0.path().join(name);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, text).unwrap();
    }

    async fn run(&self, gateway: &str, sidecar: &str, variables: &[(&str, &str)], more: &[&str]) -> Finished {
        let hosts = self.0.path().join("hosts.toml").display().to_string();
        let variables: BTreeMap<String, String> =
            variables.iter().map(|(n, v)| ((*n).to_owned(), (*v).to_owned())).collect();
        let program = Program::new("fleetgate", self.0.path())
            .args(["doctor", "--host", "mac", "--hosts", &hosts, "--gateway", gateway, "--sidecar", sidecar])
            .args(more.iter().copied());
        let finished = program.envs(&variables).run().await;
        let key = fs::read_to_string(self.0.path().join("mac.key")).unwrap();
        assert!(!finished.said().contains(key.trim()) && !finished.said().contains("canary"), "{}", finished.said());
        finished
    }

    async fn doctor(&self, gateway: &str, sidecar: &str) -> Diagnosis {
        Diagnosis::read(&self.run(gateway, sidecar, &[], &["--json"]).await)
    }
}

/// A gateway, a key of it with these fields, and a sidecar with that key.
async fn fleet(fields: &Value) -> (Gateway, Home, Sidecar) {
    let gateway = Gateway::start(|c| c).await;
    let mut all = json!({"key_alias": "vk-mac", "host": "mac"});
    for (name, value) in fields.as_object().into_iter().flatten() {
        all[name] = value.clone();
    }
    let key = gateway.key(&all).await;
    let sidecar = Sidecar::for_host("mac").gateway(&gateway).key(&key).start().await;
    (gateway, Home::with_key(&key), sidecar)
}

#[tokio::test]
async fn what_is_left_of_the_budget_and_the_rates_are_told() {
    let (gateway, home, sidecar) = fleet(&json!({"max_budget": 5.0, "budget_duration": "1d", "rpm_limit": 9})).await;
    let diagnosis = home.doctor(&gateway.url(), &sidecar.url()).await;
    diagnosis.has_no_problem();
    let what = diagnosis.finding("budget")["what"].as_str().unwrap();
    assert!(
        what.starts_with("$5.0000 of $5.0000 left for this key, resets at 20") && what.ends_with("at most 9 calls/min"),
        "{what}"
    );
}

#[tokio::test]
async fn a_key_that_is_refused_says_why() {
    let (gateway, home, sidecar) = fleet(&json!({})).await;
    let key = fs::read_to_string(home.0.path().join("mac.key")).unwrap();
    gateway.admin_post("/key/block", &json!({"key": key})).await;
    home.doctor(&gateway.url(), &sidecar.url()).await.is("key", "blocked", &["refuses this host's key", "vk-mac"]);
    gateway.admin_post("/key/unblock", &json!({"key": key})).await;
    gateway.admin_post("/key/update", &json!({"key": key, "duration": "1s"})).await;
    let expired = eventually("the key's end", async || {
        let diagnosis = home.doctor(&gateway.url(), &sidecar.url()).await;
        (diagnosis.code_of("key") == "expired").then_some(diagnosis)
    });
    expired.await.is("key", "expired", &["refuses this host's key", "expired"]);
    gateway.admin_post("/key/delete", &json!({"keys": [key]})).await;
    home.doctor(&gateway.url(), &sidecar.url()).await.is("key", "unknown_key", &["no key of this gateway"]);
}

#[tokio::test]
async fn a_key_of_another_host_is_a_warning() {
    let (gateway, home, sidecar) = fleet(&json!({"host": "tower"})).await;
    let diagnosis = home.doctor(&gateway.url(), &sidecar.url()).await;
    diagnosis.has_no_problem();
    assert_eq!(diagnosis.code_of("key"), "other_host");
}

#[tokio::test]
async fn a_key_file_that_others_can_read_says_how_to_close_it() {
    let (gateway, home, _sidecar) = fleet(&json!({})).await;
    fs::set_permissions(home.0.path().join("mac.key"), fs::Permissions::from_mode(0o644)).unwrap();
    let nobody = ClosedPort::new().unwrap();
    let diagnosis = home.doctor(&gateway.url(), &format!("http://{}", nobody.address())).await;
    let finding = diagnosis.finding("key_file");
    assert_eq!(finding["code"], "no_key");
    assert!(finding["next"][0].as_str().unwrap().starts_with("chmod 600 "), "{finding:#}");
    assert_eq!(diagnosis.code_of("sidecar"), "not_running");
    assert_eq!((diagnosis.code_of("key"), diagnosis.code_of("call")), ("skipped", "skipped"));
}

#[tokio::test]
async fn without_a_word_about_the_gateway_the_sidecars_own_is_examined() {
    let (gateway, home, sidecar) = fleet(&json!({})).await;
    let diagnosis = home.doctor("", &sidecar.url()).await;
    diagnosis.has_no_problem();
    assert!(diagnosis.finding("call")["what"].as_str().unwrap().contains(&gateway.url()));
    let several = format!("{},http://127.0.0.1:1", gateway.url());
    let diagnosis = home.doctor(&several, &sidecar.url()).await;
    diagnosis.has_no_problem();
    assert_eq!(diagnosis.finding("gateway")["next"][0], "fleetgate doctor --gateway http://127.0.0.1:1");
    let nobody = ClosedPort::new().unwrap();
    let diagnosis = home.doctor("", &format!("http://{}", nobody.address())).await;
    assert_eq!((diagnosis.code_of("gateway"), diagnosis.code_of("dns")), ("unknown", "skipped"));
}

#[tokio::test]
async fn an_https_address_of_the_gateway_is_a_problem_with_its_reason() {
    let (_gateway, home, sidecar) = fleet(&json!({})).await;
    home.doctor("https://box.example:4000", &sidecar.url()).await.is(
        "gateway",
        "bad_address",
        &["https is not supported", "mesh encrypts"],
    );
}

#[tokio::test]
async fn a_clock_that_is_far_off_and_another_version_are_told() {
    let upstream = Upstream::start().await;
    upstream.always(
        Reply::json(200, &json!({"info": {"host": "mac"}, "data": []}))
            .header("x-fleetgate-gateway", "9.9.9")
            .header("date", "Sun, 06 Nov 1994 08:49:37 GMT"),
    );
    let key = "sk-fg-canary-0123456789abcdefgh";
    let sidecar = Sidecar::for_host("mac").gateway_url(&upstream.origin()).key(key).start().await;
    let diagnosis = Home::with_key(key).doctor(&upstream.origin(), &sidecar.url()).await;
    diagnosis.is("clock", "skew", &["ahead of the gateway's", "synchronise"]);
    assert_eq!(diagnosis.code_of("versions"), "differ");
}

#[tokio::test]
async fn a_second_sidecar_is_named_by_its_pid() {
    let (gateway, home, sidecar) = fleet(&json!({})).await;
    let second = Sidecar::for_host("mac").gateway(&gateway).start().await;
    let diagnosis = home.doctor(&gateway.url(), &sidecar.url()).await;
    diagnosis.has_no_problem();
    assert_eq!(diagnosis.code_of("sidecars"), "two_sidecars");
    let what = diagnosis.finding("sidecars")["what"].as_str().unwrap();
    assert!(
        what.contains(&format!("pid {} ", second.pid())) && !what.contains(&format!("pid {} ", sidecar.pid())),
        "{what}"
    );
    assert!(diagnosis.finding("sidecar")["what"].as_str().unwrap().contains(&format!("(pid {})", sidecar.pid())));
}

#[tokio::test]
async fn another_program_on_the_sidecars_port_is_named() {
    let (gateway, home, _sidecar) = fleet(&json!({})).await;
    let taken = Upstream::start().await;
    taken.always(Reply::json(200, &json!("I'm alive!")));
    let owner = format!("(pid {})", std::process::id());
    home.doctor(&gateway.url(), &taken.origin()).await.is("sidecar", "port_taken", &[&owner, "LiteLLM's default port"]);
}

#[tokio::test]
async fn another_program_on_the_other_loopback_address_is_a_problem() {
    let (gateway, home, sidecar) = fleet(&json!({})).await;
    let Ok(_taken) = TcpListener::bind(("::1", sidecar.address().port())) else {
        println!("SKIPPED: no IPv6 here, or the port is taken there");
        return;
    };
    let ours = format!("belongs to pid {}", sidecar.pid());
    let theirs = format!("to pid {}", std::process::id());
    home.doctor(&gateway.url(), &sidecar.url()).await.is("sidecars", "port_split", &[&ours, &theirs, "localhost"]);
}

#[tokio::test]
async fn a_sidecar_of_another_version_or_user_is_a_warning() {
    let (gateway, home, _sidecar) = fleet(&json!({})).await;
    let old = Upstream::start().await;
    let reply = |status| {
        let reply = Reply::json(status, &json!({"gateway": gateway.url(), "data": []}));
        reply.header("x-fleetgate-sidecar", "0.0.1").header("x-fleetgate-gateway", "0.1.0")
    };
    old.always(reply(200));
    let diagnosis = home.doctor(&gateway.url(), &old.origin()).await;
    diagnosis.has_no_problem();
    assert_eq!(diagnosis.code_of("sidecar"), "other_version");
    old.always(reply(403));
    let diagnosis = home.doctor(&gateway.url(), &old.origin()).await;
    diagnosis.has_no_problem();
    assert_eq!((diagnosis.code_of("sidecar"), diagnosis.code_of("call")), ("not_for_us", "skipped"));
}

#[tokio::test]
async fn a_sidecar_with_another_gateway_is_told() {
    let (_gateway, home, sidecar) = fleet(&json!({})).await;
    let other = Gateway::start(|c| c).await;
    let diagnosis = home.doctor(&other.url(), &sidecar.url()).await;
    assert_eq!(diagnosis.code_of("sidecar_to"), "other_gateway");
}

#[tokio::test]
async fn proxies_and_settings_that_lead_around_the_sidecar_are_told_without_their_values() {
    let (gateway, home, sidecar) = fleet(&json!({})).await;
    let proxy = [("HTTPS_PROXY", "http://me:canary@10.0.0.1:3128")];
    let finished = home.run(&gateway.url(), &sidecar.url(), &proxy, &["--json"]).await;
    let words = ["HTTPS_PROXY=http://10.0.0.1:3128", "NO_PROXY lacks localhost and 127.0.0.1"];
    Diagnosis::read(&finished).is("proxies", "catch_localhost", &words);

    home.write(".claude/settings.json", "{\"env\": {\"ANTHROPIC_BASE_URL\": \"https://canary.example\"}}");
    let words = [".claude/settings.json sets env.ANTHROPIC_BASE_URL", "beats the shell"];
    home.doctor(&gateway.url(), &sidecar.url()).await.is("launchers", "claude_redirected", &words);
    home.write(".claude/settings.json", &json!({"env": {"ANTHROPIC_BASE_URL": sidecar.url()}}).to_string());
    home.doctor(&gateway.url(), &sidecar.url()).await.has_no_problem();
}

#[tokio::test]
async fn a_process_with_the_environment_of_before_is_named() {
    let (gateway, home, sidecar) = fleet(&json!({})).await;
    let mut sleeper = tokio::process::Command::new("cat");
    sleeper
        .env_clear()
        .env("PATH", std::env::var_os("PATH").unwrap_or_default())
        .env("OPENAI_BASE_URL", "https://canary.example/v1")
        .stdin(Stdio::piped())
        .stdout(Stdio::null());
    let sleeper = sleeper.kill_on_drop(true).spawn().unwrap();
    let diagnosis = home.doctor(&gateway.url(), &sidecar.url()).await;
    diagnosis.has_no_problem();
    assert_eq!(diagnosis.code_of("processes"), "stale_environment");
    let what = diagnosis.finding("processes")["what"].as_str().unwrap();
    // Other tests' processes may stand beside it.
    assert!(what.contains(&format!("cat (pid {}", sleeper.id().unwrap())) || what.contains(" more"), "{what}");
}

#[tokio::test]
async fn people_read_the_same_as_scripts() {
    let (gateway, home, sidecar) = fleet(&json!({})).await;
    let finished = home.run(&gateway.url(), &sidecar.url(), &[], &[]).await;
    assert!(finished.status.success(), "{}", finished.said());
    let text = finished.stdout;
    let (tcp, call) = (text.find("ok       tcp "), text.find("ok       call "));
    let has_problem = text.lines().any(|line| line.starts_with("problem "));
    assert!(tcp.is_some() && tcp < call && !has_problem, "{text}");
}

#[tokio::test]
async fn what_cannot_be_examined_ends_with_a_code_of_its_own() {
    let home = Home::with_key("sk-fg-canary-0123456789abcdefgh");
    for arguments in [&["--on-gateway"][..], &["--listen", "1"]] {
        let finished = home.run("https://box.example:4000", "http://127.0.0.1:4000", &[], arguments).await;
        assert_eq!(finished.status.code(), Some(2), "{}", finished.said());
        assert!(finished.stderr.contains("https is not supported"), "{}", finished.said());
    }
}

#[tokio::test]
async fn the_gateways_machine_is_examined_by_what_the_gateway_says() {
    let gateway = Gateway::start(|c| c.set("general_settings", "no_such_setting", json!(1))).await;
    gateway.key(&json!({"key_alias": "vk-mac", "host": "mac"})).await;
    gateway.key(&json!({"key_alias": "of-nobody"})).await;
    let finished = soon("the doctor", gateway.fleetgate(&["doctor", "--on-gateway", "--json"])).await;
    assert!(!finished.said().contains(MASTER_KEY), "{}", finished.said());
    let diagnosis = Diagnosis::read(&finished);
    for (check, code) in [
        ("marker", "ok"),
        ("readiness", "ok"),
        ("ledger", "ok"),
        ("config", "warnings"),
        ("keys", "without_host"),
        ("rows", "ok"),
    ] {
        assert_eq!(diagnosis.code_of(check), code, "{:#}", diagnosis.report);
    }
    assert!(diagnosis.finding("keys")["what"].as_str().unwrap().ends_with(": of-nobody"));
    assert!(diagnosis.finding("disk")["what"].as_str().unwrap().contains(&gateway.dir().display().to_string()));
    // Without the administrator's key only what everybody may know.
    let program = Program::new("fleetgate", gateway.dir()).args([
        "doctor",
        "--on-gateway",
        "--json",
        "--gateway",
        &gateway.url(),
    ]);
    let diagnosis = Diagnosis::read(&program.run().await);
    assert_eq!((diagnosis.code_of("readiness"), diagnosis.code_of("keys")), ("ok", "skipped"));
}

#[tokio::test]
async fn a_gateway_that_does_not_answer_is_the_only_problem_of_its_machine() {
    let home = Home::with_key("sk-fg-canary-0123456789abcdefgh");
    let nobody = ClosedPort::new().unwrap();
    let program = Program::new("fleetgate", home.0.path()).args(["doctor", "--on-gateway", "--json"]);
    let program = program.args(["--gateway", &format!("http://{}", nobody.address())]);
    Diagnosis::read(&program.run().await).is("marker", "no_answer", &["connection refused"]);
}
