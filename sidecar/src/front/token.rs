//! The local token: a text that a caller must know besides being the right user.

use std::fs::{self, File};
use std::io::{self, Read, Write};
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use fleetgate_wire::{ExposeSecret, SecretString};
use subtle::ConstantTimeEq;

const PREFIX: &str = "fg-local-";
const RANDOM_BYTES: usize = 24;
const SHORTEST: usize = 16;
const LONGEST: u64 = 512;
const SECRET: u32 = 0o600;
const NOT_FOR_OTHERS: u32 = 0o077;

/// What a caller must send.
#[derive(Debug)]
pub(super) struct LocalToken {
    text: SecretString,
    path: PathBuf,
}

/// Why there is no token.
#[derive(Debug, thiserror::Error)]
pub enum TokenError {
    /// The file.
    #[error("the local token {path}: {source}")]
    File {
        /// Which.
        path: PathBuf,
        /// The reason.
        source: io::Error,
    },
    /// Others could read it.
    #[error("the local token {0} can be read by others: chmod 600 {0}")]
    Open(PathBuf),
    /// Too short to be one, or too long.
    #[error("{0} holds no token: it should have 16 to 512 characters; remove it, and the sidecar makes a new one")]
    Content(PathBuf),
    /// Neither systemd nor the environment names a place.
    #[error("no place for the local token: say --token-file FILE")]
    Nowhere,
}

impl LocalToken {
    /// Reads the token, or makes one where there is none yet: it stays the same from then on, as it stands in people's settings.
    pub(super) fn open(path: &Path) -> Result<Self, TokenError> {
        match Self::read(path) {
            Err(TokenError::File { source, .. }) if source.kind() == io::ErrorKind::NotFound => Self::make(path)?,
            other => return other,
        }
        Self::read(path)
    }

    fn read(path: &Path) -> Result<Self, TokenError> {
        let failed = |source| TokenError::File { path: path.to_owned(), source };
        let file = File::open(path).map_err(failed)?;
        if file.metadata().map_err(failed)?.mode() & NOT_FOR_OTHERS != 0 {
            return Err(TokenError::Open(path.to_owned()));
        }
        let mut text = String::new();
        file.take(LONGEST + 1).read_to_string(&mut text).map_err(failed)?;
        let token = text.trim();
        if token.len() < SHORTEST || text.len() as u64 > LONGEST || !token.bytes().all(|b| b.is_ascii_graphic()) {
            return Err(TokenError::Content(path.to_owned()));
        }
        Ok(Self { text: SecretString::from(token), path: path.to_owned() })
    }

    fn make(path: &Path) -> Result<(), TokenError> {
        let failed = |source| TokenError::File { path: path.to_owned(), source };
        if let Some(directory) = path.parent() {
            fs::create_dir_all(directory).map_err(failed)?;
        }
        let mut random = [0u8; RANDOM_BYTES];
        getrandom::fill(&mut random).map_err(|error| failed(io::Error::other(error.to_string())))?;
        let digits: String = random.iter().map(|byte| format!("{byte:02x}")).collect();
        let draft = path.with_extension(format!("{}.new", std::process::id()));
        let mut file = File::options().write(true).create_new(true).mode(SECRET).open(&draft).map_err(failed)?;
        let written = file.write_all(format!("{PREFIX}{digits}\n").as_bytes());
        // Whole or not at all. Where another sidecar of this user was quicker, its token is as good.
        let placed = written.and_then(|()| fs::hard_link(&draft, path));
        fs::remove_file(&draft).map_err(failed)?;
        match placed {
            Err(error) if error.kind() != io::ErrorKind::AlreadyExists => Err(failed(error)),
            _ => Ok(()),
        }
    }

    /// Whether a caller's text is the token. How long the answer takes tells nothing of it but its length.
    pub(super) fn is(&self, text: &str) -> bool {
        self.text.expose_secret().as_bytes().ct_eq(text.as_bytes()).into()
    }

    pub(super) fn path(&self) -> &Path {
        &self.path
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use super::*;

    #[test]
    fn a_token_is_made_once_for_its_owner_alone() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("state/local.token");
        let token = LocalToken::open(&path).unwrap();
        assert_eq!(fs::metadata(&path).unwrap().mode() & 0o777, 0o600);
        let text = fs::read_to_string(&path).unwrap();
        assert!(text.starts_with(PREFIX) && token.is(text.trim()) && !token.is("fg-local-") && !token.is(""));
        assert!(LocalToken::open(&path).unwrap().is(text.trim()));
        assert!(!format!("{token:?}").contains(text.trim()));
    }

    #[test]
    fn a_token_that_others_can_read_or_guess_is_none() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("token");
        for (text, mode) in
            [("short", 0o600), ("two words are no token", 0o600), ("", 0o600), ("fg-local-0123456789", 0o640)]
        {
            fs::write(&path, text).unwrap();
            fs::set_permissions(&path, fs::Permissions::from_mode(mode)).unwrap();
            assert!(LocalToken::open(&path).is_err(), "{text:?} {mode:o}");
        }
    }
}
