//! Where a key lies: `file:/path`, `env:NAME`, `credential:NAME`, `keyring:NAME`. Never the key itself.

use std::fmt;
use std::path::PathBuf;

use serde::Deserialize;

/// A place that holds one key.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(try_from = "String")]
pub enum KeyReference {
    /// A file; a relative path starts at the directory of `hosts.toml`.
    File(PathBuf),
    /// An environment variable of the sidecar.
    Environment(String),
    /// A file that systemd put into `$CREDENTIALS_DIRECTORY`.
    Credential(String),
    /// An entry of the operating system's keyring: service `fleetgate`, this user.
    Keyring(String),
}

/// Why a text is no reference. It never repeats a text that may be a key.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ReferenceError {
    /// A key was written where its place belongs.
    #[error("this looks like a key itself; put it into a file (mode 0600) and write \"file:/path\"")]
    IsKey,
    /// None of the known kinds.
    #[error("a key reference is \"file:PATH\", \"env:NAME\", \"keyring:NAME\" or \"credential:NAME\"")]
    UnknownKind,
    /// A kind without a name behind it.
    #[error("{0:?} names nothing behind the colon")]
    Nameless(String),
    /// A credential is one file of one directory.
    #[error("credential name {0:?} must not hold '/' or be '..'")]
    CredentialPath(String),
    /// Reserved.
    #[error("\"cmd:\" is not supported by this version; let the command write a file and use \"file:PATH\"")]
    Command,
}

impl TryFrom<String> for KeyReference {
    type Error = ReferenceError;

    fn try_from(text: String) -> Result<Self, Self::Error> {
        if text.trim_start().starts_with("sk-") {
            return Err(ReferenceError::IsKey);
        }
        let (kind, name) = text.split_once(':').ok_or(ReferenceError::UnknownKind)?;
        if name.trim().is_empty() {
            return Err(ReferenceError::Nameless(text));
        }
        match kind {
            "file" => Ok(Self::File(PathBuf::from(name))),
            "env" => Ok(Self::Environment(name.to_owned())),
            "keyring" => Ok(Self::Keyring(name.to_owned())),
            "credential" if name.contains('/') || name == ".." => Err(ReferenceError::CredentialPath(name.to_owned())),
            "credential" => Ok(Self::Credential(name.to_owned())),
            "cmd" => Err(ReferenceError::Command),
            _ => Err(ReferenceError::UnknownKind),
        }
    }
}

impl fmt::Display for KeyReference {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::File(path) => write!(f, "file:{}", path.display()),
            Self::Environment(name) => write!(f, "env:{name}"),
            Self::Credential(name) => write!(f, "credential:{name}"),
            Self::Keyring(name) => write!(f, "keyring:{name}"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(text: &str) -> Result<KeyReference, ReferenceError> {
        KeyReference::try_from(text.to_owned())
    }

    #[test]
    fn every_kind_reads_back_as_it_was_written() {
        for text in ["file:/etc/key", "file:keys/mac", "env:MY_KEY", "keyring:mac", "credential:vk"] {
            assert_eq!(parse(text).unwrap().to_string(), text);
        }
    }

    #[test]
    fn what_is_no_reference_is_refused_and_a_key_is_never_repeated() {
        let error = parse("sk-canary-0123456789").unwrap_err();
        assert_eq!(error, ReferenceError::IsKey);
        assert!(!format!("{error} {error:?}").contains("canary"));
        assert_eq!(parse("/etc/key"), Err(ReferenceError::UnknownKind));
        assert_eq!(parse("vault:x"), Err(ReferenceError::UnknownKind));
        assert_eq!(parse("cmd:pass mac"), Err(ReferenceError::Command));
        assert!(matches!(parse("file:"), Err(ReferenceError::Nameless(_))));
        assert!(matches!(parse("credential:../x"), Err(ReferenceError::CredentialPath(_))));
    }
}
