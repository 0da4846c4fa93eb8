//! An rc file on disk: what it is, and whether it may be replaced.

use std::fs::{self, Metadata, OpenOptions};
use std::io::{self, Read};
use std::os::unix::fs::{FileTypeExt, MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use rustix::fs::OFlags;

use super::copies::CopyProblem;
use crate::replace::{Mode, ReplaceError, replace_if};

/// No start-up file that a shell can read in reasonable time is longer.
const LONGEST: u64 = 16 << 20;

/// Why a file is left alone.
#[derive(Debug, thiserror::Error)]
pub enum FileProblem {
    /// A link whose target is missing; making it would guess at what the person means.
    #[error("{link} is a link to {target}, which does not exist; create that file or remove the link")]
    Dangling {
        /// The link.
        link: PathBuf,
        /// Where it points.
        target: PathBuf,
    },
    /// Links in a circle.
    #[error("{0} is a link that leads back to itself; remove it")]
    Loop(PathBuf),
    /// A directory, a FIFO, a device.
    #[error("{path} is {kind}, not a file; move it away or say another --file")]
    NotAFile {
        /// Which.
        path: PathBuf,
        /// What it is.
        kind: &'static str,
    },
    /// It has several names, which a replaced file would not.
    #[error(
        "{path} has {count} names (hard links), and replacing it would part them; make it one file, or a symbolic link"
    )]
    HardLinks {
        /// Which.
        path: PathBuf,
        /// How many.
        count: u64,
    },
    /// Its owner may not write it. Root could all the same, and that is not what the mode says.
    #[error("{path} is read-only (mode {mode:04o}); chmod u+w it first, if it may be changed")]
    ReadOnly {
        /// Which.
        path: PathBuf,
        /// Its mode.
        mode: u32,
    },
    /// It is somebody else's.
    #[error("{path} belongs to user {owner}; run this as that user")]
    Foreign {
        /// Which.
        path: PathBuf,
        /// Whose.
        owner: u32,
    },
    /// There is nowhere to put it.
    #[error("the directory {0} does not exist; create it first")]
    NoDirectory(PathBuf),
    /// Asked about, and not there.
    #[error("{0} does not exist")]
    NoFile(PathBuf),
    /// Longer than any start-up file.
    #[error("{0} is longer than 16 MB, which is no start-up file")]
    TooLong(PathBuf),
    /// No shell reads it.
    #[error("{0} is UTF-16 text, which no shell reads; save it as UTF-8")]
    Utf16(PathBuf),
    /// Somebody wrote it meanwhile.
    #[error("{0} changed while it was being edited, and was left as it is now; run this again")]
    Changed(PathBuf),
    /// A new file would have lost it.
    #[error("{path}: its {what} cannot be kept ({source}), so it was left as it is")]
    CannotKeep {
        /// Which.
        path: PathBuf,
        /// Group, owner or an attribute's name.
        what: String,
        /// The reason.
        source: io::Error,
    },
    /// The file was not touched, since what uninstalling needs could not be kept.
    #[error(transparent)]
    Copies(#[from] CopyProblem),
    /// Anything else.
    #[error("{path}: {source}; it was left as it is")]
    Io {
        /// Which.
        path: PathBuf,
        /// The reason.
        source: io::Error,
    },
}

/// A file as it was read, or the place of one that is not there.
#[derive(Debug)]
pub(super) struct Seen {
    named: PathBuf,
    /// Behind all links.
    pub(super) real: PathBuf,
    /// `None`: there is no such file.
    pub(super) before: Option<Before>,
    /// Directories to make for it.
    pub(super) missing_directories: Vec<PathBuf>,
}

#[derive(Debug)]
pub(super) struct Before {
    pub(super) text: Vec<u8>,
    metadata: Metadata,
}

impl Seen {
    /// Reads what `named` leads to. Only looks.
    pub(super) fn read(named: &Path) -> Result<Self, FileProblem> {
        let io = |source| FileProblem::Io { path: named.to_owned(), source };
        let real = match fs::symlink_metadata(named) {
            Ok(metadata) if metadata.is_symlink() => fs::canonicalize(named).map_err(|source| match source.kind() {
                io::ErrorKind::NotFound => {
                    FileProblem::Dangling { link: named.to_owned(), target: fs::read_link(named).unwrap_or_default() }
                }
                _ if source.raw_os_error() == Some(rustix::io::Errno::LOOP.raw_os_error()) => {
                    FileProblem::Loop(named.to_owned())
                }
                _ => io(source),
            })?,
            Ok(_) => named.to_owned(),
            Err(source) if source.kind() == io::ErrorKind::NotFound => {
                let above = named.ancestors().skip(1).filter(|path| !path.as_os_str().is_empty());
                let missing_directories = above.take_while(|path| path.symlink_metadata().is_err()).map(Path::to_owned);
                let missing_directories = missing_directories.collect();
                return Ok(Self { named: named.to_owned(), real: named.to_owned(), before: None, missing_directories });
            }
            Err(source) => return Err(io(source)),
        };
        let before = Before::read(&real)?;
        Ok(Self { named: named.to_owned(), real, before: Some(before), missing_directories: Vec::new() })
    }

    pub(super) fn text(&self) -> &[u8] {
        self.before.as_ref().map_or(&[], |before| &before.text)
    }

    /// Whether it may be written. Only asked when something is to be changed.
    pub(super) fn check_writable(&self) -> Result<(), FileProblem> {
        let Some(Before { metadata, .. }) = &self.before else { return Ok(()) };
        self.check_owner(metadata)?;
        let mode = metadata.mode() & 0o7777;
        if mode & 0o200 == 0 {
            return Err(FileProblem::ReadOnly { path: self.real.clone(), mode });
        }
        match metadata.nlink() {
            1 => Ok(()),
            count => Err(FileProblem::HardLinks { path: self.real.clone(), count }),
        }
    }

    /// A person edits their own files. Root edits everybody's, but a link in somebody's directory must not lead root to a third one's file.
    fn check_owner(&self, metadata: &Metadata) -> Result<(), FileProblem> {
        let own = rustix::process::geteuid().as_raw();
        let directory = self.named.parent().and_then(|directory| fs::metadata(directory).ok());
        let is_allowed = match (own, directory.map(|metadata| metadata.uid())) {
            (0, None | Some(0)) => true,
            (0, Some(holder)) => metadata.uid() == holder,
            _ => metadata.uid() == own,
        };
        let foreign = || FileProblem::Foreign { path: self.real.clone(), owner: metadata.uid() };
        if is_allowed { Ok(()) } else { Err(foreign()) }
    }

    /// Puts `text` in its place in one step: with its mode, owner, group and attributes, or not at all.
    pub(super) fn replace(&self, text: &[u8]) -> Result<(), FileProblem> {
        let io = |source| FileProblem::Io { path: self.real.clone(), source };
        for missing in self.missing_directories.iter().rev() {
            fs::create_dir(missing).map_err(io)?;
        }
        let written = replace_if(&self.real, text, Mode::Kept, || self.check_unchanged().is_ok());
        let Err(error) = written else { return Ok(()) };
        for missing in &self.missing_directories {
            let _ = fs::remove_dir(missing);
        }
        Err(match error {
            ReplaceError::Changed => FileProblem::Changed(self.real.clone()),
            ReplaceError::CannotKeep { what, source } => {
                FileProblem::CannotKeep { path: self.real.clone(), what, source }
            }
            ReplaceError::Io(source) => io(source),
        })
    }

    /// Takes the file away, and so many directories above it if they are empty.
    pub(super) fn remove(&self, directories: u8) -> Result<(), FileProblem> {
        self.check_unchanged()?;
        fs::remove_file(&self.real).map_err(|source| FileProblem::Io { path: self.real.clone(), source })?;
        for directory in self.real.ancestors().skip(1).take(directories.into()) {
            if fs::remove_dir(directory).is_err() {
                break;
            }
        }
        Ok(())
    }

    fn check_unchanged(&self) -> Result<(), FileProblem> {
        let same = match (&self.before, fs::symlink_metadata(&self.real)) {
            (None, Err(error)) => error.kind() == io::ErrorKind::NotFound,
            (Some(before), Ok(_)) => Before::read(&self.real).is_ok_and(|now| {
                let id = |metadata: &Metadata| (metadata.dev(), metadata.ino(), metadata.mode(), metadata.uid());
                id(&now.metadata) == id(&before.metadata) && now.text == before.text
            }),
            _ => false,
        };
        if same { Ok(()) } else { Err(FileProblem::Changed(self.real.clone())) }
    }
}

impl Before {
    fn read(path: &Path) -> Result<Self, FileProblem> {
        let io = |source| FileProblem::Io { path: path.to_owned(), source };
        // Opening a FIFO would wait for somebody who writes, and so is asked first and not waited for.
        let kind = kind_of(&fs::symlink_metadata(path).map_err(io)?);
        if let Some(kind) = kind {
            return Err(FileProblem::NotAFile { path: path.to_owned(), kind });
        }
        let flags = OFlags::NONBLOCK | OFlags::NOFOLLOW;
        let flags = i32::try_from(flags.bits()).map_err(|_| io(io::ErrorKind::InvalidInput.into()))?;
        let mut file = OpenOptions::new().read(true).custom_flags(flags).open(path).map_err(io)?;
        let metadata = file.metadata().map_err(io)?;
        if let Some(kind) = kind_of(&metadata) {
            return Err(FileProblem::NotAFile { path: path.to_owned(), kind });
        }
        let mut text = Vec::new();
        (&mut file).take(LONGEST + 1).read_to_end(&mut text).map_err(io)?;
        if text.len() as u64 > LONGEST {
            return Err(FileProblem::TooLong(path.to_owned()));
        }
        if text.starts_with(b"\xFF\xFE") || text.starts_with(b"\xFE\xFF") {
            return Err(FileProblem::Utf16(path.to_owned()));
        }
        Ok(Self { text, metadata })
    }
}

/// `None` for a file.
fn kind_of(metadata: &Metadata) -> Option<&'static str> {
    let kind = metadata.file_type();
    match () {
        () if kind.is_file() => None,
        () if kind.is_dir() => Some("a directory"),
        () if kind.is_fifo() => Some("a FIFO"),
        () if kind.is_socket() => Some("a socket"),
        () if kind.is_symlink() => Some("a link"),
        () => Some("a device"),
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use super::*;

    #[test]
    fn what_somebody_else_wrote_meanwhile_stays() {
        let directory = tempfile::tempdir().expect("a directory");
        let path = directory.path().join("rc");
        type Meanwhile = fn(&Path) -> io::Result<()>;
        let meanwhile: [(&str, Meanwhile); 5] = [
            ("written", |path| fs::write(path, "theirs")),
            ("replaced", |path| {
                fs::write(path.with_extension("new"), "mine")
                    .and_then(|()| fs::rename(path.with_extension("new"), path))
            }),
            ("removed", |path| fs::remove_file(path)),
            ("made a directory", |path| fs::remove_file(path).and_then(|()| fs::create_dir(path))),
            ("locked", |path| fs::set_permissions(path, fs::Permissions::from_mode(0o400))),
        ];
        for (what, act) in meanwhile {
            fs::write(&path, "mine").expect("written");
            let seen = Seen::read(&path).expect("a file");
            act(&path).expect(what);
            let now = fs::read(&path).ok();
            assert!(matches!(seen.replace(b"ours"), Err(FileProblem::Changed(_))), "{what}");
            assert!(matches!(seen.remove(0), Err(FileProblem::Changed(_))), "{what}");
            assert_eq!(fs::read(&path).ok(), now, "{what}");
            assert!(fs::read_dir(directory.path()).expect("a directory").count() <= 1, "{what}: a draft is left");
            let _ = fs::remove_file(&path).or_else(|_| fs::remove_dir(&path));
        }
        let seen = Seen::read(&path).expect("a place");
        fs::write(&path, "theirs").expect("written");
        assert!(matches!(seen.replace(b"ours"), Err(FileProblem::Changed(_))), "made meanwhile");
        assert_eq!(fs::read(&path).expect("there"), b"theirs");
    }

    #[test]
    fn nothing_is_left_of_a_failed_edit() {
        let directory = tempfile::tempdir().expect("a directory");
        let path = directory.path().join("a/b/rc");
        let seen = Seen::read(&path).expect("a place");
        assert_eq!(seen.missing_directories.len(), 2);
        fs::write(directory.path().join("a"), "a file").expect("written");
        assert!(seen.replace(b"ours").is_err());
        assert_eq!(fs::read(directory.path().join("a")).expect("there"), b"a file");
    }
}
