//! Which key this host has: `hosts.toml`, what enrolment left, the places both refer to, and a watch over them.

mod command;
mod enrolment;
mod hosts_file;
mod keyring;
mod permissions;
mod place;
mod read;
mod reference;
mod snapshot;
mod watch;

pub use command::CommandError;
pub use enrolment::Enrolment;
pub use hosts_file::HostsFileError;
pub use keyring::{KeyringError, SERVICE};
pub use place::{Place, PlaceError};
pub use read::KeyReadError;
pub use reference::{KeyReference, ReferenceError};
pub use snapshot::{Credential, HostKeys, KeySlot, Matched, NoKey};
pub use watch::KeyStore;
