//! Invitations: make, list and withdraw them, and come with one.

use std::time::Duration;

use fleetgate_wire::ExposeSecret;
use fleetgate_wire::host::HostLabel;
use fleetgate_wire::invitation::InvitationToken;
use fleetgate_wire::virtual_key::VirtualKey;
use http::Method;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value, json};
use tokio::time::timeout;

use super::{Admin, AdminError};

/// A gateway that takes longer has lost the question.
const LIMIT: Duration = Duration::from_secs(15);

/// What an invitation shall promise.
#[derive(Debug, Default, Serialize)]
pub struct NewInvitation {
    /// The machines that it is for.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub hosts: Vec<HostLabel>,
    /// For how many machines, when it names none.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub uses: Option<u32>,
    /// When it ends, from now.
    pub expires_in: String,
    /// The name of each key, with `{host}`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub key_alias: Option<String>,
    /// Budget, rates, models and team of each key.
    #[serde(flatten)]
    pub template: Map<String, Value>,
}

/// An invitation that was just made.
#[derive(Debug, Deserialize)]
pub struct Invited {
    /// Its name.
    pub id: String,
    /// Its token. It is shown to the administrator once.
    #[serde(deserialize_with = "token")]
    pub token: InvitationToken,
    /// How many machines it is for.
    pub uses: u32,
    /// When it ends.
    pub expires_at: String,
}

/// The fields of an invitation that the table shows.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub struct InvitationInfo {
    /// Its name.
    pub id: String,
    /// `open`, `used` or `expired`.
    pub status: String,
    /// The machines that it is for.
    pub hosts: Vec<String>,
    /// How many machines it is for.
    pub uses: u32,
    /// How many may still come.
    pub uses_left: u32,
    /// When it ends.
    pub expires_at: String,
    /// Who came.
    pub enrolled: Vec<EnrolledHost>,
}

/// A machine that used an invitation.
#[derive(Debug, Deserialize)]
pub struct EnrolledHost {
    /// Its label.
    pub host: String,
}

/// The key that a machine got.
#[derive(Debug)]
pub struct Minted {
    /// The key.
    pub key: VirtualKey,
    /// Its name.
    pub alias: Option<String>,
    /// Whether it takes the place of another.
    pub replaces: bool,
}

#[derive(Deserialize)]
struct MintedAnswer {
    key: String,
    key_alias: Option<String>,
    #[serde(default)]
    replaces: bool,
}

#[derive(Deserialize)]
struct Listed {
    invitations: Vec<Value>,
}

impl Admin {
    /// Makes an invitation.
    ///
    /// # Errors
    /// When the gateway does not.
    pub async fn invite(&self, new: &NewInvitation) -> Result<Invited, AdminError> {
        self.post("/api/invitations", json!(new).to_string()).await
    }

    /// All invitations, as the gateway describes them.
    ///
    /// # Errors
    /// When the gateway does not tell.
    pub async fn invitations(&self) -> Result<Vec<Value>, AdminError> {
        let listed: Listed = self.get("/api/invitations").await?;
        Ok(listed.invitations)
    }

    /// Withdraws an invitation.
    ///
    /// # Errors
    /// When there is none, or the gateway does not.
    pub async fn withdraw_invitation(&self, id: &str) -> Result<(), AdminError> {
        let id = percent_encoding::utf8_percent_encode(id, super::QUERY_VALUE);
        let _done: Value = self.ask(Method::DELETE, &format!("/api/invitations/{id}"), bytes::Bytes::new()).await?;
        Ok(())
    }

    /// Comes with an invitation, and gets a key.
    ///
    /// # Errors
    /// When the invitation is not good for this host, or the gateway does not answer.
    pub async fn enroll(&self, token: &InvitationToken, host: &HostLabel) -> Result<Minted, AdminError> {
        let body = json!({ "token": token.expose_secret(), "host": host }).to_string();
        minted(within_limit(self.post("/api/enroll", body)).await?)
    }
}

pub(super) async fn within_limit<T>(asked: impl Future<Output = Result<T, AdminError>>) -> Result<T, AdminError> {
    let silent = || AdminError::Unreached(format!("the gateway did not answer within {} s", LIMIT.as_secs()));
    timeout(LIMIT, asked).await.unwrap_or_else(|_| Err(silent()))
}

/// Takes the key out of an answer.
fn minted(answer: MintedAnswer) -> Result<Minted, AdminError> {
    let key = VirtualKey::parse(&answer.key).map_err(|error| AdminError::Unreadable(error.to_string()))?;
    Ok(Minted { key, alias: answer.key_alias, replaces: answer.replaces })
}

impl Admin {
    /// A new key in place of the one that is shown, which stays until the new one is confirmed.
    ///
    /// # Errors
    /// When the gateway does not.
    pub async fn rotate_own_key(&self) -> Result<Minted, AdminError> {
        minted(within_limit(self.post("/api/key/rotate", String::new())).await?)
    }
}

fn token<'de, D: serde::Deserializer<'de>>(deserializer: D) -> Result<InvitationToken, D::Error> {
    let text = String::deserialize(deserializer)?;
    InvitationToken::parse(&text).map_err(serde::de::Error::custom)
}
