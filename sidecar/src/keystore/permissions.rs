//! Who else could read a key or exchange its file, as ssh asks it.

use std::fs::File;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use super::read::KeyReadError;

/// Whose files the check is about.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    /// A person's or a service's own file: nobody else may read it.
    Own,
    /// A credential of systemd's: it lies in a directory that only the service can enter, and where an access list lets the
    /// service read root's file, the mode shows that list's mask as the group's right to read.
    Credential,
}

/// Checks an opened file and the directories above it. The opened file is looked at, not the path: nobody can exchange it in between.
///
/// # Errors
/// When others can read the key, or put another in its place; with the command that helps.
pub(super) fn check(file: &File, path: &Path, kind: Kind) -> Result<(), KeyReadError> {
    let unreadable = |source| KeyReadError::File { path: path.to_owned(), source };
    let metadata = file.metadata().map_err(unreadable)?;
    let mode = metadata.mode() & 0o7777;
    let forbidden = if kind == Kind::Own { 0o077 } else { 0o037 };
    if mode & forbidden != 0 {
        return Err(KeyReadError::Permissions { path: path.to_owned(), mode });
    }
    check_owner(path, metadata.uid())?;
    // A link leads elsewhere: what counts are the directories in which the file really is.
    let real = path.canonicalize().map_err(unreadable)?;
    real.parent().map_or(Ok(()), check_directories)
}

/// Checks a directory and all above it.
///
/// # Errors
/// When others can write into one of them.
pub(super) fn check_directories(lowest: &Path) -> Result<(), KeyReadError> {
    for directory in lowest.ancestors() {
        let metadata =
            directory.metadata().map_err(|source| KeyReadError::File { path: directory.to_owned(), source })?;
        let mode = metadata.mode() & 0o7777;
        // In a sticky directory such as /tmp nobody can move what belongs to another.
        if mode & 0o022 != 0 && mode & 0o1000 == 0 {
            return Err(KeyReadError::Directory { path: directory.to_owned(), mode });
        }
        check_owner(directory, metadata.uid())?;
    }
    Ok(())
}

fn check_owner(path: &Path, owner: u32) -> Result<(), KeyReadError> {
    let us = own_user_id();
    if owner == us || owner == 0 {
        return Ok(());
    }
    Err(KeyReadError::Owner { path: PathBuf::from(path), owner, us })
}

/// Our effective user.
#[must_use]
pub(super) fn own_user_id() -> u32 {
    rustix::process::geteuid().as_raw()
}
