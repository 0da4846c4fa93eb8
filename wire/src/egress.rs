//! What the gateway says of destinations, as it answers it and `fleetgate egress` and `fleetgate spend --egress` print it.

use serde::{Deserialize, Serialize};

/// What would become of a tunnel.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Explanation {
    /// The destination in its canonical form, else as it was asked for.
    pub to: String,
    /// The key that would pay, by its name.
    pub key_alias: String,
    /// The host that would ask.
    pub host: Option<String>,
    /// What would ask there.
    pub workload: Option<String>,
    /// Whether a tunnel would be tried.
    pub allowed: bool,
    /// `enforce`, `report` or `open`.
    pub mode: String,
    /// The word in `x-fleetgate-reason`; empty where no rule says anything.
    pub reason: String,
    /// The rule that decides.
    pub rule: Option<String>,
    /// The same for people.
    pub message: String,
    /// The proxy on the way there, where the gateway does not go directly.
    pub next_proxy: Option<String>,
    /// What the name resolves to now, in the order in which it would be tried.
    pub addresses: Vec<JudgedAddress>,
}

/// An address of a destination.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct JudgedAddress {
    /// The address.
    pub address: String,
    /// Its class, see [`AddressClass`](crate::address::AddressClass).
    pub class: String,
    /// Whether it would be dialled.
    pub allowed: bool,
}

/// The tunnels of one host to one destination.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct EgressGroup {
    /// The host.
    pub host: String,
    /// `host:port`.
    pub destination: String,
    /// The address that was dialled, of several the last in the order of their letters.
    pub address: Option<String>,
    /// How many different ones were dialled.
    pub addresses: u64,
    /// How much.
    #[serde(flatten)]
    pub sums: EgressSums,
}

/// Tunnels and what went through them.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct EgressSums {
    /// Tunnels that were opened.
    pub tunnels: u64,
    /// Tunnels that were refused, or whose destination did not answer.
    pub refused: u64,
    /// Bytes to the destination.
    pub bytes_up: u64,
    /// Bytes from it.
    pub bytes_down: u64,
    /// What the bytes cost, in nano-dollars.
    pub cost_nanousd: i64,
}
