//! A backup of the ledger in one file, taken while the gateway runs, and the way back.
//!
//! Rows go from the journal into the database, and their segments are deleted after that. So nobody may write to the database while
//! the journal is copied and the database's state is held: each row that was settled before is then in one of the two.

mod archive;
mod manifest;
mod restore;
mod snapshot;

use std::fs::DirBuilder;
use std::io;
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};

use jiff::Timestamp;

use super::journal::JournalError;
use super::journal_folder;
use super::postgres::FILE_NAME as GATEWAY_ID;
use crate::config::Database;

use archive::Piece;
pub use manifest::{FileSum, JournalCounts, LedgerCounts, Manifest};
pub use restore::{Restored, inspect, restore};

/// The names in the archive.
const LEDGER: &str = "ledger.db";
const SPOOL: &str = "spool";
const STATE: &str = "state";
/// Below it are files that do not go back to a place of the ledger's.
const CONFIG: &str = "config";

/// A file beside the ledger that a backup holds too.
#[derive(Debug, Clone)]
pub struct ExtraFile {
    /// Its name below `config/`.
    pub name: String,
    /// Where it is.
    pub path: PathBuf,
}

/// Why there is no backup.
#[derive(Debug, thiserror::Error)]
pub enum BackupError {
    /// Nothing to back up.
    #[error("there is no ledger {path}; name the gateway's configuration with --config, or the ledger with --database")]
    NoLedger {
        /// Where one was expected.
        path: PathBuf,
    },
    /// A file of the gateway's cannot be read.
    #[error("cannot read {path}: {cause}; run this as the gateway's user, or as root")]
    Unreadable {
        /// The file.
        path: PathBuf,
        /// What the system says.
        cause: io::Error,
    },
    /// The ledger cannot be read.
    #[error("cannot copy the ledger {path}: {cause}")]
    Ledger {
        /// The ledger.
        path: PathBuf,
        /// What SQLite says.
        cause: rusqlite::Error,
    },
    /// The copy is damaged, and so is the ledger.
    #[error("the ledger {path} is damaged, and so is its copy: {said}; restore an older backup")]
    DamagedLedger {
        /// The ledger.
        path: PathBuf,
        /// What SQLite says.
        said: String,
    },
    /// The journal cannot be read.
    #[error("cannot copy the journal {folder}: {cause}")]
    Journal {
        /// Its folder.
        folder: PathBuf,
        /// What is wrong.
        cause: String,
    },
    /// There is such a file.
    #[error("{path} is there already; choose another name")]
    Exists {
        /// The file.
        path: PathBuf,
    },
    /// The backup cannot be written.
    #[error("cannot write {path}: {cause}; look at the disk's free space and the folder's owner")]
    Unwritable {
        /// The file.
        path: PathBuf,
        /// What the system says.
        cause: io::Error,
    },
    /// What was written does not read back.
    #[error("what was written to {path} does not read back: {cause}; look at the disk")]
    NotVerified {
        /// The file.
        path: PathBuf,
        /// What is wrong.
        cause: Box<RestoreError>,
    },
}

/// Why a backup is not restored. Nothing has changed then.
#[derive(Debug, thiserror::Error)]
pub enum RestoreError {
    /// The file cannot be read.
    #[error("cannot read {path}: {cause}")]
    Unreadable {
        /// The file.
        path: PathBuf,
        /// What the system says.
        cause: io::Error,
    },
    /// The file is something else.
    #[error("this is no backup of fleetgate-gateway")]
    NoBackup,
    /// The file is not what was written.
    #[error("the backup is damaged: {0}; take another copy of it, or an older backup")]
    Damaged(String),
    /// A newer version wrote it.
    #[error("the backup was written by version {version}: {what}; install that version or a newer one, then restore")]
    Newer {
        /// Its version.
        version: String,
        /// What is newer.
        what: String,
    },
    /// The backup is that of another kind of ledger.
    #[error("{0}")]
    OtherDatabase(&'static str),
    /// A gateway is running.
    #[error("a gateway is running on {path}; stop it first, for example with 'systemctl stop fleetgate-gateway'")]
    Running {
        /// Its ledger.
        path: PathBuf,
    },
    /// There is a ledger already.
    #[error("{path} is there already; --force sets it aside and restores")]
    NotEmpty {
        /// The file.
        path: PathBuf,
    },
    /// A file cannot be written.
    #[error("cannot write {name}: {cause}; look at the disk's free space and the folder's owner")]
    Unwritable {
        /// The file.
        name: String,
        /// What the system says.
        cause: io::Error,
    },
}

/// Writes a backup of the gateway that keeps its ledger there into a new file, and reads it again. `state` is the gateway's state
/// directory. The gateway may run.
///
/// # Errors
/// When a part cannot be read, or the file cannot be written or does not read back. Then there is no such file.
pub fn back_up(database: &Database, state: &Path, extra: &[ExtraFile], target: &Path) -> Result<Manifest, BackupError> {
    let unwritable = |cause| BackupError::Unwritable { path: target.to_owned(), cause };
    if target.exists() {
        return Err(BackupError::Exists { path: target.to_owned() });
    }
    // Beside the target: that disk is meant to hold it, and a finished file is moved in one step.
    let staging = Staging::beside(target).map_err(unwritable)?;
    let (pieces, manifest) = collect(database, state, extra, &staging)?;
    let whole = staging.0.join("backup.tar.zst");
    archive::write(&whole, &manifest, &pieces).map_err(unwritable)?;
    match archive::read(&whole, |_, _| Ok(None)) {
        Ok(read) if read == manifest => {}
        Ok(_) => {
            let cause = Box::new(RestoreError::Damaged("its manifest is another".to_owned()));
            return Err(BackupError::NotVerified { path: target.to_owned(), cause });
        }
        Err(cause) => return Err(BackupError::NotVerified { path: target.to_owned(), cause: Box::new(cause) }),
    }
    // Unlike a rename, a link never takes the place of a file that came meanwhile.
    match std::fs::hard_link(&whole, target) {
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {
            return Err(BackupError::Exists { path: target.to_owned() });
        }
        Err(_) => std::fs::rename(&whole, target).map_err(unwritable)?,
        Ok(()) => {}
    }
    sync_folder_of(target).map_err(unwritable)?;
    Ok(manifest)
}

fn collect(
    database: &Database,
    state: &Path,
    extra: &[ExtraFile],
    staging: &Staging,
) -> Result<(Vec<Piece>, Manifest), BackupError> {
    let places = Places::of(database, state);
    let (taken_at, ledger, journal, mut pieces) = match database {
        Database::Sqlite(path) => {
            let taken = snapshot::of_file(path, &places.spool, &staging.0)?;
            (taken.at, Some(taken.ledger), taken.journal, taken.pieces)
        }
        Database::Postgres(_) => {
            if !places.spool.exists() {
                return Err(BackupError::NoLedger { path: places.spool });
            }
            // Before the server's own backup is taken, so that what leaves the journal meanwhile is in that.
            let taken_at = Timestamp::now();
            let (journal, pieces) = snapshot::of_journal(&places.spool, &staging.0)?;
            (taken_at, None, journal, pieces)
        }
    };
    for (name, path) in places.others() {
        if path.is_file() {
            pieces.push(Piece { name, path, origin: None });
        }
    }
    for ExtraFile { name, path } in extra {
        pieces.push(Piece { name: format!("{CONFIG}/{name}"), path: path.clone(), origin: Some(path.clone()) });
    }
    let mut files = Vec::with_capacity(pieces.len());
    for piece in &mut pieces {
        let unreadable = |cause| BackupError::Unreadable { path: piece.path.clone(), cause };
        if !piece.path.starts_with(&staging.0) {
            // It may change at any moment: what is packed must be what was summed up.
            let copy = staging.0.join(format!("file-{}", files.len()));
            std::fs::copy(&piece.path, &copy).map_err(unreadable)?;
            piece.path = copy;
        }
        files.push(piece.sum().map_err(|cause| BackupError::Unreadable { path: piece.path.clone(), cause })?);
    }
    Ok((pieces, Manifest::new(taken_at, ledger, journal, files)))
}

/// Where a gateway's parts lie.
#[derive(Debug)]
struct Places {
    /// The ledger's file, unless the ledger is on a server.
    ledger: Option<PathBuf>,
    spool: PathBuf,
    state: PathBuf,
}

/// What is remembered of a server's tables, beside the journal.
const REMEMBERED: [&str; 2] = ["keys.json", "entities.json"];

impl Places {
    fn of(database: &Database, state: &Path) -> Self {
        match database {
            Database::Sqlite(path) => {
                Self { ledger: Some(path.clone()), spool: journal_folder(path), state: state.to_owned() }
            }
            Database::Postgres(_) => Self {
                ledger: None,
                spool: journal_folder(&state.join(super::SERVER_JOURNAL)),
                state: state.to_owned(),
            },
        }
    }

    /// The ledger's file and what SQLite may have beside it.
    fn ledger_files(&self) -> impl Iterator<Item = PathBuf> + '_ {
        let named = |path: &PathBuf| {
            ["", "-wal", "-shm", "-journal"].map(|ending| {
                let mut file = path.as_os_str().to_owned();
                file.push(ending);
                PathBuf::from(file)
            })
        };
        self.ledger.iter().flat_map(named)
    }

    /// Files that lie there and are simply copied: by their names in the archive.
    fn others(&self) -> Vec<(String, PathBuf)> {
        if self.ledger.is_some() {
            return Vec::new();
        }
        let remembered = REMEMBERED.map(|name| (format!("{SPOOL}/{name}"), self.spool.join(name)));
        let id = (format!("{STATE}/{GATEWAY_ID}"), self.state.join(GATEWAY_ID));
        remembered.into_iter().chain([id]).collect()
    }

    /// Where a file of the archive belongs; `None` for what is no part of the ledger.
    fn of_piece(&self, name: &str) -> Option<PathBuf> {
        match name.split_once('/') {
            None if name == LEDGER => self.ledger.clone(),
            Some((SPOOL, file)) => Some(self.spool.join(file)),
            Some((STATE, file)) => Some(self.state.join(file)),
            _ => None,
        }
    }
}

/// A folder for the time of the work, for its owner alone. It goes when this does.
#[derive(Debug)]
struct Staging(PathBuf);

impl Staging {
    fn beside(target: &Path) -> io::Result<Self> {
        let name = target.file_name().unwrap_or_default().to_string_lossy();
        let folder = target.with_file_name(format!(".{name}.{}", std::process::id()));
        DirBuilder::new().mode(0o700).create(&folder)?;
        Ok(Self(folder))
    }
}

impl Drop for Staging {
    fn drop(&mut self) {
        if let Err(error) = std::fs::remove_dir_all(&self.0) {
            tracing::warn!(path = %self.0.display(), %error, "cannot remove a folder of this backup; delete it by hand");
        }
    }
}

/// Waits until the disk knows a new name.
fn sync_folder_of(path: &Path) -> io::Result<()> {
    let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."));
    std::fs::File::open(folder)?.sync_all()
}

fn journal_failed(folder: &Path, error: &JournalError) -> BackupError {
    BackupError::Journal { folder: folder.to_owned(), cause: error.to_string() }
}

#[cfg(test)]
mod tests;
