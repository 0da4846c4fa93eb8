//! What strangers can send, and what must hold of it. Each target takes bytes and panics when something does not hold. `cargo fuzz`
//! looks for such bytes for hours; the ordinary tests try some thousands of mutations of the seeds.

mod doctor;
mod identity;
mod journal;
mod prices;
mod request;
mod settings;
mod socks;
mod stream;

/// Something that reads what strangers send.
#[derive(Debug, Clone, Copy)]
pub struct Target {
    /// As `cargo fuzz run` calls it.
    pub name: &'static str,
    /// Reads the bytes. Panics when what must hold does not.
    pub read: fn(&[u8]),
    /// Bytes to begin with.
    pub seeds: fn() -> Vec<Vec<u8>>,
}

/// All of them.
pub const TARGETS: [Target; 17] = [
    Target { name: "sse", read: stream::split, seeds: stream::seeds },
    Target { name: "complaint", read: stream::complaint, seeds: stream::complaints },
    Target { name: "meter", read: stream::meter, seeds: stream::seeds },
    Target { name: "ask", read: request::ask, seeds: request::seeds },
    Target { name: "authority", read: identity::authority, seeds: identity::authorities },
    Target { name: "destination", read: identity::destination, seeds: identity::destinations },
    Target { name: "credentials", read: identity::credentials, seeds: identity::headers },
    Target { name: "provider_key", read: identity::provider_key, seeds: identity::provider_keys },
    Target { name: "scope", read: identity::scope, seeds: identity::scopes },
    Target { name: "period", read: identity::period, seeds: identity::periods },
    Target { name: "journal", read: journal::scan, seeds: journal::seeds },
    Target { name: "dns_reply", read: doctor::reply, seeds: doctor::replies },
    Target { name: "first_bytes", read: doctor::protocol, seeds: doctor::answers },
    Target { name: "segment", read: doctor::segment, seeds: doctor::packets },
    Target { name: "socks", read: socks::read, seeds: socks::seeds },
    Target { name: "prices", read: prices::read, seeds: prices::seeds },
    Target { name: "settings", read: settings::change, seeds: settings::seeds },
];

/// Runs the target of this name.
///
/// # Panics
/// When there is none, or what must hold does not.
pub fn run(name: &str, bytes: &[u8]) {
    let target = TARGETS.iter().find(|target| target.name == name);
    let Some(target) = target else { panic!("no target is called {name}") };
    (target.read)(bytes);
}

/// Seeds that are written as texts.
fn texts(seeds: &[&str]) -> Vec<Vec<u8>> {
    seeds.iter().map(|seed| seed.as_bytes().to_vec()).collect()
}
