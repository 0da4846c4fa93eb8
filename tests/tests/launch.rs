//! `fleetgate run` and `fleetgate modes` as processes, with small scripts in the place of launchers.

#![allow(clippy::expect_used, reason = "a broken expectation is a failed test")]

use std::ffi::OsStr;
use std::fs;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::{Command, Output};

use fleetgate_tests::binaries;
use tempfile::TempDir;

/// A home with programs in `bin` that print their arguments and their environment.
struct Home(TempDir);

impl Home {
    fn new() -> Self {
        let home = Self(TempDir::new().expect("a temporary directory"));
        for name in ["claude", "codex", "opencode", "aider", "qwen", "gemini", "wrapper", "script"] {
            home.write(
                &format!("bin/{name}"),
                "#!/bin/sh\nfor word in \"$@\"; do echo \"arg $word\"; done\nenv\necho pid $$\n",
            );
            let mode = fs::Permissions::from_mode(0o755);
            fs::set_permissions(home.path().join("bin").join(name), mode).expect("the file is ours");
        }
        home
    }

    fn path(&self) -> &Path {
        self.0.path()
    }

    fn write(&self, name: &str, text: &str) {
        let file = self.path().join(name);
        fs::create_dir_all(file.parent().expect("a file has a directory")).expect("the directory is ours");
        fs::write(file, text).expect("the directory is ours");
    }

    fn fleetgate(&self) -> Command {
        let mut command = Command::new(binaries::binary("fleetgate"));
        command.env_clear().env("HOME", self.path()).current_dir(self.path());
        command.env("PATH", format!("{}:/usr/bin:/bin", self.path().join("bin").display()));
        command
    }

    fn run(&self, words: &[&str]) -> Output {
        self.fleetgate().arg("run").args(words).output().expect("it starts")
    }

    /// What a program printed that was started so.
    fn seen(&self, words: &[&str]) -> String {
        let output = self.run(words);
        assert!(output.status.success(), "{words:?}: {}", errors(&output));
        String::from_utf8_lossy(&output.stdout).into_owned()
    }
}

fn errors(output: &Output) -> String {
    String::from_utf8_lossy(&output.stderr).into_owned()
}

#[track_caller]
fn has(said: &str, line: &str) {
    assert!(said.lines().any(|found| found == line), "no line {line:?} in\n{said}");
}

#[test]
fn each_launcher_in_each_mode_asks_the_sidecar_for_the_modes_model_and_says_its_name() {
    let home = Home::new();
    for mode in ["glm", "kimi", "minimax", "deepseek", "qwen", "openrouter"] {
        let run = |launcher: &str| home.seen(&["--mode", mode, "--", launcher]);
        let claude = run("claude");
        for name in
            ["MODEL", "DEFAULT_OPUS_MODEL", "DEFAULT_SONNET_MODEL", "DEFAULT_HAIKU_MODEL", "DEFAULT_FABLE_MODEL"]
        {
            has(&claude, &format!("ANTHROPIC_{name}={mode}"));
        }
        has(&claude, "ANTHROPIC_BASE_URL=http://127.0.0.1:4000");
        has(&claude, "ANTHROPIC_AUTH_TOKEN=fleetgate");
        has(&claude, &format!("ANTHROPIC_CUSTOM_HEADERS=x-fleetgate-workload: claude-{mode}"));
        has(&claude, "API_TIMEOUT_MS=3000000");
        let codex = run("codex");
        has(&codex, &format!("arg model=\"{mode}\""));
        assert!(codex.contains(&format!("http_headers={{\"x-fleetgate-workload\"=\"codex-{mode}\"}}")), "{codex}");
        assert!(run("opencode").contains(&format!("\"model\":\"fleetgate/{mode}\"")));
        has(&run("aider"), &format!("arg openai/{mode}"));
        has(&run("aider"), &format!("OPENAI_API_BASE=http://127.0.0.1:4000/w/aider-{mode}/v1"));
        has(&run("qwen"), &format!("OPENAI_MODEL={mode}"));
        has(&run("qwen"), &format!("OPENAI_BASE_URL=http://127.0.0.1:4000/w/qwen-{mode}/v1"));
    }
    let native = home.seen(&["--mode", "native", "--", "claude"]);
    assert!(!native.contains("ANTHROPIC_MODEL="), "{native}");
    has(&native, "ANTHROPIC_CUSTOM_HEADERS=x-fleetgate-workload: claude-native");
    has(&home.seen(&["--", "claude"]), "ANTHROPIC_CUSTOM_HEADERS=x-fleetgate-workload: claude-fleet");
}

#[test]
fn no_key_and_no_other_address_of_the_caller_reaches_any_program() {
    let home = Home::new();
    for program in ["claude", "codex", "opencode", "aider", "qwen", "script"] {
        let mut command = home.fleetgate();
        for name in [
            "ANTHROPIC_API_KEY",
            "ANTHROPIC_AUTH_TOKEN",
            "CLAUDE_CODE_OAUTH_TOKEN",
            "OPENAI_API_KEY",
            "GEMINI_API_KEY",
            "OPENROUTER_API_KEY",
            "CODEX_API_KEY",
            "AZURE_OPENAI_API_KEY",
            "AWS_BEARER_TOKEN_BEDROCK",
            "FLEETGATE_ADMIN_KEY",
        ] {
            command.env(name, "canary");
        }
        // Recognised by its form, whatever its name.
        command.env("SECOND_ACCOUNT", format!("sk-ant-api03-{}canaryAA", "a1".repeat(43)));
        let headers = "X-Team: blue\nAuthorization: Bearer canary\nx-api-key: canary\nx-fleetgate-workload: outer";
        command.env("ANTHROPIC_CUSTOM_HEADERS", headers).env("OPENAI_CUSTOM_HEADERS", headers);
        command.env("GEMINI_CLI_CUSTOM_HEADERS", headers.replace('\n', ","));
        command.env("KEPT", "yes");
        let output = command.args(["run", "--mode", "glm", "--", program]).output().expect("it starts");
        let said = String::from_utf8_lossy(&output.stdout);
        has(&said, "KEPT=yes");
        for line in ["ANTHROPIC_CUSTOM_HEADERS=X-Team: blue", "OPENAI_CUSTOM_HEADERS=X-Team: blue"] {
            has(&said, line);
        }
        has(&said, "GEMINI_CLI_CUSTOM_HEADERS=X-Team: blue");
        assert_eq!(said.contains("x-fleetgate-workload: claude-glm"), program == "claude", "{said}");
        assert!(!said.contains("canary") && !said.contains("outer"), "{program}: {said}");
        let told = errors(&output);
        for name in ["ANTHROPIC", "OPENAI", "GEMINI_CLI"] {
            assert!(told.contains(&format!("{name}_CUSTOM_HEADERS: Authorization, x-api-key taken out")), "{told}");
        }
        assert!(!told.contains("canary"), "{told}");
    }
}

#[test]
fn the_program_takes_the_place_of_the_process_with_its_arguments_untouched() {
    let home = Home::new();
    let raw = OsStr::from_bytes(b"\xff\xfe");
    let words = ["--mode", "kimi", "-- --x", "", "a b", "--print"].map(OsStr::new);
    let mut command = home.fleetgate();
    command.args(["run", "--", "script"]).args(words).arg(raw);
    let child = command.stdout(std::process::Stdio::piped()).spawn().expect("it starts");
    let pid = child.id();
    let output = child.wait_with_output().expect("it ends");
    let mut expected: Vec<u8> = Vec::new();
    for word in words.iter().copied().chain([raw]) {
        expected.extend([b"arg ", word.as_bytes(), b"\n"].concat());
    }
    assert!(output.stdout.starts_with(&expected), "{}", String::from_utf8_lossy(&output.stdout));
    has(&String::from_utf8_lossy(&output.stdout), &format!("pid {pid}"));
}

#[test]
fn what_cannot_be_started_ends_as_in_a_shell() {
    let home = Home::new();
    home.write("bin/plain-file", "no program");
    for (words, code, said) in [
        (&["--", "no-such-program"][..], 127, "no-such-program"),
        (&["--", "plain-file"], 126, "plain-file"),
        (&["--mode", "no-such-mode", "--", "claude"], 2, "there are deepseek, glm"),
        (&["--mode", "NO", "--", "claude"], 2, "no name of a mode"),
        (&["--mode", "glm", "--", "gemini"], 2, "does not speak yet"),
        (&["--", "gemini"], 2, "does not speak yet"),
        (&["--launcher", "cursor", "--", "claude"], 2, "no launcher is named"),
        (&[], 2, "CMD"),
    ] {
        let output = home.run(words);
        assert_eq!(output.status.code(), Some(code), "{words:?}: {}", errors(&output));
        assert!(errors(&output).contains(said), "{words:?}: {}", errors(&output));
    }
    let output = home.fleetgate().args(["run", "--", "claude"]).env("FLEETGATE_URL", "localhost:4000").output();
    let output = output.expect("it starts");
    assert_eq!(output.status.code(), Some(2));
    assert!(errors(&output).contains("FLEETGATE_URL"));
}

#[test]
fn only_with_proxy_do_other_calls_take_the_sidecars_tunnels() {
    let home = Home::new();
    assert!(!home.seen(&["--", "claude"]).contains("HTTPS_PROXY"));
    let with = home.seen(&["--proxy", "--", "claude"]);
    has(&with, "HTTPS_PROXY=http://127.0.0.1:4000");
    has(&with, "https_proxy=http://127.0.0.1:4000");
    has(&with, "NO_PROXY=127.0.0.1,localhost,::1");
}

#[test]
fn printing_starts_nothing_and_shows_no_secret() {
    let home = Home::new();
    home.write(".config/fleetgate/modes.toml", "[mode.glm.claude]\nenv = { MY_TOKEN = 'canary' }\n");
    let mut command = home.fleetgate();
    command.args(["run", "--print", "--mode", "glm", "--", "claude", "-p", "hi"]).env("OPENAI_API_KEY", "canary");
    let output = command.output().expect("it starts");
    let said = String::from_utf8_lossy(&output.stdout);
    has(&said, "set    ANTHROPIC_MODEL=glm");
    has(&said, "run    claude -p hi");
    assert!(said.contains("unset  OPENAI_API_KEY") && said.contains("set    MY_TOKEN=…"), "{said}");
    assert!(!said.contains("canary") && !said.contains("pid "), "{said}");
}

#[test]
fn a_persons_modes_and_variables_change_what_a_mode_asks_for() {
    let home = Home::new();
    home.write(
        ".config/fleetgate/modes.toml",
        "[mode.glm]\nsmall_model = 'glm-air'\n[mode.kimi]\nenabled = false\n[mode.my-own]\nmodel = 'mine'\n",
    );
    let claude = home.seen(&["--mode", "glm", "--", "claude"]);
    has(&claude, "ANTHROPIC_MODEL=glm");
    has(&claude, "ANTHROPIC_DEFAULT_HAIKU_MODEL=glm-air");
    assert_eq!(home.run(&["--mode", "kimi", "--", "claude"]).status.code(), Some(2));
    let mut command = home.fleetgate();
    command.args(["run", "--mode", "my-own", "--launcher", "claude", "--", "wrapper"]);
    let output = command.env("FLEETGATE_MODEL_MY_OWN", "other").output().expect("it starts");
    let said = String::from_utf8_lossy(&output.stdout);
    has(&said, "ANTHROPIC_MODEL=other");
    has(&said, "ANTHROPIC_CUSTOM_HEADERS=x-fleetgate-workload: claude-my-own");
    let list = home.fleetgate().args(["modes", "--json"]).output().expect("it starts");
    let list: serde_json::Value = serde_json::from_slice(&list.stdout).expect("JSON");
    let found =
        |name: &str| list["modes"].as_array().and_then(|all| all.iter().find(|mode| mode["name"] == name)).cloned();
    assert_eq!(found("glm").expect("glm")["origin"], "changed");
    assert_eq!(found("kimi").expect("kimi")["enabled"], false);
    assert_eq!(found("my-own").expect("my-own")["programs"]["claude"]["model"], "mine");
}

#[test]
fn a_broken_file_of_modes_is_told_and_the_shipped_modes_still_start() {
    let home = Home::new();
    home.write(".config/fleetgate/modes.toml", "[mode.glm]\nmodle = 'x'\n");
    let output = home.run(&["--mode", "glm", "--", "claude"]);
    assert!(output.status.success() && errors(&output).contains("modes.toml:2: "), "{}", errors(&output));
    has(&String::from_utf8_lossy(&output.stdout), "ANTHROPIC_MODEL=glm");
    let list = home.fleetgate().arg("modes").output().expect("it starts");
    assert!(!list.status.success() && errors(&list).contains("modes.toml:2: "));
}
