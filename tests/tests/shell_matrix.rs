//! The shell block in every shell that is installed: it parses, is silent, leaves nothing behind, and gives the launched
//! program exactly what it needs. A shell that is not installed is skipped and named.
#![allow(clippy::unwrap_used, reason = "a helper of a test fails by panicking")]

use std::collections::BTreeMap;
use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use tempfile::TempDir;

/// Program and options that keep the person's own files out.
const SHELLS: [&[&str]; 8] = [
    &["bash", "--noprofile", "--norc"],
    &["bash", "--posix"],
    &["zsh", "-f"],
    &["dash"],
    &["busybox", "sh"],
    &["mksh"],
    &["ksh93"],
    &["fish", "--no-config"],
];

const LAUNCHERS: [&str; 6] =
    ["claude-glm", "claude-kimi", "claude-minimax", "claude-qwen", "claude-fleet", "codex-fleet"];

/// What the launched program saw.
struct Seen {
    environment: BTreeMap<String, String>,
    arguments: Vec<String>,
}

impl Seen {
    fn get(&self, name: &str) -> Option<&str> {
        self.environment.get(name).map(String::as_str)
    }
}

struct Shell {
    command: &'static [&'static str],
    program: PathBuf,
    directory: TempDir,
}

impl Shell {
    fn is_fish(&self) -> bool {
        self.command[0] == "fish"
    }

    fn block(&self) -> PathBuf {
        root().join(if self.is_fish() { "shell/fleetgate.fish" } else { "shell/fleetgate.sh" })
    }

    fn path(&self, name: &str) -> PathBuf {
        self.directory.path().join(name)
    }

    /// A process of this shell with nothing in its environment but the fake programs and `environment`.
    fn process(&self, environment: &[(&str, &str)]) -> Command {
        let mut process = Command::new(&self.program);
        process.args(&self.command[1..]).env_clear();
        process.env("PATH", format!("{}:/usr/bin:/bin", self.path("bin").display()));
        process.env("HOME", self.directory.path()).envs(environment.iter().copied());
        process
    }

    /// Runs `body` after the block was sourced twice, under `set -eu` where there is such a thing.
    fn run(&self, body: &str, arguments: &[&str], environment: &[(&str, &str)]) -> Output {
        let strict = if self.is_fish() { "" } else { "set -eu\n" };
        let source = if self.is_fish() { "source" } else { "." };
        let block = self.block();
        let block = block.display();
        let script = self.path("script");
        fs::write(&script, format!("{strict}{source} '{block}'\n{source} '{block}'\n{body}\n")).unwrap();
        self.process(environment).arg(script).args(arguments).output().unwrap()
    }

    /// Runs one launcher and returns what its program saw.
    fn launch(&self, launcher: &str, arguments: &[&str], environment: &[(&str, &str)]) -> Seen {
        let all = if self.is_fish() { "$argv" } else { "\"$@\"" };
        let output = self.run(&format!("{launcher} {all}"), arguments, environment);
        self.assert_silent(&output, launcher);
        self.seen()
    }

    fn seen(&self) -> Seen {
        let environment = fields(&self.path("environment"));
        let environment = environment.iter().filter_map(|entry| entry.split_once('='));
        let environment = environment.map(|(name, value)| (name.to_owned(), value.to_owned())).collect();
        Seen { environment, arguments: fields(&self.path("arguments")) }
    }

    fn assert_silent(&self, output: &Output, what: &str) {
        let told = [output.stdout.as_slice(), &output.stderr].concat();
        let told = String::from_utf8_lossy(&told);
        assert!(output.status.success() && told.is_empty(), "{:?}, {what}: {} {told}", self.command, output.status);
    }
}

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap().to_owned()
}

/// Where a program is, by the search path of the tests (a shell under test gets a shorter one).
fn installed(program: &str) -> Option<PathBuf> {
    let path = std::env::var_os("PATH").unwrap_or_default();
    let found = std::env::split_paths(&path).map(|directory| directory.join(program)).find(|file| file.is_file());
    if found.is_none() {
        eprintln!("skipped: {program} is not installed");
    }
    found
}

fn fields(path: &Path) -> Vec<String> {
    let bytes = fs::read(path).unwrap();
    let text = String::from_utf8(bytes).unwrap();
    text.split_terminator('\0').map(str::to_owned).collect()
}

/// Every installed shell, with a `claude` and a `codex` that only write down how they were started.
fn shells() -> impl Iterator<Item = Shell> {
    SHELLS.into_iter().filter_map(|command| {
        let shell = Shell { command, program: installed(command[0])?, directory: tempfile::tempdir().unwrap() };
        fs::create_dir(shell.path("bin")).unwrap();
        for program in ["claude", "codex"] {
            let file = shell.path("bin").join(program);
            let here = shell.directory.path().display();
            let fake = format!(
                "#!/bin/sh\nenv -0 >'{here}/environment'\n: >'{here}/arguments'\n\
                 for argument; do printf '%s\\0' \"$argument\" >>'{here}/arguments'; done\nexit \"${{FAKE_STATUS:-0}}\"\n"
            );
            fs::write(&file, fake).unwrap();
            fs::set_permissions(&file, fs::Permissions::from_mode(0o755)).unwrap();
        }
        Some(shell)
    })
}

#[test]
fn the_block_parses() {
    for shell in shells() {
        let output = shell.process(&[]).arg("-n").arg(shell.block()).output().unwrap();
        shell.assert_silent(&output, "-n");
    }
}

#[test]
fn sourcing_it_twice_is_silent_and_names_every_launcher() {
    for shell in shells() {
        let look = if shell.is_fish() { "type -q" } else { "command -v" };
        let body: String = LAUNCHERS.map(|launcher| format!("{look} {launcher} >/dev/null || exit 9\n")).concat();
        shell.assert_silent(&shell.run(&body, &[], &[]), "sourced twice");
    }
}

#[test]
fn a_mode_points_claude_at_the_sidecar_and_at_its_model() {
    for shell in shells() {
        for mode in ["glm", "kimi", "minimax", "qwen"] {
            let seen = shell.launch(&format!("claude-{mode}"), &["-p", "hi"], &[]);
            assert_eq!(seen.get("ANTHROPIC_BASE_URL"), Some("http://127.0.0.1:4000"));
            assert_eq!(seen.get("ANTHROPIC_AUTH_TOKEN"), Some("fleetgate"));
            assert_eq!(seen.get("ANTHROPIC_CUSTOM_HEADERS"), Some(&*format!("x-fleetgate-workload: claude-{mode}")));
            assert_eq!(seen.get("CLAUDE_CODE_DISABLE_NONESSENTIAL_TRAFFIC"), Some("1"));
            assert_eq!(seen.get("API_TIMEOUT_MS"), Some("3000000"));
            assert_eq!(seen.get("CLAUDE_CODE_MAX_CONTEXT_TOKENS"), Some("200000"));
            assert_eq!(seen.get("CLAUDE_CODE_SUBAGENT_MODEL"), Some(mode));
            assert_eq!(seen.get("ANTHROPIC_MODEL"), Some(mode));
            for slot in ["OPUS", "SONNET", "HAIKU", "FABLE"] {
                assert_eq!(seen.get(&format!("ANTHROPIC_DEFAULT_{slot}_MODEL")), Some(mode), "{:?}", shell.command);
            }
            assert_eq!(seen.arguments, ["-p", "hi"]);
        }
    }
}

#[test]
fn claude_fleet_leaves_the_choice_of_models_alone() {
    for shell in shells() {
        let seen = shell.launch("claude-fleet", &[], &[("ANTHROPIC_DEFAULT_OPUS_MODEL", "mine")]);
        assert_eq!(seen.get("ANTHROPIC_CUSTOM_HEADERS"), Some("x-fleetgate-workload: claude-fleet"));
        assert_eq!(seen.get("ANTHROPIC_DEFAULT_OPUS_MODEL"), Some("mine"));
        assert_eq!(seen.get("ANTHROPIC_MODEL"), None);
        assert_eq!(seen.get("API_TIMEOUT_MS"), None);
        assert_eq!(seen.get("CLAUDE_CODE_MAX_CONTEXT_TOKENS"), None);
        assert!(seen.arguments.is_empty());
    }
}

#[test]
fn codex_gets_a_provider_of_its_own() {
    let provider = "model_providers.fleetgate={name=\"fleetgate\",base_url=\"http://127.0.0.1:4000/v1\",wire_api=\"responses\",\
                    env_key=\"FLEETGATE_TOKEN\",http_headers={\"x-fleetgate-workload\"=\"codex-fleet\"}}";
    for shell in shells() {
        let seen = shell.launch("codex-fleet", &["exec", "-m", "gpt-5.4", "hi"], &[]);
        assert_eq!(seen.arguments[..4], ["-c", "model_provider=fleetgate", "-c", provider]);
        // What would leave from this machine's own address.
        assert_eq!(seen.arguments[4..8], ["-c", "analytics.enabled=false", "-c", "features.plugins=false"]);
        assert_eq!(seen.arguments[8..], ["exec", "-m", "gpt-5.4", "hi"]);
        assert_eq!(seen.get("FLEETGATE_TOKEN"), Some("fleetgate"));
        assert_eq!(seen.get("NO_PROXY"), Some("127.0.0.1,localhost,::1"));

        let seen = shell.launch("codex-fleet", &["exec"], &[("FLEETGATE_MODEL_CODEX", "gpt-5.4")]);
        assert_eq!(seen.arguments[8..], ["-c", "model=\"gpt-5.4\"", "exec"], "{:?}", shell.command);
    }
}

#[test]
fn arguments_pass_unchanged() {
    let arguments = ["two words", "", "it's \"quoted\"", "line\nbreak\n", "$HOME `id` \\ * ~", "-n", "--", "ümlaut"];
    for shell in shells() {
        for launcher in LAUNCHERS {
            let seen = shell.launch(launcher, &arguments, &[]);
            assert!(
                seen.arguments.ends_with(&arguments.map(str::to_owned)),
                "{:?}: {:?}",
                shell.command,
                seen.arguments
            );
        }
    }
}

#[test]
fn credentials_of_the_caller_do_not_reach_claude() {
    let foreign = ["ANTHROPIC_API_KEY", "CLAUDE_CODE_OAUTH_TOKEN", "CLAUDE_CODE_USE_BEDROCK", "CLAUDE_CODE_USE_VERTEX"];
    for shell in shells() {
        let seen = shell.launch("claude-glm", &[], &foreign.map(|name| (name, "sk-foreign")));
        for name in foreign {
            assert_eq!(seen.get(name), None, "{:?}: {name}", shell.command);
        }
        let seen = shell.launch("claude-fleet", &[], &[("ANTHROPIC_AUTH_TOKEN", "sk-foreign")]);
        assert_eq!(seen.get("ANTHROPIC_AUTH_TOKEN"), Some("fleetgate"));
    }
}

#[test]
fn nothing_stays_behind_in_the_shell() {
    let environment =
        [("ANTHROPIC_API_KEY", "sk-mine"), ("no_proxy", "intranet"), ("ANTHROPIC_CUSTOM_HEADERS", "x-team: a")];
    for shell in shells() {
        let launches = LAUNCHERS.map(|launcher| format!("{launcher} x\n")).concat();
        let variables = if shell.is_fish() { "set --names" } else { "set" };
        let body = format!(
            "env -0 >'{0}/before'\n{launches}env -0 >'{0}/after'\n{variables} >'{0}/variables'",
            shell.directory.path().display()
        );
        shell.assert_silent(&shell.run(&body, &[], &environment), "all launchers");
        // `_` holds the last command and belongs to the shell.
        let exported = |name| {
            let mut all = fields(&shell.path(name));
            all.retain(|entry| !entry.starts_with("_="));
            all.sort();
            all
        };
        assert_eq!(exported("before"), exported("after"), "{:?}", shell.command);
        let variables = fs::read_to_string(shell.path("variables")).unwrap();
        // Indented lines are the bodies of functions, which bash's `set` lists too.
        let left =
            variables.lines().filter(|line| line.to_ascii_lowercase().starts_with("fleetgate_") && line.contains('='));
        assert_eq!(left.collect::<Vec<_>>(), [""; 0], "{:?}", shell.command);
    }
}

#[test]
fn hosts_that_bypass_the_proxy_stay_and_loopback_joins_them() {
    type Variables = [(&'static str, &'static str)];
    let cases: [(&Variables, &str, &str); 5] = [
        (&[], "127.0.0.1,localhost,::1", "127.0.0.1,localhost,::1"),
        (&[("NO_PROXY", "corp")], "corp,127.0.0.1,localhost,::1", "corp,127.0.0.1,localhost,::1"),
        (&[("no_proxy", "a,localhost")], "a,localhost,127.0.0.1,::1", "a,localhost,127.0.0.1,::1"),
        (&[("NO_PROXY", "A"), ("no_proxy", "b")], "A,127.0.0.1,localhost,::1", "b,127.0.0.1,localhost,::1"),
        (&[("NO_PROXY", "*")], "*", "*"),
    ];
    for shell in shells() {
        for (environment, upper, lower) in cases {
            for launcher in ["claude-glm", "codex-fleet"] {
                let seen = shell.launch(launcher, &[], environment);
                assert_eq!(seen.get("NO_PROXY"), Some(upper), "{:?} {environment:?}", shell.command);
                assert_eq!(seen.get("no_proxy"), Some(lower), "{:?} {environment:?}", shell.command);
            }
        }
    }
}

#[test]
fn headers_of_the_caller_stay_and_an_outer_launcher_gives_way() {
    let outer = "x-team: blue\nx-fleetgate-workload: claude-kimi\nx-other: a b";
    for shell in shells() {
        let seen = shell.launch("claude-qwen", &[], &[("ANTHROPIC_CUSTOM_HEADERS", outer)]);
        let headers = seen.get("ANTHROPIC_CUSTOM_HEADERS");
        assert_eq!(
            headers,
            Some("x-team: blue\nx-other: a b\nx-fleetgate-workload: claude-qwen"),
            "{:?}",
            shell.command
        );
    }
}

#[test]
fn settings_override_the_defaults() {
    let environment = [
        ("FLEETGATE_URL", "http://localhost:4010/"),
        ("FLEETGATE_MODEL_KIMI", "moonshot/kimi-k3"),
        ("API_TIMEOUT_MS", "5"),
        ("CLAUDE_CODE_MAX_CONTEXT_TOKENS", "256000"),
        ("ANTHROPIC_SMALL_FAST_MODEL", "old"),
    ];
    for shell in shells() {
        let seen = shell.launch("claude-kimi", &[], &environment);
        assert_eq!(seen.get("ANTHROPIC_BASE_URL"), Some("http://localhost:4010"), "{:?}", shell.command);
        assert_eq!(seen.get("ANTHROPIC_MODEL"), Some("moonshot/kimi-k3"));
        assert_eq!(seen.get("API_TIMEOUT_MS"), Some("5"));
        assert_eq!(seen.get("CLAUDE_CODE_MAX_CONTEXT_TOKENS"), Some("256000"));
        assert_eq!(seen.get("ANTHROPIC_SMALL_FAST_MODEL"), None);
        let seen = shell.launch("codex-fleet", &[], &environment);
        assert!(seen.arguments[3].contains("base_url=\"http://localhost:4010/v1\""), "{:?}", seen.arguments);
    }
}

#[test]
fn the_exit_status_is_that_of_the_program() {
    for shell in shells() {
        for launcher in LAUNCHERS {
            let output = shell.run(launcher, &[], &[("FAKE_STATUS", "7")]);
            assert_eq!(output.status.code(), Some(7), "{:?} {launcher}", shell.command);
        }
    }
}

#[test]
fn a_program_that_is_not_installed_is_named() {
    for shell in shells() {
        for program in ["claude", "codex"] {
            fs::remove_file(shell.path("bin").join(program)).unwrap();
            let output = shell.run(&format!("{program}-fleet"), &[], &[("PATH", "/usr/bin:/bin")]);
            assert_eq!(output.status.code(), Some(127), "{:?}", shell.command);
            assert!(String::from_utf8_lossy(&output.stderr).contains(program), "{:?}: {output:?}", shell.command);
        }
    }
}

#[test]
fn an_alias_of_the_same_name_gives_way() {
    for shell in shells().filter(|shell| !shell.is_fish()) {
        let expand = if shell.command[0] == "bash" { "shopt -s expand_aliases\n" } else { "" };
        let block = shell.block();
        let body = format!("{expand}alias claude-glm='echo old alias'\n. '{}'\nclaude-glm new", block.display());
        shell.assert_silent(&shell.run(&body, &[], &[]), "with an alias");
        assert_eq!(shell.seen().arguments, ["new"], "{:?}", shell.command);
    }
}

#[test]
fn no_option_of_zsh_changes_a_launcher() {
    let options = "setopt warn_create_global ksh_arrays sh_word_split glob_subst extended_glob err_return no_unset\nclaude-glm a b";
    for shell in shells().filter(|shell| shell.command[0] == "zsh") {
        shell.assert_silent(&shell.run(options, &[], &[("NO_PROXY", "a b,*.corp")]), "odd options");
        assert_eq!(shell.seen().get("NO_PROXY"), Some("a b,*.corp,127.0.0.1,localhost,::1"));
        assert_eq!(shell.seen().arguments, ["a", "b"]);
    }
}

#[test]
fn the_linters_have_no_complaint() {
    let scripts = |directory: &str| {
        let entries = fs::read_dir(root().join(directory)).into_iter().flatten();
        entries.map(|entry| entry.unwrap().path()).filter(|path| path.extension().is_some_and(|suffix| suffix == "sh"))
    };
    let scripts: Vec<PathBuf> = scripts("shell").chain(scripts("install")).collect();
    let fish = [root().join("shell/fleetgate.fish")];
    let linters: [(&[&str], &[PathBuf]); 3] = [
        (&["shellcheck"], &scripts),
        (&["shfmt", "-i", "2", "-ci", "-bn", "-d"], &scripts),
        (&["fish_indent", "--check"], &fish),
    ];
    for (linter, files) in linters.into_iter().filter(|(linter, _)| installed(linter[0]).is_some()) {
        let output = Command::new(linter[0]).args(&linter[1..]).args(files).output().unwrap();
        assert!(output.status.success(), "{linter:?}: {}", String::from_utf8_lossy(&output.stdout));
    }
}
