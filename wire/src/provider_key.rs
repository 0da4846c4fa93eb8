//! Providers' own keys, recognised by their form: a program that still sends one is a *sighting*.
//!
//! A key is never kept, only whose it is and its fingerprint. Forms are those that public secret scanners agree on (gitleaks,
//! trufflehog, kingfisher); forms that only their surroundings tell apart, such as 32 hexadecimal digits, are left alone.

mod forms;

use std::borrow::Cow;
use std::fmt;
use std::str::FromStr;

use crate::virtual_key::KeyHash;

/// What a sighting calls a key whose provider its form does not tell: `sk-` is the beginning of at least eight providers' keys.
pub const UNKNOWN: &str = "unknown";

const FINGERPRINT_BYTES: usize = 8;
const LONGEST_PROVIDER: usize = 32;

/// What [`recognise`] gives.
pub type Recognised = ProviderKeySighting;

/// Whose key was seen, and which: written `PROVIDER:FINGERPRINT`. The key's text is not in it.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct ProviderKeySighting {
    provider: Cow<'static, str>,
    fingerprint: Fingerprint,
}

/// The first 16 hexadecimal digits of a key's SHA-256: enough to tell keys apart, and nothing to find one by.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct Fingerprint([u8; FINGERPRINT_BYTES]);

/// A text that is no sighting.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("a sighting is written PROVIDER:FINGERPRINT, with a fingerprint of 16 hexadecimal digits")]
pub struct SightingError;

/// Recognises a provider's key: the whole text, or what stands behind `Bearer`. Keys that a gateway minted, dummies and
/// placeholders are none.
#[must_use]
pub fn recognise(text: &str) -> Option<Recognised> {
    let text = text.trim();
    let text = match text.split_once(' ') {
        Some((scheme, rest)) if scheme.eq_ignore_ascii_case("bearer") => rest.trim(),
        _ => text,
    };
    let provider = forms::provider_of(text)?;
    Some(ProviderKeySighting { provider: Cow::Borrowed(provider), fingerprint: Fingerprint::of(text) })
}

impl ProviderKeySighting {
    /// Whose key it is: `openai`, `anthropic` … or [`UNKNOWN`].
    #[must_use]
    pub fn provider(&self) -> &str {
        &self.provider
    }

    /// Which one.
    #[must_use]
    pub fn fingerprint(&self) -> Fingerprint {
        self.fingerprint
    }
}

impl fmt::Display for ProviderKeySighting {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}", self.provider, self.fingerprint)
    }
}

impl FromStr for ProviderKeySighting {
    type Err = SightingError;

    /// Any word may be the provider: the other side may be newer and know more of them.
    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let (provider, fingerprint) = text.split_once(':').ok_or(SightingError)?;
        let is_word =
            provider.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || matches!(b, b'-' | b'_'));
        if provider.is_empty() || provider.len() > LONGEST_PROVIDER || !is_word {
            return Err(SightingError);
        }
        Ok(Self { provider: Cow::Owned(provider.to_owned()), fingerprint: fingerprint.parse()? })
    }
}

impl Fingerprint {
    /// The fingerprint of a key's text.
    #[must_use]
    pub fn of(key: &str) -> Self {
        Self::from(&KeyHash::digest(key))
    }
}

/// A virtual key has one too: that is how a gateway tells that what was seen is a key of its own.
impl From<&KeyHash> for Fingerprint {
    fn from(hash: &KeyHash) -> Self {
        let mut bytes = [0; FINGERPRINT_BYTES];
        bytes.copy_from_slice(&hash.as_bytes()[..FINGERPRINT_BYTES]);
        Self(bytes)
    }
}

impl fmt::Display for Fingerprint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:016x}", u64::from_be_bytes(self.0))
    }
}

impl fmt::Debug for Fingerprint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl FromStr for Fingerprint {
    type Err = SightingError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let is_hex = text.len() == 2 * FINGERPRINT_BYTES && text.bytes().all(|b| b.is_ascii_hexdigit());
        let number = u64::from_str_radix(text, 16).ok().filter(|_| is_hex).ok_or(SightingError)?;
        Ok(Self(number.to_be_bytes()))
    }
}

#[cfg(test)]
mod tests;
