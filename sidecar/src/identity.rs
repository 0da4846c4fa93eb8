//! Which host this is.
//!
//! Candidates in order: what the operator said, the label pinned in the state directory, the name macOS gives the machine on
//! its local network, the host name. The first usable one wins; all are kept, so that `fleetgate whoami` can say why.

use std::fs;
use std::io;
use std::path::Path;
use std::time::Duration;

use fleetgate_wire::host::{HostLabel, HostLabelError};
use serde::Serialize;
use tokio::process::Command;
use tokio::time::timeout;

/// The file of the state directory that holds the pinned label.
pub const PINNED_FILE: &str = "host-label";
/// A hung `scutil` must not delay the start.
const LOOKUP_LIMIT: Duration = Duration::from_secs(2);

/// Where a candidate came from.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Source {
    /// `--host` or `FLEETGATE_HOST`.
    Explicit,
    /// The pinned label of the state directory.
    Pinned,
    /// macOS's `LocalHostName`, which stays the same on every network.
    LocalHostName,
    /// The operating system's host name.
    HostName,
}

impl Source {
    /// In words, for people.
    #[must_use]
    pub fn words(self) -> &'static str {
        match self {
            Self::Explicit => "--host or FLEETGATE_HOST",
            Self::Pinned => "pinned in the state directory",
            Self::LocalHostName => "macOS LocalHostName",
            Self::HostName => "host name",
        }
    }
}

/// One place that could have named this host.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Candidate {
    /// The place.
    pub source: Source,
    /// The label it gives, or why it gives none.
    pub found: Result<HostLabel, String>,
}

/// This host's label and everything that was considered.
#[derive(Debug, Clone)]
pub struct Identity {
    /// The winner.
    pub label: HostLabel,
    /// Where the winner came from.
    pub source: Source,
    /// All candidates in their order.
    pub candidates: Vec<Candidate>,
}

/// No label could be found.
#[derive(Debug, thiserror::Error)]
pub enum IdentityError {
    /// What the operator said is no label; guessing another would charge the wrong host.
    #[error("--host (FLEETGATE_HOST): {0}")]
    Explicit(#[from] HostLabelError),
    /// Nothing gave a usable label.
    #[error("this machine has no usable name ({0}); say --host LABEL or set FLEETGATE_HOST")]
    Nameless(String),
}

/// Finds this host's label.
///
/// # Errors
/// When the explicit label is invalid, or nothing names this machine.
pub async fn find(explicit: Option<&str>, state_directory: Option<&Path>) -> Result<Identity, IdentityError> {
    let explicit = explicit.map(HostLabel::parse).transpose()?;
    let candidates = vec![
        Candidate { source: Source::Explicit, found: explicit.ok_or_else(|| "not given".to_owned()) },
        Candidate { source: Source::Pinned, found: pinned(state_directory) },
        Candidate { source: Source::LocalHostName, found: local_host_name().await },
        Candidate { source: Source::HostName, found: host_name() },
    ];
    choose(candidates)
}

fn choose(candidates: Vec<Candidate>) -> Result<Identity, IdentityError> {
    let winner = candidates.iter().find_map(|c| c.found.as_ref().ok().map(|label| (label.clone(), c.source)));
    match winner {
        Some((label, source)) => Ok(Identity { label, source, candidates }),
        None => {
            let why: Vec<String> = candidates
                .iter()
                .filter_map(|c| c.found.as_ref().err().map(|problem| format!("{}: {problem}", c.source.words())))
                .collect();
            Err(IdentityError::Nameless(why.join("; ")))
        }
    }
}

fn pinned(state_directory: Option<&Path>) -> Result<HostLabel, String> {
    let path = state_directory.ok_or("no state directory")?.join(PINNED_FILE);
    match fs::read_to_string(&path) {
        Ok(text) => HostLabel::parse(&text).map_err(|error| format!("{}: {error}", path.display())),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Err(format!("{} does not exist", path.display())),
        Err(error) => Err(format!("{}: {error}", path.display())),
    }
}

async fn local_host_name() -> Result<HostLabel, String> {
    if cfg!(not(target_os = "macos")) {
        return Err("only macOS has it".to_owned());
    }
    let mut scutil = Command::new("/usr/sbin/scutil");
    scutil.args(["--get", "LocalHostName"]).kill_on_drop(true);
    match timeout(LOOKUP_LIMIT, scutil.output()).await {
        Err(_) => Err("scutil did not answer within 2 s".to_owned()),
        Ok(Err(error)) => Err(format!("scutil: {error}")),
        Ok(Ok(output)) if !output.status.success() => Err("scutil knows none".to_owned()),
        Ok(Ok(output)) => HostLabel::parse(&String::from_utf8_lossy(&output.stdout)).map_err(|e| e.to_string()),
    }
}

fn host_name() -> Result<HostLabel, String> {
    let name = gethostname::gethostname().into_string().map_err(|name| format!("{} is not UTF-8", name.display()))?;
    match HostLabel::parse(&name) {
        // Every machine has this name, so it names none.
        Ok(label) if label.as_str() == "localhost" => Err("\"localhost\" names no particular machine".to_owned()),
        found => found.map_err(|error| error.to_string()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn what_the_operator_says_wins_over_the_pinned_label() {
        let state = tempfile::tempdir().unwrap();
        fs::write(state.path().join(PINNED_FILE), "Attic.local\n").unwrap();

        let said = find(Some("Mac.local"), Some(state.path())).await.unwrap();
        assert_eq!((said.label.as_str(), said.source), ("mac", Source::Explicit));
        let pinned = find(None, Some(state.path())).await.unwrap();
        assert_eq!((pinned.label.as_str(), pinned.source), ("attic", Source::Pinned));
        assert_eq!(pinned.candidates.len(), 4);
    }

    #[tokio::test]
    async fn a_wrong_explicit_label_is_an_error_and_not_a_guess() {
        assert!(matches!(find(Some("two words"), None).await, Err(IdentityError::Explicit(_))));
    }

    #[test]
    fn a_machine_without_a_name_is_told_what_was_tried() {
        let nobody = vec![Candidate { source: Source::HostName, found: Err("empty".to_owned()) }];
        assert!(choose(nobody).unwrap_err().to_string().contains("host name: empty"));
    }
}
