//! The real Claude Code, Codex and opencode as an editor or a background agent starts them: by no shell of ours. Their settings files
//! alone lead them through sidecar and gateway to the provider that answers by itself.

#![allow(clippy::expect_used, reason = "a broken expectation is a failed test")]

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::Duration;

use fleetgate_tests::process::{Finished, Program};
use fleetgate_tests::real_clients::node;
use fleetgate_tests::{Gateway, Sidecar, Upstream};
use fleetgate_wire::row::Row;
use serde_json::json;
use tempfile::TempDir;
use tokio::process::Command;

/// A key of a provider that the person once wrote into a settings file.
const OLD_KEY: &str = "sk-ant-api03-old-canary-0123456789";

struct Desk {
    gateway: Gateway,
    sidecar: Sidecar,
    /// Whatever is not for loopback goes to this proxy, and is seen.
    trap: Upstream,
    programs: PathBuf,
    home: TempDir,
}

impl Desk {
    /// `None` where the programs cannot be installed.
    async fn new() -> Option<Self> {
        let programs = node()?.join("node_modules/.bin");
        let mock = |name: &str| {
            let params =
                json!({"model": format!("mock/{name}"), "input_cost_per_token": 1e-6, "output_cost_per_token": 1e-6});
            json!({"model_name": name, "litellm_params": params})
        };
        let gateway = Gateway::start(|c| c.entry(mock("glm")).entry(mock("claude-*")).entry(mock("gpt-*"))).await;
        let key = gateway.key(&json!({"key_alias": "vk-mac", "host": "mac"})).await;
        let sidecar = Sidecar::for_host("mac").gateway(&gateway).key(&key).start().await;
        let home = TempDir::new().expect("a temporary directory");
        Some(Self { gateway, sidecar, trap: Upstream::start().await, programs, home })
    }

    /// `fleetgate launchers …` of this user.
    async fn launchers(&self, arguments: &[&str]) -> Finished {
        let state = self.home.path().join("state").display().to_string();
        let environment = BTreeMap::from([("STATE_DIRECTORY".to_owned(), state)]);
        let finished = Program::new("fleetgate", self.home.path())
            .args(["launchers"])
            .args(arguments.iter().copied())
            .envs(&environment)
            .run()
            .await;
        assert!(finished.status.success(), "{arguments:?}: {}", finished.said());
        assert!(!finished.said().contains("canary"), "{}", finished.said());
        finished
    }

    async fn configure(&self, arguments: &[&str]) {
        let url = self.sidecar.url();
        self.launchers(&[&["configure"], arguments, &["--url", &url]].concat()).await;
    }

    /// Starts a launcher as a program does that inherited nothing of a shell, and takes its rows.
    async fn start(&self, launcher: &str, arguments: &[&str]) -> Vec<Row> {
        const ENOUGH: Duration = Duration::from_secs(90);
        let mut command = Command::new(self.programs.join(launcher));
        command.args(arguments).env_clear().env("HOME", self.home.path());
        command.env("PATH", std::env::var_os("PATH").unwrap_or_default());
        // The machine's own proxy, with its list: what does not lead to the sidecar is caught.
        for name in ["HTTPS_PROXY", "HTTP_PROXY", "https_proxy", "http_proxy"] {
            command.env(name, self.trap.origin());
        }
        command.env("NO_PROXY", "127.0.0.1").env("no_proxy", "127.0.0.1");
        command.stdin(Stdio::null()).current_dir(self.home.path()).kill_on_drop(true);
        let output = tokio::time::timeout(ENOUGH, command.output()).await.expect("it ends").expect("it starts");
        let said = [output.stdout, output.stderr].map(|said| String::from_utf8_lossy(&said).into_owned()).concat();
        assert!(output.status.success() && said.contains("no provider was called"), "{launcher}: {said}");
        self.gateway.rows().await
    }

    fn write(&self, file: &str, text: &str) -> PathBuf {
        let path = self.home.path().join(file);
        fs::create_dir_all(path.parent().expect("it lies in the home directory")).expect("our own directory");
        fs::write(&path, text).expect("our own file");
        path
    }

    /// What somebody else would have got to see.
    fn strays(&self) -> Vec<String> {
        self.trap.requests().into_iter().map(|request| request.path).collect()
    }
}

fn assert_rows(rows: &[Row], workload: &str, endpoint: &str, model: &str) {
    assert!(!rows.is_empty());
    for row in rows {
        let seen = (row.workload.as_str(), row.endpoint.as_str(), row.model_requested.as_str());
        assert_eq!(seen, (workload, endpoint, model), "{row:#?}");
        let key = (row.host.as_str(), row.key_alias.as_str(), row.status.as_str());
        assert_eq!(key, ("mac", "vk-mac", "success"), "{row:#?}");
    }
}

fn read(path: &Path) -> String {
    fs::read_to_string(path).expect("the file is there")
}

#[tokio::test]
async fn a_configured_claude_code_asks_for_its_mode_and_is_given_back_its_settings() {
    let Some(desk) = Desk::new().await else { return };
    let before = format!(
        "{{\n  \"permissions\": {{\"allow\": [\"Read\"]}},\n  \"env\": {{\n    \"ANTHROPIC_API_KEY\": \"{OLD_KEY}\",\n    \"ANTHROPIC_BASE_URL\": \"http://127.0.0.1:9\",\n    \"ANTHROPIC_SMALL_FAST_MODEL\": \"claude-haiku-4-5\",\n    \"ANTHROPIC_CUSTOM_HEADERS\": \"X-Team: blue\"\n  }}\n}}"
    );
    let settings = desk.write(".claude/settings.json", &before);
    desk.configure(&["claude", "--mode", "glm"]).await;
    let rows = desk.start("claude", &["-p", "say hi"]).await;
    assert_rows(&rows, "claude-glm", "messages", "glm");
    assert_eq!(desk.strays(), Vec::<String>::new());
    // The old key did not even reach the sidecar.
    let sightings = desk.gateway.admin_get("/api/sightings").await;
    assert_eq!(sightings["sightings"], json!([]));
    desk.launchers(&["unconfigure", "claude"]).await;
    assert_eq!(read(&settings), before);
}

#[tokio::test]
async fn a_configured_claude_code_without_a_mode_keeps_its_own_models() {
    let Some(desk) = Desk::new().await else { return };
    desk.configure(&["claude"]).await;
    let rows = desk.start("claude", &["-p", "--model", "claude-sonnet-4-5", "say hi"]).await;
    assert_rows(&rows, "claude-fleet", "messages", "claude-sonnet-4-5");
    desk.launchers(&["unconfigure", "claude"]).await;
    assert!(!desk.home.path().join(".claude/settings.json").exists());
}

#[tokio::test]
async fn a_configured_codex_asks_for_its_mode_and_is_given_back_its_settings() {
    let Some(desk) = Desk::new().await else { return };
    let before = "# mine\nmodel = \"gpt-5.1-codex\"   # fast\nmodel_reasoning_effort = \"low\"\n\n[tui]\nnotifications = false\n";
    let settings = desk.write(".codex/config.toml", before);
    desk.configure(&["codex", "--mode", "glm"]).await;
    let rows = desk.start("codex", &["exec", "--skip-git-repo-check", "hi"]).await;
    assert_rows(&rows, "codex-glm", "responses", "glm");
    assert_eq!(desk.strays(), Vec::<String>::new());
    desk.launchers(&["unconfigure", "codex"]).await;
    assert_eq!(read(&settings), before);
}

#[tokio::test]
async fn a_configured_opencode_asks_for_its_mode_and_is_given_back_its_settings() {
    let Some(desk) = Desk::new().await else { return };
    let before = "{\n  // mine\n  \"$schema\": \"https://opencode.ai/config.json\",\n  \"share\": \"disabled\",\n  \"autoupdate\": false,\n}\n";
    let settings = desk.write(".config/opencode/opencode.jsonc", before);
    desk.configure(&["opencode", "--mode", "glm"]).await;
    // The answer, and the session's title by the small model.
    let rows = desk.start("opencode", &["run", "say hi"]).await;
    assert_rows(&rows, "opencode-glm", "chat", "glm");
    desk.launchers(&["unconfigure", "opencode"]).await;
    assert_eq!(read(&settings), before);
}
