//! A host's key, from its invitation to its replacement: real gateways, real commands, real sidecars.

#![allow(clippy::unwrap_used, reason = "a broken expectation is a failed test")]

use std::collections::HashSet;
use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::os::unix::net::UnixListener;

use fleetgate_tests::client::Call;
use fleetgate_tests::process::{Finished, Running};
use fleetgate_tests::upstream::openai::chat_request;
use fleetgate_tests::{Gateway, Machine, Postgres, Upstream, eventually};
use http::{Method, StatusCode};
use serde_json::{Value, json};

const CHAT: &str = "/v1/chat/completions";

async fn gateway(upstream: &Upstream) -> Gateway {
    Gateway::start(|c| c.deployment("gpt-x", "openai/gpt-4.1-mini", upstream, &json!({}))).await
}

async fn invite(gateway: &Gateway, more: &[&str]) -> String {
    let made = gateway.fleetgate(&[&["keys", "invite"], more].concat()).await;
    assert!(made.status.success(), "{}", made.said());
    made.stdout.trim().to_owned()
}

async fn enroll(machine: &Machine, gateway: &Gateway, token: &str) -> Finished {
    machine.fleetgate_reads(&["enroll", &gateway.url(), "--token", "-", "--store", "file"], token).await
}

fn succeeded(finished: Finished) -> String {
    assert!(finished.status.success(), "{}", finished.said());
    finished.stdout
}

fn failed(finished: &Finished) -> String {
    assert!(!finished.status.success(), "{}", finished.said());
    finished.said()
}

async fn call(sidecar: &Running) -> StatusCode {
    Call::new(sidecar.address(), Method::POST, CHAT).json(&chat_request("gpt-x")).send().await.status
}

fn key_of(machine: &Machine) -> String {
    fs::read_to_string(machine.config("host.key")).unwrap().trim().to_owned()
}

#[tokio::test]
async fn an_invited_machine_needs_one_command_and_no_setting() {
    let upstream = Upstream::start().await;
    let gw = gateway(&upstream).await;
    let token = invite(&gw, &["--budget", "5", "--budget-duration", "30d", "--models", "gpt-x", "--rpm", "60"]).await;
    assert!(token.starts_with("fgi_"), "{token}");
    let listed = succeeded(gw.fleetgate(&["keys", "invites", "--json"]).await);
    assert!(!listed.contains(&token[4..]) && listed.contains("\"open\""), "{listed}");

    let machine = Machine::named("mac");
    let told = succeeded(enroll(&machine, &gw, &token).await);
    let key = key_of(&machine);
    assert!(told.contains("\"vk-mac\"") && told.contains("fleetgate sidecar"), "{told}");
    assert!(!told.contains(&key), "{told}");
    assert_eq!(fs::metadata(machine.config("host.key")).unwrap().permissions().mode() & 0o777, 0o600);
    assert_eq!(fs::read_to_string(machine.dir().join("state/host-label")).unwrap(), "mac\n");
    let settings = fs::read_to_string(machine.config("enrolment.toml")).unwrap();
    assert!(settings.contains(&gw.url()) && !settings.contains("sk-"), "{settings}");

    let sidecar = machine.sidecar().await;
    assert_eq!(call(&sidecar).await, StatusCode::OK);
    let row = gw.only_row().await;
    assert_eq!((row.host.as_str(), row.key_alias.as_str(), row.host_source.as_str()), ("mac", "vk-mac", "key"));
    let info = gw.admin_get(&format!("/key/info?key={key}")).await;
    assert_eq!((&info["info"]["max_budget"], &info["info"]["rpm_limit"]), (&json!(5.0), &json!(60)));
    assert_eq!(info["info"]["models"], json!(["gpt-x"]));

    let shown = succeeded(machine.fleetgate(&["key", "show"]).await);
    assert!(shown.contains("vk-mac") && shown.contains("active") && !shown.contains(&key), "{shown}");
    let listed = succeeded(gw.fleetgate(&["keys", "invites"]).await);
    assert!(listed.contains("used") && listed.contains("mac"), "{listed}");
}

#[tokio::test]
async fn an_invitation_that_is_no_longer_good_says_the_same_as_an_unknown_one() {
    let upstream = Upstream::start().await;
    let gw = gateway(&upstream).await;
    let used = invite(&gw, &[]).await;
    succeeded(enroll(&Machine::named("a"), &gw, &used).await);
    let short = invite(&gw, &["--expires", "1s"]).await;
    let withdrawn = gw.admin_post("/api/invitations", &json!({})).await;
    succeeded(gw.fleetgate(&["keys", "uninvite", withdrawn["id"].as_str().unwrap()]).await);
    let other = invite(&gw, &["--host", "tower"]).await;
    let unknown = "fgi_00000000000000000000000000000000";
    eventually("the short one ends", async || {
        let listed = gw.admin_get("/api/invitations").await;
        let ended = listed["invitations"].as_array().unwrap().iter().any(|one| one["status"] == "expired");
        ended.then_some(())
    })
    .await;
    let mut answers = HashSet::new();
    for token in [&used, &short, withdrawn["token"].as_str().unwrap(), &other, unknown] {
        let answer = gw.post("/api/enroll").json(&json!({"token": token, "host": "mac"})).send().await.expect(403);
        assert_eq!(answer.header("x-fleetgate-reason"), "invitation_invalid");
        answers.insert(answer.text());
    }
    assert_eq!(answers.len(), 1, "{answers:?}");
    let typo = failed(&enroll(&Machine::named("mac"), &gw, &used[..20]).await);
    assert!(typo.contains("mistyped") && !typo.contains(&used[4..20]), "{typo}");
    assert_eq!(gw.admin_get("/key/list").await["total_count"], 1);
}

#[tokio::test]
async fn a_machine_that_has_a_key_is_replaced_by_an_invitation_that_names_it_only() {
    let upstream = Upstream::start().await;
    let gw = gateway(&upstream).await;
    let many = invite(&gw, &["--hosts", "3"]).await;
    let (first, second) = (Machine::named("mac"), Machine::named("mac"));
    succeeded(enroll(&first, &gw, &many).await);
    assert!(failed(&enroll(&second, &gw, &many).await).contains("not valid for host mac"));
    let open = invite(&gw, &[]).await;
    assert!(failed(&enroll(&second, &gw, &open).await).contains("keys invite --host mac"));
    assert!(!second.config("host.key").exists() && !second.config("enrolment.toml").exists());

    let named = invite(&gw, &["--host", "mac", "--budget", "2"]).await;
    let told = succeeded(enroll(&second, &gw, &named).await);
    assert!(told.contains("is deleted at the gateway"), "{told}");
    gw.get("/key/info").bearer(&key_of(&first)).send().await.expect(401);
    let info = gw.get("/key/info").bearer(&key_of(&second)).send().await.expect(200).json();
    assert_eq!((&info["info"]["key_alias"], &info["info"]["max_budget"]), (&json!("vk-mac"), &json!(2.0)));
}

#[tokio::test]
async fn a_key_that_cannot_be_stored_is_never_minted() {
    let upstream = Upstream::start().await;
    let gw = gateway(&upstream).await;
    let token = invite(&gw, &[]).await;
    let machine = Machine::named("mac");
    let open = machine.dir().join("open");
    fs::create_dir(&open).unwrap();
    fs::set_permissions(&open, fs::Permissions::from_mode(0o777)).unwrap();
    let place = open.join("host.key").display().to_string();
    let said =
        failed(&machine.fleetgate_reads(&["enroll", &gw.url(), "--token", "-", "--store", &place], &token).await);
    assert!(said.contains("chmod go-w"), "{said}");
    assert_eq!(gw.admin_get("/key/list").await["total_count"], 0);
    succeeded(enroll(&machine, &gw, &token).await);
}

#[tokio::test]
async fn a_key_that_was_minted_and_cannot_be_kept_is_revoked_again() {
    let upstream = Upstream::start().await;
    let gw = gateway(&upstream).await;
    let token = invite(&gw, &[]).await;
    let machine = Machine::named("mac");
    // The label cannot be pinned: a directory is in its place.
    fs::create_dir_all(machine.dir().join("state/host-label")).unwrap();
    let said = failed(&enroll(&machine, &gw, &token).await);
    assert!(said.contains("it has been revoked again"), "{said}");
    assert_eq!(gw.admin_get("/key/list").await["total_count"], 0);
    assert!(!machine.config("host.key").exists() && !machine.config("enrolment.toml").exists());
}

#[tokio::test]
async fn of_many_that_come_at_once_to_several_gateways_exactly_one_is_served() {
    let (server, upstream) = (Postgres::start().await, Upstream::start().await);
    let url = server.database("ledger").await;
    let start = || Gateway::start(|c| c.model("gpt-x", &upstream).database(&url));
    let gateways = [start().await, start().await];
    let token = invite(&gateways[0], &[]).await;
    let ask = |number: usize| {
        let gw = &gateways[number % 2];
        let call = gw.post("/api/enroll").json(&json!({"token": token, "host": format!("host-{number}")}));
        tokio::spawn(async move { call.send().await.status })
    };
    let asked: Vec<_> = (0..16).map(ask).collect();
    let mut served = 0;
    for answer in asked {
        match answer.await.unwrap() {
            StatusCode::OK => served += 1,
            status => assert_eq!(status, StatusCode::FORBIDDEN),
        }
    }
    assert_eq!(served, 1);
    assert_eq!(server.sql("ledger", "SELECT count(*) FROM virtual_key").await, "1");
    assert_eq!(server.sql("ledger", "SELECT uses_left FROM invitation").await, "0");
    assert!(!server.sql("ledger", "SELECT invitation::text FROM invitation").await.contains(&token[4..]));
}

#[tokio::test]
async fn a_key_is_rotated_under_calls_and_no_call_fails() {
    let upstream = Upstream::start().await;
    let gw = gateway(&upstream).await;
    let machine = Machine::named("mac");
    succeeded(enroll(&machine, &gw, &invite(&gw, &["--budget", "5"]).await).await);
    let old = key_of(&machine);
    let sidecar = machine.sidecar().await;
    assert_eq!(call(&sidecar).await, StatusCode::OK);
    let told = succeeded(machine.fleetgate(&["key", "rotate", "--grace", "1h"]).await);
    let new = key_of(&machine);
    assert!(old != new && !told.contains(&new) && !told.contains(&old), "{told}");
    for _ in 0..20 {
        assert_eq!(call(&sidecar).await, StatusCode::OK);
    }
    // The old one ends after its grace; what both spend is one account.
    let info = async |key: &str| gw.get("/key/info").bearer(key).send().await.expect(200).json()["info"].clone();
    let (before, after) = (info(&old).await, info(&new).await);
    assert_eq!((&before["status"], &after["status"]), (&json!("replaced"), &json!("active")));
    assert!(before["expires"].is_string() && after["expires"].is_null(), "{before}");
    assert_eq!((&after["key_alias"], &after["max_budget"]), (&json!("vk-mac"), &json!(5.0)));
    assert!(after["spend"].as_f64().unwrap() > 0.0 && after["spend"] == before["spend"], "{after}");

    // Without a grace the old one goes at once. The sidecar hears of the new one by itself.
    succeeded(machine.fleetgate(&["key", "rotate", "--grace", "0s"]).await);
    gw.get("/key/info").bearer(&new).send().await.expect(401);
    eventually("the sidecar uses the newest key", async || (call(&sidecar).await == StatusCode::OK).then_some(()))
        .await;
    let hashes: HashSet<_> = gw.admin_get("/api/budgets").await["budgets"]
        .as_array()
        .unwrap()
        .iter()
        .map(|budget| budget["scope"].to_string())
        .collect();
    assert_eq!(hashes.iter().filter(|scope| scope.contains("key:")).count(), 1, "{hashes:?}");
}

#[tokio::test]
async fn a_rotation_that_is_cut_off_leaves_a_key_that_works() {
    let upstream = Upstream::start().await;
    let gw = gateway(&upstream).await;
    let machine = Machine::named("mac");
    succeeded(enroll(&machine, &gw, &invite(&gw, &[]).await).await);
    let old = key_of(&machine);
    let rotate = async |key: &str| gw.post("/api/key/rotate").bearer(key).send().await.expect(200).json();
    // Cut off before it was stored: the old one is as it was, and the lost one does not stay.
    let lost = rotate(&old).await;
    assert_eq!(gw.admin_get("/key/list").await["total_count"], 2);
    // Cut off after it was stored, before it was confirmed: both work.
    let stored = rotate(&old).await["key"].as_str().unwrap().to_owned();
    gw.get("/key/info").bearer(lost["key"].as_str().unwrap()).send().await.expect(401);
    machine.write("host.key", &stored);
    for key in [&old, &stored] {
        gw.get("/key/info").bearer(key).send().await.expect(200);
    }
    // The next rotation finishes what was begun.
    succeeded(machine.fleetgate(&["key", "rotate"]).await);
    let sidecar = machine.sidecar().await;
    assert_eq!(call(&sidecar).await, StatusCode::OK);
    let statuses: Vec<Value> = gw.admin_get("/key/list?return_full_object=true").await["keys"]
        .as_array()
        .unwrap()
        .iter()
        .map(|key| key["status"].clone())
        .collect();
    assert_eq!(statuses.iter().filter(|status| **status == "active").count(), 1, "{statuses:?}");
}

#[tokio::test]
async fn who_calls_through_a_sidecar_cannot_get_its_key() {
    let upstream = Upstream::start().await;
    let gw = gateway(&upstream).await;
    let machine = Machine::named("mac");
    succeeded(enroll(&machine, &gw, &invite(&gw, &[]).await).await);
    let sidecar = machine.sidecar().await;
    for path in ["/api/key/rotate", "/api/key/discard", "/api/key/confirm", "/api/enroll"] {
        let answer = Call::new(sidecar.address(), Method::POST, path).json(&json!({})).send().await.expect(403);
        assert_eq!(answer.header("x-fleetgate-reason"), "through_sidecar", "{path}");
    }
    assert_eq!(call(&sidecar).await, StatusCode::OK);
}

#[tokio::test]
async fn keys_are_set_shown_and_forgotten_while_the_sidecar_runs() {
    let upstream = Upstream::start().await;
    let gw = gateway(&upstream).await;
    let machine = Machine::named("mac").env("FLEETGATE_GATEWAY", &gw.url());
    let sidecar = machine.sidecar().await;
    let refused =
        Call::new(sidecar.address(), Method::POST, CHAT).json(&chat_request("gpt-x")).send().await.expect(503);
    assert!(refused.text().contains("fleetgate enroll"), "{}", refused.text());
    let (host, glm) = (gw.key(&json!({"key_alias": "vk-mac"})).await, gw.key(&json!({"key_alias": "vk-glm"})).await);
    assert!(failed(&machine.fleetgate_reads(&["key", "set"], "no key").await).contains("nothing was changed"));
    succeeded(machine.fleetgate_reads(&["key", "set"], &host).await);
    succeeded(machine.fleetgate_reads(&["key", "set", "--workload", "claude-glm", "--store", "file"], &glm).await);
    eventually("the sidecar has a key", async || (call(&sidecar).await == StatusCode::OK).then_some(())).await;
    let as_glm = || Call::new(sidecar.address(), Method::POST, "/w/claude-glm/v1/chat/completions");
    eventually("the workload has its own", async || {
        as_glm().json(&chat_request("gpt-x")).send().await.expect(200);
        gw.rows().await.iter().any(|row| row.key_alias == "vk-glm").then_some(())
    })
    .await;
    let shown = succeeded(machine.fleetgate(&["key", "show", "--json"]).await);
    let shown: Vec<Value> = shown.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    assert_eq!((&shown[0]["alias"], &shown[1]["alias"]), (&json!("vk-mac"), &json!("vk-glm")));
    gw.admin_post("/key/block", &json!({"key": host})).await;
    let said = succeeded(machine.fleetgate(&["key", "show"]).await);
    assert!(said.contains("refused") && said.contains("blocked"), "{said}");
    succeeded(machine.fleetgate(&["key", "forget"]).await);
    assert!(failed(&machine.fleetgate(&["key", "show"]).await).contains("has no key"));
    eventually("the sidecar lets go of it", async || {
        (call(&sidecar).await == StatusCode::SERVICE_UNAVAILABLE).then_some(())
    })
    .await;
    as_glm().json(&chat_request("gpt-x")).send().await.expect(200);
}

#[tokio::test]
async fn a_key_that_no_file_shows_is_read_again_when_the_gateway_refuses_it() {
    let upstream = Upstream::start().await;
    let gw = gateway(&upstream).await;
    let machine = Machine::named("mac").env("FLEETGATE_GATEWAY", &gw.url());
    let elsewhere = machine.dir().join("elsewhere");
    let key = async |alias: &str| gw.key(&json!({"key_alias": alias})).await;
    let (first, second) = (key("first").await, key("second").await);
    fs::write(&elsewhere, &first).unwrap();
    machine.write("hosts.toml", &format!("[[host]]\nmatch=['mac']\nkey='cmd:cat {}'\n", elsewhere.display()));
    let sidecar = machine.sidecar().await;
    assert_eq!(call(&sidecar).await, StatusCode::OK);
    fs::write(&elsewhere, &second).unwrap();
    gw.admin_post("/key/delete", &json!({"keys": [first]})).await;
    eventually("the second key", async || (call(&sidecar).await == StatusCode::OK).then_some(())).await;
    assert_eq!(gw.rows().await[0].key_alias, "second");
}

#[tokio::test]
async fn a_session_bus_that_never_answers_blocks_no_start() {
    let upstream = Upstream::start().await;
    let gw = gateway(&upstream).await;
    let bus = tempfile::tempdir().unwrap();
    let path = bus.path().join("bus");
    // It takes connections and says nothing, for as long as the test runs.
    let _silent = UnixListener::bind(&path).unwrap();
    let address = format!("unix:path={}", path.display());
    let machine = Machine::named("mac").env("FLEETGATE_GATEWAY", &gw.url()).env("DBUS_SESSION_BUS_ADDRESS", &address);
    let glm = machine.write("glm.key", &gw.key(&json!({"key_alias": "vk-glm"})).await);
    let hosts = format!(
        "[[host]]\nmatch=['mac']\nkey='keyring:mac'\n[host.workloads]\nglm='file:{}'\nother='keyring:other'\n",
        glm.display()
    );
    machine.write("hosts.toml", &hosts);
    let sidecar = machine.sidecar().await;
    let refused =
        Call::new(sidecar.address(), Method::POST, CHAT).json(&chat_request("gpt-x")).send().await.expect(503);
    assert!(refused.text().contains("did not answer within 2 s"), "{}", refused.text());
    Call::new(sidecar.address(), Method::POST, "/w/glm/v1/chat/completions")
        .json(&chat_request("gpt-x"))
        .send()
        .await
        .expect(200);
    // Enrolment goes on with a file.
    let other = Machine::named("tower").env("DBUS_SESSION_BUS_ADDRESS", &address);
    let token = invite(&gw, &[]).await;
    let told = succeeded(other.fleetgate_reads(&["enroll", &gw.url(), "--token", "-"], &token).await);
    assert!(told.contains("stored in file:"), "{told}");
}
