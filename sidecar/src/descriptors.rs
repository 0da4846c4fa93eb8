//! How many connections this process may hold.

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

/// Each call and tunnel holds two. Many systems allow 1024, macOS 256, and let a process ask for more; no system refuses as few as
/// these.
const WANTED: u64 = 10_000;

/// Asks for as many as a busy host needs. What cannot be had is no reason not to start.
pub fn raise_limit() {
    let Rlimit { current, maximum } = getrlimit(Resource::Nofile);
    let wanted = maximum.map_or(WANTED, |maximum| maximum.min(WANTED));
    if current.is_none_or(|current| current >= wanted) {
        return;
    }
    if let Err(error) = setrlimit(Resource::Nofile, Rlimit { current: Some(wanted), maximum }) {
        tracing::debug!("no more than {current:?} connections: {error}");
    }
}
