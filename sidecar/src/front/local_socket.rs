//! A Unix socket beside the ports: no web page reaches it, and it says itself who calls.

use std::fs::{self, Permissions};
use std::io;
use std::os::unix::fs::{FileTypeExt, MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};

use tokio::net::{UnixListener, UnixStream};

/// For the sidecar's own user.
const PRIVATE: u32 = 0o600;
/// Where others are allowed too, the file lets everyone knock; who may come in is the same question as on the ports.
const SHARED: u32 = 0o666;

/// A listening Unix socket. Its file goes when this does, if it was made here.
#[derive(Debug)]
pub(super) struct LocalSocket {
    pub(super) socket: UnixListener,
    path: PathBuf,
    /// The file's device and inode: a successor's file of the same name must stay.
    made: Option<(u64, u64)>,
}

/// Why there is no Unix socket.
#[derive(Debug, thiserror::Error)]
pub enum LocalSocketError {
    /// Another program listens there.
    #[error("--listen-unix {0}: another program listens there")]
    Taken(PathBuf),
    /// It is some other file, which is not ours to remove.
    #[error("--listen-unix {0}: a file that is no socket lies there; remove it or name another path")]
    NoSocket(PathBuf),
    /// The operating system's reason.
    #[error("--listen-unix {path}: {source}")]
    Refused {
        /// Where.
        path: PathBuf,
        /// The reason.
        source: io::Error,
    },
}

impl LocalSocket {
    /// Makes the socket. One that a dead process left behind is replaced, anything else is not.
    pub(super) async fn bind(path: &Path, is_private: bool) -> Result<Self, LocalSocketError> {
        let refused = |source| LocalSocketError::Refused { path: path.to_owned(), source };
        let socket = match UnixListener::bind(path) {
            Err(error) if error.kind() == io::ErrorKind::AddrInUse => {
                remove_stale(path).await?;
                UnixListener::bind(path).map_err(refused)?
            }
            other => other.map_err(refused)?,
        };
        fs::set_permissions(path, Permissions::from_mode(if is_private { PRIVATE } else { SHARED }))
            .map_err(refused)?;
        let file = fs::symlink_metadata(path).map_err(refused)?;
        Ok(Self { socket, path: path.to_owned(), made: Some((file.dev(), file.ino())) })
    }

    /// One that systemd made, and will remove.
    pub(super) fn inherited(socket: UnixListener, path: PathBuf) -> Self {
        Self { socket, path, made: None }
    }

    pub(super) fn path(&self) -> &Path {
        &self.path
    }
}

impl Drop for LocalSocket {
    fn drop(&mut self) {
        let is_ours = fs::symlink_metadata(&self.path).is_ok_and(|file| self.made == Some((file.dev(), file.ino())));
        if is_ours && let Err(error) = fs::remove_file(&self.path) {
            tracing::debug!("{} stays behind: {error}", self.path.display());
        }
    }
}

async fn remove_stale(path: &Path) -> Result<(), LocalSocketError> {
    let refused = |source| LocalSocketError::Refused { path: path.to_owned(), source };
    if !fs::symlink_metadata(path).map_err(refused)?.file_type().is_socket() {
        return Err(LocalSocketError::NoSocket(path.to_owned()));
    }
    match UnixStream::connect(path).await {
        Err(error) if error.kind() == io::ErrorKind::ConnectionRefused => fs::remove_file(path).map_err(refused),
        _ => Err(LocalSocketError::Taken(path.to_owned())),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_socket_is_private_and_goes_with_its_owner() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("socket");
        let socket = LocalSocket::bind(&path, true).await.unwrap();
        assert_eq!(fs::metadata(&path).unwrap().mode() & 0o777, 0o600);
        assert!(matches!(LocalSocket::bind(&path, true).await, Err(LocalSocketError::Taken(_))));
        assert!(path.exists());
        drop(socket);
        assert!(!path.exists());
        let shared = LocalSocket::bind(&path, false).await.unwrap();
        assert_eq!(fs::metadata(&path).unwrap().mode() & 0o777, 0o666);
        // A successor has taken the place meanwhile.
        fs::remove_file(&path).unwrap();
        let _successor = UnixListener::bind(&path).unwrap();
        drop(shared);
        assert!(path.exists());
    }

    #[tokio::test]
    async fn only_a_dead_socket_is_replaced() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("socket");
        drop(UnixListener::bind(&path).unwrap());
        assert!(path.exists());
        drop(LocalSocket::bind(&path, true).await.unwrap());
        fs::write(&path, "mine").unwrap();
        assert!(matches!(LocalSocket::bind(&path, true).await, Err(LocalSocketError::NoSocket(_))));
        assert_eq!(fs::read_to_string(&path).unwrap(), "mine");
    }
}
