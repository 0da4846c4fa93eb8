//! Where a key lies: `file:/path`, `env:NAME`, `credential:NAME`, `keyring:NAME`, `cmd:PROGRAM ARGUMENT…`. Never the key itself.

use std::fmt;
use std::path::PathBuf;

use serde::{Deserialize, Serialize};

/// A place that holds one key.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub enum KeyReference {
    /// A file; a relative path starts at the directory of `hosts.toml`.
    File(PathBuf),
    /// An environment variable of the sidecar.
    Environment(String),
    /// A file that systemd put into `$CREDENTIALS_DIRECTORY`.
    Credential(String),
    /// An entry of the operating system's keyring: service `fleetgate`, this user.
    Keyring(String),
    /// What a program prints: the program, and its arguments. No shell reads them.
    Command(Vec<String>),
}

/// Why a text is no reference. It never repeats a text that may be a key.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ReferenceError {
    /// A key was written where its place belongs.
    #[error("this looks like a key itself; put it into a file (mode 0600) and write \"file:/path\"")]
    IsKey,
    /// None of the known kinds.
    #[error(
        "a key reference is \"file:PATH\", \"env:NAME\", \"keyring:NAME\", \"credential:NAME\" or \"cmd:PROGRAM ARGUMENTS\""
    )]
    UnknownKind,
    /// A kind without a name behind it.
    #[error("{0:?} names nothing behind the colon")]
    Nameless(String),
    /// A credential is one file of one directory.
    #[error("credential name {0:?} must not hold '/' or be '..'")]
    CredentialPath(String),
    /// A quote without its end.
    #[error("the command behind \"cmd:\" opens a quote that it does not close")]
    OpenQuote,
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
            "cmd" => split_words(name).map(Self::Command),
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
            // Arguments are not shown: somebody may have written a secret among them.
            Self::Command(words) => {
                write!(f, "cmd:{}", words.first().map_or("", String::as_str))?;
                if words.len() > 1 { f.write_str(" …") } else { Ok(()) }
            }
        }
    }
}

/// As it is shown to people.
impl fmt::Debug for KeyReference {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{self}")
    }
}

/// As it is written into our own file. A command never is.
impl From<KeyReference> for String {
    fn from(reference: KeyReference) -> Self {
        reference.to_string()
    }
}

/// Words between blanks; quotes of both kinds hold blanks, and mean nothing else. There are no variables, globs or escapes.
fn split_words(text: &str) -> Result<Vec<String>, ReferenceError> {
    let (mut words, mut word, mut quote) = (Vec::new(), None::<String>, None);
    for c in text.chars() {
        match quote {
            Some(end) if c == end => quote = None,
            None if c == '"' || c == '\'' => {
                quote = Some(c);
                word.get_or_insert_default();
            }
            None if c.is_whitespace() => words.extend(word.take()),
            _ => word.get_or_insert_default().push(c),
        }
    }
    if quote.is_some() {
        return Err(ReferenceError::OpenQuote);
    }
    words.extend(word);
    Ok(words)
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
    fn a_command_is_split_at_blanks_and_its_arguments_are_not_shown() {
        let reference = parse("cmd:/opt/op read 'op://My Vault/$x'  \"\" a\"b c\"").unwrap();
        let words = ["/opt/op", "read", "op://My Vault/$x", "", "ab c"].map(str::to_owned);
        assert_eq!(reference, KeyReference::Command(words.into()));
        assert_eq!(format!("{reference} {reference:?}"), "cmd:/opt/op … cmd:/opt/op …");
        assert_eq!(parse("cmd:op").unwrap().to_string(), "cmd:op");
    }

    proptest::proptest! {
        #[test]
        fn any_text_behind_cmd_is_words_or_an_open_quote(text in "\\PC{1,40}") {
            if let Ok(KeyReference::Command(words)) = parse(&format!("cmd:{text}")) {
                let kept: usize = words.iter().map(|word| word.chars().count()).sum();
                proptest::prop_assert!(kept <= text.chars().count());
            }
        }
    }

    #[test]
    fn what_is_no_reference_is_refused_and_a_key_is_never_repeated() {
        let error = parse("sk-canary-0123456789").unwrap_err();
        assert_eq!(error, ReferenceError::IsKey);
        assert!(!format!("{error} {error:?}").contains("canary"));
        assert_eq!(parse("/etc/key"), Err(ReferenceError::UnknownKind));
        assert_eq!(parse("vault:x"), Err(ReferenceError::UnknownKind));
        assert_eq!(parse("cmd:pass 'mac"), Err(ReferenceError::OpenQuote));
        assert!(matches!(parse("file:"), Err(ReferenceError::Nameless(_))));
        assert!(matches!(parse("credential:../x"), Err(ReferenceError::CredentialPath(_))));
    }
}
