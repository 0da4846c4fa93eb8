//! One TCP connection to a gateway, within a time in which a person does not start to wonder.

use std::io;
use std::net::SocketAddr;
use std::time::Duration;

use socket2::{SockRef, TcpKeepalive};
use tokio::net::{TcpStream, lookup_host};
use tokio::time::{Instant, timeout};

use super::url::GatewayUrl;

/// Everything together, name look-up included. The kernel repeats a lost SYN after one second, so this is two attempts.
const LIMIT: Duration = Duration::from_millis(2500);
/// No more addresses of one name than this are tried.
const MAX_ADDRESSES: usize = 4;
/// A gateway that vanished without a word (a laptop that slept, a cable) is noticed after about 25 seconds.
const KEEPALIVE_IDLE: Duration = Duration::from_secs(10);
const KEEPALIVE_INTERVAL: Duration = Duration::from_secs(5);
const KEEPALIVE_TRIES: u32 = 3;
/// Unacknowledged bytes for this long, and the connection is dead. Matters for a pooled connection after a sleep.
#[cfg(target_os = "linux")]
const UNACKNOWLEDGED_LIMIT: Duration = Duration::from_secs(10);

/// Why there is no connection.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum DialError {
    /// The name has no address.
    #[error("its name cannot be resolved ({0})")]
    Dns(String),
    /// The machine is there, the program is not.
    #[error("connection refused")]
    Refused,
    /// No answer at all.
    #[error("no answer to the connection attempt")]
    Timeout,
    /// No way there.
    #[error("{0}")]
    Unreachable(String),
}

impl From<io::Error> for DialError {
    fn from(error: io::Error) -> Self {
        match error.kind() {
            io::ErrorKind::ConnectionRefused => Self::Refused,
            io::ErrorKind::TimedOut => Self::Timeout,
            _ => Self::Unreachable(error.to_string()),
        }
    }
}

/// Opens a connection to the first address that takes one.
///
/// # Errors
/// The reason of the last attempt.
pub(super) async fn dial(gateway: &GatewayUrl) -> Result<TcpStream, DialError> {
    let deadline = Instant::now() + LIMIT;
    let addresses = resolve(gateway).await?;
    let mut problem = DialError::Timeout;
    for (done, address) in addresses.iter().enumerate() {
        let tries_left = u32::try_from(addresses.len() - done).unwrap_or(1);
        let share = deadline.saturating_duration_since(Instant::now()) / tries_left;
        match timeout(share, TcpStream::connect(*address)).await {
            Ok(Ok(stream)) => return tune(stream),
            Ok(Err(error)) => problem = error.into(),
            Err(_) => problem = DialError::Timeout,
        }
    }
    Err(problem)
}

async fn resolve(gateway: &GatewayUrl) -> Result<Vec<SocketAddr>, DialError> {
    let found = timeout(LIMIT / 2, lookup_host(gateway.authority()))
        .await
        .map_err(|_| DialError::Dns("the name server does not answer".to_owned()))?
        .map_err(|error| DialError::Dns(error.to_string()))?;
    let addresses: Vec<SocketAddr> = found.take(MAX_ADDRESSES).collect();
    if addresses.is_empty() {
        return Err(DialError::Dns("it has no address".to_owned()));
    }
    Ok(addresses)
}

fn tune(stream: TcpStream) -> Result<TcpStream, DialError> {
    stream.set_nodelay(true)?;
    let keepalive =
        TcpKeepalive::new().with_time(KEEPALIVE_IDLE).with_interval(KEEPALIVE_INTERVAL).with_retries(KEEPALIVE_TRIES);
    let socket = SockRef::from(&stream);
    socket.set_tcp_keepalive(&keepalive)?;
    #[cfg(target_os = "linux")]
    socket.set_tcp_user_timeout(Some(UNACKNOWLEDGED_LIMIT))?;
    Ok(stream)
}
