//! Takes back what `configure` wrote, and nothing else.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use super::SettingsError;
use super::document::{Format, Key, Settings, dotted};
use super::file::{self, FileError};
use super::record::{self, Changed, Digest, Entry, Record};
use super::surroundings::Surroundings;
use crate::launch::Launcher;

/// What was done to one file, or would be.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Unconfigured {
    /// The file.
    pub file: PathBuf,
    /// How it is now.
    pub outcome: Outcome,
    /// Keys that were changed since by somebody else, and stay.
    pub left: Vec<String>,
    /// The file as it was, where it is kept because the file is not byte for byte the same.
    pub backup: Option<PathBuf>,
}

/// How a file is after its settings were taken back.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Outcome {
    /// Byte for byte as it was.
    AsItWas,
    /// Our keys are out, and somebody's other changes stay.
    KeysTakenBack,
    /// It was ours, and is removed.
    Removed,
    /// Somebody else has removed it.
    Gone,
}

/// A text without what we put in.
#[derive(Debug, Default)]
pub(super) struct Undone {
    /// None where there shall be no file.
    pub(super) text: Option<String>,
    /// Keys that somebody has changed since.
    pub(super) left: Vec<String>,
    /// Whether this is the text from before, byte for byte.
    pub(super) is_as_it_was: bool,
}

/// Takes an entry's changes out of the file's present text.
///
/// # Errors
/// When the text is broken, or the backup cannot be read.
pub(super) fn undo(entry: &Entry, format: Format, now: Option<&str>) -> Result<Undone, SettingsError> {
    let Some(now) = now else { return Ok(Undone::default()) };
    let before = match &entry.backup {
        Some(backup) => read_backup(backup)?,
        None => None,
    };
    let was_absent = entry.backup.is_none();
    let digest = Digest::of(now.as_bytes());
    let is_ours = digest == entry.written || Some(digest) == entry.replaced;
    if is_ours && (was_absent || before.is_some()) {
        return Ok(Undone { text: before, left: Vec::new(), is_as_it_was: true });
    }
    if before.as_deref() == Some(now) {
        return Ok(Undone { text: before, left: Vec::new(), is_as_it_was: true });
    }
    let broken = |source| SettingsError::document(&entry.path, source, &[]);
    let mut settings = Settings::parse(format, now).map_err(broken)?;
    let old = before.as_deref().map(|text| Settings::parse(format, text)).transpose().map_err(broken)?;
    let mut left = Vec::new();
    for changed in entry.keys.iter().rev() {
        let value = settings.get(&changed.key).map_err(broken)?;
        if value.as_ref().map(Digest::of_value) != changed.value
            || !put_back(changed, &mut settings, old.as_ref()).map_err(broken)?
        {
            left.push(dotted(&changed.key));
        }
    }
    for changed in &entry.keys {
        remove_empty_tables(&changed.key, &mut settings, old.as_ref()).map_err(broken)?;
    }
    left.reverse();
    let text = (!was_absent || !settings.is_bare()).then(|| settings.text());
    Ok(Undone { text, left, is_as_it_was: false })
}

/// Whether the key is as it was before.
fn put_back(
    changed: &Changed,
    settings: &mut Settings,
    old: Option<&Settings>,
) -> Result<bool, super::document::DocumentError> {
    if !changed.was_set {
        settings.remove(&changed.key)?;
        return Ok(true);
    }
    match old.map(|old| old.get(&changed.key)).transpose()?.flatten() {
        Some(value) => settings.set(&changed.key, &value).map(|()| true),
        // The backup is gone, and with it the old value.
        None => Ok(false),
    }
}

/// Tables that were made for a key go with it.
fn remove_empty_tables(
    key: &Key,
    settings: &mut Settings,
    old: Option<&Settings>,
) -> Result<(), super::document::DocumentError> {
    for depth in (1..key.len()).rev() {
        let table = &key[..depth];
        let is_empty =
            settings.get(table)?.is_some_and(|value| value.as_object().is_some_and(serde_json::Map::is_empty));
        let was_there = old.map(|old| old.get(table)).transpose()?.flatten().is_some();
        if is_empty && !was_there {
            settings.remove(table)?;
        }
    }
    Ok(())
}

fn read_backup(path: &Path) -> Result<Option<String>, SettingsError> {
    match fs::read_to_string(path) {
        Ok(text) => Ok(Some(text)),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(source) => Err(FileError::System { path: path.to_owned(), source }.into()),
    }
}

pub(super) fn remove_backup(path: &Path) -> Result<(), FileError> {
    match fs::remove_file(path) {
        Err(source) if source.kind() != io::ErrorKind::NotFound => {
            Err(FileError::System { path: path.to_owned(), source })
        }
        _ => Ok(()),
    }
}

/// Takes back what was written for a launcher, in all of its files or in this one; `pretend` only says what would be done.
///
/// # Errors
/// When a file is broken or cannot be written. What was taken back before stays so, and the rest can be tried again.
pub fn unconfigure(
    launcher: Launcher,
    file: Option<&Path>,
    pretend: bool,
    surroundings: &Surroundings,
) -> Result<Vec<Unconfigured>, SettingsError> {
    let state = surroundings.state.as_deref().ok_or(record::RecordError::NoDirectory)?;
    let _lock = if pretend || !state.exists() { None } else { Some(record::lock(state)?) };
    let mut record = Record::read(state)?;
    let named = file.map(|file| surroundings.directory.as_ref().map_or_else(|| file.to_owned(), |at| at.join(file)));
    let is_meant =
        |entry: &&Entry| entry.launcher == launcher.name() && named.as_ref().is_none_or(|named| entry.is_of(named));
    let paths: Vec<PathBuf> = record.files.iter().filter(is_meant).map(|entry| entry.path.clone()).collect();
    // One by one: what the first leaves behind goes to the next.
    let entries = paths.iter().filter_map(|path| {
        let entry = record.of(path).cloned()?;
        Some(take_back(&entry, pretend, state, &mut record))
    });
    entries.collect()
}

/// Directories that are not empty yet go with the last file of ours in them.
fn hand_on(directories: &[PathBuf], record: &mut Record) {
    for directory in directories.iter().filter(|directory| directory.exists()) {
        let heir = record.files.iter_mut().find(|entry| entry.path.starts_with(directory));
        if let Some(heir) = heir.filter(|heir| !heir.directories.contains(directory)) {
            heir.directories.push(directory.clone());
        }
    }
}

fn take_back(entry: &Entry, pretend: bool, state: &Path, record: &mut Record) -> Result<Unconfigured, SettingsError> {
    let format = Format::of(&entry.path).unwrap_or(Format::Dotenv);
    let found = file::find(&entry.path)?;
    let undone = undo(entry, format, found.text.as_deref())?;
    let outcome = match (&found.text, &undone.text) {
        (None, _) => Outcome::Gone,
        (Some(_), None) => Outcome::Removed,
        (Some(_), Some(_)) if undone.is_as_it_was => Outcome::AsItWas,
        (Some(_), Some(_)) => Outcome::KeysTakenBack,
    };
    // Taken back key by key, a comment behind one of them may be lost.
    let is_complete = undone.left.is_empty() && matches!(outcome, Outcome::AsItWas | Outcome::Removed);
    let backup = entry.backup.clone().filter(|backup| !is_complete && backup.exists());
    let done = Unconfigured { file: entry.path.clone(), outcome, left: undone.left, backup };
    if found.text.is_some() && undone.text != found.text {
        found.check_writable()?;
    }
    if pretend {
        return Ok(done);
    }
    match &undone.text {
        Some(text) if undone.text != found.text => drop(found.replace(text)?),
        None if found.text.is_some() => found.remove(&entry.directories)?,
        _ => {}
    }
    record.forget(&entry.path);
    hand_on(&entry.directories, record);
    record.write(state)?;
    if let Some(backup) = entry.backup.as_ref().filter(|_| is_complete) {
        remove_backup(backup)?;
    }
    Ok(done)
}
