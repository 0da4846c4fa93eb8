//! The snapshot of all keys in which callers are looked up.

use foldhash::HashMap;
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
    /// The first key of its line, where this one replaced another: what both cost counts against the same limits.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub account: Option<KeyHash>,
    /// The key that this one will replace once its host has said that it is stored.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub replaces: Option<KeyHash>,
    /// The key that has replaced this one, which is good until `expires` only.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub replaced_by: Option<KeyHash>,
    /// When it was made.
    pub created_at: Timestamp,
    /// When it was last changed.
    pub updated_at: Timestamp,
    /// Every other field that LiteLLM's callers set; kept and shown.
    #[serde(default)]
    pub other: Map<String, Value>,
}

impl KeyRecord {
    /// The hash under which its calls and limits are counted.
    #[must_use]
    pub fn account(&self) -> KeyHash {
        self.account.unwrap_or(self.token)
    }

    /// Whether it waits to replace another key, or has been replaced.
    #[must_use]
    pub fn is_changing(&self) -> bool {
        self.replaces.is_some() || self.replaced_by.is_some()
    }

    /// The alias, where no other key may have it: a key and the one that replaces it share theirs.
    #[must_use]
    pub fn unique_alias(&self) -> Option<&str> {
        self.key_alias.as_deref().filter(|_| !self.is_changing())
    }
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

    /// The key that spends on this account; of several the one that bears the name.
    #[must_use]
    pub fn of_account(&self, account: &KeyHash) -> Option<Arc<KeyRecord>> {
        let keys = self.keys.load();
        let own = keys.values().filter(|key| key.account() == *account);
        own.min_by_key(|key| (key.is_changing(), key.token)).cloned()
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
