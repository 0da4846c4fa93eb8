//! Where we listen: on loopback, unless the operator insists.

use std::io;
use std::net::SocketAddr;

use fleetgate_wire::port_owner::PortOwner;
use tokio::net::TcpListener;

/// The bound sockets.
#[derive(Debug)]
pub struct Listeners {
    pub(super) sockets: Vec<TcpListener>,
    /// Their addresses, with the ports that the system chose for port 0.
    pub addresses: Vec<SocketAddr>,
}

/// Why we cannot listen.
#[derive(Debug, thiserror::Error)]
pub enum ListenError {
    /// Every machine that reaches this address could spend this host's money.
    #[error(
        "{0} is not a loopback address: whoever reaches it can spend with this host's key. \
         Say --dangerously-listen-beyond-loopback if that is meant"
    )]
    BeyondLoopback(SocketAddr),
    /// Somebody else has the port.
    #[error("{address} is taken by {owner}; stop it, or choose another address with --listen")]
    Taken {
        /// The address.
        address: SocketAddr,
        /// Who has it.
        owner: PortOwner,
    },
    /// The operating system's reason.
    #[error("cannot listen on {address}: {source}")]
    Refused {
        /// The address.
        address: SocketAddr,
        /// The reason.
        source: io::Error,
    },
    /// No address was given, or none of them exists on this machine.
    #[error("there is no address to listen on")]
    Nowhere,
}

/// Binds all addresses. A machine without IPv6 is no error as long as one address is left.
///
/// # Errors
/// When an address is not allowed, taken or refused.
pub async fn bind(addresses: &[SocketAddr], beyond_loopback: bool) -> Result<Listeners, ListenError> {
    let mut listeners = Listeners { sockets: Vec::new(), addresses: Vec::new() };
    for &address in addresses {
        if !address.ip().to_canonical().is_loopback() {
            if !beyond_loopback {
                return Err(ListenError::BeyondLoopback(address));
            }
            tracing::warn!("listening beyond loopback on {address}: whoever reaches it can spend with this host's key");
        }
        let refused = |source| ListenError::Refused { address, source };
        match TcpListener::bind(address).await {
            Ok(socket) => {
                listeners.addresses.push(socket.local_addr().map_err(refused)?);
                listeners.sockets.push(socket);
            }
            Err(error) if error.kind() == io::ErrorKind::AddrInUse => {
                return Err(ListenError::Taken { address, owner: PortOwner::find(address) });
            }
            Err(error) if address.is_ipv6() && is_without_ipv6(&error) => {
                tracing::warn!("not listening on {address}: this machine has no IPv6 ({error})");
            }
            Err(source) => return Err(refused(source)),
        }
    }
    if listeners.sockets.is_empty() { Err(ListenError::Nowhere) } else { Ok(listeners) }
}

/// `EADDRNOTAVAIL`, or `EAFNOSUPPORT`, for which there is no kind (97 on Linux, 47 on macOS).
fn is_without_ipv6(error: &io::Error) -> bool {
    let unsupported = if cfg!(target_os = "macos") { 47 } else { 97 };
    error.kind() == io::ErrorKind::AddrNotAvailable || error.raw_os_error() == Some(unsupported)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn only_loopback_is_listened_on_unless_somebody_insists() {
        for text in ["0.0.0.0:0", "[::]:0", "192.0.2.1:0"] {
            let refused = bind(&[text.parse().unwrap()], false).await;
            assert!(matches!(refused, Err(ListenError::BeyondLoopback(_))), "{text}");
        }
        assert!(bind(&["0.0.0.0:0".parse().unwrap()], true).await.is_ok());
    }

    #[cfg(target_os = "linux")]
    #[tokio::test]
    async fn whoever_has_the_port_is_named() {
        let ours = bind(&["127.0.0.1:0".parse().unwrap()], false).await.unwrap();
        let error = bind(&ours.addresses, false).await.unwrap_err().to_string();
        assert!(error.contains(&format!("pid {}", std::process::id())), "{error}");
    }
}
