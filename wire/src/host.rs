//! Host labels: the names machines bear in the ledger.

use std::fmt;

use serde::{Deserialize, Serialize};

/// The longest label: a DNS label (RFC 1035 §2.3.4).
const MAX_LENGTH: usize = 63;

/// A machine of the fleet: lower-case ASCII letters, digits, `-` and `_`, 1 to 63 of them.
#[derive(Clone, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct HostLabel(String);

/// Why a text is no host label.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum HostLabelError {
    /// Nothing was left after trimming.
    #[error("a host label must not be empty")]
    Empty,
    /// Longer than a DNS label.
    #[error("host label {0:?} is longer than 63 characters")]
    TooLong(String),
    /// A character that no host name has.
    #[error("host label {label:?} holds {found:?}; letters, digits, '-' and '_' are allowed")]
    BadCharacter {
        /// The text as given.
        label: String,
        /// The first character that is not allowed.
        found: char,
    },
}

impl HostLabel {
    /// Normalises a host name: lower case, cut at the first dot (`Mac.local`, `mac.tailnet.ts.net` and `mac` are one machine).
    ///
    /// # Errors
    /// When nothing usable is left, or the text holds characters no host name has.
    pub fn parse(name: &str) -> Result<Self, HostLabelError> {
        let short = name.trim().split('.').next().unwrap_or_default().to_ascii_lowercase();
        if short.is_empty() {
            return Err(HostLabelError::Empty);
        }
        if short.len() > MAX_LENGTH {
            return Err(HostLabelError::TooLong(short));
        }
        match short.chars().find(|c| !(c.is_ascii_alphanumeric() || matches!(c, '-' | '_'))) {
            Some(found) => Err(HostLabelError::BadCharacter { label: short, found }),
            None => Ok(Self(short)),
        }
    }

    /// The label's text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for HostLabel {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl fmt::Debug for HostLabel {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl TryFrom<String> for HostLabel {
    type Error = HostLabelError;

    fn try_from(name: String) -> Result<Self, Self::Error> {
        Self::parse(&name)
    }
}

impl From<HostLabel> for String {
    fn from(label: HostLabel) -> Self {
        label.0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_machine_has_one_label_however_its_name_is_written() {
        for name in ["mac", "Mac", "mac.local", "MAC.tail1234.ts.net", " mac\n", "mac."] {
            assert_eq!(HostLabel::parse(name).unwrap().as_str(), "mac", "{name:?}");
        }
    }

    #[test]
    fn names_that_no_host_has_are_refused() {
        assert_eq!(HostLabel::parse(""), Err(HostLabelError::Empty));
        assert_eq!(HostLabel::parse(".local"), Err(HostLabelError::Empty));
        assert!(matches!(HostLabel::parse("my host"), Err(HostLabelError::BadCharacter { found: ' ', .. })));
        assert!(matches!(HostLabel::parse("ma\u{7f}c"), Err(HostLabelError::BadCharacter { .. })));
        assert!(matches!(HostLabel::parse(&"a".repeat(64)), Err(HostLabelError::TooLong(_))));
    }
}
