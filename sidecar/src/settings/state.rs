//! How a launcher stands on this machine: installed, configured by us, pointed elsewhere.

use std::path::PathBuf;

use super::SettingsError;
use super::installed::{Installed, installed};
use super::read::{Conflict, look};
use super::record::Record;
use super::surroundings::Surroundings;
use super::undo::{Outcome, unconfigure};
use crate::launch::Launcher;

/// What is known of a launcher.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct State {
    /// Which.
    pub launcher: Launcher,
    /// Where its command lies; none where it is not on the `PATH`.
    pub installed: Option<Installed>,
    /// Files that `fleetgate launchers configure` has changed.
    pub configured: Vec<ConfiguredFile>,
    /// Keys of settings files that beat the environment, but those that are ours.
    pub conflicts: Vec<Conflict>,
}

/// A file that we changed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ConfiguredFile {
    /// The file.
    pub file: PathBuf,
    /// The mode that was asked for.
    pub mode: Option<String>,
    /// Seconds since 1970.
    pub since: u64,
    /// Whether somebody has removed the file since.
    pub is_gone: bool,
    /// Keys that somebody has changed since; none are known where the file cannot be read.
    pub changed_since: Vec<String>,
}

/// Looks at one launcher. Starts its command where nothing else tells the version.
///
/// # Errors
/// When the record of what was configured cannot be read.
pub fn state(launcher: Launcher, surroundings: &Surroundings) -> Result<State, SettingsError> {
    let record = surroundings.state.as_deref().map_or_else(|| Ok(Record::default()), Record::read)?;
    let entries = record.files.iter().filter(|entry| entry.launcher == launcher.name());
    let configured = entries.map(|entry| {
        let undone = unconfigure(launcher, Some(&entry.path), true, surroundings).ok().and_then(|mut all| all.pop());
        ConfiguredFile {
            file: entry.path.clone(),
            mode: entry.mode.clone(),
            since: entry.since,
            is_gone: undone.as_ref().is_some_and(|undone| undone.outcome == Outcome::Gone),
            changed_since: undone.map(|undone| undone.left).unwrap_or_default(),
        }
    });
    let configured = configured.collect();
    let mut conflicts = look(launcher, surroundings, &surroundings.wiring());
    conflicts.retain(|conflict| !conflict.is_ours);
    Ok(State { launcher, installed: installed(launcher, surroundings), configured, conflicts })
}
