//! The snapshot of all keys in which callers are looked up.

use std::collections::HashMap;
use std::sync::Arc;

use arc_swap::ArcSwap;
use fleetgate_wire::host::HostLabel;
use fleetgate_wire::provider_key::Fingerprint;
use fleetgate_wire::virtual_key::KeyHash;
use fleetgate_wire::{ExposeSecret, SecretString};
use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};
use subtle::ConstantTimeEq;

use super::{CallerKey, Denied, Place};

/// What is known of a virtual key. The names are LiteLLM's; the key's own text is not among them.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct KeyRecord {
    /// The SHA-256 of the key's text.
    pub token: KeyHash,
    /// `sk-...` and the last four characters.
    pub key_name: String,
    /// The name in every row; unique.
    #[serde(default)]
    pub key_alias: Option<String>,
    /// The host that the key is bound to (ours).
    #[serde(default)]
    pub host: Option<HostLabel>,
    /// The user it belongs to.
    #[serde(default)]
    pub user_id: Option<String>,
    /// The team it belongs to.
    #[serde(default)]
    pub team_id: Option<String>,
    /// Models it may call, with `*`; empty means all.
    #[serde(default)]
    pub models: Vec<String>,
    /// Refused while true.
    #[serde(default)]
    pub blocked: bool,
    /// Refused from then on.
    #[serde(default)]
    pub expires: Option<Timestamp>,
    /// The owner's own notes.
    #[serde(default)]
    pub metadata: Map<String, Value>,
    /// When it was made.
    pub created_at: Timestamp,
    /// When it was last changed.
    pub updated_at: Timestamp,
    /// Every other field that LiteLLM's callers set; kept and shown.
    #[serde(default)]
    pub other: Map<String, Value>,
}

/// All keys, swapped as a whole when one changes.
#[derive(Debug)]
pub struct Keyring {
    master: Option<KeyHash>,
    keys: ArcSwap<HashMap<KeyHash, Arc<KeyRecord>>>,
}

/// Why a text is no usable key; [`Denied`] once it is known where it stood.
pub(super) enum Unusable {
    NotAKey,
    Unknown(KeyHash),
    Refused(Denied),
}

impl Unusable {
    pub(super) fn at(self, place: Place) -> Denied {
        match self {
            Self::NotAKey => Denied::NotAKey { place },
            Self::Unknown(hash) => Denied::Unknown { place, short_hash: hash.to_string()[..8].to_owned() },
            Self::Refused(denied) => denied,
        }
    }
}

impl Keyring {
    /// A ring with these keys.
    #[must_use]
    pub fn new(master: Option<&SecretString>, records: Vec<KeyRecord>) -> Self {
        let master = master.map(|key| KeyHash::digest(key.expose_secret()));
        let ring = Self { master, keys: ArcSwap::default() };
        ring.replace(records);
        ring
    }

    /// Swaps in a new set of keys.
    pub fn replace(&self, records: Vec<KeyRecord>) {
        let map = records.into_iter().map(|record| (record.token, Arc::new(record))).collect();
        self.keys.store(Arc::new(map));
    }

    /// A record by its hash.
    #[must_use]
    pub fn get(&self, hash: &KeyHash) -> Option<Arc<KeyRecord>> {
        self.keys.load().get(hash).cloned()
    }

    /// All records.
    #[must_use]
    pub fn all(&self) -> Vec<Arc<KeyRecord>> {
        self.keys.load().values().cloned().collect()
    }

    /// Whether this is the master key's hash.
    #[must_use]
    pub fn is_master(&self, hash: &KeyHash) -> bool {
        self.master.is_some_and(|master| bool::from(master.as_bytes().ct_eq(hash.as_bytes())))
    }

    /// Whether a fingerprint is that of a key of this gateway: then what a program showed is no provider's.
    #[must_use]
    pub fn knows(&self, fingerprint: Fingerprint) -> bool {
        let is = |hash: &KeyHash| Fingerprint::from(hash) == fingerprint;
        self.master.as_ref().is_some_and(is) || self.keys.load().keys().any(is)
    }

    pub(super) fn find(&self, text: &str, now: Timestamp) -> Result<CallerKey, Unusable> {
        let hash = KeyHash::digest(text);
        if self.is_master(&hash) {
            return Ok(CallerKey::Master);
        }
        let Some(record) = self.get(&hash) else {
            return Err(if text.starts_with("sk-") { Unusable::Unknown(hash) } else { Unusable::NotAKey });
        };
        let alias = || record.key_alias.clone().unwrap_or_else(|| record.key_name.clone());
        if record.blocked {
            return Err(Unusable::Refused(Denied::Blocked { alias: alias() }));
        }
        match record.expires {
            Some(expires) if expires <= now => Err(Unusable::Refused(Denied::Expired { alias: alias(), expires })),
            _ => Ok(CallerKey::Virtual(record)),
        }
    }
}
