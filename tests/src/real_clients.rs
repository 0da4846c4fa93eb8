//! The clients that people use, at the versions of `tests/clients`, installed once below the target directory.

use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::Command;

use crate::binaries::{target, workspace};
use crate::gateway::{Gateway, MASTER_KEY};

/// Python's SDKs: the interpreter that has them.
///
/// `None`, with a printed line, when the registry cannot be reached and this is no CI.
///
/// # Panics
/// When they cannot be installed for another reason, or in CI.
#[must_use]
pub fn python() -> Option<PathBuf> {
    Some(venv("python", "requirements.txt")?.join("python"))
}

/// aider: the directory with its program in it. Its pins bear no other package beside them, hence a place of its own.
///
/// `None`, with a printed line, when the registry cannot be reached and this is no CI.
///
/// # Panics
/// When it cannot be installed for another reason, or in CI.
#[must_use]
pub fn aider() -> Option<PathBuf> {
    venv("aider", "aider.txt")
}

/// The programs of a virtual environment with these pins.
fn venv(name: &str, pins: &str) -> Option<PathBuf> {
    let pins = workspace().join("tests/clients").join(pins);
    let venv = target().join("clients").join(name);
    let programs = venv.join("bin");
    let mut create = Command::new("python3");
    create.args(["-m", "venv", "--clear"]).arg(&venv);
    let mut install = Command::new(programs.join("python"));
    install.args(["-m", "pip", "install", "--quiet", "--disable-pip-version-check", "-r"]).arg(&pins);
    installed(name, &pins, vec![create, install]).then_some(programs)
}

/// Node's SDKs, and the launchers that are packages of Node with the Node that the youngest of them needs: the directory with
/// `node_modules` in it.
///
/// `None`, with a printed line, when the registry cannot be reached and this is no CI.
///
/// # Panics
/// When they cannot be installed for another reason, or in CI.
#[must_use]
pub fn node() -> Option<PathBuf> {
    let pins = workspace().join("tests/clients/package.json");
    let prefix = target().join("clients/node");
    fs::create_dir_all(&prefix).expect("the target directory is writable");
    fs::copy(&pins, prefix.join("package.json")).expect("the target directory is writable");
    let mut install = Command::new("npm");
    install.args(["install", "--no-audit", "--no-fund", "--no-package-lock", "--loglevel=error"]);
    install.current_dir(&prefix);
    installed("node", &pins, vec![install]).then_some(prefix)
}

/// A script of `tests/clients`.
#[must_use]
pub fn script(name: &str) -> PathBuf {
    workspace().join("tests/clients").join(name)
}

/// How many calls a gateway's budgets have refused.
///
/// # Panics
/// When it cannot be asked.
pub async fn refusals(gateway: &Gateway) -> u64 {
    let page = gateway.get("/metrics").bearer(MASTER_KEY).send().await.expect(200).text();
    let samples = page.lines().filter(|line| line.starts_with("fleetgate_budget_refusals_total{"));
    samples.filter_map(|line| line.rsplit(' ').next()?.parse::<u64>().ok()).sum()
}

/// Runs the commands unless they have been run for these pins. Tests of other processes wait meanwhile.
fn installed(name: &str, pins: &Path, commands: Vec<Command>) -> bool {
    let dir = target().join("clients");
    fs::create_dir_all(&dir).expect("the target directory is writable");
    let lock = File::create(dir.join(format!("{name}.lock"))).expect("the target directory is writable");
    lock.lock().expect("files can be locked");
    let done = dir.join(format!("{name}.installed"));
    let wanted = fs::read(pins).expect("the pins are there");
    if fs::read(&done).is_ok_and(|found| found == wanted) {
        return true;
    }
    for mut command in commands {
        let output = command.output().unwrap_or_else(|error| panic!("{command:?}: {error}; run tests/run.sh"));
        if !output.status.success() {
            let said = String::from_utf8_lossy(&output.stderr);
            let offline = is_offline(&said) && std::env::var_os("CI").is_none();
            assert!(offline, "{command:?}:\n{said}");
            println!("SKIPPED: the package registry cannot be reached: {}", said.lines().last().unwrap_or_default());
            return false;
        }
    }
    fs::write(done, wanted).expect("the target directory is writable");
    true
}

/// Whether pip or npm failed for want of a network, in their own words.
fn is_offline(said: &str) -> bool {
    let words = [
        "ENOTFOUND",
        "ECONNREFUSED",
        "ETIMEDOUT",
        "EAI_AGAIN",
        "ENETUNREACH",
        "NewConnectionError",
        "ConnectTimeoutError",
        "Temporary failure in name resolution",
        "No matching distribution found",
    ];
    words.iter().any(|word| said.contains(word))
}
