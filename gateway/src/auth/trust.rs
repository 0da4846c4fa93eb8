//! Callers who show no key, and whom the forward proxy knows by their address.

use std::net::SocketAddr;
use std::sync::Arc;

use fleetgate_wire::host::HostLabel;
use fleetgate_wire::virtual_key::KeyHash;
use http::HeaderMap;
use jiff::Timestamp;

use super::{Caller, CallerHost, CallerKey, KeyRecord, Keyring, Mesh, identify};
use crate::config::Trust;

/// What rows have for a key where none was shown.
pub const TRUSTED_ALIAS: &str = "trusted-address";

/// The caller at this address, if it is trusted. He is called what the mesh calls his machine, else by his address.
pub async fn trusted(
    headers: &HeaderMap,
    peer: SocketAddr,
    trust: &[Trust],
    mesh: &Mesh,
    keyring: &Keyring,
) -> Option<Caller> {
    if trust.is_empty() {
        return None;
    }
    let ip = peer.ip().to_canonical();
    let network = trust.iter().any(|trust| matches!(trust, Trust::Network(network) if network.contains(&ip)));
    if !network && !trust.contains(&Trust::Mesh) {
        return None;
    }
    let host = match mesh.name_of(peer).await {
        Some(name) => CallerHost::Mesh(name),
        None if network => CallerHost::Address(ip),
        None => return None,
    };
    let key = CallerKey::Virtual(Arc::new(record_of(&host)));
    let mut caller = identify(key, headers, peer, keyring);
    caller.host = host;
    Some(caller)
}

/// A record that no shown key can have: each host has an account of its own, as far as limits go.
fn record_of(host: &CallerHost) -> KeyRecord {
    let label: Option<HostLabel> = host.label().cloned();
    KeyRecord {
        token: KeyHash::digest(&format!("{TRUSTED_ALIAS} {host}")),
        key_name: TRUSTED_ALIAS.to_owned(),
        key_alias: Some(TRUSTED_ALIAS.to_owned()),
        host: label,
        user_id: None,
        team_id: None,
        models: Vec::new(),
        blocked: false,
        expires: None,
        metadata: serde_json::Map::new(),
        account: None,
        replaces: None,
        replaced_by: None,
        created_at: Timestamp::UNIX_EPOCH,
        updated_at: Timestamp::UNIX_EPOCH,
        other: serde_json::Map::new(),
    }
}
