//! From a reference to its key, with a look at who else can read it.

use std::fs::File;
use std::io::{self, Read};
use std::path::{Path, PathBuf};

use fleetgate_wire::virtual_key::{VirtualKey, VirtualKeyError};
use fleetgate_wire::{ExposeSecret, SecretString};

use super::command::{self, CommandError};
use super::keyring::{self, KeyringError};
use super::permissions::{self, Kind};
use super::reference::KeyReference;

/// A key has at most 256 characters; whoever points at a log file by mistake shall not load it.
const MAX_FILE_LENGTH: u64 = 4096;

/// Why a reference gives no key. No text of a file or variable is ever repeated.
#[derive(Debug, thiserror::Error)]
pub enum KeyReadError {
    /// The file cannot be opened or read.
    #[error("{path}: {source}")]
    File {
        /// The file.
        path: PathBuf,
        /// The operating system's reason.
        source: io::Error,
    },
    /// Others can read the key.
    #[error("{path} can be read by others (mode {mode:04o}); run: chmod 600 {path}")]
    Permissions {
        /// The file.
        path: PathBuf,
        /// Its permission bits.
        mode: u32,
    },
    /// Others can put another file in its place.
    #[error("directory {path}, above the key, can be written by others (mode {mode:04o}); run: chmod go-w {path}")]
    Directory {
        /// The directory.
        path: PathBuf,
        /// Its permission bits.
        mode: u32,
    },
    /// Somebody else owns the key.
    #[error("{path} belongs to user {owner}, not to us or root; run: chown {us} {path}")]
    Owner {
        /// The file.
        path: PathBuf,
        /// Its owner.
        owner: u32,
        /// Who we are.
        us: u32,
    },
    /// No such variable.
    #[error("environment variable {0} is not set")]
    Environment(String),
    /// systemd gave no credentials.
    #[error("$CREDENTIALS_DIRECTORY is not set: credential: works in a systemd unit with LoadCredential= only")]
    NoCredentials,
    /// The keyring.
    #[error(transparent)]
    Keyring(#[from] KeyringError),
    /// The program that should print it.
    #[error(transparent)]
    Command(#[from] CommandError),
    /// What was found is no key.
    #[error("what lies there is no virtual key: {0}")]
    NotAKey(#[from] VirtualKeyError),
}

/// Reads the key that a reference names. Relative paths start at `base`.
///
/// # Errors
/// When it cannot be read, others can read it too, or it is no key.
pub(super) async fn read(reference: &KeyReference, base: &Path) -> Result<VirtualKey, KeyReadError> {
    let text = match reference {
        KeyReference::Environment(name) => {
            SecretString::from(std::env::var(name).map_err(|_| KeyReadError::Environment(name.clone()))?)
        }
        KeyReference::Keyring(name) => keyring::read(name).await?,
        KeyReference::Command(words) => command::read(words).await?,
        KeyReference::File(path) => read_private_file(&base.join(path), Kind::Own)?,
        KeyReference::Credential(_) => {
            read_private_file(&file_of(reference, base).ok_or(KeyReadError::NoCredentials)?, Kind::Credential)?
        }
    };
    Ok(VirtualKey::parse(text.expose_secret())?)
}

/// The file behind a reference, when there is one.
#[must_use]
pub(super) fn file_of(reference: &KeyReference, base: &Path) -> Option<PathBuf> {
    match reference {
        KeyReference::File(path) => Some(base.join(path)),
        KeyReference::Credential(name) => Some(PathBuf::from(std::env::var_os("CREDENTIALS_DIRECTORY")?).join(name)),
        KeyReference::Environment(_) | KeyReference::Keyring(_) | KeyReference::Command(_) => None,
    }
}

fn read_private_file(path: &Path, kind: Kind) -> Result<SecretString, KeyReadError> {
    let unreadable = |source| KeyReadError::File { path: path.to_owned(), source };
    let file = File::open(path).map_err(unreadable)?;
    permissions::check(&file, path, kind)?;
    let mut text = String::new();
    file.take(MAX_FILE_LENGTH).read_to_string(&mut text).map_err(unreadable)?;
    Ok(SecretString::from(text))
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::os::unix::fs::PermissionsExt;

    use super::*;

    const CANARY: &str = "sk-canary-0123456789";

    fn key_file(mode: u32, text: &str) -> (tempfile::TempDir, KeyReference) {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("host.key");
        fs::write(&path, text).unwrap();
        fs::set_permissions(&path, fs::Permissions::from_mode(mode)).unwrap();
        (directory, KeyReference::File("host.key".into()))
    }

    #[tokio::test]
    async fn a_private_file_is_read_without_its_line_end() {
        let (directory, reference) = key_file(0o600, &format!("{CANARY}\n"));
        let key = read(&reference, directory.path()).await.unwrap();
        assert_eq!(key.expose_secret(), CANARY);
        assert!(!format!("{key:?}").contains("canary"));
    }

    #[tokio::test]
    async fn a_file_that_others_can_read_is_refused_with_the_command_that_helps() {
        for mode in [0o640, 0o604, 0o644, 0o620] {
            let (directory, reference) = key_file(mode, CANARY);
            let error = read(&reference, directory.path()).await.unwrap_err().to_string();
            let expected = format!("run: chmod 600 {}", directory.path().join("host.key").display());
            assert!(error.contains(&expected) && error.contains(&format!("{mode:04o}")), "{error}");
        }
    }

    #[tokio::test]
    async fn a_directory_in_which_others_can_exchange_the_file_is_refused() {
        let (directory, reference) = key_file(0o600, CANARY);
        fs::set_permissions(directory.path(), fs::Permissions::from_mode(0o770)).unwrap();
        let error = read(&reference, directory.path()).await.unwrap_err().to_string();
        assert!(error.contains(&format!("run: chmod go-w {}", directory.path().display())), "{error}");
        fs::set_permissions(directory.path(), fs::Permissions::from_mode(0o755)).unwrap();
        assert!(read(&reference, directory.path()).await.is_ok());
        // As in /tmp: everybody may write, and nobody may move what is another's.
        fs::set_permissions(directory.path(), fs::Permissions::from_mode(0o1777)).unwrap();
        assert!(read(&reference, directory.path()).await.is_ok());
    }

    #[tokio::test]
    async fn a_credential_may_show_the_mask_of_its_access_list() {
        let (directory, _) = key_file(0o440, CANARY);
        let path = directory.path().join("host.key");
        assert!(read_private_file(&path, Kind::Credential).is_ok());
        assert!(read_private_file(&path, Kind::Own).is_err());
        fs::set_permissions(&path, fs::Permissions::from_mode(0o444)).unwrap();
        assert!(read_private_file(&path, Kind::Credential).is_err());
    }

    #[tokio::test]
    async fn what_is_no_key_is_not_repeated() {
        let (directory, reference) = key_file(0o600, "canary");
        let error = read(&reference, directory.path()).await.unwrap_err();
        assert!(!format!("{error} {error:?}").contains("canary"), "{error}");
    }

    #[tokio::test]
    async fn a_missing_place_is_named() {
        let missing = read(&KeyReference::File("/nowhere/key".into()), Path::new("/")).await.unwrap_err();
        assert!(missing.to_string().contains("/nowhere/key"));
        let unset = read(&KeyReference::Environment("FLEETGATE_NO_SUCH".into()), Path::new("/")).await.unwrap_err();
        assert!(unset.to_string().contains("FLEETGATE_NO_SUCH"));
    }
}
