//! Completions and man pages of both programs, read by the shells and programs that they are for.

#![allow(clippy::unwrap_used, reason = "a broken expectation is a failed test")]
#![allow(clippy::print_stdout, reason = "a skipped test says so on stdout")]

use std::fs;
use std::path::Path;
use std::process::{Command, Output};

use fleetgate_tests::binaries::{binary, workspace};

const PROGRAMS: [&str; 2] = ["fleetgate", "fleetgate-gateway"];

fn completions(program: &str, shell: &str, directory: &Path) -> String {
    let output = Command::new(binary(program)).args(["completions", shell]).output().unwrap();
    assert!(output.status.success() && output.stderr.is_empty(), "{output:?}");
    let file = directory.join(format!("{program}.{shell}"));
    fs::write(&file, output.stdout).unwrap();
    file.display().to_string()
}

/// What a program made of it, or nothing where it is not installed.
fn run(command: &mut Command) -> Option<Output> {
    let name = command.get_program().display().to_string();
    let output = command.output();
    if output.is_err() {
        println!("skipped: {name} is not installed");
    }
    output.ok()
}

#[test]
fn bash_completes_subcommands_and_flags() {
    let directory = tempfile::tempdir().unwrap();
    for (program, words, offered) in [
        ("fleetgate", &["fleetgate", ""][..], "whoami"),
        ("fleetgate", &["fleetgate", "sidecar", "--gateway-p"], "--gateway-patience"),
        ("fleetgate-gateway", &["fleetgate-gateway", "config", "ch"], "check"),
    ] {
        let file = completions(program, "bash", directory.path());
        let last = words.len() - 1;
        let script = format!(
            r#"source {file}
COMP_WORDS=('{}'); COMP_CWORD={last}
function=$(complete -p {program} | sed 's/.*-F \([^ ]*\).*/\1/')
"$function" {program} "${{COMP_WORDS[{last}]}}" "${{COMP_WORDS[{last} - 1]}}"
printf '%s\n' "${{COMPREPLY[@]}}""#,
            words.join("' '")
        );
        let Some(output) = run(Command::new("bash").args(["--noprofile", "--norc", "-c", &script])) else { return };
        let said = String::from_utf8_lossy(&output.stdout);
        assert!(said.lines().any(|line| line == offered) && output.stderr.is_empty(), "{words:?}: {output:?}");
        assert!(!said.lines().any(|line| line == "man"), "what is hidden was offered: {said}");
    }
}

#[test]
fn zsh_and_fish_read_their_completions_without_a_word() {
    let directory = tempfile::tempdir().unwrap();
    for program in PROGRAMS {
        for shell in ["zsh", "fish"] {
            let file = completions(program, shell, directory.path());
            let Some(output) = run(Command::new(shell).args(["-n", &file])) else { continue };
            assert!(output.status.success() && output.stderr.is_empty(), "{file}: {output:?}");
        }
    }
}

/// What has been typed, and what must be offered for it.
const TYPED: [(&str, &str); 5] = [
    ("fleetgate ", "whoami"),
    ("fleetgate shell ", "install"),
    ("fleetgate sidecar --gateway-p", "--gateway-patience"),
    ("fleetgate-gateway ", "serve"),
    ("fleetgate-gateway config ch", "check"),
];

#[test]
fn zsh_offers_commands_and_flags_at_a_tab_and_nothing_hidden() {
    let directory = tempfile::tempdir().unwrap();
    for program in PROGRAMS {
        let file = completions(program, "zsh", directory.path());
        fs::rename(file, directory.path().join(format!("_{program}"))).unwrap();
    }
    let tab = workspace().join("tests/tests/shells/tab.zsh");
    for (typed, expected) in TYPED {
        let mut zsh = Command::new("zsh");
        zsh.arg("-f").arg(&tab).arg(directory.path()).arg(typed).env("TERM", "dumb");
        let Some(output) = run(&mut zsh) else { return };
        let said = String::from_utf8_lossy(&output.stdout);
        // The terminal echoes what was typed before the first of them.
        let offered: Vec<&str> =
            said.lines().filter_map(|line| line.split_once("<offered> ")).map(|(_, it)| it).collect();
        assert!(offered.contains(&expected) && !offered.contains(&"man"), "{typed:?}: {output:?}");
    }
}

#[test]
fn fish_offers_commands_and_flags_at_a_tab_and_nothing_hidden() {
    let directory = tempfile::tempdir().unwrap();
    for (typed, expected) in TYPED {
        let program = typed.split(' ').next().unwrap();
        let file = completions(program, "fish", directory.path());
        let asked = format!("source {file}; complete --do-complete '{typed}'");
        let Some(output) = run(Command::new("fish").args(["--no-config", "-c", &asked])) else { return };
        let said = String::from_utf8_lossy(&output.stdout);
        let offered: Vec<&str> = said.lines().filter_map(|line| line.split('\t').next()).collect();
        assert!(offered.contains(&expected) && !offered.contains(&"man"), "{typed:?}: {output:?}");
    }
}

#[test]
fn each_subcommand_has_a_page_that_groff_renders_without_a_warning() {
    for program in PROGRAMS {
        let directory = tempfile::tempdir().unwrap();
        let pages = directory.path().join("new/man1");
        let made = Command::new(binary(program)).arg("man").arg("--directory").arg(&pages).output().unwrap();
        assert!(made.status.success(), "{made:?}");
        let mut names: Vec<_> = fs::read_dir(&pages).unwrap().map(|entry| entry.unwrap().path()).collect();
        names.sort();
        assert!(names.iter().any(|path| path.ends_with(format!("{program}.1"))) && names.len() > 5, "{names:?}");
        assert!(!names.iter().any(|path| path.ends_with(format!("{program}-man.1"))), "a page for what is hidden");
        for page in names {
            let mut groff = Command::new("groff");
            let Some(output) = run(groff.args(["-man", "-Tutf8", "-ww", "-K", "utf8"]).arg(&page)) else { return };
            assert!(output.status.success() && output.stderr.is_empty(), "{}: {output:?}", page.display());
            let Some(output) = run(Command::new("man").args(["--warnings", "-l"]).arg(&page)) else { return };
            assert!(output.status.success() && output.stderr.is_empty(), "{}: {output:?}", page.display());
            let text = fs::read_to_string(&page).unwrap();
            let title = page.file_stem().unwrap().to_string_lossy().to_uppercase();
            assert!(text.contains(&format!(".TH \"{title}\" \"1\"")), "{}", page.display());
        }
    }
}
