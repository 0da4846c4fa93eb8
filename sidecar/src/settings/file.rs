//! A settings file on disk: read as text, replaced as a whole or not at all, with its mode, owner and name as they were.

use std::fs::{self, DirBuilder, File};
use std::io::{self, Read};
use std::os::unix::fs::{DirBuilderExt, MetadataExt};
use std::path::{Path, PathBuf};

use super::read::MAX_LENGTH;
use crate::replace::{Mode, ReplaceError, replace, replace_if};

/// Its name in the place of the file's own: `settings.json.fleetgate.bak`.
const BACKUP: &str = "fleetgate.bak";
/// How many backups of other times may lie beside a file before somebody has to look.
const MOST_BACKUPS: u32 = 9;

/// Why a file is neither read nor written.
#[derive(Debug, thiserror::Error)]
pub enum FileError {
    /// The system says no.
    #[error("{path}: {source}")]
    System {
        /// The file or directory.
        path: PathBuf,
        /// The reason.
        source: io::Error,
    },
    /// It is no file.
    #[error("{0} is no file")]
    NotAFile(PathBuf),
    /// Its name leads nowhere.
    #[error("{0} is a link to a file that is not there; make that file, or remove the link")]
    LeadsNowhere(PathBuf),
    /// No tool has such large settings.
    #[error("{0} is larger than 1 MB; no settings file is")]
    TooLarge(PathBuf),
    /// It is no text.
    #[error("{path}:{line}: not UTF-8; nothing was changed")]
    NotText {
        /// The file.
        path: PathBuf,
        /// Counted from 1.
        line: usize,
    },
    /// Somebody said that it stays as it is.
    #[error("{0} is read-only, so something else may look after it; `chmod u+w {0}` first if it is yours to change")]
    ReadOnly(PathBuf),
    /// A new file in its place would part the names.
    #[error("{0} has other names (hard links), and a new file in its place would part them; make it a symbolic link")]
    HardLinks(PathBuf),
    /// Another program wrote it meanwhile.
    #[error("{0} was changed by somebody else in this moment; run the command again")]
    Meanwhile(PathBuf),
    /// A new file would have lost it.
    #[error("{path}: its {what} cannot be kept ({source}), so it was left as it is")]
    CannotKeep {
        /// The file.
        path: PathBuf,
        /// Owner and group, or an attribute's name.
        what: String,
        /// The reason.
        source: io::Error,
    },
    /// Nobody tidies up there.
    #[error("{0} has {MOST_BACKUPS} old backups beside it; remove those that you do not need")]
    TooManyBackups(PathBuf),
}

impl FileError {
    fn at(path: &Path) -> impl FnOnce(io::Error) -> Self {
        |source| Self::System { path: path.to_owned(), source }
    }

    fn from_replacing(path: &Path, error: ReplaceError) -> Self {
        let path = path.to_owned();
        match error {
            ReplaceError::Changed => Self::Meanwhile(path),
            ReplaceError::CannotKeep { what, source } => Self::CannotKeep { path, what, source },
            ReplaceError::Io(source) => Self::System { path, source },
        }
    }
}

/// A file as it was found.
#[derive(Debug)]
pub(super) struct Found {
    /// The name by which it is known.
    pub(super) path: PathBuf,
    /// Its content; none where there is no file.
    pub(super) text: Option<String>,
    /// Where it really lies.
    real: PathBuf,
    /// Of the file that is there.
    mode: u32,
    /// User and group of the file that is there.
    owner: Option<(u32, u32)>,
}

/// Reads a file that may be there.
pub(super) fn find(path: &Path) -> Result<Found, FileError> {
    let absent = || Found { path: path.to_owned(), text: None, real: path.to_owned(), mode: 0o600, owner: None };
    let metadata = match fs::metadata(path) {
        Ok(metadata) => metadata,
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            let is_link = fs::symlink_metadata(path).is_ok();
            return if is_link { Err(FileError::LeadsNowhere(path.to_owned())) } else { Ok(absent()) };
        }
        Err(source) => return Err(FileError::System { path: path.to_owned(), source }),
    };
    if !metadata.is_file() {
        return Err(FileError::NotAFile(path.to_owned()));
    }
    let mut bytes = Vec::new();
    let file = File::open(path).map_err(FileError::at(path))?;
    file.take(MAX_LENGTH + 1).read_to_end(&mut bytes).map_err(FileError::at(path))?;
    if bytes.len() as u64 > MAX_LENGTH {
        return Err(FileError::TooLarge(path.to_owned()));
    }
    let text = String::from_utf8(bytes).map_err(|error| {
        let before = &error.as_bytes()[..error.utf8_error().valid_up_to()];
        let line = before.iter().filter(|byte| **byte == b'\n').count() + 1;
        FileError::NotText { path: path.to_owned(), line }
    })?;
    let real = fs::canonicalize(path).map_err(FileError::at(path))?;
    Ok(Found {
        path: path.to_owned(),
        text: Some(text),
        real,
        mode: metadata.mode() & 0o7777,
        owner: Some((metadata.uid(), metadata.gid())),
    })
}

impl Found {
    /// Whether it may be replaced. Root may write everything, so the mode is asked and not the system.
    pub(super) fn check_writable(&self) -> Result<(), FileError> {
        if self.text.is_none() {
            return Ok(());
        }
        if self.mode & 0o200 == 0 {
            return Err(FileError::ReadOnly(self.path.clone()));
        }
        let metadata = fs::metadata(&self.real).map_err(FileError::at(&self.real))?;
        if metadata.nlink() > 1 { Err(FileError::HardLinks(self.path.clone())) } else { Ok(()) }
    }

    /// Puts another text in its place, and makes its directories where they are missing; returns those, the innermost first.
    pub(super) fn replace(&self, text: &str) -> Result<Vec<PathBuf>, FileError> {
        self.check_unchanged()?;
        let mut made = Vec::new();
        if self.text.is_none() {
            let missing = self.path.ancestors().skip(1).take_while(|directory| !directory.exists());
            made.extend(missing.map(Path::to_owned));
            if let Some(directory) = made.first() {
                let built = DirBuilder::new().recursive(true).mode(0o755).create(directory);
                built.map_err(FileError::at(directory))?;
            }
        }
        // A new file may hold what is not for others.
        let mode = if self.text.is_some() { Mode::Kept } else { Mode::Own(self.mode) };
        replace_if(&self.real, text.as_bytes(), mode, || self.check_unchanged().is_ok())
            .map_err(|error| FileError::from_replacing(&self.path, error))?;
        Ok(made)
    }

    /// Removes it, and the directories if nothing else is in them.
    pub(super) fn remove(&self, directories: &[PathBuf]) -> Result<(), FileError> {
        self.check_unchanged()?;
        fs::remove_file(&self.real).map_err(FileError::at(&self.real))?;
        // The first that is not empty, or not ours to remove, stays with those around it.
        let _rest = directories.iter().try_for_each(fs::remove_dir);
        Ok(())
    }

    /// Writes a text beside the file, for its owner only, and returns where.
    pub(super) fn back_up(&self, text: &str) -> Result<PathBuf, FileError> {
        let name = |number: u32| {
            let mut name = self.path.file_name().unwrap_or_default().to_owned();
            name.push(if number == 0 { format!(".{BACKUP}") } else { format!(".{BACKUP}.{number}") });
            self.path.with_file_name(name)
        };
        for path in (0..MOST_BACKUPS).map(name) {
            match fs::read(&path) {
                // Left by a run that was killed before it changed anything.
                Ok(content) if content == text.as_bytes() => return Ok(path),
                Ok(_) => {}
                Err(error) if error.kind() == io::ErrorKind::NotFound => {
                    let mode = self.owner.map_or(Mode::Own(0o600), |(user, group)| Mode::CopyFor { user, group });
                    put(&path, text.as_bytes(), mode)?;
                    return Ok(path);
                }
                Err(source) => return Err(FileError::System { path, source }),
            }
        }
        Err(FileError::TooManyBackups(self.path.clone()))
    }

    fn check_unchanged(&self) -> Result<(), FileError> {
        let now = match fs::read(&self.real) {
            Ok(bytes) => Some(bytes),
            Err(error) if error.kind() == io::ErrorKind::NotFound => None,
            Err(source) => return Err(FileError::System { path: self.real.clone(), source }),
        };
        let before = self.text.as_ref().map(String::as_bytes);
        if now.as_deref() == before { Ok(()) } else { Err(FileError::Meanwhile(self.path.clone())) }
    }
}

/// Puts a file in the place of another.
pub(super) fn put(path: &Path, content: &[u8], mode: Mode) -> Result<(), FileError> {
    replace(path, content, mode).map_err(|error| FileError::from_replacing(path, error))
}
