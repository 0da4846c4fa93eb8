//! What settings files of launchers say that beats the environment. Names of keys are told, values never.

mod aider;
mod claude;
mod codex;
mod gemini;
mod opencode;
mod qwen;

use std::fs::File;
use std::io::Read;
use std::path::{Path, PathBuf};

use serde_json::Value;

use super::document::{DocumentError, Format, Settings};
use super::record::Record;
use super::surroundings::{BASE_URLS, PROVIDER_KEYS, Surroundings, Wiring, may_be_provider_key};

use crate::launch::Launcher;
pub(super) use claude::OTHER_PROVIDERS as OTHER_CLAUDE_PROVIDERS;

/// Settings are small; whatever is larger is something else.
pub(super) const MAX_LENGTH: u64 = 1 << 20;

/// A key of a settings file that a launcher of the shell meets.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Conflict {
    /// Whose settings.
    pub launcher: Launcher,
    /// The file.
    pub file: PathBuf,
    /// The key: `env.ANTHROPIC_BASE_URL`. Empty where the file cannot be read.
    pub key: String,
    /// What it does.
    pub kind: Kind,
    /// Whether `fleetgate launchers configure` set it, and nobody changed it since.
    pub is_ours: bool,
}

/// What a key of a settings file does to the environment.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// Calls go around the sidecar.
    LeadsAway,
    /// It holds what may be a provider's own key.
    Credential,
    /// It beats another variable, model or header.
    Overrides,
    /// A key of an earlier login, beside the settings.
    SavedLogin,
    /// The launcher does not start with it.
    CannotStart,
    /// The file's form is broken at this line.
    Unreadable {
        /// Counted from 1.
        line: usize,
    },
}

impl Conflict {
    fn new(launcher: Launcher, file: &Path, key: impl Into<String>, kind: Kind) -> Self {
        Self { launcher, file: file.to_owned(), key: key.into(), kind, is_ours: false }
    }

    /// What the key beats: the variable of the environment, or the setting of a command line.
    #[must_use]
    pub fn overrides(&self) -> &str {
        self.key.strip_prefix("env.").unwrap_or(&self.key)
    }
}

/// Everything in this launcher's settings that beats the environment, the file that beats the others first.
pub(crate) fn look(launcher: Launcher, surroundings: &Surroundings, wiring: &Wiring) -> Vec<Conflict> {
    let look = match launcher {
        Launcher::Claude => claude::look,
        Launcher::Codex => codex::look,
        Launcher::Gemini => gemini::look,
        Launcher::Opencode => opencode::look,
        Launcher::Aider => aider::look,
        Launcher::Qwen => qwen::look,
    };
    let mut found = look(surroundings, wiring);
    // A record that cannot be read makes nothing ours.
    let record = surroundings.state.as_deref().and_then(|state| Record::read(state).ok()).unwrap_or_default();
    for conflict in &mut found {
        conflict.is_ours = record.still_holds(&conflict.file, &conflict.key);
    }
    found
}

/// The file's text; `None` when there is none, or it is no text.
fn read(path: &Path) -> Option<String> {
    let mut text = String::new();
    File::open(path).ok()?.take(MAX_LENGTH).read_to_string(&mut text).ok()?;
    Some(text)
}

/// What a settings file holds, or the one conflict that it cannot be read.
fn values(launcher: Launcher, path: &Path, format: Format) -> Option<Result<Value, Conflict>> {
    let text = read(path)?;
    Some(Settings::parse(format, &text).map(|settings| settings.value()).map_err(|error| {
        let line = match error {
            DocumentError::Malformed { line, .. } | DocumentError::Unsafe { line, .. } => line,
            DocumentError::Twice { .. } | DocumentError::NotATable { .. } => 1,
        };
        Conflict::new(launcher, path, "", Kind::Unreadable { line })
    }))
}

/// Files that differ, in their order: who stands in the home directory has one set of files, not two.
fn distinct(mut files: Vec<PathBuf>) -> Vec<PathBuf> {
    let mut seen = std::collections::HashSet::new();
    files.retain(|path| seen.insert(path.clone()));
    files
}

/// A text that is not empty.
fn text<'a>(table: &'a Value, key: &str) -> Option<&'a str> {
    table.get(key)?.as_str().filter(|text| !text.is_empty())
}

/// What the variables of an `env` table or a `.env` file do.
fn variables<'a>(pairs: &'a Value, wiring: &Wiring) -> impl Iterator<Item = (&'a str, Kind)> {
    pairs.as_object().into_iter().flatten().filter_map(|(name, value)| {
        let value = value.as_str().unwrap_or_default();
        let leads_away = BASE_URLS.contains(&name.as_str()) && !value.is_empty() && !wiring.leads_here(value);
        let is_key = PROVIDER_KEYS.contains(&name.as_str()) && may_be_provider_key(value);
        let kind = leads_away.then_some(Kind::LeadsAway).or(is_key.then_some(Kind::Credential))?;
        Some((name.as_str(), kind))
    })
}

/// What a `.env` file does, of which only some variables are this launcher's own concern.
fn dotenv(launcher: Launcher, path: &Path, is_its: impl Fn(&str) -> bool, wiring: &Wiring) -> Vec<Conflict> {
    match values(launcher, path, Format::Dotenv) {
        // Who reads such files takes what it understands, and never complains.
        None | Some(Err(_)) => Vec::new(),
        Some(Ok(pairs)) => variables(&pairs, wiring)
            .filter(|(name, _)| is_its(name))
            .map(|(name, kind)| Conflict::new(launcher, path, name, kind))
            .collect(),
    }
}

/// The current directory and those around it.
fn upwards(surroundings: &Surroundings) -> impl Iterator<Item = &Path> {
    surroundings.directory.iter().flat_map(|directory| directory.ancestors())
}
