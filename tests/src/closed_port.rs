//! An address where nobody answers, and where nobody else can begin to while a test runs.

use std::io;
use std::net::SocketAddr;

use tokio::net::TcpSocket;

/// A bound port without a listener: connecting to it is refused at once. A port that was merely freed could be another test's by
/// the time that it is dialled.
#[derive(Debug)]
pub struct ClosedPort {
    _bound: TcpSocket,
    address: SocketAddr,
}

impl ClosedPort {
    /// Takes a port of 127.0.0.1.
    ///
    /// # Errors
    /// When there is none.
    pub fn new() -> io::Result<Self> {
        let socket = TcpSocket::new_v4()?;
        socket.bind(SocketAddr::from(([127, 0, 0, 1], 0)))?;
        let address = socket.local_addr()?;
        Ok(Self { _bound: socket, address })
    }

    /// The address.
    #[must_use]
    pub fn address(&self) -> SocketAddr {
        self.address
    }
}
