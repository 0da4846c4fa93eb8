//! Which key this host has: `hosts.toml`, the places it refers to, and a watch over both.

mod hosts_file;
mod keyring;
mod read;
mod reference;
mod snapshot;
mod watch;

pub use hosts_file::HostsFileError;
pub use keyring::{KeyringError, SERVICE};
pub use read::KeyReadError;
pub use reference::{KeyReference, ReferenceError};
pub use snapshot::{Credential, HostKeys, KeySlot, Matched, NoKey};
pub use watch::KeyStore;
