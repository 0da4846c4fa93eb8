//! Who calls the management API.

use std::net::SocketAddr;

use axum::http::HeaderMap;
use jiff::Timestamp;

use super::Admin;
use crate::auth::{Caller, Denied, authenticate, require_admin};

/// The other end of the connection, put among a request's extensions by the server.
#[derive(Debug, Clone, Copy)]
pub struct Peer(pub SocketAddr);

impl Admin {
    /// Any known key. `?key=` names the key that a request is *about* on these paths, so it is no credential here.
    pub(super) fn caller(&self, Peer(peer): Peer, headers: &HeaderMap) -> Result<Caller, Denied> {
        authenticate(headers, None, peer, &self.keyring, Timestamp::now())
    }

    /// The master key only.
    pub(super) fn administrator(&self, peer: Peer, headers: &HeaderMap) -> Result<(), Denied> {
        require_admin(&self.caller(peer, headers)?)
    }
}
