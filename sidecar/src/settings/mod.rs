//! Settings files of launchers: what they say that beats the environment, and what `fleetgate launchers configure` writes into them
//! for programs that no shell starts.
//!
//! `read` looks; `plan` says which keys lead a launcher to the sidecar; `document` changes a text key by key; `file` puts it in place;
//! `record` keeps what was changed, and `undo` takes just that back.

mod configure;
mod document;
mod file;
mod installed;
mod plan;
mod read;
mod record;
mod state;
mod surroundings;
mod undo;

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

pub use configure::{Change, Configured, configure};
pub use document::{DocumentError, Format, Settings};
pub use file::FileError;
pub use installed::{Installed, installed};
pub use plan::{Mode, Target};
pub use read::{Conflict, Kind};
pub use record::RecordError;
pub use state::{ConfiguredFile, State, state};
pub use surroundings::{DEFAULT_SIDECAR, Surroundings};
pub use undo::{Outcome, Unconfigured, unconfigure};

use crate::launch::Launcher;
pub(crate) use read::look;
pub(crate) use surroundings::{BASE_URLS, PROVIDER_KEYS, Wiring, may_be_provider_key};

/// Everything in a launcher's settings files that beats this environment when it is started in this directory, the file that beats the
/// others first. Addresses are held against the sidecar that `FLEETGATE_URL` names.
#[must_use]
pub fn conflicts(launcher: Launcher, environment: &BTreeMap<String, String>, directory: &Path) -> Vec<Conflict> {
    let surroundings = Surroundings::with(environment, directory);
    look(launcher, &surroundings, &surroundings.wiring())
}

/// What beats a launcher's settings once they are written: keys of other files, and what a file still holds.
#[must_use]
pub fn beaten(target: &Target<'_>, surroundings: &Surroundings) -> Vec<Conflict> {
    let Ok(url) = target.url.parse() else { return Vec::new() };
    let mut conflicts = look(target.launcher, surroundings, &Wiring::new(&url, &[]));
    conflicts.retain(|conflict| !conflict.is_ours);
    conflicts
}

/// Why settings were left as they are.
#[derive(Debug, thiserror::Error)]
pub enum SettingsError {
    /// Nobody knows where settings lie.
    #[error("no home directory: set HOME")]
    NoHome,
    /// A file that is named has another form than this launcher's settings.
    #[error("{file}: {name} has no settings of this form; the file's name must end as that of its own does", name = launcher.name())]
    UnknownForm {
        /// The file.
        file: PathBuf,
        /// Whose settings were meant.
        launcher: Launcher,
    },
    /// A file cannot be changed without loss.
    #[error("{place}: {what}; nothing was changed{add}")]
    Document {
        /// File and line.
        place: String,
        /// What is wrong.
        what: String,
        /// What to type in by hand.
        add: String,
    },
    /// A file on disk.
    #[error(transparent)]
    File(#[from] FileError),
    /// What was configured before.
    #[error(transparent)]
    Record(#[from] RecordError),
}

impl SettingsError {
    /// A file whose text is the reason, and what a person can add to it instead.
    fn document(path: &Path, source: DocumentError, add: &[String]) -> Self {
        let path = path.display();
        let (place, what) = match source {
            DocumentError::Malformed { line, why } => {
                (format!("{path}:{line}"), format!("its form is broken ({why}); mend it first"))
            }
            DocumentError::Unsafe { line, why } => (format!("{path}:{line}"), why.to_owned()),
            other => (path.to_string(), other.to_string()),
        };
        let add = if add.is_empty() { String::new() } else { format!(". By hand, it takes:\n{}", add.join("\n")) };
        Self::Document { place, what, add }
    }
}

#[cfg(test)]
mod tests;
