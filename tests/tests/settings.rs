//! `fleetgate launchers` as people type it.

#![allow(clippy::expect_used, reason = "a broken expectation is a failed test")]

use std::collections::BTreeMap;
use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::PathBuf;

use fleetgate_tests::process::{Finished, Program};
use serde_json::Value;
use tempfile::TempDir;

struct Home(TempDir);

impl Home {
    fn new() -> Self {
        Self(TempDir::new().expect("a temporary directory"))
    }

    fn write(&self, file: &str, text: &str) -> PathBuf {
        let path = self.0.path().join(file);
        fs::create_dir_all(path.parent().expect("it lies in the home directory")).expect("our own directory");
        fs::write(&path, text).expect("our own file");
        path
    }

    fn program(&self, file: &str, text: &str) {
        let path = self.write(file, text);
        fs::set_permissions(path, fs::Permissions::from_mode(0o755)).expect("our own file");
    }

    fn read(&self, file: &str) -> String {
        fs::read_to_string(self.0.path().join(file)).unwrap_or_default()
    }

    async fn run(&self, arguments: &[&str]) -> Finished {
        let path = |name: &str| self.0.path().join(name).display().to_string();
        let environment = BTreeMap::from([
            ("STATE_DIRECTORY".to_owned(), path("state")),
            // What is really installed here is no matter.
            ("PATH".to_owned(), format!("{}:/usr/bin:/bin", path("bin"))),
        ]);
        Program::new("fleetgate", self.0.path())
            .args(["launchers"])
            .args(arguments.iter().copied())
            .envs(&environment)
            .run()
            .await
    }

    /// What a command that succeeds prints.
    async fn says(&self, arguments: &[&str]) -> String {
        let finished = self.run(arguments).await;
        assert!(finished.status.success() && finished.stderr.is_empty(), "{arguments:?}: {}", finished.said());
        finished.stdout
    }
}

#[tokio::test]
async fn launchers_are_listed_with_their_state_and_no_secret() {
    let home = Home::new();
    home.program("lib/node_modules/@openai/codex/bin/codex.js", "#!/bin/sh\necho must not be run >&2; exit 1\n");
    home.write("lib/node_modules/@openai/codex/package.json", r#"{"name": "@openai/codex", "version": "0.169.0"}"#);
    fs::create_dir(home.0.path().join("bin")).expect("our own directory");
    let link = home.0.path().join("bin/codex");
    std::os::unix::fs::symlink("../lib/node_modules/@openai/codex/bin/codex.js", link).expect("our own directory");
    home.program("bin/claude", "#!/bin/sh\necho '2.1.330 (Claude Code)'\n");
    home.write(".claude/settings.json", r#"{"env": {"ANTHROPIC_API_KEY": "sk-ant-canary-0123456789012345"}}"#);
    home.write(
        ".codex/config.toml",
        "model_provider = 'x'\n[model_providers.x]\nbase_url = 'https://canary.example/v1'\n",
    );
    let said = home.says(&[]).await;
    let line = |name: &str| said.lines().find(|line| line.starts_with(name)).unwrap_or_default().to_owned();
    assert!(line("claude ").contains("2.1.330") && line("claude ").ends_with("beat the shell"), "{said}");
    assert!(line("codex ").contains("0.169.0") && line("codex ").ends_with("lead elsewhere"), "{said}");
    assert!(line("qwen ").contains("not installed"), "{said}");
    assert!(said.contains("settings.json: env.ANTHROPIC_API_KEY may hold a provider's own key"), "{said}");
    assert!(said.contains("config.toml: model_providers.x.base_url leads around the sidecar"), "{said}");
    assert!(said.contains("\nmodes: deepseek, glm, "), "{said}");
    let json: Value = serde_json::from_str(&home.says(&["--json"]).await).expect("one JSON object");
    assert_eq!(json["form"], 1);
    let codex = &json["launchers"][1];
    assert_eq!((&codex["launcher"], &codex["installed"]["version"]), (&"codex".into(), &"0.169.0".into()));
    assert_eq!(codex["conflicts"][0]["key"], "model_providers.x.base_url");
    assert!(!format!("{said}{json}").contains("canary"), "{said}{json}");
}

#[tokio::test]
async fn a_command_that_never_says_its_version_holds_nobody_up() {
    let home = Home::new();
    home.program("bin/claude", "#!/bin/sh\nexec sleep 600\n");
    let said = home.says(&[]).await;
    assert!(said.lines().any(|line| line.starts_with("claude    ?  ")), "{said}");
}

#[tokio::test]
async fn what_is_configured_is_said_and_taken_back() {
    let home = Home::new();
    let before = "{\"env\": {\"ANTHROPIC_API_KEY\": \"sk-ant-canary-0123456789012345\"}}";
    home.write(".claude/settings.json", before);
    let said = home.says(&["configure", "claude", "--mode", "glm", "--dry-run"]).await;
    assert!(said.contains("  add      env.ANTHROPIC_BASE_URL\n") && said.ends_with("nothing was written\n"), "{said}");
    assert_eq!(home.read(".claude/settings.json"), before);
    let said = home.says(&["configure", "claude", "--mode", "glm", "--url", "http://localhost:4100/"]).await;
    assert!(said.contains("  remove   env.ANTHROPIC_API_KEY\n"), "{said}");
    assert!(said.contains("settings.json.fleetgate.bak\ntake it back with: fleetgate launchers unconfigure claude\n"));
    assert!(home.read(".claude/settings.json").contains("\"ANTHROPIC_BASE_URL\": \"http://localhost:4100\""));
    let said = home.says(&["configure", "claude", "--mode", "glm", "--url", "http://localhost:4100"]).await;
    assert!(said.ends_with("settings.json is as it shall be; nothing was changed\n"), "{said}");
    let said = home.says(&[]).await;
    assert!(said.contains("configured for glm") && said.contains("settings.json is configured since "), "{said}");
    let said = home.says(&["unconfigure", "claude", "--dry-run"]).await;
    assert!(said.ends_with("nothing was written\n"), "{said}");
    let said = home.says(&["unconfigure", "claude"]).await;
    assert!(said.ends_with("settings.json is as it was\n"), "{said}");
    assert_eq!(home.read(".claude/settings.json"), before);
    let said = home.says(&["unconfigure", "claude"]).await;
    assert_eq!(said, "nothing of claude is configured; nothing was changed\n");
}

#[tokio::test]
async fn what_still_wins_over_what_was_written_is_named() {
    let home = Home::new();
    home.write(".claude/settings.local.json", r#"{"env": {"ANTHROPIC_BASE_URL": "https://canary.example"}}"#);
    let said = home.says(&["configure", "claude"]).await;
    assert!(said.contains("settings.local.json: env.ANTHROPIC_BASE_URL leads around the sidecar"), "{said}");
    home.write(".aider.conf.yml", "anthropic-api-key: sk-ant-canary-0123456789012345\n");
    let said = home.says(&["configure", "aider"]).await;
    assert!(said.contains("note: ") && said.contains("anthropic-api-key may hold a provider's own key"), "{said}");
}

#[tokio::test]
async fn what_cannot_be_done_is_refused_with_its_place() {
    let home = Home::new();
    home.write(".codex/config.toml", "model = 'x'\nb = sk-canary\n");
    let finished = home.run(&["configure", "codex"]).await;
    assert_eq!(finished.status.code(), Some(1));
    assert!(finished.stderr.contains("config.toml:2: its form is broken"), "{}", finished.stderr);
    assert!(!finished.said().contains("canary"), "{}", finished.said());
    assert_eq!(home.read(".codex/config.toml"), "model = 'x'\nb = sk-canary\n");
    for wrong in [
        &["configure", "cursor"][..],
        &["configure", "claude", "--mode", "G L M"],
        &["configure", "claude", "--url", "https://x"],
        &["configure"],
        &["--json", "configure", "claude"],
    ] {
        assert_eq!(home.run(wrong).await.status.code(), Some(2), "{wrong:?}");
    }
}

#[tokio::test]
async fn runs_at_the_same_time_forget_nothing_of_each_other() {
    let home = Home::new();
    let names = ["claude", "codex", "gemini", "opencode", "aider", "qwen"];
    let [a, b, c, d, e, f] = names.map(|name| ["configure", name]);
    let all = tokio::join!(home.run(&a), home.run(&b), home.run(&c), home.run(&d), home.run(&e), home.run(&f));
    for finished in [all.0, all.1, all.2, all.3, all.4, all.5] {
        assert!(finished.status.success(), "{}", finished.said());
    }
    let record: Value = serde_json::from_str(&home.read("state/launchers.json")).expect("a record");
    assert_eq!(record["files"].as_array().map(Vec::len), Some(names.len() + 1), "{record:#}");
    for name in names {
        home.says(&["unconfigure", name]).await;
    }
    let left: Vec<_> =
        fs::read_dir(home.0.path()).expect("our own directory").flatten().map(|e| e.file_name()).collect();
    assert_eq!(left, ["state"]);
    assert_eq!(fs::read_dir(home.0.path().join("state")).expect("our own directory").count(), 0);
}
