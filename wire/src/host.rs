//! Host labels: the names machines bear in the ledger.

use std::fmt;
use std::net::IpAddr;

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
    /// An address, which a machine may lose to another one.
    #[error("host label {0:?} is an address, not a name")]
    Address(String),
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
    /// Normalises a host name: lower case, cut at the first dot (`Mac.local`, `mac.tailnet.ts.net` and `mac` are one machine). A
    /// name beyond ASCII is written as DNS writes it: `jörg` is `xn--jrg-sna`.
    ///
    /// # Errors
    /// When nothing usable is left, or the text holds characters no host name has.
    pub fn parse(name: &str) -> Result<Self, HostLabelError> {
        let name = name.trim();
        if name.parse::<IpAddr>().is_ok() {
            return Err(HostLabelError::Address(name.to_owned()));
        }
        let short = name.split('.').next().unwrap_or_default().to_ascii_lowercase();
        // What DNS cannot write either is refused below, with the character.
        let short = if short.is_ascii() { short } else { idna::domain_to_ascii(&short).unwrap_or(short) };
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

    /// The label without a number that a network may have added because the name seemed taken (Bonjour's `mac-2`, Tailscale's
    /// `mac-1`). Numbers belong to many names, so this is a reason for a question, never for another label.
    #[must_use]
    pub fn without_number(&self) -> Option<Self> {
        let (name, number) = self.0.rsplit_once('-')?;
        let number: u8 = number.parse().ok().filter(|_| !number.starts_with('0'))?;
        (!name.is_empty() && number < 100).then(|| Self(name.to_owned()))
    }

    /// Whether this is the random identifier that Docker and Podman give a container for a host name: 12 hexadecimal digits.
    #[must_use]
    pub fn is_container_id(&self) -> bool {
        let is_hex = self.0.bytes().all(|b| b.is_ascii_digit() || matches!(b, b'a'..=b'f'));
        self.0.len() == 12 && is_hex && self.0.bytes().any(|b| b.is_ascii_digit())
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
        for name in
            ["mac", "Mac", "mac.local", "MAC.tail1234.ts.net", " mac\n", "mac.", "mac.home.arpa", "Mac.fritz.box."]
        {
            assert_eq!(HostLabel::parse(name).unwrap().as_str(), "mac", "{name:?}");
        }
        for name in ["jörg", "JÖRG.local", "xn--jrg-sna"] {
            assert_eq!(HostLabel::parse(name).unwrap().as_str(), "xn--jrg-sna", "{name:?}");
        }
    }

    #[test]
    fn a_number_that_a_network_may_have_added_is_told_apart_and_not_cut_off() {
        let without = |name: &str| HostLabel::parse(name).unwrap().without_number().map(String::from);
        assert_eq!(HostLabel::parse("Mac-2.local").unwrap().as_str(), "mac-2");
        assert_eq!(without("Mac-2.local").as_deref(), Some("mac"));
        assert_eq!(without("mac-mini-12").as_deref(), Some("mac-mini"));
        for name in ["mac", "mac-mini", "gpu-01", "-2", "node-2024", "mac2"] {
            assert_eq!(without(name), None, "{name}");
        }
    }

    #[test]
    fn a_containers_random_name_is_recognised() {
        let is_id = |name: &str| HostLabel::parse(name).unwrap().is_container_id();
        assert!(is_id("3f2a9c01b7de") && is_id("3F2A9C01B7DE"));
        assert!(!is_id("deadbeefcafe") && !is_id("3f2a9c01b7d") && !is_id("dgx-spark-01"));
    }

    #[test]
    fn names_that_no_host_has_are_refused() {
        assert_eq!(HostLabel::parse(""), Err(HostLabelError::Empty));
        assert_eq!(HostLabel::parse(".local"), Err(HostLabelError::Empty));
        assert!(matches!(HostLabel::parse("10.0.0.5"), Err(HostLabelError::Address(_))));
        assert!(matches!(HostLabel::parse("fd7a::1"), Err(HostLabelError::Address(_))));
        assert!(matches!(HostLabel::parse("Jörg’s Mac"), Err(HostLabelError::BadCharacter { .. })));
        assert!(matches!(HostLabel::parse("my host"), Err(HostLabelError::BadCharacter { found: ' ', .. })));
        assert!(matches!(HostLabel::parse("ma\u{7f}c"), Err(HostLabelError::BadCharacter { .. })));
        assert!(matches!(HostLabel::parse(&"a".repeat(64)), Err(HostLabelError::TooLong(_))));
    }
}
