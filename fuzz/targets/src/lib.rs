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
mod tunnel;

/// Something that reads what strangers send.
#[derive(Debug, Clone, Copy)]
pub struct Target {
    /// As `cargo fuzz run` calls it.
    pub name: &'static str,
    /// Reads the bytes. Panics when what must hold does not.
    pub read: fn(&[u8]),
    /// Mutations that the ordinary tests try.
    pub rounds: usize,
    /// Bytes to begin with.
    pub seeds: fn() -> Vec<Vec<u8>>,
}

/// For a parser.
const CHEAP: usize = 20_000;
/// For a whole connection.
const DEAR: usize = 2_000;

/// All of them.
pub const TARGETS: [Target; 18] = [
    Target { name: "sse", read: stream::split, rounds: CHEAP, seeds: stream::seeds },
    Target { name: "complaint", read: stream::complaint, rounds: CHEAP, seeds: stream::complaints },
    Target { name: "meter", read: stream::meter, rounds: CHEAP, seeds: stream::seeds },
    Target { name: "ask", read: request::ask, rounds: CHEAP, seeds: request::seeds },
    Target { name: "authority", read: identity::authority, rounds: CHEAP, seeds: identity::authorities },
    Target { name: "destination", read: identity::destination, rounds: CHEAP, seeds: identity::destinations },
    Target { name: "credentials", read: identity::credentials, rounds: CHEAP, seeds: identity::headers },
    Target { name: "provider_key", read: identity::provider_key, rounds: CHEAP, seeds: identity::provider_keys },
    Target { name: "scope", read: identity::scope, rounds: CHEAP, seeds: identity::scopes },
    Target { name: "period", read: identity::period, rounds: CHEAP, seeds: identity::periods },
    Target { name: "journal", read: journal::scan, rounds: CHEAP, seeds: journal::seeds },
    Target { name: "dns_reply", read: doctor::reply, rounds: CHEAP, seeds: doctor::replies },
    Target { name: "first_bytes", read: doctor::protocol, rounds: CHEAP, seeds: doctor::answers },
    Target { name: "segment", read: doctor::segment, rounds: CHEAP, seeds: doctor::packets },
    Target { name: "socks", read: socks::read, rounds: CHEAP, seeds: socks::seeds },
    Target { name: "tunnel", read: tunnel::read, rounds: DEAR, seeds: tunnel::seeds },
    Target { name: "prices", read: prices::read, rounds: CHEAP, seeds: prices::seeds },
    Target { name: "settings", read: settings::change, rounds: CHEAP, seeds: settings::seeds },
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
