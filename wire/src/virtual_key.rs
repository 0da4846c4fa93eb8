//! Virtual keys: what a host or workload shows to the gateway.
//!
//! Fleetgate mints `sk-fg-` + 32 random base-62 characters (190 bits) + 6 check characters, so that a scanner can tell a real
//! key from a look-alike. Keys of a LiteLLM database (`sk-` + 22 characters) work too. Both are stored as the SHA-256 of the
//! whole text, without salt: the text itself has the entropy, and LiteLLM's databases store the same hash.

use std::fmt;

use secrecy::{ExposeSecret, SecretString};
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

/// The prefix of the keys that Fleetgate mints.
pub const MINTED_PREFIX: &str = "sk-fg-";
const PREFIX: &str = "sk-";
const RANDOM_LENGTH: usize = 32;
const CHECK_LENGTH: usize = 6;
/// LiteLLM's own lower bound for a key that the caller chooses.
const MIN_LENGTH: usize = 16;
const MAX_LENGTH: usize = 256;
const ALPHABET: &[u8; 62] = b"0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz";

/// The text of a virtual key. It cannot be printed; [`VirtualKey::hash`] names it.
#[derive(Clone)]
pub struct VirtualKey(SecretString);

/// Why a text is no virtual key. The text itself is never repeated.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum VirtualKeyError {
    /// Every virtual key begins with `sk-`.
    #[error("a virtual key begins with 'sk-'")]
    Prefix,
    /// Between 16 and 256 characters.
    #[error("a virtual key has 16 to 256 characters")]
    Length,
    /// Only visible ASCII travels in a header.
    #[error("a virtual key holds visible ASCII characters only")]
    Character,
}

impl VirtualKey {
    /// Reads a key that a caller showed or a file held.
    ///
    /// # Errors
    /// When it cannot be a virtual key. Whether it is *known* is the gateway's question.
    pub fn parse(text: &str) -> Result<Self, VirtualKeyError> {
        let text = text.trim();
        if !text.starts_with(PREFIX) {
            return Err(VirtualKeyError::Prefix);
        }
        if !(MIN_LENGTH..=MAX_LENGTH).contains(&text.len()) {
            return Err(VirtualKeyError::Length);
        }
        if !text.bytes().all(|b| b.is_ascii_graphic()) {
            return Err(VirtualKeyError::Character);
        }
        Ok(Self(SecretString::from(text)))
    }

    /// Makes a new random key.
    ///
    /// # Errors
    /// When the operating system gives no randomness.
    pub fn mint() -> Result<Self, getrandom::Error> {
        mint_text(MINTED_PREFIX).map(Self)
    }

    /// Whether this is a key that a Fleetgate gateway minted, by prefix and check characters.
    #[must_use]
    pub fn is_minted(&self) -> bool {
        is_minted_text(MINTED_PREFIX, self.0.expose_secret())
    }

    /// The SHA-256 of the whole text: how the gateway stores and names the key.
    #[must_use]
    pub fn hash(&self) -> KeyHash {
        KeyHash::digest(self.0.expose_secret())
    }

    /// `sk-...` and the last four characters, as LiteLLM shows a key.
    #[must_use]
    pub fn short_name(&self) -> String {
        let text = self.0.expose_secret();
        format!("sk-...{}", &text[text.len() - 4..])
    }
}

impl ExposeSecret<str> for VirtualKey {
    fn expose_secret(&self) -> &str {
        self.0.expose_secret()
    }
}

impl fmt::Debug for VirtualKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("VirtualKey([REDACTED])")
    }
}

/// The SHA-256 of a virtual key; shown as 64 hexadecimal digits.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct KeyHash([u8; 32]);

/// A text that is not 64 hexadecimal digits.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("a key hash has 64 hexadecimal digits")]
pub struct KeyHashError;

impl KeyHash {
    /// Hashes any credential text, whether or not it could be a virtual key.
    #[must_use]
    pub fn digest(text: &str) -> Self {
        Self(Sha256::digest(text.as_bytes()).into())
    }

    /// The 32 bytes.
    #[must_use]
    pub fn as_bytes(&self) -> &[u8; 32] {
        &self.0
    }

    /// Reads 64 hexadecimal digits.
    ///
    /// # Errors
    /// On any other length or character.
    pub fn parse(text: &str) -> Result<Self, KeyHashError> {
        let bytes = text.as_bytes();
        if bytes.len() != 64 {
            return Err(KeyHashError);
        }
        let digit = |b: u8| char::from(b).to_digit(16).ok_or(KeyHashError);
        let mut hash = [0u8; 32];
        for (out, pair) in hash.iter_mut().zip(bytes.chunks_exact(2)) {
            let value = digit(pair[0])? * 16 + digit(pair[1])?;
            *out = u8::try_from(value).map_err(|_| KeyHashError)?;
        }
        Ok(Self(hash))
    }
}

impl KeyHash {
    /// The hash as 64 hexadecimal digits.
    #[must_use]
    pub fn hex(&self) -> String {
        // Written for every call. Without a table it is done for many bytes at once.
        let digit = |nibble: u8| nibble + if nibble > 9 { b'a' - 10 } else { b'0' };
        let mut text = [0; 64];
        for (at, byte) in self.0.into_iter().enumerate() {
            text[2 * at] = digit(byte >> 4);
            text[2 * at + 1] = digit(byte & 15);
        }
        // Digits and letters only.
        std::str::from_utf8(&text).unwrap_or_default().to_owned()
    }
}

impl fmt::Display for KeyHash {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(&self.hex())
    }
}

impl fmt::Debug for KeyHash {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{self}")
    }
}

impl TryFrom<String> for KeyHash {
    type Error = KeyHashError;

    fn try_from(text: String) -> Result<Self, Self::Error> {
        Self::parse(&text)
    }
}

impl From<KeyHash> for String {
    fn from(hash: KeyHash) -> Self {
        hash.to_string()
    }
}

/// A prefix, 32 random base-62 characters, and their check characters.
pub(crate) fn mint_text(prefix: &str) -> Result<SecretString, getrandom::Error> {
    let mut text = String::from(prefix);
    while text.len() < prefix.len() + RANDOM_LENGTH {
        let mut bytes = [0u8; 64];
        getrandom::fill(&mut bytes)?;
        // 248 is the largest multiple of 62 in a byte: taking more would favour the first characters.
        let picks = bytes.iter().filter(|b| **b < 248).map(|b| char::from(ALPHABET[usize::from(b % 62)]));
        text.extend(picks.take(prefix.len() + RANDOM_LENGTH - text.len()));
    }
    text.push_str(&check_characters(&text));
    Ok(SecretString::from(text))
}

/// Whether a text has the form that [`mint_text`] gives, by prefix and check characters.
pub(crate) fn is_minted_text(prefix: &str, text: &str) -> bool {
    text.len() == prefix.len() + RANDOM_LENGTH + CHECK_LENGTH
        && text.starts_with(prefix)
        && text.split_at_checked(text.len() - CHECK_LENGTH).is_some_and(|(body, check)| check_characters(body) == check)
}

/// Six base-62 characters of the text's SHA-256: catches typing errors and look-alikes, proves nothing.
fn check_characters(text: &str) -> String {
    let digest = Sha256::digest(text.as_bytes());
    digest.iter().take(CHECK_LENGTH).map(|b| char::from(ALPHABET[usize::from(b % 62)])).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_minted_key_parses_and_knows_itself() {
        let key = VirtualKey::mint().unwrap();
        let text = key.expose_secret().to_owned();
        assert_eq!(text.len(), 44);
        let parsed = VirtualKey::parse(&text).unwrap();
        assert!(parsed.is_minted());
        assert_eq!(parsed.hash(), key.hash());
        assert_ne!(VirtualKey::mint().unwrap().hash(), key.hash());
    }

    #[test]
    fn one_changed_character_is_noticed() {
        let text = VirtualKey::mint().unwrap().expose_secret().to_owned();
        let last = if text.ends_with('A') { "B" } else { "A" };
        let changed = format!("{}{last}", &text[..text.len() - 1]);
        assert!(!VirtualKey::parse(&changed).unwrap().is_minted());
    }

    #[test]
    fn the_hash_is_litellms_so_that_its_keys_keep_working() {
        // printf %s sk-Xn3Q0d0cFv0mJq1mT9wq7g | sha256sum
        let key = VirtualKey::parse("sk-Xn3Q0d0cFv0mJq1mT9wq7g").unwrap();
        let hash = key.hash().to_string();
        assert_eq!(hash.len(), 64);
        assert_eq!(KeyHash::parse(&hash).unwrap(), key.hash());
        assert_eq!(hash, LITELLM_SAMPLE_HASH);
        assert_eq!(key.short_name(), "sk-...wq7g");
    }

    #[test]
    fn texts_that_are_no_keys_are_refused_without_being_repeated() {
        assert_eq!(VirtualKey::parse("Bearer x").unwrap_err(), VirtualKeyError::Prefix);
        assert_eq!(VirtualKey::parse("sk-short").unwrap_err(), VirtualKeyError::Length);
        assert_eq!(VirtualKey::parse("sk-with a blank inside").unwrap_err(), VirtualKeyError::Character);
        assert!(KeyHash::parse(&"g".repeat(64)).is_err());
        assert!(KeyHash::parse("ab").is_err());
    }

    #[test]
    fn debug_never_shows_the_key() {
        let key = VirtualKey::parse("sk-canary-0123456789").unwrap();
        assert!(!format!("{key:?}").contains("canary"));
    }

    const LITELLM_SAMPLE_HASH: &str = "c930bf063c63c9da259f88853fd59a0b9781f1d07a9dfcdc4309738f653e8354";
}
