//! Real launchers and SDKs by the block's names, through a sidecar, against a gateway that a test plays: model, headers, and no secret of
//! the person's in anything that leaves.

#![allow(clippy::expect_used, reason = "a broken expectation is a failed test")]

use std::path::PathBuf;

use fleetgate_tests::desk::{Desk, assert_call, assert_sender};
use fleetgate_tests::real_clients::{aider, node, python};

fn node_programs() -> Option<PathBuf> {
    Some(node()?.join("node_modules/.bin"))
}

/// The modes of each test, with the model that is typed, and the one that is asked for: `native` leaves it to the person.
const MODES: [(&str, Option<&str>, &str); 3] =
    [("glm", None, "glm"), ("qwen", None, "qwen"), ("native", Some("own-model"), "own-model")];

fn assert_nothing_else_left(desk: &Desk, expected: &[&str]) {
    let outside = desk.trap.requests().into_iter().map(|request| request.path);
    let outside: Vec<_> = outside.filter(|place| !expected.contains(&place.as_str())).collect();
    assert!(outside.is_empty(), "{outside:?}");
}

#[tokio::test]
async fn qwen_code_asks_for_the_modes_model() {
    let Some(programs) = node_programs() else { return };
    for (mode, typed, model) in MODES {
        let desk = Desk::new([programs.clone()]).await;
        let typed = typed.map(|model| format!("--model {model}")).unwrap_or_default();
        let (said, calls) = desk.types(&format!("qwen-{mode} {typed} -p 'say hi'")).await;
        assert!(said.contains("Hello"), "{said}");
        assert!(!calls.is_empty());
        for call in &calls {
            assert_eq!(call.path, "/v1/chat/completions");
            assert_call(call, &format!("qwen-{mode}"), model);
        }
        assert_nothing_else_left(&desk, &[]);
    }
}

#[tokio::test]
async fn aider_asks_for_the_modes_model() {
    let Some(programs) = aider() else { return };
    for (mode, typed, model) in MODES {
        let desk = Desk::new([programs.clone()]).await;
        // It talks to a provider by a prefix, which is no part of the model's name on the wire.
        let typed = typed.map(|model| format!("--model openai/{model}")).unwrap_or_default();
        let options = "--yes --no-git --no-show-model-warnings --no-stream";
        let (said, calls) = desk.types(&format!("aider-{mode} {typed} {options} --message 'say hi'")).await;
        assert!(said.contains("Hello"), "{said}");
        assert!(!calls.is_empty());
        for call in &calls {
            assert_eq!(call.path, "/v1/chat/completions");
            assert_call(call, &format!("aider-{mode}"), model);
        }
        // It looks a model up of which it knows nothing; no call of a model goes there, and no key.
        assert_nothing_else_left(&desk, &["raw.githubusercontent.com:443"]);
    }
}

/// No shipped mode lists gemini-cli, since no gateway speaks its dialect yet; a person's mode may.
#[tokio::test]
async fn gemini_cli_asks_for_the_model_of_a_mode_that_lists_it() {
    let Some(programs) = node_programs() else { return };
    let desk = Desk::new([programs]).await;
    let mode = "[mode.flash]\nmodel = \"gemini-of-ours\"\nlaunchers = [\"gemini\"]\n";
    desk.write(".config/fleetgate/modes.toml", mode);
    let settings =
        r#"{"security":{"auth":{"selectedType":"gemini-api-key"}},"privacy":{"usageStatisticsEnabled":false}}"#;
    desk.write(".gemini/settings.json", settings);
    let (said, calls) = desk.types("GEMINI_CLI_TRUST_WORKSPACE=true gemini-flash -p 'say hi'").await;
    assert!(said.contains("Hello"), "{said}");
    let (answered, others): (Vec<_>, Vec<_>) =
        calls.iter().partition(|call| call.path == "/v1beta/models/gemini-of-ours:streamGenerateContent?alt=sse");
    assert!(!answered.is_empty(), "{others:?}");
    for call in &calls {
        assert_sender(call, "gemini-flash");
        assert_eq!(call.header("x-team"), "blue");
    }
    assert_nothing_else_left(&desk, &[]);
}

#[tokio::test]
async fn codex_native_asks_for_the_model_that_is_typed() {
    let Some(programs) = node_programs() else { return };
    let desk = Desk::new([programs]).await;
    let (said, calls) = desk.types("codex-native exec --skip-git-repo-check -m gpt-own 'say hi'").await;
    assert!(said.contains("Hello"), "{said}");
    assert!(!calls.is_empty());
    for call in &calls {
        assert_eq!(call.path, "/v1/responses");
        assert_call(call, "codex-native", "gpt-own");
    }
    assert_nothing_else_left(&desk, &[]);
}

#[tokio::test]
async fn opencode_native_asks_for_the_model_that_is_typed_in_its_providers_dialect() {
    let Some(programs) = node_programs() else { return };
    for (model, path) in [("openai/gpt-5", "/v1/responses"), ("anthropic/claude-sonnet-4-5", "/v1/messages")] {
        let desk = Desk::new([programs.clone()]).await;
        let (said, calls) = desk.types(&format!("opencode-native run -m {model} 'say hi'")).await;
        assert!(said.contains("Hello"), "{said}");
        let name = model.split_once('/').expect("a provider and a model").1;
        assert!(calls.iter().any(|call| call.json()["model"] == name), "{calls:?}");
        for call in &calls {
            assert_eq!(call.path, path);
            // Titles are written by a smaller model.
            assert_sender(call, "opencode-native");
        }
        assert_nothing_else_left(&desk, &["registry.npmjs.org:443"]);
    }
}

#[tokio::test]
async fn claude_code_sends_a_persons_headers_without_the_credentials_among_them() {
    let Some(programs) = node_programs() else { return };
    for (mode, typed, model) in [("glm", "", "glm"), ("native", "--model claude-own", "claude-own")] {
        let desk = Desk::new([programs.clone()]).await;
        let (said, calls) = desk.types(&format!("claude-{mode} {typed} -p 'say hi' 2>told")).await;
        assert!(said.contains("Hello"), "{said}");
        assert!(!calls.is_empty());
        for call in &calls {
            assert_call(call, &format!("claude-{mode}"), model);
            assert_eq!(call.header("x-team"), "blue");
        }
        let told = std::fs::read_to_string(desk.path("told")).expect("it was told");
        assert!(told.contains("ANTHROPIC_CUSTOM_HEADERS: Authorization, X-Api-Key taken out"), "{told}");
        assert_nothing_else_left(&desk, &[]);
    }
}

/// What an administrator lays down beats even `--settings`, so `run` stops; that it does is shown first.
#[tokio::test]
async fn settings_of_an_administrator_that_win_stop_the_run_and_are_named() {
    let Some(programs) = node_programs() else { return };
    for file in ["claude-code/managed-settings.json", "claude-code/managed-settings.d/10-fleet.json"] {
        let desk = Desk::new([programs.clone()]).await;
        let model = r#"{"env":{"ANTHROPIC_MODEL":"administrators","DISABLE_BUG_COMMAND":"1"}}"#;
        let Some(inside) = desk.with_system_file(file, model) else { return };
        let ours = r#"--settings '{"env":{"ANTHROPIC_MODEL":"glm"}}'"#;
        let direct = "ANTHROPIC_API_KEY= ANTHROPIC_CUSTOM_HEADERS= CLAUDE_CODE_USE_BEDROCK= ANTHROPIC_AUTH_TOKEN=x \
            ANTHROPIC_MODEL=glm ANTHROPIC_BASE_URL=$FLEETGATE_URL NO_PROXY=127.0.0.1";
        let _ = desk.types(&format!("env -u CLAUDE_CODE_OAUTH_TOKEN {direct} {inside} claude {ours} -p hi")).await;
        let asked = desk.gateway.requests().into_iter().filter(|request| request.path.contains("/messages"));
        let models: Vec<_> = asked.map(|request| request.json()["model"].clone()).collect();
        assert!(models.contains(&"administrators".into()), "Claude Code obeys another file now: {models:?}");

        let before = desk.gateway.requests().len();
        let output = desk.run(&format!("{inside} fleetgate run --mode glm -- claude -p hi")).await;
        let told = String::from_utf8_lossy(&output.stderr);
        assert_eq!(output.status.code(), Some(2), "{told}");
        assert!(told.contains(&format!("/etc/{file} sets env.ANTHROPIC_MODEL, which Claude Code obeys")), "{told}");
        assert!(!told.contains("DISABLE_BUG_COMMAND"), "{told}");
        assert_eq!(desk.gateway.requests().len(), before);
    }
}

#[tokio::test]
async fn settings_of_an_administrator_that_say_nothing_of_calls_are_obeyed() {
    let Some(programs) = node_programs() else { return };
    let desk = Desk::new([programs]).await;
    let settings = r#"{"env":{"ANTHROPIC_MODEL":"glm","DISABLE_BUG_COMMAND":"1"},"permissions":{"deny":["WebFetch"]}}"#;
    let Some(inside) = desk.with_system_file("claude-code/managed-settings.json", settings) else { return };
    let (said, calls) = desk.types(&format!("{inside} fleetgate run --mode glm -- claude -p hi")).await;
    assert!(said.contains("Hello"), "{said}");
    assert_call(&calls[0], "claude-glm", "glm");
}

async fn asks_with_every_sdk(desk: &Desk, program: &str, command: &str) {
    let (said, calls) = desk.types(&format!("fleetgate run --mode kimi -- {command}")).await;
    assert!(said.contains("Hello Hello Hello"), "{said}");
    let paths: Vec<_> = calls.iter().map(|call| call.path.as_str()).collect();
    assert_eq!(paths, ["/v1/chat/completions", "/v1/responses", "/v1/messages"]);
    for call in &calls {
        assert_call(call, &format!("{program}-kimi"), "kimi");
        assert_eq!(call.header("x-team"), "blue");
    }
    assert_nothing_else_left(desk, &[]);
}

#[tokio::test]
async fn a_program_with_nodes_sdks_reaches_the_gateway() {
    let Some(programs) = node_programs() else { return };
    let desk = Desk::new([programs.clone()]).await;
    // Node looks for modules beside the program.
    let script = programs.join("../../run_sdks.mjs");
    std::fs::copy(fleetgate_tests::real_clients::script("run_sdks.mjs"), &script).expect("the directory is ours");
    asks_with_every_sdk(&desk, "node", &format!("node '{}'", script.display())).await;
}

#[tokio::test]
async fn a_program_with_pythons_sdks_reaches_the_gateway() {
    let Some(interpreter) = python() else { return };
    let desk = Desk::new([]).await;
    let script = fleetgate_tests::real_clients::script("run_sdks.py");
    asks_with_every_sdk(&desk, "python", &format!("'{}' '{}'", interpreter.display(), script.display())).await;
}
