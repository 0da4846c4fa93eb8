//! Writes a launcher's settings, and takes them back.
//!
//! To configure anew is to take back what was configured and to begin from there: so the backup is always the person's own file.

use std::path::{Path, PathBuf};
use std::time::{SystemTime, UNIX_EPOCH};

use super::SettingsError;
use super::document::{DocumentError, Format, Settings, dotted};
use super::file::{self, Found};
use super::plan::{PROXIES, Plan, Target, Want, Wish, plan};
use super::record::{self, Changed, Digest, Entry, Record};
use super::surroundings::Surroundings;
use super::undo::{self, Undone, undo};

/// What was done to one file, or would be.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Configured {
    /// The file.
    pub file: PathBuf,
    /// Whether it was not there.
    pub is_new: bool,
    /// The keys that were changed; none where all was as it shall be.
    pub keys: Vec<(String, Change)>,
    /// The file as it was before the first change, if there was one.
    pub backup: Option<PathBuf>,
    /// Keys of an earlier `configure` that somebody has changed since. They are the person's own from now on.
    pub taken_over: Vec<String>,
}

/// What happened to a key.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Change {
    /// It was not there.
    Added,
    /// It had another value.
    Replaced,
    /// It is gone.
    Removed,
}

/// A file that is ready to be written.
struct Ready {
    found: Found,
    /// The person's own text.
    base: Option<String>,
    text: String,
    keys: Vec<(Changed, Change)>,
    earlier: Option<Entry>,
    taken_over: Vec<String>,
}

/// Writes what leads the launcher to the sidecar into its files; `pretend` only says what would be done. All files are read and
/// checked before one is written.
///
/// # Errors
/// When a file cannot be read, changed without loss, or written. Nothing was changed then, but by the last of these.
pub fn configure(
    target: &Target<'_>,
    file: Option<&Path>,
    pretend: bool,
    surroundings: &Surroundings,
) -> Result<Vec<Configured>, SettingsError> {
    let plans = plan(target, file, surroundings).ok_or(SettingsError::NoHome)?;
    if let (Some(file), []) = (file, plans.as_slice()) {
        return Err(SettingsError::UnknownForm { file: file.to_owned(), launcher: target.launcher });
    }
    let state = surroundings.state.as_deref().ok_or(record::RecordError::NoDirectory)?;
    let _lock = if pretend { None } else { Some(record::lock(state)?) };
    let mut record = Record::read(state)?;
    let ready: Vec<Ready> = plans.iter().map(|plan| prepare(plan, &record)).collect::<Result<_, _>>()?;
    ready.into_iter().map(|ready| finish(ready, target, pretend, state, &mut record)).collect()
}

fn prepare(plan: &Plan, record: &Record) -> Result<Ready, SettingsError> {
    let earlier = record.of(&plan.path).cloned();
    let found = file::find(earlier.as_ref().map_or(&plan.path, |entry| &entry.path))?;
    let Undone { text: base, left, .. } = match &earlier {
        Some(entry) => undo(entry, plan.format, found.text.as_deref())?,
        None => Undone { text: found.text.clone(), ..Undone::default() },
    };
    let broken = |source: DocumentError| refuse(plan, source);
    let mut settings = Settings::parse(plan.format, base.as_deref().unwrap_or_default()).map_err(broken)?;
    let mut keys = Vec::new();
    for wish in &plan.wishes {
        keys.extend(fulfil(wish, &mut settings).map_err(broken)?);
    }
    let text = settings.text();
    check(plan, &text, &keys)?;
    Ok(Ready { found, base, text, keys, earlier, taken_over: left })
}

fn refuse(plan: &Plan, source: DocumentError) -> SettingsError {
    let add: Vec<String> = match plan.format {
        Format::Yaml => plan.wishes.iter().filter_map(|wish| Some(format!("  {}", by_hand(wish)?))).collect(),
        Format::Json | Format::Toml | Format::Dotenv => Vec::new(),
    };
    SettingsError::document(&plan.path, source, &add)
}

/// What a person would type into a YAML file.
fn by_hand(wish: &Wish) -> Option<String> {
    match &wish.want {
        Want::Be(value) | Want::BeUnlessSet(value) => Some(format!("{}: {value}", dotted(&wish.key))),
        Want::BeAbsent | Want::HaveHeader { .. } | Want::HaveLoopback { .. } => None,
    }
}

/// Changes one key if it is not yet as it shall be.
fn fulfil(wish: &Wish, settings: &mut Settings) -> Result<Option<(Changed, Change)>, DocumentError> {
    let now = settings.get(&wish.key)?;
    if matches!(wish.want, Want::HaveLoopback { inherited: None }) && now.is_none() && !has_proxy(wish, settings)? {
        return Ok(None);
    }
    let Some(wanted) = wish.want.instead_of(now.as_ref()) else { return Ok(None) };
    let change = match (&now, &wanted) {
        (_, None) => Change::Removed,
        (None, Some(_)) => Change::Added,
        (Some(_), Some(_)) => Change::Replaced,
    };
    match &wanted {
        Some(value) => settings.set(&wish.key, value)?,
        None => settings.remove(&wish.key)?,
    }
    let value = wanted.as_ref().map(Digest::of_value);
    Ok(Some((Changed { key: wish.key.clone(), was_set: now.is_some(), value }, change)))
}

fn has_proxy(wish: &Wish, settings: &Settings) -> Result<bool, DocumentError> {
    let around = wish.key.split_last().map_or(&[][..], |(_, around)| around);
    for name in PROXIES {
        let key: Vec<String> = around.iter().cloned().chain([name.to_owned()]).collect();
        if settings.get(&key)?.is_some() {
            return Ok(true);
        }
    }
    Ok(false)
}

/// A text is written only if it reads back with every key as it shall be.
fn check(plan: &Plan, text: &str, keys: &[(Changed, Change)]) -> Result<(), SettingsError> {
    let again = Settings::parse(plan.format, text).map_err(|source| refuse(plan, source))?;
    for (changed, _) in keys {
        let value = again.get(&changed.key).map_err(|source| refuse(plan, source))?;
        if value.as_ref().map(Digest::of_value) != changed.value {
            let why = "a key could not be changed without changing its neighbours";
            return Err(refuse(plan, DocumentError::Unsafe { line: 1, why }));
        }
    }
    Ok(())
}

fn finish(
    ready: Ready,
    target: &Target<'_>,
    pretend: bool,
    state: &Path,
    record: &mut Record,
) -> Result<Configured, SettingsError> {
    let Ready { found, base, text, keys, earlier, taken_over } = ready;
    let mut done = Configured {
        file: found.path.clone(),
        is_new: found.text.is_none(),
        keys: Vec::new(),
        backup: earlier.as_ref().and_then(|entry| entry.backup.clone()),
        taken_over,
    };
    let changed: Vec<Changed> = keys.iter().map(|(changed, _)| changed.clone()).collect();
    // Written at another time, the same keys may stand in another order: that is no reason to write them again.
    let is_done = match (&earlier, &found.text) {
        (Some(entry), Some(_)) => done.taken_over.is_empty() && same(&entry.keys, &changed),
        (None, Some(_)) => keys.is_empty(),
        (_, None) => false,
    };
    if is_done {
        return Ok(done);
    }
    found.check_writable()?;
    done.keys = keys.iter().map(|(changed, change)| (dotted(&changed.key), *change)).collect();
    if pretend {
        return Ok(done);
    }
    done.backup = match &base {
        Some(base) => Some(found.back_up(base)?),
        None => None,
    };
    let mut entry = Entry {
        launcher: target.launcher.name().to_owned(),
        mode: target.mode.map(|mode| mode.name.clone()),
        path: found.path.clone(),
        since: SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_secs()),
        backup: done.backup.clone(),
        directories: earlier.as_ref().map(|entry| entry.directories.clone()).unwrap_or_default(),
        written: Digest::of(text.as_bytes()),
        replaced: earlier.as_ref().and(found.text.as_ref()).map(|text| Digest::of(text.as_bytes())),
        keys: changed,
    };
    // Before the file: killed between the two, the file is found as it was, and nothing is to be taken back.
    record.put(entry.clone());
    record.write(state)?;
    let made = found.replace(&text)?;
    if !made.is_empty() {
        entry.directories = made;
        record.put(entry);
        record.write(state)?;
    }
    // The person's own file has changed since the first time; the older backup says nothing more, unless it has what a key once held.
    let old = earlier.and_then(|entry| entry.backup).filter(|old| done.backup.as_ref() != Some(old));
    if let Some(old) = old.filter(|_| base.is_some() && done.taken_over.is_empty()) {
        undo::remove_backup(&old)?;
    }
    Ok(done)
}

fn same(before: &[Changed], now: &[Changed]) -> bool {
    before.len() == now.len() && before.iter().all(|changed| now.contains(changed))
}
