//! Which gateway this is, for as long as its journal lives: what it left unsaid is said by the process that starts after it.

use std::fmt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use uuid::Uuid;

/// The file that holds it.
pub(in crate::ledger) const FILE_NAME: &str = "gateway-id";

/// A gateway's lasting name.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(in crate::ledger) struct GatewayId(Arc<str>);

/// Why a gateway has no name.
#[derive(Debug, thiserror::Error)]
pub enum IdentityError {
    /// The file cannot be read or written.
    #[error(
        "cannot keep this gateway's identity in {path}: {source}; choose another folder with fleetgate.state_directory"
    )]
    File {
        /// The file.
        path: PathBuf,
        /// What the system says.
        source: std::io::Error,
    },
    /// The file holds something else.
    #[error("{path} does not hold a gateway's identity; if this gateway's journal is empty, delete the file")]
    Damaged {
        /// The file.
        path: PathBuf,
    },
}

impl GatewayId {
    /// Reads the identity that the folder holds, or makes one.
    ///
    /// # Errors
    /// When the folder cannot be used, or the file is damaged.
    pub(in crate::ledger) fn of(folder: &Path) -> Result<Self, IdentityError> {
        let path = folder.join(FILE_NAME);
        let failed = |source| IdentityError::File { path: path.clone(), source };
        match std::fs::read_to_string(&path) {
            Ok(text) => match Uuid::parse_str(text.trim()) {
                Ok(id) => Ok(Self(id.to_string().into())),
                Err(_) => Err(IdentityError::Damaged { path }),
            },
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
                let id = Uuid::now_v7().to_string();
                std::fs::create_dir_all(folder).map_err(failed)?;
                // Beside it first: a file that was half written would be a gateway without a name.
                let half = folder.join(format!("{FILE_NAME}.new"));
                std::fs::write(&half, format!("{id}\n")).map_err(failed)?;
                std::fs::rename(&half, &path).map_err(failed)?;
                Ok(Self(id.into()))
            }
            Err(error) => Err(failed(error)),
        }
    }

    /// For who only reads and writes whole ledgers.
    pub(in crate::ledger) fn nobody() -> Self {
        Self("nobody".into())
    }

    /// The text that the database has.
    #[must_use]
    pub(in crate::ledger) fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for GatewayId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_folder_keeps_its_identity() {
        let folder = tempfile::tempdir().unwrap();
        let first = GatewayId::of(&folder.path().join("state")).unwrap();
        assert_eq!(GatewayId::of(&folder.path().join("state")).unwrap(), first);
        assert_ne!(GatewayId::of(folder.path()).unwrap(), first);
        std::fs::write(folder.path().join(FILE_NAME), "x").unwrap();
        assert!(matches!(GatewayId::of(folder.path()), Err(IdentityError::Damaged { .. })));
    }
}
