//! Where we listen: on loopback, unless the operator insists.

use std::io;
use std::net::SocketAddr;
use std::path::PathBuf;

use fleetgate_wire::port_owner::PortOwner;
use tokio::net::{TcpListener, TcpSocket};

use super::access::Access;
use super::activation::{ActivationError, Inherited};
use super::local_socket::{LocalSocket, LocalSocketError};
use super::token::TokenError;
use crate::workload::{AllowedUsers, Callers, NoSuchUser};

/// Connections that wait to be taken. An agent starts hundreds at once; beyond this number the kernel lets them wait or resets them.
const BACKLOG: u32 = 1024;

/// The bound sockets, and who may come in by them.
#[derive(Debug)]
pub struct Listeners {
    pub(super) sockets: Vec<TcpListener>,
    pub(super) local: Vec<LocalSocket>,
    pub(super) access: Access,
    /// Their addresses, with the ports that the system chose for port 0.
    pub addresses: Vec<SocketAddr>,
    /// The paths of Unix sockets.
    pub paths: Vec<PathBuf>,
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
    /// A Unix socket.
    #[error(transparent)]
    Local(#[from] LocalSocketError),
    /// What systemd handed over.
    #[error(transparent)]
    Activation(#[from] ActivationError),
    /// A user who was to be allowed.
    #[error(transparent)]
    NoSuchUser(#[from] NoSuchUser),
    /// The local token.
    #[error(transparent)]
    Token(#[from] TokenError),
    /// A name for `--allow-host`.
    #[error("--allow-host (FLEETGATE_ALLOW_HOSTS): {0:?} is no host name; give it without http:// and without a port")]
    HostName(String),
    /// No address was given, or none of them exists on this machine.
    #[error("there is no address to listen on")]
    Nowhere,
}

/// Binds all addresses, for the sidecar's own user. A machine without IPv6 is no error as long as one address is left.
///
/// # Errors
/// When an address is not allowed, taken or refused.
pub fn bind(addresses: &[SocketAddr], beyond_loopback: bool) -> Result<Listeners, ListenError> {
    let access = Access { callers: Callers::new(AllowedUsers::only_own()), token: None, hosts: Vec::new() };
    let mut listeners = Listeners::without_any(access);
    listeners.bind(addresses, beyond_loopback)?;
    listeners.or_nowhere()
}

impl Listeners {
    pub(super) fn without_any(access: Access) -> Self {
        Self { sockets: Vec::new(), local: Vec::new(), access, addresses: Vec::new(), paths: Vec::new() }
    }

    pub(super) fn bind(&mut self, addresses: &[SocketAddr], beyond_loopback: bool) -> Result<(), ListenError> {
        for &address in addresses {
            allow(address, beyond_loopback)?;
            match listen(address) {
                Ok(socket) => self.add(socket, address)?,
                Err(error) if error.kind() == io::ErrorKind::AddrInUse => {
                    return Err(ListenError::Taken { address, owner: PortOwner::find(address) });
                }
                Err(error) if address.is_ipv6() && is_without_ipv6(&error) => {
                    tracing::warn!("not listening on {address}: this machine has no IPv6 ({error})");
                }
                Err(source) => return Err(ListenError::Refused { address, source }),
            }
        }
        Ok(())
    }

    /// Takes over what systemd has bound.
    pub(super) fn inherit(&mut self, sockets: Vec<Inherited>, beyond_loopback: bool) -> Result<(), ListenError> {
        for socket in sockets {
            match socket {
                Inherited::Tcp(socket, address) => {
                    allow(address, beyond_loopback)?;
                    self.add(socket, address)?;
                }
                Inherited::Local(socket) => self.add_local(socket),
            }
        }
        Ok(())
    }

    pub(super) fn add_local(&mut self, socket: LocalSocket) {
        self.paths.push(socket.path().to_owned());
        self.local.push(socket);
    }

    fn add(&mut self, socket: TcpListener, address: SocketAddr) -> Result<(), ListenError> {
        self.addresses.push(socket.local_addr().map_err(|source| ListenError::Refused { address, source })?);
        self.sockets.push(socket);
        Ok(())
    }

    pub(super) fn or_nowhere(self) -> Result<Self, ListenError> {
        if self.sockets.is_empty() && self.local.is_empty() { Err(ListenError::Nowhere) } else { Ok(self) }
    }
}

fn listen(address: SocketAddr) -> io::Result<TcpListener> {
    let socket = if address.is_ipv6() { TcpSocket::new_v6() } else { TcpSocket::new_v4() }?;
    // Else the port of a sidecar that has just ended stays taken for a minute.
    socket.set_reuseaddr(true)?;
    socket.bind(address)?;
    socket.listen(BACKLOG)
}

fn allow(address: SocketAddr, beyond_loopback: bool) -> Result<(), ListenError> {
    if address.ip().to_canonical().is_loopback() {
        return Ok(());
    }
    if !beyond_loopback {
        return Err(ListenError::BeyondLoopback(address));
    }
    tracing::warn!("listening beyond loopback on {address}: whoever reaches it can spend with this host's key");
    Ok(())
}

/// `EADDRNOTAVAIL`, or `EAFNOSUPPORT`, for which there is no kind (97 on Linux, 47 on macOS).
fn is_without_ipv6(error: &io::Error) -> bool {
    let unsupported = if cfg!(target_os = "macos") { 47 } else { 97 };
    error.kind() == io::ErrorKind::AddrNotAvailable || error.raw_os_error() == Some(unsupported)
}

#[cfg(test)]
mod tests {
    use futures_util::future::join_all;
    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    use tokio::net::TcpStream;

    use super::*;

    #[tokio::test]
    async fn only_loopback_is_listened_on_unless_somebody_insists() {
        for text in ["0.0.0.0:0", "[::]:0", "192.0.2.1:0"] {
            let refused = bind(&[text.parse().unwrap()], false);
            assert!(matches!(refused, Err(ListenError::BeyondLoopback(_))), "{text}");
        }
        assert!(bind(&["0.0.0.0:0".parse().unwrap()], true).is_ok());
    }

    #[tokio::test]
    async fn a_burst_of_connections_waits_to_be_taken() {
        const BURST: usize = 512;
        let ours = bind(&["127.0.0.1:0".parse().unwrap()], false).unwrap();
        let connecting = (0..BURST).map(|_| TcpStream::connect(ours.addresses[0]));
        let mut clients = join_all(connecting).await;
        for client in &mut clients {
            client.as_mut().unwrap().write_all(b"!").await.unwrap();
        }
        for _ in 0..BURST {
            let (mut taken, _) = ours.sockets[0].accept().await.unwrap();
            assert_eq!(taken.read_u8().await.unwrap(), b'!');
        }
    }

    #[cfg(target_os = "linux")]
    #[tokio::test]
    async fn whoever_has_the_port_is_named() {
        let ours = bind(&["127.0.0.1:0".parse().unwrap()], false).unwrap();
        let error = bind(&ours.addresses, false).unwrap_err().to_string();
        assert!(error.contains(&format!("pid {}", std::process::id())), "{error}");
    }
}
