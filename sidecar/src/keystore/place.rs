//! Where a key of this host can be put: the keyring, or a file of its own.

use std::fs::{self, DirBuilder};
use std::io;
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};

use fleetgate_wire::host::HostLabel;
use fleetgate_wire::virtual_key::VirtualKey;
use fleetgate_wire::workload::Workload;
use fleetgate_wire::{ExposeSecret, SecretString};
use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, utf8_percent_encode};

use super::keyring::{self, KeyringError};
use super::permissions::{check_directories, own_user_id};
use super::read::{KeyReadError, read};
use super::reference::KeyReference;
use crate::replace::{Mode, replace};

/// The host's key in its configuration directory.
pub(super) const HOST_KEY: &str = "host.key";
/// What is safe in a file's name; a leading dot never comes from a workload, since it stands behind nothing else.
const FILE_NAME: &AsciiSet = &NON_ALPHANUMERIC.remove(b'-').remove(b'_');

/// A place that takes a key.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Place {
    /// An entry of the keyring.
    Keyring(String),
    /// A file; mode 0600 in a directory that others cannot write.
    File(PathBuf),
}

/// Why a place does not take a key.
#[derive(Debug, thiserror::Error)]
pub enum PlaceError {
    /// The keyring.
    #[error(transparent)]
    Keyring(#[from] KeyringError),
    /// The file or its directory.
    #[error("{path}: {source}")]
    File {
        /// Which.
        path: PathBuf,
        /// The operating system's reason.
        source: io::Error,
    },
    /// It cannot be read back, or others could read it.
    #[error(transparent)]
    Unreadable(#[from] KeyReadError),
    /// Something else is there than what was written.
    #[error("{0} gives back another key than was stored there")]
    Differs(KeyReference),
    /// Somebody else fills this place.
    #[error("the key is at {0}, which is not ours to change; change it there")]
    NotOurs(KeyReference),
}

impl PlaceError {
    /// Whether the key may still arrive in this place: the keyring was asked and has not answered.
    #[must_use]
    pub fn is_open(&self) -> bool {
        matches!(self, Self::Keyring(KeyringError::Hung))
    }
}

impl Place {
    /// The keyring's entry for this host, or for one of its workloads.
    #[must_use]
    pub fn in_keyring(label: &HostLabel, workload: Option<&Workload>) -> Self {
        Self::Keyring(workload.map_or_else(|| label.to_string(), |workload| format!("{label}/{workload}")))
    }

    /// The file for this host, or for one of its workloads.
    #[must_use]
    pub fn in_directory(directory: &Path, workload: Option<&Workload>) -> Self {
        Self::File(match workload {
            None => directory.join(HOST_KEY),
            Some(workload) => {
                let name = utf8_percent_encode(workload.as_str(), FILE_NAME);
                directory.join("workloads").join(format!("{name}.key"))
            }
        })
    }

    /// The keyring where it works within two seconds, else the file. Root's key is for a service, which has no keyring.
    pub async fn best(directory: &Path, label: &HostLabel, workload: Option<&Workload>) -> Self {
        let keyring = Self::in_keyring(label, workload);
        if own_user_id() != 0 && keyring::may_exist() {
            match keyring.prepare().await {
                Ok(()) => return keyring,
                Err(error) => tracing::debug!("{error}"),
            }
        }
        Self::in_directory(directory, workload)
    }

    /// The place behind a reference, unless somebody else fills it.
    ///
    /// # Errors
    /// When it is not ours.
    pub(super) fn of(reference: &KeyReference, base: &Path) -> Result<Self, PlaceError> {
        match reference {
            KeyReference::File(path) => Ok(Self::File(base.join(path))),
            KeyReference::Keyring(name) => Ok(Self::Keyring(name.clone())),
            other => Err(PlaceError::NotOurs(other.clone())),
        }
    }

    /// How it is referred to.
    #[must_use]
    pub fn reference(&self) -> KeyReference {
        match self {
            Self::Keyring(name) => KeyReference::Keyring(name.clone()),
            Self::File(path) => KeyReference::File(path.clone()),
        }
    }

    /// Makes sure that it would take a key now, so that no key is minted which cannot be kept.
    ///
    /// # Errors
    /// When it would not.
    pub async fn prepare(&self) -> Result<(), PlaceError> {
        match self {
            Self::Keyring(_) => {
                let probe = format!("probe-{}", std::process::id());
                keyring::write(&probe, SecretString::from("probe")).await?;
                let read = keyring::read(&probe).await;
                keyring::delete(&probe).await?;
                Ok(read.map(drop)?)
            }
            Self::File(path) => {
                let failed = |source| PlaceError::File { path: path.clone(), source };
                let directory = path.parent().ok_or_else(|| failed(io::ErrorKind::InvalidInput.into()))?;
                make_directory(directory).map_err(failed)?;
                check_directories(&directory.canonicalize().map_err(failed)?)?;
                let probe = path.with_extension(format!("{}.probe", std::process::id()));
                replace(&probe, b"", Mode::Own(0o600))
                    .map_err(io::Error::from)
                    .and_then(|()| fs::remove_file(&probe))
                    .map_err(failed)
            }
        }
    }

    /// Stores the key in place of what was there, and reads it back.
    ///
    /// # Errors
    /// When it is not there afterwards.
    pub async fn write(&self, key: &VirtualKey) -> Result<(), PlaceError> {
        match self {
            Self::Keyring(name) => keyring::write(name, SecretString::from(key.expose_secret())).await?,
            Self::File(path) => {
                replace(path, format!("{}\n", key.expose_secret()).as_bytes(), Mode::Own(0o600))
                    .map_err(|error| PlaceError::File { path: path.clone(), source: error.into() })?;
            }
        }
        let stored = self.read().await?;
        if stored.hash() == key.hash() { Ok(()) } else { Err(PlaceError::Differs(self.reference())) }
    }

    /// Reads the key.
    ///
    /// # Errors
    /// When there is none that may be used.
    pub async fn read(&self) -> Result<VirtualKey, KeyReadError> {
        read(&self.reference(), Path::new("/")).await
    }

    /// Removes the key; says whether there was one.
    ///
    /// # Errors
    /// When it cannot be removed.
    pub async fn forget(&self) -> Result<bool, PlaceError> {
        match self {
            Self::Keyring(name) => match keyring::delete(name).await {
                Err(KeyringError::NoEntry(_)) => Ok(false),
                done => Ok(done.map(|()| true)?),
            },
            Self::File(path) => match fs::remove_file(path) {
                Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(false),
                done => done.map(|()| true).map_err(|source| PlaceError::File { path: path.clone(), source }),
            },
        }
    }
}

/// A directory for keys. Root's is a system's configuration directory, where others read what is no secret.
pub(super) fn make_directory(directory: &Path) -> io::Result<()> {
    let mode = if own_user_id() == 0 { 0o755 } else { 0o700 };
    DirBuilder::new().recursive(true).mode(mode).create(directory)
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use super::*;

    #[tokio::test]
    async fn a_file_is_private_replaced_as_a_whole_and_forgotten() {
        let directory = tempfile::tempdir().unwrap();
        let workload = Workload::parse("python:/srv/../app.py").unwrap();
        let place = Place::in_directory(directory.path(), Some(&workload));
        place.prepare().await.unwrap();
        for _ in 0..2 {
            let key = VirtualKey::mint().unwrap();
            place.write(&key).await.unwrap();
            assert_eq!(place.read().await.unwrap().hash(), key.hash());
        }
        let Place::File(path) = &place else { panic!() };
        assert_eq!(path.parent().unwrap(), directory.path().join("workloads"));
        assert_eq!(fs::metadata(path).unwrap().permissions().mode() & 0o777, 0o600);
        assert_eq!(fs::read_dir(path.parent().unwrap()).unwrap().count(), 1);
        assert!(place.forget().await.unwrap() && !place.forget().await.unwrap());
    }

    #[tokio::test]
    async fn a_directory_of_everybodys_takes_no_key() {
        let directory = tempfile::tempdir().unwrap();
        let open = directory.path().join("open");
        fs::create_dir(&open).unwrap();
        fs::set_permissions(&open, fs::Permissions::from_mode(0o777)).unwrap();
        let error = Place::in_directory(&open, None).prepare().await.unwrap_err().to_string();
        assert!(error.contains("chmod go-w"), "{error}");
    }
}
