//! Puts a file in the place of another in one step: whoever reads it sees the old one or the new one, never half of it, and what belongs to
//! the file besides its bytes stays. Every room that writes files of a person's does it here.

use std::fs::{self, File, OpenOptions, Permissions};
use std::io::{self, Write};
use std::os::unix::fs::{MetadataExt, OpenOptionsExt, PermissionsExt, fchown};
use std::path::{Path, PathBuf};

use rustix::fs::XattrFlags;

/// Whose the file is, and who may do what with it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Mode {
    /// A person's file: mode, owner, group, access lists and extended attributes stay. Where there was none, as an editor makes one.
    Kept,
    /// A file of our own: this mode, whatever was there before and whatever the umask.
    Own(u32),
    /// A copy of a person's file, for its owner's eyes only.
    CopyFor {
        /// The owner.
        user: u32,
        /// Their group.
        group: u32,
    },
}

/// Why the old file is still there.
#[derive(Debug, thiserror::Error)]
pub(crate) enum ReplaceError {
    /// Somebody else wrote it meanwhile.
    #[error("it changed meanwhile")]
    Changed,
    /// The new file would have lost it.
    #[error("its {what} cannot be kept ({source})")]
    CannotKeep {
        /// Owner and group, or an attribute's name.
        what: String,
        /// The reason.
        source: io::Error,
    },
    /// The system says no.
    #[error(transparent)]
    Io(#[from] io::Error),
}

impl From<ReplaceError> for io::Error {
    fn from(error: ReplaceError) -> Self {
        match error {
            ReplaceError::Io(error) => error,
            ReplaceError::CannotKeep { ref source, .. } => Self::new(source.kind(), error.to_string()),
            ReplaceError::Changed => Self::other(error.to_string()),
        }
    }
}

/// Replaces a file, or makes it. A link stays, and the file behind it is replaced.
///
/// # Errors
/// Where any of that cannot be; the old file is as it was then, and nothing lies beside it.
pub(crate) fn replace(path: &Path, content: &[u8], mode: Mode) -> Result<(), ReplaceError> {
    replace_if(path, content, mode, || true)
}

/// The same, if the file is still the one that was read: asked at the last moment, when the new one is ready.
///
/// # Errors
/// As above, and [`ReplaceError::Changed`].
pub(crate) fn replace_if(
    path: &Path,
    content: &[u8],
    mode: Mode,
    is_unchanged: impl FnOnce() -> bool,
) -> Result<(), ReplaceError> {
    // A link that leads nowhere is replaced itself: who minds has looked.
    let real = fs::canonicalize(path).unwrap_or_else(|_| path.to_owned());
    let directory = real.parent().ok_or_else(|| io::Error::from(io::ErrorKind::InvalidInput))?;
    let draft = draft_path(&real)?;
    // Only a killed process of ours, with this number, can have left it.
    let _absent = fs::remove_file(&draft);
    let written = write(&draft, &real, content, mode).and_then(|()| {
        if !is_unchanged() {
            return Err(ReplaceError::Changed);
        }
        Ok(fs::rename(&draft, &real)?)
    });
    if written.is_err() {
        let _absent = fs::remove_file(&draft);
        return written;
    }
    // The file is whole either way; this only makes the rename outlive a power cut.
    let _unsupported = File::open(directory).and_then(|directory| directory.sync_all());
    Ok(())
}

fn draft_path(real: &Path) -> io::Result<PathBuf> {
    let mut name = real.file_name().ok_or(io::ErrorKind::InvalidInput)?.to_owned();
    name.push(format!(".fleetgate-{}", std::process::id()));
    Ok(real.with_file_name(name))
}

fn write(draft: &Path, real: &Path, content: &[u8], mode: Mode) -> Result<(), ReplaceError> {
    let old = fs::symlink_metadata(real).ok().filter(|metadata| metadata.is_file() && mode == Mode::Kept);
    // A draft is its writer's alone: others see the file when it is whole, if at all.
    let first = if old.is_none() && mode == Mode::Kept { 0o666 } else { 0o600 };
    let mut file = OpenOptions::new().write(true).create_new(true).mode(first).open(draft)?;
    file.write_all(content)?;
    let holder = match (mode, &old) {
        (Mode::CopyFor { user, group }, _) => Some((user, group)),
        (_, Some(old)) => Some((old.uid(), old.gid())),
        (_, None) => holder_of_directory(real),
    };
    let new = file.metadata()?;
    if let Some((user, group)) = holder.filter(|holder| *holder != (new.uid(), new.gid())) {
        fchown(&file, Some(user), Some(group)).map_err(|source| cannot_keep("owner and group", source))?;
    }
    // After the owner: a change of owner takes some bits away.
    match (mode, &old) {
        (Mode::Own(mode), _) => file.set_permissions(Permissions::from_mode(mode))?,
        (Mode::Kept, Some(old)) => {
            file.set_permissions(Permissions::from_mode(old.mode() & 0o7777))?;
            copy_attributes(real, &file)?;
        }
        (Mode::Kept, None) | (Mode::CopyFor { .. }, _) => {}
    }
    Ok(file.sync_all()?)
}

/// Root's file in somebody's home would be one that they cannot edit.
fn holder_of_directory(real: &Path) -> Option<(u32, u32)> {
    let directory = fs::metadata(real.parent()?).ok()?;
    let is_somebody_elses = rustix::process::geteuid().is_root() && directory.uid() != 0;
    is_somebody_elses.then(|| (directory.uid(), directory.gid()))
}

fn cannot_keep(what: impl Into<String>, source: io::Error) -> ReplaceError {
    ReplaceError::CannotKeep { what: what.into(), source }
}

/// Access lists and a person's own attributes must come along; those of the system (`security.`, `trusted.`) are its own business.
fn copy_attributes(from: &Path, to: &File) -> Result<(), ReplaceError> {
    /// Linux allows no longer list, and no longer value.
    const LONGEST: usize = 65536;
    let mut names = vec![0; LONGEST];
    let Ok(length) = rustix::fs::listxattr(from, &mut names[..]) else { return Ok(()) };
    for name in names[..length].split(|byte| *byte == 0).filter(|name| !name.is_empty()) {
        let shown = String::from_utf8_lossy(name).into_owned();
        let mut value = vec![0; LONGEST];
        let copied = rustix::fs::getxattr(from, name, &mut value[..])
            .and_then(|length| rustix::fs::fsetxattr(to, name, &value[..length], XattrFlags::empty()));
        if !shown.starts_with("security.") && !shown.starts_with("trusted.") {
            copied.map_err(|errno| cannot_keep(format!("attribute {shown}"), errno.into()))?;
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::symlink;

    use super::*;

    fn mode_of(path: &Path) -> u32 {
        fs::metadata(path).expect("it is there").mode() & 0o7777
    }

    fn names(directory: &Path) -> usize {
        fs::read_dir(directory).expect("a directory").count()
    }

    #[test]
    fn mode_link_and_attributes_stay_and_nothing_lies_beside() {
        let directory = tempfile::tempdir().expect("a directory");
        let (file, link) = (directory.path().join("file"), directory.path().join("link"));
        fs::write(&file, "old").expect("written");
        symlink("file", &link).expect("linked");
        fs::set_permissions(&file, Permissions::from_mode(0o640)).expect("ours");
        let has_attributes = rustix::fs::setxattr(&file, "user.note", b"mine", XattrFlags::empty()).is_ok();
        replace(&link, b"new", Mode::Kept).expect("replaced");
        assert!(link.is_symlink());
        assert_eq!((fs::read(&file).expect("there"), mode_of(&file)), (b"new".to_vec(), 0o640));
        let mut value = [0; 8];
        let length = rustix::fs::getxattr(&file, "user.note", &mut value[..]);
        assert!(!has_attributes || length == Ok(4), "{length:?}");
        replace(&link, b"newer", Mode::Own(0o600)).expect("replaced");
        assert_eq!((mode_of(&file), names(directory.path())), (0o600, 2));
    }

    #[test]
    fn what_changed_meanwhile_stays_and_no_draft_is_left() {
        let directory = tempfile::tempdir().expect("a directory");
        let file = directory.path().join("file");
        fs::write(&file, "theirs").expect("written");
        assert!(matches!(replace_if(&file, b"ours", Mode::Kept, || false), Err(ReplaceError::Changed)));
        assert_eq!((fs::read(&file).expect("there"), names(directory.path())), (b"theirs".to_vec(), 1));
        assert!(replace(&directory.path().join("no/file"), b"ours", Mode::Kept).is_err());
        assert!(replace(directory.path(), b"ours", Mode::Kept).is_err(), "a directory is no file");
        assert_eq!(names(directory.path()), 1);
    }

    #[test]
    fn the_owner_of_a_file_that_root_replaces_stays_unless_it_is_our_own() {
        let directory = tempfile::tempdir().expect("a directory");
        let file = directory.path().join("key");
        fs::write(&file, "old").expect("written");
        if std::os::unix::fs::chown(&file, Some(12345), Some(23456)).is_err() {
            // Only root can give files away, and only root could take them.
            return;
        }
        replace(&file, b"new", Mode::Kept).expect("replaced");
        let metadata = fs::metadata(&file).expect("there");
        assert_eq!((metadata.uid(), metadata.gid()), (12345, 23456));
        replace(&file, b"newer", Mode::Own(0o600)).expect("replaced");
        assert_eq!((fs::metadata(&file).expect("there").uid(), mode_of(&file)), (0, 0o600));
    }
}
