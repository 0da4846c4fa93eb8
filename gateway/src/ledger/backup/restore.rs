//! From a backup to a ledger in its place. Everything is read and checked before anything there is touched.

use std::fs::{self, File, OpenOptions, TryLockError};
use std::io;
use std::os::unix::fs::{DirBuilderExt, MetadataExt, OpenOptionsExt, chown};
use std::path::{Path, PathBuf};

use jiff::Timestamp;
use rusqlite::{Connection, OpenFlags};

use super::archive;
use super::manifest::{FileSum, Manifest};
use super::{CONFIG, LEDGER, Places, RestoreError, SPOOL, Staging, snapshot, sync_folder_of};
use crate::config::Database;
use crate::ledger::journal::LOCK;

/// What was done.
#[derive(Debug)]
pub struct Restored {
    /// What the backup says of itself.
    pub manifest: Manifest,
    /// Where the earlier state is kept, if there was one.
    pub set_aside: Option<PathBuf>,
    /// The configuration's files that were written.
    pub config: Vec<PathBuf>,
}

/// Reads a backup to its end and checks it, and changes nothing.
///
/// # Errors
/// When it is torn, changed, none at all, or from a newer version.
pub fn inspect(file: &Path) -> Result<Manifest, RestoreError> {
    archive::read(file, |_, _| Ok(None))
}

/// Puts what a backup holds into the places of a gateway that does not run. What lies there is set aside with `force`, and a reason
/// to refuse without. The configuration's files go into the folder `config`, if one is given.
///
/// # Errors
/// Before anything has changed: when the backup is damaged or from a newer version, a gateway runs, or there is a ledger. After: when
/// a file cannot be moved; the message names it, and what was there is in the folder that was set aside.
pub fn restore(
    file: &Path,
    database: &Database,
    state: &Path,
    config: Option<&Path>,
    force: bool,
) -> Result<Restored, RestoreError> {
    let places = Places::of(database, state);
    let anchor = places.ledger.clone().unwrap_or_else(|| places.spool.clone());
    if let Some(folder) = anchor.parent().filter(|folder| !folder.as_os_str().is_empty()) {
        fs::create_dir_all(folder).map_err(|cause| unwritable(folder, cause))?;
    }
    let owner = Owner::of_folder(&anchor);
    let lock = lock(&places.spool, &anchor)?;
    let present = present(&places);
    if let Some(path) = present.first().filter(|_| !force) {
        return Err(RestoreError::NotEmpty { path: path.clone() });
    }
    let staging = Staging::beside(&anchor).map_err(|cause| unwritable(&anchor, cause))?;
    let spool = staging.0.join(SPOOL);
    fs::DirBuilder::new().mode(0o700).create(&spool).map_err(|cause| unwritable(&spool, cause))?;
    let manifest = archive::read(file, |manifest, piece| {
        if manifest.ledger.is_some() != places.ledger.is_some() {
            return Ok(None);
        }
        unpack(&staging.0, config, piece)
    })?;
    match (&manifest.ledger, &places.ledger) {
        (Some(_), None) => return Err(RestoreError::OtherDatabase(FROM_FILE)),
        (None, Some(_)) => return Err(RestoreError::OtherDatabase(FROM_SERVER)),
        _ => {}
    }
    check_ledger(&staging.0, &manifest)?;
    let written = config.map(|folder| check_config(folder, &manifest)).transpose()?.unwrap_or_default();
    let set_aside = if present.is_empty() { None } else { Some(set_aside(&places, &anchor)?) };
    // First the journal with its lock taken: from then on no gateway starts before all is in its place.
    let own_lock = make_lock(&spool)?;
    for entry in fs::read_dir(&spool).map_err(|cause| unwritable(&spool, cause))?.flatten() {
        owner.take(&entry.path());
    }
    owner.take(&spool);
    remove_empty(&places.spool, &anchor)?;
    fs::rename(&spool, &places.spool).map_err(|cause| unwritable(&places.spool, cause))?;
    for piece in manifest.files.iter().filter(|piece| !piece.name.starts_with(SPOOL)) {
        if let Some(place) = places.of_piece(&piece.name) {
            move_into_place(&staging.0.join(&piece.name), &place, owner)?;
        }
    }
    sync_folder_of(&places.spool).map_err(|cause| unwritable(&places.spool, cause))?;
    drop((lock, own_lock));
    for (piece, target) in &written {
        move_into_place(&staging.0.join(piece), target, Owner::of_folder(target))?;
    }
    let config = written.into_iter().map(|(_, target)| target).collect();
    Ok(Restored { manifest, set_aside, config })
}

const FROM_FILE: &str = "the backup is that of an SQLite ledger, and the configuration names PostgreSQL; restore it into a file with \
                         --database sqlite:PATH, then move it with 'fleetgate-gateway migrate'";
const FROM_SERVER: &str = "the backup is that of a gateway with PostgreSQL, and the configuration names an SQLite file; name the \
                           server with --database, and restore its tables with pg_restore";

/// Where a piece is written before it is moved; `None` for what nobody asked for.
fn unpack(staging: &Path, config: Option<&Path>, piece: &FileSum) -> io::Result<Option<File>> {
    if is_config(&piece.name) && config.is_none() {
        return Ok(None);
    }
    let path = staging.join(&piece.name);
    if let Some(folder) = path.parent() {
        fs::DirBuilder::new().recursive(true).mode(0o700).create(folder)?;
    }
    OpenOptions::new().create_new(true).write(true).mode(0o600).open(&path).map(Some)
}

fn is_config(name: &str) -> bool {
    name.split('/').next() == Some(CONFIG)
}

/// The ledger's copy must hold what its manifest says.
fn check_ledger(staging: &Path, manifest: &Manifest) -> Result<(), RestoreError> {
    let Some(expected) = manifest.ledger else { return Ok(()) };
    let path = staging.join(LEDGER);
    let counted = Connection::open_with_flags(&path, OpenFlags::SQLITE_OPEN_READ_ONLY)
        .and_then(|ledger| Ok((snapshot::check(&ledger)?, snapshot::count(&ledger)?)));
    match counted {
        Ok((said, counted)) if said == "ok" && counted == expected => Ok(()),
        Ok((said, counted)) => Err(RestoreError::Damaged(format!(
            "the ledger holds {counted:?} and not {expected:?}; SQLite says: {said}"
        ))),
        Err(error) => Err(RestoreError::Damaged(format!("the ledger: {error}"))),
    }
}

/// Where the configuration's files go. None of them is there yet: an older one is nobody's to overwrite.
fn check_config(folder: &Path, manifest: &Manifest) -> Result<Vec<(String, PathBuf)>, RestoreError> {
    let mut targets = Vec::new();
    for piece in manifest.files.iter().filter(|piece| is_config(&piece.name)) {
        let target = folder.join(piece.name.trim_start_matches(CONFIG).trim_start_matches('/'));
        if target.exists() {
            return Err(RestoreError::NotEmpty { path: target });
        }
        targets.push((piece.name.clone(), target));
    }
    Ok(targets)
}

/// Keeps a gateway from starting, or finds out that one runs.
fn lock(spool: &Path, anchor: &Path) -> Result<Option<File>, RestoreError> {
    let path = spool.join(LOCK);
    let file = match OpenOptions::new().write(true).open(&path) {
        Ok(file) => file,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(cause) => return Err(unwritable(&path, cause)),
    };
    match file.try_lock() {
        Ok(()) => Ok(Some(file)),
        Err(TryLockError::WouldBlock) => Err(RestoreError::Running { path: anchor.to_owned() }),
        Err(TryLockError::Error(cause)) => Err(unwritable(&path, cause)),
    }
}

/// Takes the lock of a journal that is not in its place yet.
fn make_lock(spool: &Path) -> Result<File, RestoreError> {
    let path = spool.join(LOCK);
    let made = OpenOptions::new().create_new(true).write(true).mode(0o600).open(&path);
    let locked = made.and_then(|file| file.lock().map(|()| file));
    locked.map_err(|cause| unwritable(&path, cause))
}

/// Removes a journal that holds nothing but its lock. One that a gateway has begun meanwhile stays.
fn remove_empty(spool: &Path, anchor: &Path) -> Result<(), RestoreError> {
    drop(fs::remove_file(spool.join(LOCK)));
    match fs::remove_dir(spool) {
        Err(error) if error.kind() == io::ErrorKind::DirectoryNotEmpty => {
            Err(RestoreError::Running { path: anchor.to_owned() })
        }
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(unwritable(spool, error)),
        _ => Ok(()),
    }
}

/// What is there already, and would be lost.
fn present(places: &Places) -> Vec<PathBuf> {
    let mut found: Vec<PathBuf> = places.ledger_files().filter(|path| path.exists()).collect();
    let left = fs::read_dir(&places.spool).into_iter().flatten().flatten().map(|entry| entry.path());
    found.extend(left.filter(|path| path.file_name().is_some_and(|name| name != LOCK)));
    found.extend(places.others().into_iter().map(|(_, path)| path).filter(|path| path.exists()));
    found
}

/// Moves what is there into a folder beside it.
fn set_aside(places: &Places, anchor: &Path) -> Result<PathBuf, RestoreError> {
    let name = anchor.file_name().unwrap_or_default().to_string_lossy();
    let now = Timestamp::now().strftime("%Y%m%dT%H%M%SZ").to_string();
    let aside = (1_u32..).map(|number| {
        let more = if number == 1 { String::new() } else { format!("-{number}") };
        anchor.with_file_name(format!("{name}.before-{now}{more}"))
    });
    // There is a free name among so many.
    let Some(aside) = aside.into_iter().find(|path| !path.exists()) else { unreachable!("names do not end") };
    fs::DirBuilder::new().mode(0o700).create(&aside).map_err(|cause| unwritable(&aside, cause))?;
    let mut moved = vec![places.spool.clone()];
    moved.extend(places.ledger_files());
    moved.extend(places.others().into_iter().map(|(_, path)| path));
    for path in moved {
        let Some(name) = path.file_name().filter(|_| path.exists()) else { continue };
        fs::rename(&path, aside.join(name)).map_err(|cause| unwritable(&path, cause))?;
    }
    Owner::of_folder(anchor).take(&aside);
    Ok(aside)
}

fn move_into_place(from: &Path, to: &Path, owner: Owner) -> Result<(), RestoreError> {
    let failed = |cause| unwritable(to, cause);
    if let Some(folder) = to.parent().filter(|folder| !folder.as_os_str().is_empty()) {
        fs::create_dir_all(folder).map_err(failed)?;
    }
    owner.take(from);
    match fs::rename(from, to) {
        // The configuration may be on another disk.
        Err(error) if error.kind() == io::ErrorKind::CrossesDevices => {
            fs::copy(from, to).map_err(failed)?;
            owner.take(to);
        }
        moved => moved.map_err(failed)?,
    }
    sync_folder_of(to).map_err(failed)
}

/// Whose files these are to be: root may restore what the gateway's own user must read.
#[derive(Debug, Clone, Copy)]
struct Owner(Option<(u32, u32)>);

impl Owner {
    fn of_folder(path: &Path) -> Self {
        let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."));
        Self(fs::metadata(folder).ok().map(|found| (found.uid(), found.gid())))
    }

    /// Only root can, and only root has to.
    fn take(self, path: &Path) {
        if let Some((user, group)) = self.0.filter(|_| rustix::process::geteuid().is_root())
            && let Err(error) = chown(path, Some(user), Some(group))
        {
            tracing::warn!(path = %path.display(), %error, "cannot give this to the owner of its folder");
        }
    }
}

fn unwritable(path: &Path, cause: io::Error) -> RestoreError {
    RestoreError::Unwritable { name: path.display().to_string(), cause }
}
