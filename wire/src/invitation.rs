//! Invitations: what lets a machine that has no key yet ask for one.
//!
//! `fgi_` + 32 random base-62 characters (190 bits, so guessing is hopeless) + 6 check characters, which tell a typing error
//! from a token that is no longer good. The gateway stores the SHA-256 only.

use std::fmt;

use secrecy::{ExposeSecret, SecretString};

use crate::virtual_key::{KeyHash, is_minted_text, mint_text};

/// The prefix of every invitation.
pub const INVITATION_PREFIX: &str = "fgi_";

/// The text of an invitation. It cannot be printed; [`InvitationToken::hash`] names it.
#[derive(Clone)]
pub struct InvitationToken(SecretString);

/// Why a text is no invitation. The text itself is never repeated.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum InvitationTokenError {
    /// Something else.
    #[error("an invitation begins with 'fgi_'; 'fleetgate keys invite' makes one")]
    Prefix,
    /// A character is missing or wrong.
    #[error("this invitation is cut off or mistyped: its check characters do not fit")]
    Mistyped,
}

impl InvitationToken {
    /// Reads a token that somebody typed.
    ///
    /// # Errors
    /// When it cannot be an invitation. Whether it is *good* is the gateway's question.
    pub fn parse(text: &str) -> Result<Self, InvitationTokenError> {
        let text = text.trim();
        if !text.starts_with(INVITATION_PREFIX) {
            return Err(InvitationTokenError::Prefix);
        }
        if !is_minted_text(INVITATION_PREFIX, text) {
            return Err(InvitationTokenError::Mistyped);
        }
        Ok(Self(SecretString::from(text)))
    }

    /// Makes a new random token.
    ///
    /// # Errors
    /// When the operating system gives no randomness.
    pub fn mint() -> Result<Self, getrandom::Error> {
        mint_text(INVITATION_PREFIX).map(Self)
    }

    /// The SHA-256 of the whole text: how the gateway stores it.
    #[must_use]
    pub fn hash(&self) -> KeyHash {
        KeyHash::digest(self.0.expose_secret())
    }
}

impl ExposeSecret<str> for InvitationToken {
    fn expose_secret(&self) -> &str {
        self.0.expose_secret()
    }
}

impl fmt::Debug for InvitationToken {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("InvitationToken([REDACTED])")
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn a_minted_token_parses_and_does_not_show_itself() {
        let token = InvitationToken::mint().unwrap();
        let text = token.expose_secret().to_owned();
        assert_eq!((text.len(), &text[..4]), (42, "fgi_"));
        assert_eq!(InvitationToken::parse(&format!(" {text}\n")).unwrap().hash(), token.hash());
        assert!(!format!("{token:?}").contains(&text[4..]));
    }

    #[test]
    fn a_changed_character_and_a_key_are_told_apart_from_an_invitation() {
        let text = InvitationToken::mint().unwrap().expose_secret().to_owned();
        let last = if text.ends_with('A') { "B" } else { "A" };
        let changed = format!("{}{last}", &text[..text.len() - 1]);
        for wrong in [&changed, &text[..41], &format!("{text}x")] {
            assert_eq!(InvitationToken::parse(wrong).unwrap_err(), InvitationTokenError::Mistyped);
        }
        assert_eq!(InvitationToken::parse("sk-fg-0123456789").unwrap_err(), InvitationTokenError::Prefix);
    }

    proptest! {
        #[test]
        fn no_text_of_strangers_is_one(text in "\\PC{0,60}") {
            prop_assert!(InvitationToken::parse(&text).is_err());
            let unmarked = InvitationToken::parse(&format!("fgi_{text}"));
            prop_assert!(unmarked.is_err());
        }
    }
}
