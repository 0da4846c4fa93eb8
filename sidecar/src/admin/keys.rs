//! Virtual keys: make one, list all; and a host's own: look at it, confirm it, discard it.

use std::time::Duration;

use fleetgate_wire::host::HostLabel;
use fleetgate_wire::virtual_key::VirtualKey;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use tokio::time::sleep;

use super::invites::within_limit;
use super::{Admin, AdminError};

/// Another gateway on the same database made the key a moment ago: this one hears of it soon.
const UNKNOWN_TRIES: u32 = 10;
const UNKNOWN_PAUSE: Duration = Duration::from_millis(200);

/// What a new key shall be.
#[derive(Debug, Serialize)]
pub struct NewKey {
    /// Its name in the ledger.
    pub key_alias: String,
    /// The models it may call; none named means all.
    pub models: Vec<String>,
    /// The host that it belongs to.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub host: Option<HostLabel>,
}

/// One key of the list; the fields that the table shows.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub struct KeyInfo {
    /// Its name.
    pub key_alias: Option<String>,
    /// `sk-...` and four characters.
    pub key_name: Option<String>,
    /// The host that it belongs to.
    pub host: Option<String>,
    /// The models it may call.
    pub models: Vec<String>,
    /// `active`, `revoked`, `replaced` or `expired`.
    pub status: Option<String>,
    /// Dollars spent.
    pub spend: Option<f64>,
}

/// What the gateway says once a key is in use.
#[derive(Debug, Deserialize)]
pub struct Confirmed {
    /// Its name.
    pub key_alias: Option<String>,
    /// Until when the key before it is good.
    pub old_key_ends_at: Option<String>,
}

#[derive(Deserialize)]
struct Shown {
    info: KeyInfo,
}

#[derive(Deserialize)]
struct Generated {
    key: String,
}

#[derive(Deserialize)]
struct Listed {
    keys: Vec<Value>,
}

impl Admin {
    /// Mints a key.
    ///
    /// # Errors
    /// When the gateway does not.
    pub async fn create_key(&self, new: &NewKey) -> Result<VirtualKey, AdminError> {
        let mut body = json!(new);
        body["metadata"] = json!({});
        let generated: Generated = self.post("/key/generate", body.to_string()).await?;
        VirtualKey::parse(&generated.key).map_err(|error| AdminError::Unreadable(error.to_string()))
    }

    /// What the gateway knows of the key that asks. Costs nothing.
    ///
    /// # Errors
    /// When it does not know it, or is not reached.
    pub async fn own_key(&self) -> Result<KeyInfo, AdminError> {
        let shown: Shown = within_limit(self.get("/key/info")).await?;
        Ok(shown.info)
    }

    /// Says that the key that asks is stored: the one before it comes to its end after `grace`.
    ///
    /// # Errors
    /// When the gateway does not know the key, or is not reached.
    pub async fn confirm_own_key(&self, grace: &str) -> Result<Confirmed, AdminError> {
        let body = json!({ "grace": grace }).to_string();
        for _ in 1..UNKNOWN_TRIES {
            match within_limit(self.post("/api/key/confirm", body.clone())).await {
                Err(AdminError::Refused { status: 401, .. }) => sleep(UNKNOWN_PAUSE).await,
                done => return done,
            }
        }
        within_limit(self.post("/api/key/confirm", body)).await
    }

    /// Gives back the key that asks: it could not be stored.
    ///
    /// # Errors
    /// When the gateway does not know the key, or is not reached.
    pub async fn discard_own_key(&self) -> Result<(), AdminError> {
        let _done: Value = within_limit(self.post("/api/key/discard", String::new())).await?;
        Ok(())
    }

    /// All keys, as the gateway describes them.
    ///
    /// # Errors
    /// When the gateway does not tell.
    pub async fn list_keys(&self) -> Result<Vec<Value>, AdminError> {
        let listed: Listed = self.get("/key/list?return_full_object=true&size=100").await?;
        Ok(listed.keys)
    }
}
