//! A destination's addresses, asked for once: what is judged is what is dialled.

use std::net::SocketAddr;
use std::time::Duration;

use fleetgate_wire::authority::{Authority, Host};

use super::{Network, TunnelRefused};

const RESOLVE_TIMEOUT: Duration = Duration::from_secs(5);
/// More than anybody tries.
const MOST_ADDRESSES: usize = 32;

/// Asks the network's resolver.
///
/// # Errors
/// When it knows no address.
pub(super) async fn resolve(network: &dyn Network, authority: &Authority) -> Result<Vec<SocketAddr>, TunnelRefused> {
    let port = authority.port();
    let name = match authority.host() {
        Host::Address(address) => return Ok(vec![SocketAddr::new(*address, port)]),
        Host::Name(name) => name,
    };
    let failed = |cause: String| TunnelRefused::Resolve { host: name.clone(), cause };
    let looked_up = tokio::time::timeout(RESOLVE_TIMEOUT, network.look_up(name, port)).await;
    let found = looked_up.map_err(|_| failed("the resolver did not answer within 5 s".into()))?;
    let mut addresses = found.map_err(|error| failed(error.to_string()))?;
    addresses.truncate(MOST_ADDRESSES);
    if addresses.is_empty() { Err(failed("the name has no address".into())) } else { Ok(addresses) }
}
