//! `fleetgate shell` in whole homes: which files it chooses, that the launchers are there in the shells that a person opens, that nothing
//! is left afterwards, and what `status` and `check` say.
#![allow(clippy::unwrap_used, reason = "a helper of a test fails by panicking")]

use std::fs;
use std::os::unix::fs::symlink;
use std::process::Stdio;

use fleetgate_tests::PersonsHome;
use fleetgate_tests::binaries::{binary, workspace};
use fleetgate_tests::home::not_installed;
use serde_json::{Value, json};

const COPIES: &str = ".local/share/fleetgate";

/// A home as people have them.
fn lived_in() -> PersonsHome {
    let home = PersonsHome::new("bash");
    home.write(".bashrc", "alias ll='ls -l'\n");
    home.write(".profile", "[ -f ~/.bashrc ] && . ~/.bashrc\n");
    home.write("dotfiles/zshrc", "bindkey -e");
    symlink("dotfiles/zshrc", home.path(".zshrc")).unwrap();
    home.write(".config/fish/config.fish", "set -g fish_greeting\n");
    home
}

#[test]
fn what_the_person_uses_gets_a_block_and_nothing_is_left_afterwards() {
    let home = lived_in();
    let before = home.state();
    let said = home.succeed(&["install"]);
    for file in [".bashrc", "dotfiles/zshrc", ".config/fish/conf.d/fleetgate.fish"] {
        assert_eq!(home.read(file).matches(">>> fleetgate >>>").count(), 1, "{file}: {said}");
    }
    assert!(!home.read(".profile").contains("fleetgate"), "it reads .bashrc");
    assert!(home.path(".zshrc").is_symlink());
    for (copy, shipped) in [("fleetgate.sh", "shell"), ("fleetgate.fish", "shell"), ("modes.toml", "shell")] {
        assert_eq!(
            home.read(&format!("{COPIES}/{copy}")),
            fs::read_to_string(workspace().join(shipped).join(copy)).unwrap()
        );
    }
    let _ = home.succeed(&["uninstall"]);
    assert_eq!(home.state(), before);
}

#[test]
fn a_new_home_gets_its_files_and_loses_them_again() {
    for (shell, files) in [
        ("bash", &[".bashrc", ".profile"][..]),
        ("zsh", &[".zshrc"]),
        ("fish", &[".config/fish/conf.d/fleetgate.fish"]),
    ] {
        let home = PersonsHome::new(shell);
        let _ = home.succeed(&["install"]);
        for file in files {
            assert!(home.read(file).contains(" new-file"), "{shell}: {file}");
        }
        let _ = home.succeed(&["uninstall"]);
        assert!(home.state().is_empty(), "{shell}: {:?}", home.state());
    }
}

#[test]
fn a_file_that_was_made_and_then_used_stays() {
    let home = PersonsHome::new("zsh");
    let _ = home.succeed(&["install"]);
    home.write(".zshrc", home.read(".zshrc") + "bindkey -e\n");
    let _ = home.succeed(&["uninstall"]);
    assert_eq!(home.read(".zshrc"), "bindkey -e\n");
}

#[test]
fn the_last_block_takes_the_copies_with_it() {
    let home = lived_in();
    home.write("elsewhere/common.sh", "");
    let _ = home.succeed(&["install", "--file", "elsewhere/common.sh"]);
    let _ = home.succeed(&["install", "--shell", "zsh,bash"]);
    let _ = home.succeed(&["uninstall", "--shell", "bash"]);
    let _ = home.succeed(&["uninstall", "--shell", "zsh"]);
    assert!(home.path(COPIES).join("fleetgate.sh").exists(), "elsewhere/common.sh still reads it");
    let said = home.succeed(&["uninstall"]);
    assert!(said.contains("~/elsewhere/common.sh: block taken out"), "{said}");
    assert!(!home.path(".local").exists());
}

#[test]
fn a_file_that_somebody_removed_leaves_nothing_behind() {
    let home = lived_in();
    let _ = home.succeed(&["install", "--shell", "bash,zsh"]);
    fs::remove_file(home.path(".bashrc")).unwrap();
    let _ = home.succeed(&["uninstall"]);
    assert!(!home.path(".local").exists());
}

#[test]
fn what_the_installer_put_beside_the_copies_is_its_own() {
    let home = lived_in();
    home.write(&format!("{COPIES}/installed-sidecar"), "file x\n");
    home.write(&format!("{COPIES}/fleetgate.sh"), "# older\n");
    let _ = home.succeed(&["install"]);
    assert!(home.read(&format!("{COPIES}/fleetgate.sh")).contains("fleetgate run"), "it is brought up to date");
    let _ = home.succeed(&["uninstall"]);
    for file in ["installed-sidecar", "fleetgate.sh"] {
        assert!(home.path(COPIES).join(file).exists(), "{file}");
    }
    assert!(!home.path(COPIES).join("blocks").exists());
}

#[test]
fn a_directory_of_copies_that_others_may_write_is_not_trusted() {
    use std::os::unix::fs::PermissionsExt;
    let home = lived_in();
    fs::create_dir_all(home.path(COPIES)).unwrap();
    fs::set_permissions(home.path(COPIES), fs::Permissions::from_mode(0o777)).unwrap();
    let before = home.state();
    let said = home.fail(1, &["install"]);
    assert!(said.contains("may be written by others (mode 0777)") && said.contains("chmod go-w"), "{said}");
    assert_eq!(home.state(), before);
}

/// The shells as a person opens them; each must know a launcher and say nothing else.
#[test]
fn the_shells_that_a_person_opens_know_the_launchers() {
    let home = lived_in();
    let _ = home.succeed(&["install"]);
    home.write(".shrc", "");
    let mut sh = home.command(binary("fleetgate"));
    let installed = sh.args(["shell", "install", "--shell", "sh"]).env("ENV", "$HOME/.shrc").output().unwrap();
    assert!(installed.status.success(), "{installed:?}");
    for (program, options) in [
        ("bash", &["-i"][..]),
        ("bash", &["-l"]),
        ("zsh", &["-i"]),
        ("fish", &[]),
        ("dash", &["-i"]),
        ("busybox", &["sh", "-i"]),
        ("mksh", &["-i"]),
        ("ksh93", &["-i"]),
    ] {
        let mut shell = home.command(program);
        let look = if program == "fish" { "type claude-glm" } else { "command -v claude-glm" };
        shell.args(options).args(["-c", look]).env("ENV", home.path(".shrc")).stdin(Stdio::null());
        match shell.output() {
            Ok(output) => {
                let said = String::from_utf8_lossy(&output.stdout);
                assert!(output.status.success() && said.contains("glm"), "{program} {options:?}: {output:?}");
            }
            Err(_) => not_installed(program),
        }
    }
}

#[test]
fn a_synced_file_is_silent_where_nothing_is_installed() {
    let home = lived_in();
    let _ = home.succeed(&["install"]);
    fs::remove_dir_all(home.path(".local")).unwrap();
    for (program, options, file) in [
        ("bash", &["--norc"][..], ".bashrc"),
        ("zsh", &["-f"], ".bashrc"),
        ("dash", &[], ".bashrc"),
        ("busybox", &["sh"], ".bashrc"),
        ("mksh", &[], ".bashrc"),
        ("ksh93", &[], ".bashrc"),
        ("fish", &["--no-config"], ".config/fish/conf.d/fleetgate.fish"),
    ] {
        for with_home in [true, false] {
            let mut shell = home.command(program);
            let strict = if program == "fish" { "source" } else { "set -eu; ." };
            shell.args(options).arg("-c").arg(format!("{strict} '{}'", home.path(file).display()));
            if !with_home {
                shell.env_remove("HOME").env_remove("SHELL");
            }
            match shell.output() {
                Ok(output) => {
                    let is_silent = output.stdout.is_empty() && output.stderr.is_empty();
                    assert!(output.status.success() && is_silent, "{program} home={with_home}: {output:?}");
                }
                Err(_) => not_installed(program),
            }
        }
    }
}

/// A home as macOS has it: zsh as login shell, whose files lie elsewhere, Homebrew in the files of login shells, and terminals that open
/// login shells.
#[test]
fn a_home_of_macos_gets_its_blocks_where_its_terminals_read_them() {
    let home = PersonsHome::new("zsh");
    home.write(".zshenv", "export ZDOTDIR=$HOME/.config/zsh\n");
    home.write(".config/zsh/.zprofile", "export BREW=1\n");
    home.write(".bash_profile", "export BREW=1\n");
    home.write(".bashrc", "");
    home.write("xdg/fish/config.fish", "");
    let before = home.state();
    let run = |arguments: &[&str]| {
        let mut command = home.command(binary("fleetgate"));
        command.env("ZDOTDIR", home.path(".config/zsh")).env("XDG_CONFIG_HOME", home.path("xdg"));
        let output = command.arg("shell").args(arguments).output().unwrap();
        assert!(output.status.success(), "{output:?}");
    };
    run(&["install"]);
    for file in [".config/zsh/.zshrc", ".bashrc", ".bash_profile", "xdg/fish/conf.d/fleetgate.fish"] {
        assert_eq!(home.read(file).matches(">>> fleetgate >>>").count(), 1, "{file}");
    }
    for file in [".zshenv", ".config/zsh/.zprofile"] {
        assert!(!home.read(file).contains("fleetgate"), "{file} is read by scripts too, or before others");
    }
    for (program, options, is_known) in [
        ("zsh", &["-l", "-i"][..], true),
        ("zsh", &["-i"], true),
        ("zsh", &[], false),
        ("bash", &["-l"], true),
        ("bash", &["-i"], true),
        ("bash", &[], false),
        ("fish", &["-l"], true),
    ] {
        let mut shell = home.command(program);
        shell.args(options).args(["-c", "type claude-glm"]).env("XDG_CONFIG_HOME", home.path("xdg"));
        match shell.stdin(Stdio::null()).output() {
            Ok(output) => assert_eq!(output.status.success(), is_known, "{program} {options:?}: {output:?}"),
            Err(_) => not_installed(program),
        }
    }
    run(&["uninstall"]);
    // fish keeps files of its own.
    let fishs = ["xdg/fish", ".local", ".cache"].map(|place| home.path(place));
    let [before, after] = [before, home.state()].map(|mut state| {
        state.retain(|path, _| !fishs.iter().any(|place| path.starts_with(place)));
        state
    });
    assert_eq!(after, before);
    assert!(!home.path("xdg/fish/conf.d/fleetgate.fish").exists());
}

#[test]
fn xdg_directories_are_followed() {
    let home = PersonsHome::new("bash");
    home.write(".bashrc", "");
    let data = home.path("data");
    let run = |arguments: &[&str]| {
        let mut command = home.command(binary("fleetgate"));
        let output = command.arg("shell").args(arguments).env("XDG_DATA_HOME", &data).output().unwrap();
        assert!(output.status.success(), "{output:?}");
    };
    run(&["install"]);
    assert!(data.join("fleetgate/fleetgate.sh").exists() && !home.path(".local").exists());
    for (variable, is_known) in [(Some(&data), true), (None, false)] {
        let mut bash = home.command("bash");
        bash.args(["--norc", "-c", ". ~/.bashrc; command -v claude-glm"])
            .envs(variable.map(|data| ("XDG_DATA_HOME", data)));
        assert_eq!(bash.status().unwrap().success(), is_known);
    }
    run(&["uninstall"]);
    assert!(!data.exists());
}

#[test]
fn status_tells_every_state() {
    let home = lived_in();
    let state = |home: &PersonsHome, code: i32| -> Value {
        let output = home.fleetgate(&["status", "--json"]);
        assert_eq!(output.status.code(), Some(code), "{output:?}");
        serde_json::from_slice(&output.stdout).unwrap()
    };
    let states = |status: &Value| -> Vec<Value> {
        status["files"]
            .as_array()
            .unwrap()
            .iter()
            .map(|file| json!([file["shell"], file["state"], file["line"]]))
            .collect()
    };
    let fresh = state(&home, 0);
    assert_eq!(
        states(&fresh),
        [json!(["bash", "absent", null]), json!(["zsh", "absent", null]), json!(["fish", "absent", null])]
    );
    assert_eq!(fresh["copies"]["state"], "missing");

    let _ = home.succeed(&["install"]);
    let installed = state(&home, 0);
    assert_eq!(
        states(&installed),
        [json!(["bash", "current", 2]), json!(["zsh", "current", 2]), json!(["fish", "current", 1])]
    );
    assert_eq!(installed["copies"], json!({"directory": home.path(COPIES), "state": "current"}));
    assert_eq!(installed["block_version"], 1);

    home.write(".bashrc", home.read(".bashrc").replace("[ -r", "[ -f"));
    home.write(&format!("{COPIES}/fleetgate.sh"), "# older\n");
    fs::remove_file(home.path("dotfiles/zshrc")).unwrap();
    let spoilt = state(&home, 1);
    assert_eq!(states(&spoilt)[0], json!(["bash", "edited", 2]));
    assert_eq!(spoilt["files"][1]["state"], "unreadable");
    assert!(spoilt["files"][1]["problem"].as_str().unwrap().contains("which does not exist"), "{spoilt}");
    assert_eq!(spoilt["copies"]["state"], "different");
    let said = home.fail(1, &["status"]);
    assert!(
        said.contains("~/.bashrc: bash, edited, line 2") && said.contains("of another version, or edited"),
        "{said}"
    );
}

#[test]
fn a_dry_run_shows_and_changes_nothing() {
    let home = lived_in();
    let before = home.state();
    let said = home.succeed(&["install", "--dry-run"]);
    assert!(said.contains("\n+# >>> fleetgate >>> v1 ") && said.contains("+++ ~/.bashrc"), "{said}");
    assert_eq!(home.state(), before);
    assert!(home.fail(1, &["diff"]).contains("+++ ~/.bashrc"));
    let _ = home.succeed(&["install"]);
    assert_eq!(home.succeed(&["diff"]), "");
    let before = home.state();
    assert!(home.succeed(&["uninstall", "--dry-run"]).contains("\n-# <<< fleetgate <<<"));
    assert_eq!(home.state(), before);
}

#[test]
fn without_a_place_it_says_what_to_do() {
    let home = PersonsHome::new("sh");
    assert!(home.fail(2, &["install"]).contains("say --shell bash, zsh, fish or sh"));
    assert!(home.fail(2, &["install", "--shell", "sh"]).contains("ENV=$HOME/.shrc; export ENV"));
    assert!(home.fail(2, &["install", "--shell", "tcsh"]).contains("there is no block for \"tcsh\""));
    home.write(".zshenv", "export ZDOTDIR=~/.zsh\n");
    assert!(home.fail(2, &["install", "--shell", "zsh"]).contains("mentions ZDOTDIR"));
    let mut homeless = home.command(binary("fleetgate"));
    let output = homeless.args(["shell", "install"]).env_remove("HOME").output().unwrap();
    assert!(String::from_utf8_lossy(&output.stderr).contains("HOME is not set"), "{output:?}");
}

#[test]
fn check_judges_the_block_and_not_the_file() {
    let home = PersonsHome::new("bash");
    // zsh's own syntax around the block, and the shell that cannot read it is not asked.
    home.write(".zshrc", "for f in ~/x/*(N.); do . $f; done\n");
    let _ = home.succeed(&["install", "--shell", "zsh"]);
    let said = home.succeed(&["check", ".zshrc"]);
    assert!(
        said.contains(".zshrc: block at line 2, as it was written")
            && said.contains("  zsh: ")
            && !said.contains("bash"),
        "{said}"
    );
    let said = home.succeed(&["check", ".zshrc", "--shell", "bash,dash,busybox,mksh,ksh"]);
    assert!(said.contains("  bash: fine\n"), "{said}");

    home.write("plain", "if\n");
    assert_eq!(home.succeed(&["check", "plain"]), "plain: no block, nothing to check\n");
    assert!(home.fail(2, &["check", "nowhere"]).contains("nowhere does not exist"));
    assert!(home.fail(2, &["check", "plain", "--shell", "tcsh"]).contains("tcsh"));
}

#[test]
fn check_finds_what_a_shell_would_trip_over() {
    let home = PersonsHome::new("bash");
    for (body, words) in [
        ("() { local x; }", "  bash: does not parse: "),
        ("x=${HOSTNAME,,}; echo $x", "  bash: is not silent: "),
        ("return 3", "  bash: ends with exit status: 3"),
        ("if true; then :; fi\r", "  bash: does not parse: "),
    ] {
        home.write(".bashrc", format!("# >>> fleetgate >>>\n{body}\n# <<< fleetgate <<<\n"));
        let said = home.fail(1, &["check", ".bashrc"]);
        assert!(said.contains("written by hand") && said.contains(words), "{body}: {said}");
    }
    home.write(".bashrc", "# >>> fleetgate >>>\n");
    assert!(home.fail(1, &["check", ".bashrc"]).contains("a marker without its other half"));
    // Two blocks: each is tried, and one would be enough.
    home.write(".bashrc", "# >>> fleetgate >>>\n:\n# <<< fleetgate <<<\n".repeat(2));
    let said = home.succeed(&["check", ".bashrc"]);
    assert_eq!(said.matches("  bash: fine").count(), 2, "{said}");
    assert!(said.contains("2 blocks; one is enough"), "{said}");
}

#[test]
fn check_skips_a_shell_that_is_not_installed_and_leaves_nothing_behind() {
    let home = PersonsHome::new("bash");
    home.write(".profile", "");
    let _ = home.succeed(&["install", "--shell", "sh", "--file", ".profile"]);
    let _ = fs::create_dir(home.path("bin"));
    let _ = fs::create_dir(home.path("tmp"));
    symlink("/bin/sh", home.path("bin/sh")).unwrap();
    let mut check = home.command(binary("fleetgate"));
    let path = home.path("bin");
    let output =
        check.args(["shell", "check", ".profile"]).env("PATH", path).env("TMPDIR", home.path("tmp")).output().unwrap();
    let said = String::from_utf8_lossy(&output.stdout);
    assert!(output.status.success(), "{output:?}");
    assert!(said.contains("  sh: fine\n") && said.contains("  bash: skipped, it is not installed here\n"), "{said}");
    assert_eq!(fs::read_dir(home.path("tmp")).unwrap().count(), 0);
}
