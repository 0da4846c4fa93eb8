//! Real clients through sidecar, gateway and fake upstream, with a dummy key: what people really run.

#![allow(clippy::expect_used, reason = "a broken expectation is a failed test")]

use std::path::Path;
use std::process::Stdio;
use std::time::Duration;

use fleetgate_tests::real_clients::{node, python, refusals, script};
use fleetgate_tests::upstream::PROVIDER_KEY;
use fleetgate_tests::{Gateway, Sidecar, Upstream};
use serde_json::{Value, json};
use tempfile::TempDir;
use tokio::process::Command;

const DUMMY: &str = "sk-dummy-of-the-client";

struct Fleet {
    upstream: Upstream,
    gateway: Gateway,
    sidecar: Sidecar,
    home: TempDir,
}

async fn fleet() -> Fleet {
    fleet_with(json!({"key_alias": "vk-mac", "host": "mac"})).await
}

/// The same with a key of these fields.
async fn fleet_with(fields: Value) -> Fleet {
    let upstream = Upstream::start().await;
    let gateway = Gateway::start(|c| {
        c.deployment("gpt-x", "openai/gpt-4.1-mini", &upstream, &json!({}))
            .deployment("sonnet", "anthropic/claude-sonnet-4-5", &upstream, &json!({}))
            .deployment("claude-*", "anthropic/claude-*", &upstream, &json!({}))
    })
    .await;
    let key = gateway.key(&fields).await;
    let sidecar = Sidecar::for_host("mac").gateway(&gateway).key(&key).start().await;
    Fleet { upstream, gateway, sidecar, home: TempDir::new().expect("a temporary directory") }
}

impl Fleet {
    /// A client with nothing in its environment but where the sidecar is, and a key that opens nothing.
    fn client(&self, program: &Path) -> Command {
        let mut command = Command::new(program);
        command.env_clear().env("PATH", std::env::var_os("PATH").unwrap_or_default()).env("HOME", self.home.path());
        command.env("OPENAI_BASE_URL", format!("{}/v1", self.sidecar.url())).env("OPENAI_API_KEY", DUMMY);
        command.env("ANTHROPIC_BASE_URL", self.sidecar.url()).env("ANTHROPIC_API_KEY", DUMMY);
        command.stdin(Stdio::null()).current_dir(self.home.path()).kill_on_drop(true);
        command
    }

    async fn everything_arrived_as_it_should(&self, calls: usize) {
        let requests = self.upstream.requests();
        assert_eq!(requests.len(), calls, "{:?}", requests.iter().map(|r| &r.path).collect::<Vec<_>>());
        for request in requests {
            let everything = request.everything();
            assert!(everything.contains(PROVIDER_KEY) && !everything.contains(DUMMY), "{everything}");
        }
        let rows = self.gateway.rows().await;
        assert_eq!(rows.len(), calls, "{rows:#?}");
        for row in rows {
            assert_eq!((row.host.as_str(), row.status.as_str()), ("mac", "success"), "{row:#?}");
            assert_eq!(row.usage_source, "provider", "{row:#?}");
            assert_ne!(row.workload, "", "{row:#?}");
        }
    }
}

async fn output(mut command: Command) -> String {
    const ENOUGH: Duration = Duration::from_secs(90);
    let output = tokio::time::timeout(ENOUGH, command.output()).await.expect("the client ends").expect("it starts");
    let (said, errors) = (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    assert!(output.status.success(), "{said}{errors}");
    said.into_owned()
}

async fn json_output(command: Command) -> Value {
    let said = output(command).await;
    serde_json::from_str(&said).unwrap_or_else(|error| panic!("{error}: {said}"))
}

async fn openai_sdk(command: Command, fleet: &Fleet) {
    let seen = json_output(command).await;
    for (name, value) in [
        ("chat", json!("Hello")),
        ("chat_stream", json!("Hello")),
        ("response", json!("Hello")),
        ("response_stream", json!("Hello")),
    ] {
        assert_eq!(seen[name], value, "{name} in {seen}");
    }
    // Node prints -1, Python -1.0.
    assert_eq!((seen["embedding"][0].as_f64(), seen["embedding"][1].as_f64()), (Some(0.5), Some(-1.0)), "{seen}");
    assert!(seen["error"].as_str().is_some_and(|message| message.contains("gpt-unknown")), "{seen}");
    fleet.everything_arrived_as_it_should(5).await;
}

async fn anthropic_sdk(command: Command, fleet: &Fleet) {
    let seen = json_output(command).await;
    assert_eq!((&seen["message"], &seen["stream"]), (&json!("Hello"), &json!("Hello")), "{seen}");
    assert_eq!(seen["output_tokens"], 40, "{seen}");
    assert!(seen["error"].as_str().is_some_and(|message| message.contains("unknown")), "{seen}");
    fleet.everything_arrived_as_it_should(2).await;
}

#[tokio::test]
async fn openais_python_sdk() {
    let Some(python) = python() else { return };
    let fleet = fleet().await;
    let mut command = fleet.client(&python);
    command.arg(script("openai_sdk.py"));
    openai_sdk(command, &fleet).await;
}

#[tokio::test]
async fn anthropics_python_sdk() {
    let Some(python) = python() else { return };
    let fleet = fleet().await;
    let mut command = fleet.client(&python);
    command.arg(script("anthropic_sdk.py"));
    anthropic_sdk(command, &fleet).await;
}

/// Each of the script's calls is refused once, and shows why.
async fn spent(command: Command, fleet: &Fleet) {
    let seen = json_output(command).await;
    for (name, status) in [("chat", 402), ("response", 429), ("message", 402)] {
        let message = seen[name]["message"].as_str().unwrap_or_default();
        assert!(message.contains("Budget has been exceeded! Key=vk-spent"), "{name}: {seen}");
        assert_eq!(seen[name]["status"], status, "{name}: {seen}");
    }
    assert_eq!(refusals(&fleet.gateway).await, 3, "nobody asks again");
    assert!(fleet.upstream.requests().is_empty());
}

fn nothing_left() -> Value {
    json!({"key_alias": "vk-spent", "host": "mac", "max_budget": 0})
}

#[tokio::test]
async fn python_sdks_ask_once_for_what_their_budget_cannot_pay_and_show_why() {
    let Some(python) = python() else { return };
    let fleet = fleet_with(nothing_left()).await;
    let mut command = fleet.client(&python);
    command.arg(script("spent.py"));
    spent(command, &fleet).await;
}

#[tokio::test]
async fn node_sdks_ask_once_for_what_their_budget_cannot_pay_and_show_why() {
    let Some(prefix) = node() else { return };
    let fleet = fleet_with(nothing_left()).await;
    spent(node_script(&fleet, &prefix, "spent.mjs"), &fleet).await;
}

/// Node finds packages beside the script, so the script is copied to them.
fn node_script(fleet: &Fleet, prefix: &Path, name: &str) -> Command {
    let copy = prefix.join(name);
    std::fs::copy(script(name), &copy).expect("the target directory is writable");
    let mut command = fleet.client(Path::new("node"));
    command.arg(copy);
    command
}

#[tokio::test]
async fn openais_node_sdk() {
    let Some(prefix) = node() else { return };
    let fleet = fleet().await;
    openai_sdk(node_script(&fleet, &prefix, "openai_sdk.mjs"), &fleet).await;
}

#[tokio::test]
async fn anthropics_node_sdk() {
    let Some(prefix) = node() else { return };
    let fleet = fleet().await;
    anthropic_sdk(node_script(&fleet, &prefix, "anthropic_sdk.mjs"), &fleet).await;
}

#[tokio::test]
async fn claude_code_says_hi_and_talks_to_nothing_but_the_sidecar() {
    let Some(prefix) = node() else { return };
    let fleet = fleet().await;
    // Whatever is not for loopback goes to this proxy, and is seen.
    let trap = Upstream::start().await;
    let mut claude = fleet.client(&prefix.join("node_modules/.bin/claude"));
    claude.args(["-p", "say hi", "--model", "claude-sonnet-4-5"]);
    claude.env_remove("ANTHROPIC_API_KEY").env("ANTHROPIC_AUTH_TOKEN", DUMMY);
    claude.env("IS_SANDBOX", "1").env("CLAUDE_CODE_DISABLE_NONESSENTIAL_TRAFFIC", "1");
    claude.env("HTTPS_PROXY", trap.origin()).env("HTTP_PROXY", trap.origin());
    claude.env("NO_PROXY", "127.0.0.1,localhost,::1");
    let said = output(claude).await;
    assert!(said.contains("Hello"), "{said}");
    assert!(trap.requests().is_empty(), "{:?}", trap.requests());

    let calls: Vec<_> = fleet.upstream.requests();
    assert!(!calls.is_empty());
    for call in &calls {
        assert_eq!(call.path, "/v1/messages?beta=true");
        assert!(call.header("anthropic-beta").contains("claude-code"), "{}", call.header("anthropic-beta"));
        assert_eq!(call.json()["stream"], true);
    }
    fleet.everything_arrived_as_it_should(calls.len()).await;
    // By its program; by its User-Agent where this machine is too busy to find that in time.
    let workload = &fleet.gateway.rows().await[0].workload;
    assert!(["claude", "claude-cli"].contains(&workload.as_str()), "{workload}");
}
