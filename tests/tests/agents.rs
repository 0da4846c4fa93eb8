//! The launchers with the real Claude Code, Codex and opencode, from the block and by `fleetgate run`, through sidecar and gateway to the provider that answers by itself.

#![allow(clippy::expect_used, reason = "a broken expectation is a failed test")]

use std::path::{Path, PathBuf};
use std::process::{Output, Stdio};
use std::time::Duration;

use fleetgate_tests::binaries::{self, workspace};
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
    let modes = ["glm", "kimi", "minimax", "deepseek", "qwen", "openrouter", "claude-*", "gpt-*"];
    let gateway = Gateway::start(|c| modes.iter().fold(c, |c, name| c.entry(mock(name)))).await;
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
        self.is_stopped_after(1, line, &[]).await;
    }

    /// The same for a program that asks for more than one thing, and talks to these hosts.
    async fn is_stopped_after(&self, most: u64, line: &str, hosts: &[&str]) {
        let output = self.run(line).await;
        let said = [output.stdout, output.stderr].map(|said| String::from_utf8_lossy(&said).into_owned()).concat();
        assert!(said.contains("Budget has been exceeded! Key=vk-spent"), "{line}: {said}");
        let refused = refusals(&self.gateway).await;
        assert!((1..=most).contains(&refused), "{line} asked {refused} times: {said}");
        let outside: Vec<_> = self.trap.requests().into_iter().map(|request| request.path).collect();
        assert!(outside.iter().all(|host| hosts.contains(&host.as_str())), "{line} talked to {outside:?}");
        assert!(self.gateway.rows().await.is_empty());
    }

    /// Types `fleetgate run …`, with keys of providers and their addresses in the shell; the rows that it made.
    async fn run_with_keys(&self, words: &str) -> Vec<Row> {
        let canaries = "export ANTHROPIC_API_KEY=sk-ant-canary OPENAI_API_KEY=sk-canary GEMINI_API_KEY=canary \
            ANTHROPIC_BASE_URL=$HTTPS_PROXY OPENAI_BASE_URL=$HTTPS_PROXY/v1 CLAUDE_CODE_USE_BEDROCK=1";
        let program = binaries::binary("fleetgate");
        let said = self.output(&format!("{canaries}\n'{}' run {words}", program.display())).await;
        assert!(said.contains("no provider was called"), "{words}: {said}");
        let rows = self.gateway.rows().await;
        assert!(!rows.is_empty(), "{words}: {said}");
        for row in &rows {
            let shown = format!("{row:?}");
            assert!(!shown.contains("canary"), "{shown}");
        }
        rows
    }

    fn settings(&self, directory: &str, settings: &Value) {
        let directory = self.home.path().join(directory);
        std::fs::create_dir_all(&directory).expect("the directory is ours");
        std::fs::write(directory.join("settings.json"), settings.to_string()).expect("the directory is ours");
    }

    async fn output(&self, line: &str) -> String {
        let output = self.run(line).await;
        let (said, errors) = (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
        assert!(output.status.success(), "{line}: {said}{errors}");
        said.into_owned()
    }

    async fn run(&self, line: &str) -> Output {
        const ENOUGH: Duration = Duration::from_secs(240);
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
        let ours = binaries::binary("fleetgate").parent().expect("a program lies somewhere").to_owned();
        let all = [self.programs.clone(), ours].into_iter().chain(std::env::split_paths(&inherited));
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

#[tokio::test]
async fn opencode_stops_at_what_its_budget_cannot_pay_and_shows_why() {
    let Some(desk) = desk_with(spent()).await else { return };
    // It ends with its answer's one call. Until that goes out, which takes long on a busy machine, it asks again and again for a
    // title, ever more slowly. It also asks npm for plugins, which nothing switches off.
    desk.is_stopped_after(15, "opencode-glm run hi", &["registry.npmjs.org:443"]).await;
}

#[tokio::test]
async fn qwen_code_stops_at_what_its_budget_cannot_pay_and_shows_why() {
    let Some(desk) = desk_with(spent()).await else { return };
    desk.is_stopped_after(1, "qwen-glm -p 'say hi'", &[]).await;
}

const MODES: [&str; 6] = ["glm", "kimi", "minimax", "deepseek", "qwen", "openrouter"];

#[tokio::test]
async fn claude_code_runs_in_each_mode() {
    for mode in MODES {
        let Some(desk) = desk().await else { return };
        let rows = desk.run_with_keys(&format!("--mode {mode} -- claude -p 'say hi'")).await;
        assert_row(&rows[0], &format!("claude-{mode}"), "messages", mode);
        assert!(desk.trap.requests().is_empty());
    }
}

#[tokio::test]
async fn codex_runs_in_each_mode() {
    for mode in MODES {
        let Some(desk) = desk().await else { return };
        let rows = desk.run_with_keys(&format!("--mode {mode} -- codex exec --skip-git-repo-check hi")).await;
        assert_row(&rows[0], &format!("codex-{mode}"), "responses", mode);
        assert!(desk.trap.requests().is_empty());
    }
}

#[tokio::test]
async fn opencode_runs_in_each_mode() {
    for mode in MODES {
        let Some(desk) = desk().await else { return };
        let rows = desk.run_with_keys(&format!("--mode {mode} -- opencode run hi")).await;
        for row in rows {
            assert_row(&row, &format!("opencode-{mode}"), "chat", mode);
        }
        // It asks npm for plugins, which nothing switches off; no call of a model and no key goes there.
        for request in desk.trap.requests() {
            let host = request.headers.get("host").and_then(|host| host.to_str().ok()).unwrap_or_default();
            assert_eq!((request.method.as_str(), host), ("CONNECT", "registry.npmjs.org:443"));
        }
    }
}

#[tokio::test]
async fn claude_code_runs_with_its_own_models() {
    let Some(desk) = desk().await else { return };
    let rows = desk.run_with_keys("--mode native -- claude -p --model claude-sonnet-4-5 'say hi'").await;
    assert_row(&rows[0], "claude-native", "messages", "claude-sonnet-4-5");
}

#[tokio::test]
async fn settings_that_beat_the_environment_are_overridden_and_named() {
    let Some(desk) = desk().await else { return };
    let mine = json!({"apiKeyHelper": "echo canary-helper; touch helper-ran", "env": {
        "ANTHROPIC_BASE_URL": desk.trap.origin(), "ANTHROPIC_AUTH_TOKEN": "canary", "ANTHROPIC_API_KEY": "canary",
        "ANTHROPIC_MODEL": "other", "CLAUDE_CODE_USE_VERTEX": "1", "ANTHROPIC_CUSTOM_HEADERS": "X-Team: blue",
        "NO_PROXY": "elsewhere.example"}});
    // The home is the directory of the project as well.
    desk.settings(".claude", &mine);
    let rows = desk.run_with_keys("--mode glm -- claude -p 'say hi' 2>told").await;
    assert_row(&rows[0], "claude-glm", "messages", "glm");
    assert!(desk.trap.requests().is_empty() && !desk.home.path().join("helper-ran").exists());
    let told = std::fs::read_to_string(desk.home.path().join("told")).expect("it was told");
    assert!(
        told.contains(".claude/settings.json sets env.ANTHROPIC_API_KEY") && told.contains("apiKeyHelper"),
        "{told}"
    );
    assert!(!told.contains("canary"), "{told}");
}

#[tokio::test]
async fn settings_that_cannot_be_overridden_stop_the_run_and_are_named() {
    let Some(desk) = desk().await else { return };
    desk.settings(".claude", &json!({"env": {"ANTHROPIC_MODEL": "other"}}));
    let program = binaries::binary("fleetgate");
    let output = desk.run(&format!("'{}' run --mode glm -- claude --settings '{{}}' -p hi", program.display())).await;
    let said = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(2), "{said}");
    assert!(said.contains(".claude/settings.json sets env.ANTHROPIC_MODEL"), "{said}");
    assert!(desk.gateway.rows().await.is_empty() && desk.trap.requests().is_empty());
}

#[tokio::test]
async fn programs_with_an_sdk_reach_the_gateway_without_a_setting_of_their_own() {
    let Some(interpreter) = fleetgate_tests::real_clients::python() else { return };
    let Some(desk) = desk().await else { return };
    let script = "import openai, anthropic\n\
        print(openai.OpenAI().chat.completions.create(model='glm', messages=[{'role': 'user', 'content': 'hi'}]))\n\
        print(anthropic.Anthropic().messages.create(model='glm', max_tokens=5, messages=[{'role': 'user', 'content': 'hi'}]))\n";
    std::fs::write(desk.home.path().join("both.py"), script).expect("the directory is ours");
    let rows = desk.run_with_keys(&format!("--mode glm -- '{}' both.py", interpreter.display())).await;
    let mut endpoints: Vec<_> = rows.iter().map(|row| (row.workload.as_str(), row.endpoint.as_str())).collect();
    endpoints.sort_unstable();
    assert_eq!(endpoints, [("python-glm", "chat"), ("python-glm", "messages")], "{rows:#?}");
    assert!(desk.trap.requests().is_empty());
}
