//! The synced files where the block's line looks for them, and beside them what uninstalling must know: which files hold a block, and how
//! they looked before.

use std::ffi::OsString;
use std::fs::{self, DirBuilder, Permissions};
use std::io;
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::os::unix::fs::{DirBuilderExt, MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};

use percent_encoding::{AsciiSet, CONTROLS, percent_decode, percent_encode};

use crate::replace::{Mode, replace};

/// What is installed, by name.
const FILES: [(&str, &str); 3] = [
    ("fleetgate.sh", include_str!("../../../shell/fleetgate.sh")),
    ("fleetgate.fish", include_str!("../../../shell/fleetgate.fish")),
    ("modes.toml", include_str!("../../../shell/modes.toml")),
];
/// `install.sh --user` puts the same files into the same directory, and lists them there; they are then its own to remove.
const INSTALLERS_LIST: &str = "installed-sidecar";
const LIST: &str = "blocks";
const BACKUPS: &str = "backups";
/// One path a line.
const IN_A_LINE: &AsciiSet = &CONTROLS.add(b'%');

/// Why they could not be written.
#[derive(Debug, thiserror::Error)]
pub enum CopyProblem {
    /// The operating system's reason.
    #[error("{path}: {source}")]
    Io {
        /// Which.
        path: PathBuf,
        /// The reason.
        source: io::Error,
    },
    /// A shell would run what others write there.
    #[error(
        "{path} may be written by others (mode {mode:04o}), and your shell would run what they put there; chmod go-w {path}"
    )]
    Open {
        /// Which.
        path: PathBuf,
        /// Its mode.
        mode: u32,
    },
}

/// How the copies stand.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum CopyState {
    /// None there.
    Missing,
    /// Those of this program.
    Current,
    /// Others: of another version, or edited.
    Different,
}

impl CopyState {
    /// One word for JSON and tables.
    #[must_use]
    pub fn word(self) -> &'static str {
        match self {
            Self::Missing => "missing",
            Self::Current => "current",
            Self::Different => "different",
        }
    }
}

/// The directory of the copies.
#[derive(Debug, Clone)]
pub struct Copies {
    directory: PathBuf,
}

impl Copies {
    /// Those in this directory.
    #[must_use]
    pub fn new(directory: PathBuf) -> Self {
        Self { directory }
    }

    /// Where they are.
    #[must_use]
    pub fn directory(&self) -> &Path {
        &self.directory
    }

    /// How they stand.
    #[must_use]
    pub fn state(&self) -> CopyState {
        let present =
            FILES.map(|(name, text)| fs::read(self.directory.join(name)).ok().map(|there| there == text.as_bytes()));
        match present {
            all if all.iter().all(Option::is_none) => CopyState::Missing,
            all if all.iter().all(|same| *same == Some(true)) => CopyState::Current,
            _ => CopyState::Different,
        }
    }

    /// Writes those that differ; whether there were any.
    ///
    /// # Errors
    /// When one cannot be written, or others could write it.
    pub fn refresh(&self) -> Result<bool, CopyProblem> {
        make_directory(&self.directory, 0o755).map_err(failed(&self.directory))?;
        let mode = fs::metadata(&self.directory).map_err(failed(&self.directory))?.mode() & 0o7777;
        if mode & 0o022 != 0 {
            return Err(CopyProblem::Open { path: self.directory.clone(), mode });
        }
        let mut wrote = false;
        for (name, text) in FILES {
            let path = self.directory.join(name);
            let is_there =
                fs::symlink_metadata(&path).is_ok_and(|metadata| metadata.is_file() && metadata.mode() & 0o022 == 0);
            if !is_there || fs::read(&path).ok().as_deref() != Some(text.as_bytes()) {
                if !is_there {
                    // A link, or a file that others may write, is not what we put here: its target and its rights are not kept.
                    let _absent = fs::remove_file(&path);
                }
                write(&path, text.as_bytes(), 0o644).map_err(failed(&path))?;
                wrote = true;
            }
        }
        Ok(wrote)
    }

    /// The files that got a block from here.
    #[must_use]
    pub fn blocks(&self) -> Vec<PathBuf> {
        let text = fs::read(self.directory.join(LIST)).unwrap_or_default();
        let lines = text.split(|byte| *byte == b'\n').filter(|line| !line.is_empty());
        lines.map(|line| PathBuf::from(OsString::from_vec(percent_decode(line).collect()))).collect()
    }

    /// Puts a file on the list, or takes it off.
    ///
    /// # Errors
    /// When the list cannot be written.
    pub fn note_block(&self, file: &Path, is_there: bool) -> Result<(), CopyProblem> {
        let mut blocks = self.blocks();
        if blocks.iter().any(|known| known == file) == is_there {
            return Ok(());
        }
        blocks.retain(|known| known != file);
        blocks.extend(is_there.then(|| file.to_owned()));
        let lines: Vec<String> = blocks
            .iter()
            .map(|path| percent_encode(path.as_os_str().as_bytes(), IN_A_LINE).to_string() + "\n")
            .collect();
        let path = self.directory.join(LIST);
        write(&path, lines.concat().as_bytes(), 0o644).map_err(failed(&path))
    }

    /// Where the former text of a file is kept.
    #[must_use]
    pub fn backup_path(&self, file: &Path) -> PathBuf {
        let name = file.file_name().unwrap_or_default().to_string_lossy();
        let name = name.trim_start_matches('.').to_owned();
        self.directory.join(BACKUPS).join(format!("{name}-{:08x}", crc32fast::hash(file.as_os_str().as_bytes())))
    }

    /// Keeps the former text of a file, for its owner's eyes only: people have keys in such files.
    ///
    /// # Errors
    /// When it cannot be written.
    pub fn back_up(&self, file: &Path, text: &[u8]) -> Result<(), CopyProblem> {
        let path = self.backup_path(file);
        let result = make_directory(&self.directory.join(BACKUPS), 0o700).and_then(|()| write(&path, text, 0o600));
        result.map_err(failed(&path))
    }

    /// Forgets the former text of a file.
    pub fn forget(&self, file: &Path) {
        let _ = fs::remove_file(self.backup_path(file));
        let _ = fs::remove_dir(self.directory.join(BACKUPS));
    }

    /// Takes everything away that was put here, and the directories above it that are empty then; nothing that `install.sh` put here.
    ///
    /// # Errors
    /// When one of the files cannot be removed.
    pub fn remove(&self, home: &Path) -> Result<(), CopyProblem> {
        let is_installers = self.directory.join(INSTALLERS_LIST).exists();
        let own = FILES.iter().map(|(name, _)| *name).filter(|_| !is_installers);
        for name in own.chain([LIST]) {
            let path = self.directory.join(name);
            match fs::remove_file(&path) {
                Err(source) if source.kind() != io::ErrorKind::NotFound => return Err(failed(&path)(source)),
                _ => {}
            }
        }
        // What is left there is of files that somebody removed, or took the block out of by hand.
        let _ = fs::remove_dir_all(self.directory.join(BACKUPS));
        // `~/.local/share` is nobody's in particular: it goes if it is empty, like each above it, but never the home.
        let above = self.directory.ancestors().skip(1).take_while(|path| path.starts_with(home) && *path != home);
        for directory in [self.directory.as_path()].into_iter().chain(above) {
            if fs::remove_dir(directory).is_err() {
                break;
            }
        }
        Ok(())
    }
}

fn write(path: &Path, text: &[u8], mode: u32) -> io::Result<()> {
    Ok(replace(path, text, Mode::Own(mode))?)
}

fn failed(path: &Path) -> impl FnOnce(io::Error) -> CopyProblem {
    let path = path.to_owned();
    move |source| CopyProblem::Io { path, source }
}

/// With the mode that it says, whatever the umask; one that is there stays as it is.
fn make_directory(path: &Path, mode: u32) -> io::Result<()> {
    if path.is_dir() {
        return Ok(());
    }
    DirBuilder::new().recursive(true).mode(mode).create(path)?;
    fs::set_permissions(path, Permissions::from_mode(mode))
}
