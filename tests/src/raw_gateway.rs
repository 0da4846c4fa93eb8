//! A gateway that a test plays itself, byte by byte: what a sidecar sends, and what it makes of any answer.

use std::net::SocketAddr;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};

use crate::wait::soon;

/// A listening socket that a sidecar takes for its gateway.
#[derive(Debug)]
pub struct RawGateway {
    listener: TcpListener,
    address: SocketAddr,
}

impl RawGateway {
    /// Listens on a free port of loopback.
    ///
    /// # Panics
    /// When there is none.
    pub async fn start() -> Self {
        Self::start_at("127.0.0.1:0".parse().expect("an address")).await
    }

    /// Listens at this address, which the test knows to be free.
    ///
    /// # Panics
    /// When it is not.
    pub async fn start_at(address: SocketAddr) -> Self {
        let listener = TcpListener::bind(address).await.expect("a free port");
        let address = listener.local_addr().expect("it is bound");
        Self { listener, address }
    }

    /// Where it listens.
    #[must_use]
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Its address as a URL.
    #[must_use]
    pub fn url(&self) -> String {
        format!("http://{}", self.address)
    }

    /// The next connection.
    ///
    /// # Panics
    /// When nobody connects.
    pub async fn accept(&self) -> RawConnection {
        let (stream, _) = soon("a connection to the gateway", self.listener.accept()).await.expect("it listens");
        RawConnection(stream)
    }
}

/// One connection of a sidecar.
#[derive(Debug)]
pub struct RawConnection(TcpStream);

impl RawConnection {
    /// Reads until the text has come, and gives back everything up to its end.
    ///
    /// # Panics
    /// When the connection ends first.
    pub async fn read_until(&mut self, text: &str) -> String {
        let mut seen = Vec::new();
        while !seen.ends_with(text.as_bytes()) {
            let byte = soon(text, self.0.read_u8()).await;
            seen.push(byte.unwrap_or_else(|e| panic!("{e} before {text:?}: {}", String::from_utf8_lossy(&seen))));
        }
        String::from_utf8_lossy(&seen).into_owned()
    }

    /// Reads one request's head.
    pub async fn read_head(&mut self) -> String {
        self.read_until("\r\n\r\n").await
    }

    /// Writes literal bytes.
    ///
    /// # Panics
    /// When the connection is gone.
    pub async fn write(&mut self, text: &str) {
        self.0.write_all(text.as_bytes()).await.expect("the sidecar reads");
    }

    /// Answers 200 with this body, as a gateway does.
    pub async fn answer(&mut self, body: &str) {
        self.write(&format!(
            "HTTP/1.1 200 OK\r\nx-fleetgate-gateway: test\r\ncontent-length: {}\r\n\r\n{body}",
            body.len()
        ))
        .await;
    }

    /// Whether the sidecar sends nothing more and closes.
    ///
    /// # Panics
    /// When it does neither.
    pub async fn is_closed_by_peer(&mut self) -> bool {
        let mut rest = [0; 1];
        matches!(soon("the end of the connection", self.0.read(&mut rest)).await, Ok(0) | Err(_))
    }
}
