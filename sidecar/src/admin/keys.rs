//! Virtual keys: make one, list all.

use fleetgate_wire::host::HostLabel;
use fleetgate_wire::virtual_key::VirtualKey;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use super::{Admin, AdminError};

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
    /// Dollars spent.
    pub spend: Option<f64>,
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

    /// All keys, as the gateway describes them.
    ///
    /// # Errors
    /// When the gateway does not tell.
    pub async fn list_keys(&self) -> Result<Vec<Value>, AdminError> {
        let listed: Listed = self.get("/key/list?return_full_object=true&size=100").await?;
        Ok(listed.keys)
    }
}
