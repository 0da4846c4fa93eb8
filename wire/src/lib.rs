//! What the gateway and the sidecar must agree on.
//!
//! Pure types and their parsers, plus the one tunnel loop. No HTTP server, no SQL; no file is read but `/proc`, to name
//! the owner of a taken port, and nobody is asked but the mesh's daemon on this machine. A value of one of these
//! types has been checked once, where it entered; nobody checks it again.

pub mod address;
pub mod authority;
pub mod domain;
pub mod egress;
pub mod endpoint;
pub mod error_body;
pub mod header;
pub mod host;
pub mod invitation;
pub mod mesh;
pub mod money;
pub mod period;
pub mod port_owner;
pub mod provider_key;
pub mod row;
pub mod scope;
pub mod seen;
pub mod spend;
pub mod tunnel;
pub mod usage;
pub mod virtual_key;
pub mod workload;

/// A secret text. It has no `Display`, its `Debug` prints `[REDACTED]`, and it is wiped on drop.
pub use secrecy::{ExposeSecret, SecretString};
