//! What the gateway saw of hosts and keys that should be no more: stragglers, and sightings of providers' own keys.

use serde::{Deserialize, Serialize};

/// A host that lives on the fallback key or the master key. Times are RFC 3339 in UTC.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Straggler {
    /// The machine, as its rows call it.
    pub host: String,
    /// Why that is believed: `key`, `claimed` or `address`.
    pub host_source: String,
    /// What the mesh calls it, where that differs.
    pub host_seen: Option<String>,
    /// The name of the key that paid.
    pub key_alias: String,
    /// `fallback_key` or `master_key`.
    pub reason: String,
    /// How many calls and tunnels.
    pub calls: u64,
    /// When the first of them began.
    pub first_seen: String,
    /// When the last of them began.
    pub last_seen: String,
}

/// A provider's own key in one place. Times are RFC 3339 in UTC.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Sighting {
    /// Whose key, or `unknown`.
    pub provider: String,
    /// Which one: the first 16 digits of its SHA-256.
    pub fingerprint: String,
    /// The machine.
    pub host: String,
    /// What showed it there.
    pub workload: String,
    /// The process behind that, if the sidecar found it.
    pub process: Option<String>,
    /// `live`: in a call.
    pub place: String,
    /// When it was first seen there.
    pub first_seen: String,
    /// When it was last seen there.
    pub last_seen: String,
    /// How often.
    pub count: u64,
}
