//! What the synced files cost a shell at its start: sourcing ours beside sourcing an empty file, in one process of each installed shell.
//! `cargo bench -p fleetgate-tests --bench shell`
#![allow(clippy::print_stdout, reason = "a benchmark prints")]
#![allow(clippy::expect_used, reason = "a benchmark that cannot run says so")]

use std::fs;
use std::path::Path;
use std::process::Command;
use std::time::{Duration, Instant};

use fleetgate_tests::binaries::workspace;

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
/// How often a process sources the file, and how many processes do so; the fastest counts, since others only slow it down.
const TIMES: u32 = 200;
const PROCESSES: usize = 15;

fn main() {
    let directory = tempfile::tempdir().expect("a temporary directory");
    let empty = directory.path().join("empty");
    fs::write(&empty, "").expect("written");
    fs::create_dir_all(directory.path().join(".config/fleetgate")).expect("made");
    let own = "[mode.mine]\nmodel = \"mine\"\ncontext_tokens = 100000\n\n[mode.kimi]\nenabled = false\n";
    fs::write(directory.path().join(".config/fleetgate/modes.toml"), own).expect("written");

    println!("{:<14} {:>10} {:>10} {:>8}", "shell", "empty µs", "ours µs", "ratio");
    for shell in SHELLS {
        let ours = workspace().join(if shell[0] == "fish" { "shell/fleetgate.fish" } else { "shell/fleetgate.sh" });
        // Turn by turn, so that a busy moment of the machine meets both.
        let mut fastest = [Duration::MAX; 3];
        for _ in 0..PROCESSES {
            for (best, file) in fastest.iter_mut().zip([None, Some(&empty), Some(&ours)]) {
                let Some(taken) = run(shell, directory.path(), file.map(|file| file.as_path())) else { break };
                *best = taken.min(*best);
            }
        }
        let name = if shell == ["bash", "--posix"] { "bash --posix" } else { shell[0] };
        if fastest[2] == Duration::MAX {
            println!("{name:<14} skipped, it is not installed");
            continue;
        }
        let once = |at: usize| fastest[at].saturating_sub(fastest[0]).as_secs_f64() * 1e6 / f64::from(TIMES);
        println!("{name:<14} {:>10.1} {:>10.1} {:>8.1}", once(1), once(2), once(2) / once(1).max(0.1));
    }
}

/// One process that sources the file many times, or with `None` does nothing as often.
fn run(shell: &[&str], home: &Path, file: Option<&Path>) -> Option<Duration> {
    let is_fish = shell[0] == "fish";
    let step = match file {
        None if is_fish => "true".to_owned(),
        None => ":".to_owned(),
        Some(file) if is_fish => format!("source '{}'", file.display()),
        Some(file) => format!(". '{}'", file.display()),
    };
    let script = match is_fish {
        true => format!("for i in (seq {TIMES}); {step}; end"),
        false => format!("i=0; while [ $i -lt {TIMES} ]; do {step}; i=$((i+1)); done"),
    };
    let mut command = Command::new(shell[0]);
    command.args(&shell[1..]).args(["-c", &script]).env_clear().env("HOME", home).env("PATH", "/usr/bin:/bin");
    let start = Instant::now();
    let status = command.status().ok()?;
    let taken = start.elapsed();
    assert!(status.success(), "{shell:?}: {status}");
    Some(taken)
}
