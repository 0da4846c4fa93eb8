//! Which host this is.
//!
//! Candidates in order: what the operator said, the label pinned in the state directory, the mesh's name for this machine, the
//! name macOS gives the machine on its local network, the host name. The first usable one wins; all are kept, so that `fleetgate
//! whoami` can say why.

mod mesh;
mod notes;
mod system;

use std::fs;
use std::io;
use std::path::Path;
use std::time::Duration;

use fleetgate_wire::host::{HostLabel, HostLabelError};
use serde::Serialize;

use notes::Surroundings;

/// The file of the state directory that holds the pinned label.
pub const PINNED_FILE: &str = "host-label";
/// How long the mesh may take to name this machine, where nothing before it does.
const MESH_LIMIT: Duration = Duration::from_millis(500);
/// The same where its name is only to be shown: the start must not wait for a daemon that hangs.
const MESH_LIMIT_WHEN_NAMED: Duration = Duration::from_millis(10);

/// Where a candidate came from.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Source {
    /// `--host` or `FLEETGATE_HOST`.
    Explicit,
    /// The pinned label of the state directory.
    Pinned,
    /// Tailscale's or Headscale's name for this machine.
    Tailscale,
    /// NetBird's name for this machine.
    Netbird,
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
            Self::Tailscale => "Tailscale's name for this machine",
            Self::Netbird => "NetBird's name for this machine",
            Self::LocalHostName => "macOS LocalHostName",
            Self::HostName => "host name",
        }
    }

    /// Why it wins over those behind it.
    #[must_use]
    pub fn why(self) -> &'static str {
        match self {
            Self::Explicit => "what the operator says is not questioned",
            Self::Pinned => "it was pinned so that no network can rename this machine",
            Self::Tailscale | Self::Netbird => "no two machines of the mesh have the same name",
            Self::LocalHostName => "it stays the same on every network",
            Self::HostName => "nothing better is there; pin it: a host name can change",
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
    /// What somebody should look at, one sentence each.
    pub notes: Vec<String>,
}

impl Identity {
    /// Says in the log what somebody should look at.
    pub fn log_notes(&self) {
        for note in &self.notes {
            tracing::warn!(host = %self.label, "{note}");
        }
    }
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
    let explicit = explicit.map(HostLabel::parse).transpose()?.ok_or_else(|| "not given".to_owned());
    let pinned = pinned(state_directory);
    let is_named = explicit.is_ok() || pinned.is_ok();
    let tailscale = mesh::tailscale(if is_named { MESH_LIMIT_WHEN_NAMED } else { MESH_LIMIT }).await;
    let netbird = if is_named || tailscale.is_ok() {
        Err("not asked: a name before it is usable".to_owned())
    } else {
        mesh::netbird(MESH_LIMIT).await
    };
    let local_host_name = system::local_host_name().await;
    let found = [
        (Source::Explicit, explicit),
        (Source::Pinned, pinned),
        (Source::Tailscale, tailscale),
        (Source::Netbird, netbird),
        (Source::LocalHostName, local_host_name),
        (Source::HostName, system::host_name()),
    ];
    choose(found.map(|(source, found)| Candidate { source, found }).into(), Surroundings::of_this_process())
}

fn choose(candidates: Vec<Candidate>, surroundings: Surroundings) -> Result<Identity, IdentityError> {
    let winner = candidates.iter().find_map(|c| c.found.as_ref().ok().map(|label| (label.clone(), c.source)));
    match winner {
        Some((label, source)) => {
            let notes = notes::write(&label, source, &candidates, surroundings);
            Ok(Identity { label, source, candidates, notes })
        }
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
        assert_eq!(pinned.candidates.len(), 6);
    }

    #[tokio::test]
    async fn a_wrong_explicit_label_is_an_error_and_not_a_guess() {
        assert!(matches!(find(Some("two words"), None).await, Err(IdentityError::Explicit(_))));
    }

    #[test]
    fn a_machine_without_a_name_is_told_what_was_tried() {
        let nobody = vec![Candidate { source: Source::HostName, found: Err("empty".to_owned()) }];
        let error = choose(nobody, Surroundings::default()).unwrap_err();
        assert!(error.to_string().contains("host name: empty"));
    }

    #[test]
    fn the_meshs_name_comes_before_those_that_networks_change_and_behind_the_pinned_one() {
        let order = [
            Source::Explicit,
            Source::Pinned,
            Source::Tailscale,
            Source::Netbird,
            Source::LocalHostName,
            Source::HostName,
        ];
        for (place, source) in order.into_iter().enumerate() {
            let found = |here: usize| {
                if here < place { Err("no".to_owned()) } else { Ok(HostLabel::parse(&format!("h{here}")).unwrap()) }
            };
            let candidates =
                order.iter().enumerate().map(|(here, source)| Candidate { source: *source, found: found(here) });
            let identity = choose(candidates.collect(), Surroundings::default()).unwrap();
            assert_eq!((identity.source, identity.label.as_str()), (source, format!("h{place}").as_str()));
        }
    }
}
