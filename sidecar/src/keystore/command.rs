//! A key that a program prints: a password manager, say.

use std::process::Stdio;
use std::time::Duration;

use fleetgate_wire::SecretString;
use fleetgate_wire::invitation::INVITATION_PREFIX;
use tokio::io::AsyncReadExt;
use tokio::process::Command;
use tokio::time::timeout;

/// Longer than a password manager on a slow network takes, shorter than a person waits.
const LIMIT: Duration = Duration::from_secs(10);
/// A key has at most 256 characters.
const MAX_OUTPUT: u64 = 4096;

/// Why a program gave no key. What it printed is never repeated: it may be the key.
#[derive(Debug, thiserror::Error)]
pub enum CommandError {
    /// It cannot be started.
    #[error("{program} cannot be started: {source}")]
    Start {
        /// The program.
        program: String,
        /// The operating system's reason.
        source: std::io::Error,
    },
    /// It asks somebody, or waits for something.
    #[error(
        "{program} did not end within 10 s and was killed; it has no terminal to ask on: unlock it first, or use file:"
    )]
    Hung {
        /// The program.
        program: String,
    },
    /// It says that it failed.
    #[error("{program} failed ({status}); run it by hand to see why")]
    Failed {
        /// The program.
        program: String,
        /// How it ended.
        status: std::process::ExitStatus,
    },
}

/// Runs the program and reads what it prints. It gets no terminal, no input, no shell, and none of our own secrets.
///
/// # Errors
/// When it cannot be started, fails, or does not end in time.
pub(super) async fn read(words: &[String]) -> Result<SecretString, CommandError> {
    run(words, LIMIT).await
}

async fn run(words: &[String], limit: Duration) -> Result<SecretString, CommandError> {
    let (program, arguments) = words.split_first().map_or(("", [].as_slice()), |(first, rest)| (first.as_str(), rest));
    let program = program.to_owned();
    let start = |source| CommandError::Start { program: program.clone(), source };
    let mut command = Command::new(&program);
    command.args(arguments).stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::null());
    // A group of its own: the terminal, where there is one, is not this group's to read, and its children end with it.
    command.process_group(0).kill_on_drop(true);
    for (name, value) in std::env::vars_os() {
        if value.to_str().is_some_and(is_secret_of_ours) {
            command.env_remove(name);
        }
    }
    let mut child = command.spawn().map_err(start)?;
    let group = child.id().and_then(|id| i32::try_from(id).ok()).and_then(rustix::process::Pid::from_raw);
    let output = child.stdout.take();
    let all = async {
        let mut text = String::new();
        if let Some(output) = output {
            output.take(MAX_OUTPUT).read_to_string(&mut text).await?;
        }
        Ok((SecretString::from(text), child.wait().await?))
    };
    match timeout(limit, all).await {
        Err(_) => {
            if let Some(group) = group {
                // Whoever is gone already needs no signal.
                let _gone = rustix::process::kill_process_group(group, rustix::process::Signal::KILL);
            }
            Err(CommandError::Hung { program: program.clone() })
        }
        Ok(Err(error)) => Err(start(error)),
        Ok(Ok((_, status))) if !status.success() => Err(CommandError::Failed { program: program.clone(), status }),
        Ok(Ok((text, _))) => Ok(text),
    }
}

/// Keys, and invitations. A program that gives us a key needs none of them.
fn is_secret_of_ours(value: &str) -> bool {
    let value = value.trim();
    value.starts_with("sk-") || value.starts_with(INVITATION_PREFIX)
}

#[cfg(test)]
mod tests {
    use fleetgate_wire::ExposeSecret;

    use super::*;

    fn words(text: &[&str]) -> Vec<String> {
        text.iter().map(|word| (*word).to_owned()).collect()
    }

    #[tokio::test]
    async fn what_a_program_prints_is_read_and_no_shell_expands_anything() {
        let text = read(&words(&["echo", "$HOME", "a;b"])).await.unwrap();
        assert_eq!(text.expose_secret(), "$HOME a;b\n");
    }

    #[tokio::test]
    async fn a_program_that_fails_is_named_and_its_output_is_not_shown() {
        let error =
            read(&words(&["sh", "-c", "echo sk-canary-0123456789; echo canary >&2; exit 3"])).await.unwrap_err();
        assert!(error.to_string().contains("exit status: 3"), "{error}");
        assert!(!format!("{error} {error:?}").contains("canary"), "{error}");
        let missing = read(&words(&["/nowhere/op"])).await.unwrap_err();
        assert!(missing.to_string().contains("/nowhere/op cannot be started"), "{missing}");
    }

    #[tokio::test]
    async fn a_program_that_waits_is_killed_with_its_children() {
        let directory = tempfile::tempdir().unwrap();
        let pid = directory.path().join("pid");
        let script = format!("sleep 1000 & echo $! > {}; wait", pid.display());
        let error = run(&words(&["sh", "-c", &script]), Duration::from_millis(500)).await.unwrap_err();
        assert!(matches!(error, CommandError::Hung { .. }), "{error}");
        let Ok(pid) = std::fs::read_to_string(pid) else { return };
        // Its parent is gone, so whoever adopts it reaps it; a dead one that waits for that counts as gone.
        let is_gone = || {
            let stat = std::fs::read_to_string(format!("/proc/{}/stat", pid.trim()));
            stat.map_or(true, |stat| stat.rsplit(')').next().is_some_and(|rest| rest.trim_start().starts_with('Z')))
        };
        while !is_gone() {
            tokio::task::yield_now().await;
        }
    }
}
