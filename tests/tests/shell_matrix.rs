//! The synced files in every shell that is installed: they parse, are silent, start nothing, leave nothing behind, and each launcher is
//! `fleetgate run` with the right words. A shell that is not installed is skipped and named.
#![allow(clippy::unwrap_used, reason = "a helper of a test fails by panicking")]

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use fleetgate_tests::binaries::workspace;
use fleetgate_tests::home::not_installed;
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
const PROGRAMS: [&str; 6] = ["claude", "codex", "gemini", "opencode", "aider", "qwen"];

struct Shell {
    command: &'static [&'static str],
    program: PathBuf,
    directory: TempDir,
}

impl Shell {
    fn is_fish(&self) -> bool {
        self.command[0] == "fish"
    }

    /// Functions, and not aliases.
    fn has_functions(&self) -> bool {
        matches!(self.command, ["bash", "--noprofile", ..] | ["zsh" | "fish", ..])
    }

    fn block(&self) -> PathBuf {
        workspace().join(if self.is_fish() { "shell/fleetgate.fish" } else { "shell/fleetgate.sh" })
    }

    fn path(&self, name: &str) -> PathBuf {
        self.directory.path().join(name)
    }

    /// Writes the person's own modes.
    fn own_modes(&self, text: &[u8]) {
        fs::create_dir_all(self.path(".config/fleetgate")).unwrap();
        fs::write(self.path(".config/fleetgate/modes.toml"), text).unwrap();
    }

    /// A process of this shell with nothing in its environment but the fake program and `environment`.
    fn process(&self, environment: &[(&str, &str)]) -> Command {
        let mut process = Command::new(&self.program);
        process.args(&self.command[1..]).env_clear();
        process.env("PATH", format!("{}:/usr/bin:/bin", self.path("bin").display()));
        process.env("HOME", self.directory.path()).envs(environment.iter().copied());
        process
    }

    /// Runs `body` after the file was sourced twice, under `set -eu` where there is such a thing.
    fn run(&self, body: &str, arguments: &[&str], environment: &[(&str, &str)]) -> Output {
        let strict = if self.is_fish() { "" } else { "set -eu\n" };
        let source = if self.is_fish() { "source" } else { "." };
        let block = self.block();
        let block = block.display();
        let script = self.path("script");
        fs::write(&script, format!("{strict}{source} '{block}'\n{source} '{block}'\n{body}\n")).unwrap();
        self.process(environment).arg(script).args(arguments).output().unwrap()
    }

    /// Runs one launcher and returns what `fleetgate` was started with.
    fn launch(&self, launcher: &str, arguments: &[&str]) -> Vec<String> {
        let all = if self.is_fish() { "$argv" } else { "\"$@\"" };
        self.assert_silent(&self.run(&format!("{launcher} {all}"), arguments, &[]), launcher);
        fields(&self.path("arguments"))
    }

    /// The launchers that there are, of those that a test asks about.
    fn knows(&self, launchers: &[&str]) -> Vec<String> {
        let look = if self.is_fish() { "type -q" } else { "command -v" };
        let body: String = launchers
            .iter()
            .map(|name| match self.is_fish() {
                true => format!("{look} {name}; and echo {name}\n"),
                false => format!("if {look} {name} >/dev/null; then echo {name}; fi\n"),
            })
            .collect();
        let output = self.run(&(body + "true"), &[], &[]);
        assert!(output.status.success() && output.stderr.is_empty(), "{:?}: {output:?}", self.command);
        String::from_utf8(output.stdout).unwrap().lines().map(str::to_owned).collect()
    }

    fn assert_silent(&self, output: &Output, what: &str) {
        let told = [output.stdout.as_slice(), &output.stderr].concat();
        let told = String::from_utf8_lossy(&told);
        assert!(output.status.success() && told.is_empty(), "{:?}, {what}: {} {told}", self.command, output.status);
    }
}

/// Where a program is, by the search path of the tests (a shell under test gets a shorter one).
fn installed(program: &str) -> Option<PathBuf> {
    let path = std::env::var_os("PATH").unwrap_or_default();
    let found = std::env::split_paths(&path).map(|directory| directory.join(program)).find(|file| file.is_file());
    if found.is_none() {
        not_installed(program);
    }
    found
}

fn fields(path: &Path) -> Vec<String> {
    let text = String::from_utf8(fs::read(path).unwrap()).unwrap();
    text.split_terminator('\0').map(str::to_owned).collect()
}

/// Every installed shell, with a `fleetgate` that only writes down how it was started.
fn shells() -> impl Iterator<Item = Shell> {
    SHELLS.into_iter().filter_map(|command| {
        let shell = Shell { command, program: installed(command[0])?, directory: tempfile::tempdir().unwrap() };
        fs::create_dir(shell.path("bin")).unwrap();
        let here = shell.directory.path().display();
        let fake = format!(
            "#!/bin/sh\nenv -0 >'{here}/environment'\n: >'{here}/arguments'\n\
             for argument; do printf '%s\\0' \"$argument\" >>'{here}/arguments'; done\nexit \"${{FAKE_STATUS:-0}}\"\n"
        );
        let file = shell.path("bin/fleetgate");
        fs::write(&file, fake).unwrap();
        fs::set_permissions(&file, fs::Permissions::from_mode(0o755)).unwrap();
        Some(shell)
    })
}

/// The modes of the shipped file, by their headings.
fn shipped_modes() -> Vec<String> {
    let text = fs::read_to_string(workspace().join("shell/modes.toml")).unwrap();
    let headings = text.lines().filter_map(|line| line.strip_prefix("[mode.")?.strip_suffix(']'));
    let modes: Vec<String> = headings.filter(|name| !name.contains('.')).map(str::to_owned).collect();
    assert!(modes.len() > 3, "{text}");
    modes
}

#[test]
fn the_files_parse() {
    for shell in shells() {
        let output = shell.process(&[]).arg("-n").arg(shell.block()).output().unwrap();
        shell.assert_silent(&output, "-n");
    }
}

#[test]
fn every_shipped_mode_has_a_launcher_for_every_program() {
    let modes = shipped_modes();
    let names = modes.iter().flat_map(|mode| PROGRAMS.map(|program| format!("{program}-{mode}")));
    let mut names: Vec<String> = names.collect();
    names.extend(["claude-fleet".to_owned(), "codex-fleet".to_owned()]);
    let names: Vec<&str> = names.iter().map(String::as_str).collect();
    for shell in shells() {
        assert_eq!(shell.knows(&names), names, "{:?}: are all modes of modes.toml in the synced files?", shell.command);
    }
}

#[test]
fn the_synced_files_know_no_mode_that_is_not_shipped() {
    let modes = shipped_modes().join(" ");
    let posix = fs::read_to_string(workspace().join("shell/fleetgate.sh")).unwrap();
    let fish = fs::read_to_string(workspace().join("shell/fleetgate.fish")).unwrap();
    assert!(posix.contains(&format!("fleetgate_modes='{modes} '")), "the list in fleetgate.sh is not {modes}");
    assert!(fish.contains(&format!("set -l modes {modes}\n")), "the list in fleetgate.fish is not {modes}");
}

#[test]
fn a_launcher_is_fleetgate_run() {
    for shell in shells() {
        assert_eq!(shell.launch("claude-glm", &["-p", "hi"]), ["run", "--mode", "glm", "--", "claude", "-p", "hi"]);
        for program in PROGRAMS {
            let words = shell.launch(&format!("{program}-openrouter"), &[]);
            assert_eq!(words, ["run", "--mode", "openrouter", "--", program], "{:?}", shell.command);
            assert_eq!(shell.launch(&format!("{program}-fleet"), &["x"]), ["run", "--", program, "x"]);
        }
    }
}

#[test]
fn arguments_pass_unchanged() {
    let arguments =
        ["two words", "", "it's \"quoted\"", "line\nbreak\n", "$HOME `id` \\ * ~", "-n", "--", "--mode", "ümlaut"];
    for shell in shells() {
        for launcher in ["claude-kimi", "codex-fleet"] {
            let seen = shell.launch(launcher, &arguments);
            assert!(seen.ends_with(&arguments.map(str::to_owned)), "{:?}: {seen:?}", shell.command);
        }
    }
}

#[test]
fn the_exit_status_is_that_of_the_program() {
    for shell in shells() {
        for launcher in ["qwen-qwen", "claude-fleet"] {
            let output = shell.run(launcher, &[], &[("FAKE_STATUS", "7")]);
            assert_eq!(output.status.code(), Some(7), "{:?} {launcher}", shell.command);
        }
    }
}

#[test]
fn without_the_program_sourcing_is_silent_and_a_launcher_says_so_in_one_line() {
    for shell in shells() {
        fs::remove_file(shell.path("bin/fleetgate")).unwrap();
        // Nothing else is on this path either: sourcing needs no program at all.
        let nothing = [("PATH", shell.path("bin").display().to_string())];
        let environment = nothing.each_ref().map(|(name, value)| (*name, value.as_str()));
        shell.assert_silent(&shell.run("", &[], &environment), "without programs");
        for launcher in ["claude-glm", "codex-fleet"] {
            let output = shell.run(&format!("{launcher} a b"), &[], &environment);
            assert_eq!(output.status.code(), Some(127), "{:?}", shell.command);
            let said = String::from_utf8_lossy(&output.stderr);
            assert!(said.starts_with("fleetgate: ") && said.lines().count() == 1, "{:?}: {said}", shell.command);
            assert!(output.stdout.is_empty());
        }
    }
}

#[test]
fn nothing_stays_behind_in_the_shell_and_nothing_is_exported() {
    let environment = [("ANTHROPIC_API_KEY", "sk-mine"), ("no_proxy", "intranet")];
    for shell in shells() {
        let variables = if shell.is_fish() { "set --names" } else { "set" };
        let here = shell.directory.path().display().to_string();
        let before =
            shell.process(&environment).arg("-c").arg(format!("env -0 >'{here}/before'; true")).output().unwrap();
        shell.assert_silent(&before, "env");
        let body = format!("claude-glm\n{variables} >'{here}/variables'\nenv -0 >'{here}/after'");
        shell.assert_silent(&shell.run(&body, &[], &environment), "a launcher");
        // These belong to the shell: the last command, and where it is.
        let exported = |name| {
            let mut all = fields(&shell.path(name));
            all.retain(|entry| !["_=", "A__z=", "PWD="].iter().any(|own| entry.starts_with(own)));
            all.sort();
            all
        };
        for file in ["environment", "after"] {
            assert_eq!(exported("before"), exported(file), "{:?}", shell.command);
        }
        let variables = fs::read_to_string(shell.path("variables")).unwrap();
        // Indented lines are the bodies of functions, which bash's `set` lists too.
        let left =
            variables.lines().filter(|line| line.starts_with("fleetgate_") && (line.contains('=') || shell.is_fish()));
        assert_eq!(left.collect::<Vec<_>>(), [""; 0], "{:?}", shell.command);
    }
}

#[test]
fn own_modes_add_and_hide_launchers() {
    let forms = [
        "[mode.deep-2]\nmodel = \"x\"\n\n[mode.kimi]\nenabled = false\n\n[mode.native]\nmodel = \"enabled = false\"\n[mode.last]",
        "[mode.deep-2]\r\nmodel = \"x\"\r\n[mode.kimi]\r\n\tenabled=false # not here\r\n[mode.native.claude]\r\nenabled = false\r\n[mode.last]\r\n",
        "# x\n[mode.deep-2] # y\nenabled = true\n[other]\nenabled = false\n[mode.kimi]\nmodel='m'\nenabled =false\n[mode.last]\n",
    ];
    let asked = ["claude-glm", "qwen-deep-2", "codex-kimi", "claude-native", "aider-last", "claude-fleet"];
    for shell in shells() {
        for form in forms {
            shell.own_modes(form.as_bytes());
            let known = shell.knows(&asked);
            assert_eq!(
                known,
                ["claude-glm", "qwen-deep-2", "claude-native", "aider-last", "claude-fleet"],
                "{:?} {form:?}",
                shell.command
            );
        }
        assert_eq!(shell.launch("qwen-deep-2", &["x"]), ["run", "--mode", "deep-2", "--", "qwen", "x"]);
    }
}

#[test]
fn the_persons_file_is_found_where_they_say() {
    for shell in shells() {
        fs::create_dir_all(shell.path("xdg/fleetgate")).unwrap();
        fs::write(shell.path("xdg/fleetgate/modes.toml"), "[mode.xdg]\n").unwrap();
        fs::write(shell.path("named file"), "[mode.named]\n").unwrap();
        let xdg = shell.path("xdg").display().to_string();
        let named = shell.path("named file").display().to_string();
        for (environment, launcher) in [
            (vec![("XDG_CONFIG_HOME", xdg.as_str())], "claude-xdg"),
            (vec![("XDG_CONFIG_HOME", &xdg), ("FLEETGATE_MODES", &named)], "claude-named"),
        ] {
            shell.assert_silent(&shell.run(launcher, &[], &environment), launcher);
            assert_eq!(fields(&shell.path("arguments"))[..2], ["run", "--mode"], "{:?}", shell.command);
        }
    }
}

#[test]
fn no_name_is_ever_evaluated() {
    let trap = |here: &Path| {
        let touch = format!("touch {}/pwned", here.display());
        let names = [
            format!("$({touch})"),
            format!("`{touch}`"),
            format!("a;{touch};"),
            format!("a() {{ :; }}; {touch}; b"),
            format!("a={touch}"),
            format!("a\"; {touch}; \""),
            format!("a'; {touch}; '"),
            format!("a\\\n{touch}"),
            "a$IFS".to_owned(),
            "*".to_owned(),
            "../x".to_owned(),
            "Großbuchstaben".to_owned(),
            "-rf".to_owned(),
            String::new(),
        ];
        names.map(|name| format!("[mode.{name}]\nenabled = false\n[mode.\"{name}\"]\n")).concat()
    };
    for shell in shells() {
        let text = trap(shell.directory.path());
        let broken: [&[u8]; 6] = [
            text.as_bytes(),
            b"[mode.\0x]\n[mode.y]\n",
            b"\xff\xfe[mode.z]\n",
            b"[mode.",
            b"]\n[mode.]]\n=\n[",
            &[b'['; 5000],
        ];
        for text in broken {
            shell.own_modes(text);
            shell.assert_silent(&shell.run("claude-glm", &[], &[("LC_ALL", "C.UTF-8")]), "hostile modes");
            assert_eq!(
                fields(&shell.path("arguments")),
                ["run", "--mode", "glm", "--", "claude"],
                "{:?}",
                shell.command
            );
            assert!(!shell.path("pwned").exists(), "{:?}", shell.command);
        }
    }
}

#[test]
fn a_file_of_modes_that_is_none_is_passed_over() {
    for shell in shells() {
        for place in ["/dev/zero", "/", "/nonexistent/x"] {
            shell.assert_silent(&shell.run("claude-glm", &[], &[("FLEETGATE_MODES", place)]), place);
        }
        let pipe = shell.path("pipe");
        assert!(Command::new("mkfifo").arg(&pipe).status().unwrap().success());
        shell.assert_silent(
            &shell.run("claude-glm", &[], &[("FLEETGATE_MODES", &pipe.display().to_string())]),
            "a FIFO",
        );
    }
}

#[test]
fn an_alias_of_the_same_name_gives_way() {
    for shell in shells().filter(|shell| !shell.is_fish()) {
        let expand = if shell.command[0] == "bash" { "shopt -s expand_aliases\n" } else { "" };
        let block = shell.block();
        let body = format!("{expand}alias claude-glm='echo old alias'\n. '{}'\nclaude-glm new", block.display());
        shell.assert_silent(&shell.run(&body, &[], &[]), "with an alias");
        assert_eq!(fields(&shell.path("arguments")).last().unwrap(), "new", "{:?}", shell.command);
    }
}

#[test]
fn scripts_of_shells_that_allow_the_names_get_functions() {
    for shell in shells().filter(Shell::has_functions) {
        let show = if shell.is_fish() { "functions claude-glm" } else { "typeset -f claude-glm" };
        let output = shell.run(show, &[], &[]);
        assert!(output.status.success() && !output.stdout.is_empty(), "{:?}: {output:?}", shell.command);
    }
}

#[test]
fn no_option_of_zsh_changes_a_launcher() {
    // `sourcetrace` is there to be seen; the others cannot be changed, or are not about reading code.
    let script = r#"
for option in ${(k)options}; do
  case $option in
    interactive|privileged|shinstdin|stdin|singlecommand|onecmd|restricted|exec|noexec|xtrace|verbose|monitor|zle|login|sourcetrace) continue ;;
  esac
  said=$(
    if [[ $options[$option] = on ]]; then unsetopt $option; else setopt $option; fi
    . $BLOCK
    . $BLOCK
    claude-glm "a b" 'c*' 2>&1
  ) 2>&1
  [[ -z $said ]] || print -r -- "$option: $said"
  [[ "$(tr '\0' '|' <$HOME/arguments)" = 'run|--mode|glm|--|claude|a b|c*|' ]] || print -r -- "$option: other arguments"
  : >$HOME/arguments
done
"#;
    for shell in shells().filter(|shell| shell.command[0] == "zsh") {
        fs::write(shell.path("options"), script).unwrap();
        let block = shell.block().display().to_string();
        let output = shell.process(&[("BLOCK", &block)]).arg(shell.path("options")).output().unwrap();
        shell.assert_silent(&output, "every option");
    }
}

/// Within a process namespace of its own the next process's number tells how many there were before it.
#[test]
fn sourcing_starts_no_process() {
    for shell in shells() {
        shell.own_modes(b"[mode.mine]\n[mode.kimi]\nenabled = false\n");
        let source = if shell.is_fish() { "source" } else { "." };
        // fish has a thread for command substitutions, also of builtins, and threads have numbers too.
        fs::write(shell.path("empty"), if shell.is_fish() { "set -l one (string trim one)\n" } else { "" }).unwrap();
        let numbers = [shell.path("empty"), shell.block()].map(|file| {
            let script = shell.path("script");
            fs::write(&script, format!("{source} '{}'\n/bin/sh -c 'echo $$'\ntrue\n", file.display())).unwrap();
            let mut namespace = Command::new("unshare");
            namespace.args(["--user", "--map-root-user", "--pid", "--fork", "--kill-child"]).arg(&shell.program);
            namespace.args(&shell.command[1..]).arg(script).env("HOME", shell.directory.path());
            namespace.output().ok().filter(|output| output.status.success()).map(|output| output.stdout)
        });
        let [empty, ours] = numbers;
        if empty.is_none() {
            eprintln!("skipped: no process namespaces here");
            return;
        }
        assert_eq!(empty, ours, "{:?}", shell.command);
    }
}

#[test]
fn the_linters_have_no_complaint() {
    let scripts = |directory: &str| {
        let entries = fs::read_dir(workspace().join(directory)).into_iter().flatten();
        entries.map(|entry| entry.unwrap().path()).filter(|path| path.extension().is_some_and(|suffix| suffix == "sh"))
    };
    let scripts: Vec<PathBuf> = scripts("shell").chain(scripts("install")).collect();
    let fish = [workspace().join("shell/fleetgate.fish")];
    let block = [workspace().join("sidecar/src/shell/block.sh.golden")];
    let linters: [(&[&str], &[PathBuf]); 5] = [
        // Scripts take in others by their paths from the repository's root.
        (&["shellcheck", "-x"], &scripts),
        // The file that the block reads is not there.
        (&["shellcheck", "-s", "sh", "-e", "SC1091"], &block),
        (&["shfmt", "-ln", "posix", "-i", "2", "-ci", "-bn", "-d"], &block),
        (&["shfmt", "-i", "2", "-ci", "-bn", "-d"], &scripts),
        (&["fish_indent", "--check"], &fish),
    ];
    for (linter, files) in linters.into_iter().filter(|(linter, _)| installed(linter[0]).is_some()) {
        let output = Command::new(linter[0]).args(&linter[1..]).args(files).current_dir(workspace()).output().unwrap();
        assert!(output.status.success(), "{linter:?}: {}", String::from_utf8_lossy(&output.stdout));
    }
}
