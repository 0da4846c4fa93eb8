//! The launchers with the real Claude Code and Codex, through sidecar and gateway to the provider that answers by itself.

#![allow(clippy::expect_used, reason = "a broken expectation is a failed test")]

use std::path::{Path, PathBuf};
use std::process::{Output, Stdio};
use std::time::Duration;

use fleetgate_tests::binaries::workspace;
use fleetgate_tests::real_clients::{node, refusals};
use fleetgate_tests::{Gateway, Sidecar, Upstream};
use fleetgate_wire::row::Row;
use serde_json::{Value, json};
use tempfile::TempDir;
use tokio::process::Command;

struct Desk {
    gateway: Gateway,
    sidecar: Sidecar,
    /// Whatever is not for loopback goes to this proxy, and is seen.
    trap: Upstream,
    programs: PathBuf,
    home: TempDir,
}

/// `None` where the programs cannot be installed.
async fn desk() -> Option<Desk> {
    desk_with(json!({"key_alias": "vk-mac", "host": "mac"})).await
}

/// The same with a key of these fields. A token costs a dollar a million.
async fn desk_with(fields: Value) -> Option<Desk> {
    let programs = node()?.join("node_modules/.bin");
    let mock = |name: &str| {
        let model = format!("mock/{name}");
        let params = json!({"model": model, "input_cost_per_token": 1e-6, "output_cost_per_token": 1e-6});
        json!({"model_name": name, "litellm_params": params})
    };
    let gateway = Gateway::start(|c| c.entry(mock("glm")).entry(mock("claude-*")).entry(mock("gpt-*"))).await;
    let key = gateway.key(&fields).await;
    let sidecar = Sidecar::for_host("mac").gateway(&gateway).key(&key).start().await;
    let home = TempDir::new().expect("a temporary directory");
    Some(Desk { gateway, sidecar, trap: Upstream::start().await, programs, home })
}

impl Desk {
    /// Types a line into bash with the block sourced; the one row that it made.
    async fn type_in(&self, line: &str) -> Row {
        let said = self.output(line).await;
        assert!(said.contains("no provider was called"), "{line}: {said}");
        let outside: Vec<_> = self.trap.requests().into_iter().map(|request| request.path).collect();
        assert!(outside.is_empty(), "{line} talked to {outside:?}");
        let mut rows = self.gateway.rows().await;
        assert_eq!(rows.len(), 1, "{rows:#?}");
        rows.remove(0)
    }

    /// Types a line for which there is no money; what it showed. However often the program asked, the gateway counted.
    async fn is_stopped(&self, line: &str) {
        let output = self.run(line).await;
        let said = [output.stdout, output.stderr].map(|said| String::from_utf8_lossy(&said).into_owned()).concat();
        assert!(said.contains("Budget has been exceeded! Key=vk-spent"), "{line}: {said}");
        let refused = refusals(&self.gateway).await;
        assert_eq!(refused, 1, "{line} asked {refused} times: {said}");
        assert!(self.gateway.rows().await.is_empty() && self.trap.requests().is_empty());
    }

    async fn output(&self, line: &str) -> String {
        let output = self.run(line).await;
        let (said, errors) = (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
        assert!(output.status.success(), "{line}: {said}{errors}");
        said.into_owned()
    }

    async fn run(&self, line: &str) -> Output {
        const ENOUGH: Duration = Duration::from_secs(90);
        let block = workspace().join("shell/fleetgate.sh");
        let mut bash = Command::new("bash");
        bash.arg("-c").arg(format!(". '{}'\n{line}", block.display()));
        bash.env_clear().env("PATH", self.path()).env("HOME", self.home.path()).env("IS_SANDBOX", "1");
        bash.env("FLEETGATE_URL", self.sidecar.url());
        for name in ["HTTPS_PROXY", "HTTP_PROXY", "https_proxy", "http_proxy"] {
            bash.env(name, self.trap.origin());
        }
        bash.stdin(Stdio::null()).current_dir(self.home.path()).kill_on_drop(true);
        tokio::time::timeout(ENOUGH, bash.output()).await.expect("it ends").expect("bash starts")
    }

    fn path(&self) -> std::ffi::OsString {
        let inherited = std::env::var_os("PATH").unwrap_or_default();
        let all = [self.programs.clone()].into_iter().chain(std::env::split_paths(&inherited));
        std::env::join_paths(all.filter(|path| path != Path::new(""))).expect("no path holds a colon")
    }
}

fn assert_row(row: &Row, workload: &str, endpoint: &str, model: &str) {
    let seen = (row.workload.as_str(), row.endpoint.as_str(), row.model_requested.as_str());
    assert_eq!(seen, (workload, endpoint, model), "{row:#?}");
    assert_eq!(
        (row.host.as_str(), row.host_source.as_str(), row.status.as_str()),
        ("mac", "key", "success"),
        "{row:#?}"
    );
    assert_eq!(row.usage_source, "provider", "{row:#?}");
}

#[tokio::test]
async fn claude_glm_asks_for_glm_by_its_own_name() {
    let Some(desk) = desk().await else { return };
    assert_row(&desk.type_in("claude-glm -p 'say hi'").await, "claude-glm", "messages", "glm");
}

#[tokio::test]
async fn claude_code_measures_a_launchers_model_by_its_real_window() {
    let Some(desk) = desk().await else { return };
    let said = desk.output("claude-glm -p 'say hi' --output-format json").await;
    assert!(said.contains("\"contextWindow\":200000"), "{said}");
}

#[tokio::test]
async fn claude_fleet_asks_for_the_model_that_it_is_told() {
    let Some(desk) = desk().await else { return };
    let row = desk.type_in("claude-fleet -p --model claude-sonnet-4-5 'say hi'").await;
    assert_row(&row, "claude-fleet", "messages", "claude-sonnet-4-5");
}

#[tokio::test]
async fn codex_fleet_speaks_responses_to_nobody_but_the_sidecar() {
    let Some(desk) = desk().await else { return };
    let row = desk.type_in("codex-fleet exec --skip-git-repo-check -m gpt-5.1-codex hi").await;
    assert_row(&row, "codex-fleet", "responses", "gpt-5.1-codex");
}

/// A key of which nothing is left.
fn spent() -> Value {
    json!({"key_alias": "vk-spent", "host": "mac", "max_budget": 0})
}

#[tokio::test]
async fn claude_code_asks_once_for_what_its_budget_cannot_pay_and_shows_why() {
    let Some(desk) = desk_with(spent()).await else { return };
    desk.is_stopped("claude-glm -p 'say hi'").await;
}

#[tokio::test]
async fn codex_asks_once_for_what_its_budget_cannot_pay_and_shows_why() {
    let Some(desk) = desk_with(spent()).await else { return };
    desk.is_stopped("codex-fleet exec --skip-git-repo-check -m gpt-5.1-codex hi").await;
}
