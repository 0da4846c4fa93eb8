//! Where a launcher's command lies, and its version.

use std::fs;
use std::io::Read;
use std::os::unix::fs::PermissionsExt;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::mpsc;
use std::thread;
use std::time::Duration;

use rustix::process::{Pid, Signal, kill_process_group};
use serde_json::Value;

use super::surroundings::Surroundings;
use crate::launch::Launcher;

/// How long a command may take to say its version.
const PATIENCE: Duration = Duration::from_secs(2);
/// The longest answer that is read.
const MAX_ANSWER: u64 = 4096;
/// How far above a command its package may lie: `node_modules/@openai/codex/bin/codex.js`.
const MAX_DEPTH: usize = 4;

/// A command on the `PATH`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Installed {
    /// As the `PATH` names it.
    pub path: PathBuf,
    /// Its version, where it can be told.
    pub version: Option<String>,
}

/// Looks for a launcher's command. Its version is read from the package around it; where there is none, the command is asked.
#[must_use]
pub fn installed(launcher: Launcher, surroundings: &Surroundings) -> Option<Installed> {
    let path = surroundings.variable("PATH")?;
    let is_program = |path: &PathBuf| {
        fs::metadata(path).is_ok_and(|found| found.is_file() && found.permissions().mode() & 0o111 != 0)
    };
    let path = std::env::split_paths(path).map(|place| place.join(launcher.command())).find(is_program)?;
    let real = fs::canonicalize(&path).unwrap_or_else(|_| path.clone());
    let version = in_its_name(&real)
        .or_else(|| in_package(&real, package(launcher)))
        .or_else(|| in_python(&real, package(launcher)))
        .or_else(|| asked(&path, surroundings));
    Some(Installed { path, version })
}

/// As its registry calls it.
fn package(launcher: Launcher) -> &'static str {
    match launcher {
        Launcher::Claude => "@anthropic-ai/claude-code",
        Launcher::Codex => "@openai/codex",
        Launcher::Gemini => "@google/gemini-cli",
        Launcher::Opencode => "opencode-ai",
        Launcher::Aider => "aider_chat",
        Launcher::Qwen => "@qwen-code/qwen-code",
    }
}

/// Claude Code's own installer calls the program by its version: `…/claude/versions/2.1.330`.
fn in_its_name(real: &Path) -> Option<String> {
    let name = real.file_name()?.to_str()?;
    (name.split('.').count() == 3 && version_in(name).as_deref() == Some(name)).then(|| name.to_owned())
}

/// The `package.json` around a command.
fn in_package(real: &Path, name: &str) -> Option<String> {
    let files = real.ancestors().skip(1).take(MAX_DEPTH).map(|directory| directory.join("package.json"));
    files.filter_map(|file| serde_json::from_str::<Value>(&fs::read_to_string(file).ok()?).ok()).find_map(|package| {
        let is_it = package["name"] == name;
        is_it.then(|| package["version"].as_str().map(str::to_owned)).flatten()
    })
}

/// `bin/aider` has `lib/python3.12/site-packages/aider_chat-0.86.2.dist-info` beside it.
fn in_python(real: &Path, name: &str) -> Option<String> {
    let libraries = fs::read_dir(real.parent()?.parent()?.join("lib")).ok()?.flatten();
    let packages = libraries.filter_map(|library| fs::read_dir(library.path().join("site-packages")).ok());
    packages.flat_map(Iterator::flatten).find_map(|entry| {
        let found = entry.file_name();
        let version = found.to_str()?.strip_prefix(name)?.strip_prefix('-')?.strip_suffix(".dist-info")?;
        Some(version.to_owned())
    })
}

/// What `--version` answers. Whatever the command is, it gets little of the environment and little time.
fn asked(path: &Path, surroundings: &Surroundings) -> Option<String> {
    let mut command = Command::new(path);
    command.arg("--version").env_clear().stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::null());
    command.envs(["PATH", "HOME"].into_iter().filter_map(|name| Some((name, surroundings.variable(name)?))));
    let mut child = command.process_group(0).spawn().ok()?;
    let stdout = child.stdout.take()?;
    let (tell, told) = mpsc::channel();
    // It ends with the pipe, at the latest when the command is killed.
    thread::spawn(move || {
        let mut answer = String::new();
        let _partial = stdout.take(MAX_ANSWER).read_to_string(&mut answer);
        let _late = tell.send(answer);
    });
    let answer = told.recv_timeout(PATIENCE).ok();
    // With whatever it has started.
    let _ended = kill_process_group(Pid::from_child(&child), Signal::KILL);
    let _reaped = child.wait();
    version_in(&answer?)
}

/// The first word of the form `1.2.3`.
fn version_in(text: &str) -> Option<String> {
    let is_version = |word: &&str| {
        let parts: Vec<&str> = word.split('.').collect();
        parts.len() >= 3 && parts[..2].iter().all(|part| !part.is_empty() && part.bytes().all(|b| b.is_ascii_digit()))
    };
    let words = text.split(|c: char| c.is_whitespace() || c == '(' || c == ',');
    let mut words = words.map(|word| word.trim_start_matches('v'));
    let found = words.find(is_version)?;
    let is_plain = found.chars().all(|c| c.is_ascii_alphanumeric() || ['.', '-', '+'].contains(&c));
    is_plain.then(|| found.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_version_is_found_among_other_words() {
        for (said, version) in [
            ("2.1.330 (Claude Code)\n", Some("2.1.330")),
            ("codex-cli 0.169.0", Some("0.169.0")),
            ("aider v0.86.2", Some("0.86.2")),
            ("usage: thing", None),
            ("1.2", None),
            ("1.2.\u{1b}[31m", None),
        ] {
            assert_eq!(version_in(said).as_deref(), version, "{said}");
        }
    }
}
