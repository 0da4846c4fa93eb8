//! `install/quickstart.sh --once`: the whole thing on one machine, without any provider's key.

#![allow(clippy::expect_used, reason = "a broken expectation is a failed test")]

use std::net::TcpListener;
use std::time::Duration;

use fleetgate_tests::binaries::{binary, workspace};
use tempfile::TempDir;
use tokio::process::Command;

/// Runs the script with more variables; what it said, and its directory.
async fn quickstart(environment: &[(&str, &str)]) -> (String, TempDir) {
    const ENOUGH: Duration = Duration::from_secs(60);
    let script = workspace().join("install/quickstart.sh");
    let bin = binary("fleetgate").parent().expect("a program lies in a directory").to_path_buf();
    let dir = TempDir::new().expect("a temporary directory");
    let mut command = Command::new("sh");
    command.arg(&script).arg("--once").current_dir(workspace()).kill_on_drop(true);
    for provider in ["OPENAI", "ANTHROPIC", "ZAI"] {
        command.env_remove(format!("{provider}_API_KEY"));
    }
    command.envs(environment.iter().copied());
    command.env("FLEETGATE_QUICKSTART_BIN", bin).env("FLEETGATE_QUICKSTART_DIR", dir.path());
    command.env("FLEETGATE_QUICKSTART_GATEWAY_PORT", free_port()).env("FLEETGATE_QUICKSTART_PORT", free_port());
    let output = tokio::time::timeout(ENOUGH, command.output()).await.expect("it ends").expect("it starts");
    let said = String::from_utf8_lossy(&output.stdout).into_owned();
    assert!(output.status.success(), "{said}{}", String::from_utf8_lossy(&output.stderr));
    (said, dir)
}

#[tokio::test]
async fn a_call_goes_through_and_its_row_is_shown() {
    let (said, _dir) = quickstart(&[]).await;
    for word in ["models: mock glm kimi minimax qwen\n", "no provider was called", "quickstart", "$0.0000", "success"] {
        assert!(said.contains(word), "{word} in {said}");
    }
}

#[tokio::test]
async fn a_providers_key_opens_its_models_under_the_names_that_agents_use_and_is_written_nowhere() {
    let environment = [("ANTHROPIC_API_KEY", "sk-ant-canary"), ("OPENAI_API_KEY", "sk-canary"), ("ZAI_API_KEY", "any")];
    let (said, dir) = quickstart(&environment).await;
    // `any` is what programs behind a sidecar use for a key.
    assert!(said.contains("models: mock openai/* anthropic/* claude-* gpt-* glm kimi minimax qwen\n"), "{said}");
    let config = std::fs::read_to_string(dir.path().join("config.yaml")).expect("it was written");
    assert!(config.contains("{model: \"anthropic/claude-*\", api_key: os.environ/ANTHROPIC_API_KEY}"), "{config}");
    assert!(!config.contains("canary") && !said.contains("canary"), "{config}{said}");
}

fn free_port() -> String {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
    listener.local_addr().expect("it is bound").port().to_string()
}
