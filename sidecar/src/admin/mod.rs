//! The gateway's management API, as far as the commands need it.

mod egress;
mod invites;
mod keys;
mod logs;
mod spend;

use bytes::Bytes;
use fleetgate_wire::virtual_key::VirtualKey;
use fleetgate_wire::{ExposeSecret, SecretString};
use http::header::{AUTHORIZATION, CONTENT_TYPE};
use http::uri::PathAndQuery;
use http::{HeaderMap, HeaderValue, Method};
use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, utf8_percent_encode};
use serde::de::DeserializeOwned;

pub use egress::Egress;
pub use invites::{InvitationInfo, Invited, Minted, NewInvitation};
pub use keys::{Confirmed, KeyInfo, NewKey};
pub use logs::{LogFilter, Logs};
pub use spend::{Reprice, Spend, Times};

use crate::forward::{self, Failure, GatewayUrl};

/// Everything but what RFC 3986 calls unreserved.
const QUERY_VALUE: &AsciiSet = &NON_ALPHANUMERIC.remove(b'-').remove(b'_').remove(b'.').remove(b'~');

/// A gateway and the credential of its administrator.
#[derive(Debug)]
pub struct Admin {
    gateway: GatewayUrl,
    key: Option<SecretString>,
}

/// Why the gateway did not do it.
#[derive(Debug, thiserror::Error)]
pub enum AdminError {
    /// It was not reached.
    #[error("{0}")]
    Unreached(String),
    /// It refused.
    #[error("the gateway refuses ({status}): {message}")]
    Refused {
        /// HTTP status.
        status: u16,
        /// Its own words.
        message: String,
    },
    /// Its answer is not what we know.
    #[error("the gateway's answer cannot be read ({0}); is it of another version?")]
    Unreadable(String),
    /// The credential.
    #[error("the admin key holds characters that no header can carry")]
    BadKey,
}

impl Admin {
    /// Nothing is asked yet.
    #[must_use]
    pub fn new(gateway: GatewayUrl, key: SecretString) -> Self {
        Self { gateway, key: Some(key) }
    }

    /// Without a credential: for a machine that has none yet.
    #[must_use]
    pub fn anonymous(gateway: GatewayUrl) -> Self {
        Self { gateway, key: None }
    }

    /// A host that asks about its own key.
    #[must_use]
    pub fn of_key(gateway: GatewayUrl, key: &VirtualKey) -> Self {
        Self::new(gateway, SecretString::from(key.expose_secret()))
    }

    /// The gateway.
    #[must_use]
    pub fn gateway(&self) -> &GatewayUrl {
        &self.gateway
    }

    async fn get<A: DeserializeOwned>(&self, path: &str) -> Result<A, AdminError> {
        self.ask(Method::GET, path, Bytes::new()).await
    }

    async fn post<A: DeserializeOwned>(&self, path: &str, body: String) -> Result<A, AdminError> {
        self.ask(Method::POST, path, Bytes::from(body)).await
    }

    async fn ask<A: DeserializeOwned>(&self, method: Method, path: &str, body: Bytes) -> Result<A, AdminError> {
        let mut headers = HeaderMap::from_iter([(CONTENT_TYPE, HeaderValue::from_static("application/json"))]);
        if let Some(key) = &self.key {
            let mut bearer = HeaderValue::from_str(&format!("Bearer {}", key.expose_secret().trim()))
                .map_err(|_| AdminError::BadKey)?;
            bearer.set_sensitive(true);
            headers.insert(AUTHORIZATION, bearer);
        }
        let path: PathAndQuery = path.parse().map_err(|_| AdminError::Unreadable(format!("path {path}")))?;

        let unreached = |failure: Failure| AdminError::Unreached(failure.refusal(&self.gateway).message);
        let answer = forward::ask(&self.gateway, method, path, headers, body).await.map_err(unreached)?;
        Failure::check_marker(&answer.headers).map_err(unreached)?;
        if !answer.status.is_success() {
            return Err(AdminError::Refused { status: answer.status.as_u16(), message: message_of(&answer.body) });
        }
        serde_json::from_slice(&answer.body).map_err(|error| AdminError::Unreadable(error.to_string()))
    }
}

/// The message of an error body, else the body as it is.
fn message_of(body: &[u8]) -> String {
    let text = || String::from_utf8_lossy(body).trim().to_owned();
    let Ok(value) = serde_json::from_slice::<serde_json::Value>(body) else { return text() };
    let message = value.pointer("/error/message").or_else(|| value.get("detail"));
    message.and_then(|message| message.as_str()).map_or_else(text, str::to_owned)
}

/// `name=value&…` of those that are given.
fn query(pairs: &[(&str, Option<&str>)]) -> String {
    let given = pairs.iter().filter_map(|(name, value)| Some((name, (*value)?)));
    let encoded = given.map(|(name, value)| format!("{name}={}", utf8_percent_encode(value, QUERY_VALUE)));
    encoded.collect::<Vec<_>>().join("&")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_people_type_cannot_break_the_query() {
        let pairs = [("limit", Some("5")), ("host", None), ("key_alias", Some("a&b=c d/ü"))];
        assert_eq!(query(&pairs), "limit=5&key_alias=a%26b%3Dc%20d%2F%C3%BC");
    }

    #[test]
    fn the_gateways_own_words_are_shown() {
        assert_eq!(message_of(br#"{"error":{"message":"no such key"}}"#), "no such key");
        assert_eq!(message_of(br#"{"detail":"Not Found"}"#), "Not Found");
        assert_eq!(message_of(b"plain\n"), "plain");
    }
}
