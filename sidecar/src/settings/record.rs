//! What `fleetgate launchers configure` changed, so that it can be taken back: names of keys and digests. No value is written down, for
//! an old one may be a secret; the file as it was lies beside it, readable to its owner only.

use std::fs::{self, File};
use std::io;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};
use serde_json::Value;
use sha2::{Digest as _, Sha256};

use super::document::{Format, Key, Settings, dotted};
use super::file::{self, FileError};
use crate::replace::Mode;

/// Its name in the state directory.
const FILE: &str = "launchers.json";
const FORM: u32 = 1;

/// All files that we changed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Record {
    form: u32,
    pub(super) files: Vec<Entry>,
}

/// One changed file.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Entry {
    /// The launcher's name.
    pub(super) launcher: String,
    /// The mode that was asked for.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) mode: Option<String>,
    /// The file by the name by which it was changed, which may be a link.
    pub(super) path: PathBuf,
    /// Seconds since 1970.
    pub(super) since: u64,
    /// The file as it was; none where there was no file.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) backup: Option<PathBuf>,
    /// Directories that were made for it, the innermost first.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub(super) directories: Vec<PathBuf>,
    /// Of the file as we left it.
    pub(super) written: Digest,
    /// Of what it took the place of, if that was ours too: killed between record and file, that is what is there.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) replaced: Option<Digest>,
    /// What was changed, in the order in which it was.
    pub(super) keys: Vec<Changed>,
}

impl Entry {
    /// Whether it is the one of this file. A home directory may have two names, with a link between them.
    pub(super) fn is_of(&self, path: &Path) -> bool {
        let real = |path: &Path| path.parent().and_then(|parent| fs::canonicalize(parent).ok());
        self.path == path
            || (self.path.file_name() == path.file_name() && real(path).is_some_and(|at| Some(at) == real(&self.path)))
    }
}

/// One key.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Changed {
    pub(super) key: Key,
    /// Whether it was set before.
    pub(super) was_set: bool,
    /// Of the value that we set; none where we took the key away.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) value: Option<Digest>,
}

/// SHA-256 in hexadecimal.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub(super) struct Digest(String);

impl Digest {
    pub(super) fn of(bytes: &[u8]) -> Self {
        Self(Sha256::digest(bytes).iter().map(|byte| format!("{byte:02x}")).collect())
    }

    pub(super) fn of_value(value: &Value) -> Self {
        Self::of(value.to_string().as_bytes())
    }
}

/// Why the record cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum RecordError {
    /// Neither systemd nor the environment names a home.
    #[error("no state directory: set HOME or STATE_DIRECTORY")]
    NoDirectory,
    /// It cannot be read or written.
    #[error("{path}: {source}")]
    System {
        /// The file or directory.
        path: PathBuf,
        /// The reason.
        source: io::Error,
    },
    /// Somebody changed it.
    #[error(
        "{path}:{line}: this record of what was configured cannot be read; mend it, or move it away and take the settings back by hand"
    )]
    Malformed {
        /// The file.
        path: PathBuf,
        /// Counted from 1.
        line: usize,
    },
    /// It cannot be put in its place.
    #[error(transparent)]
    File(#[from] FileError),
}

impl Default for Record {
    fn default() -> Self {
        Self { form: FORM, files: Vec::new() }
    }
}

impl Record {
    /// Reads it; an absent one says nothing.
    pub(super) fn read(state: &Path) -> Result<Self, RecordError> {
        let path = state.join(FILE);
        match fs::read_to_string(&path) {
            Ok(text) => {
                serde_json::from_str(&text).map_err(|error| RecordError::Malformed { path, line: error.line() })
            }
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(Self::default()),
            Err(source) => Err(RecordError::System { path, source }),
        }
    }

    /// Writes it as a whole or not at all. One that says nothing is no file.
    pub(super) fn write(&self, state: &Path) -> Result<(), RecordError> {
        let path = state.join(FILE);
        if self.files.is_empty() {
            return match fs::remove_file(&path) {
                Err(source) if source.kind() != io::ErrorKind::NotFound => Err(RecordError::System { path, source }),
                _ => Ok(()),
            };
        }
        let text = serde_json::to_string_pretty(self)
            .map_err(|error| RecordError::System { path: path.clone(), source: error.into() })?;
        Ok(file::put(&path, (text + "\n").as_bytes(), Mode::Own(0o600))?)
    }

    /// The entry of a file, by whatever name.
    pub(super) fn of(&self, path: &Path) -> Option<&Entry> {
        self.files.iter().find(|entry| entry.is_of(path))
    }

    /// Puts an entry in the place of the one for the same file.
    pub(super) fn put(&mut self, entry: Entry) {
        match self.files.iter_mut().find(|old| old.path == entry.path) {
            Some(old) => *old = entry,
            None => self.files.push(entry),
        }
    }

    /// Forgets a file.
    pub(super) fn forget(&mut self, path: &Path) {
        self.files.retain(|entry| entry.path != path);
    }

    /// Whether a key of a file is ours and as we left it.
    pub(super) fn still_holds(&self, path: &Path, key: &str) -> bool {
        let Some(entry) = self.of(path) else { return false };
        let Some(changed) = entry.keys.iter().find(|changed| dotted(&changed.key) == key) else { return false };
        let value = || {
            let settings = Settings::parse(Format::of(path)?, &fs::read_to_string(path).ok()?).ok()?;
            settings.get(&changed.key).ok()?
        };
        changed.value.is_some() && value().as_ref().map(Digest::of_value) == changed.value
    }
}

/// Holds off other runs that change settings, until it is dropped.
#[derive(Debug)]
pub(super) struct Lock {
    _directory: File,
}

/// Makes the state directory where it is missing, and waits until nobody else changes settings.
pub(super) fn lock(state: &Path) -> Result<Lock, RecordError> {
    let system = |source| RecordError::System { path: state.to_owned(), source };
    fs::create_dir_all(state).map_err(system)?;
    let directory = File::open(state).map_err(system)?;
    directory.lock().map_err(system)?;
    Ok(Lock { _directory: directory })
}
