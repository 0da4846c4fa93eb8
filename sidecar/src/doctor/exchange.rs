//! Questions to the gateway and the sidecar, each within a time, with no proxy of the environment in between.

use std::net::SocketAddr;
use std::time::Duration;

use bytes::Bytes;
use http::uri::PathAndQuery;
use http::{HeaderMap, Method};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::time::timeout;

use crate::forward::{self, Answer, DialError, Failure, GatewayUrl};

/// For an answer that costs the other side nothing.
const PATIENCE: Duration = Duration::from_secs(4);
/// For the first bytes on a connection that stands already.
const FIRST_BYTES: Duration = Duration::from_secs(3);
/// As much of an answer as is needed to recognise it.
const MAX_RAW: usize = 4096;

/// Asks and reads the whole answer.
///
/// # Errors
/// Why there is none, in words.
pub(super) async fn get(url: &GatewayUrl, path: &'static str, headers: HeaderMap) -> Result<Answer, String> {
    let asking = forward::ask(url, Method::GET, PathAndQuery::from_static(path), headers, Bytes::new());
    match timeout(PATIENCE, asking).await {
        Ok(Ok(answer)) => Ok(answer),
        Ok(Err(Failure::Dial(DialError::Refused))) => Err("connection refused".to_owned()),
        Ok(Err(Failure::Dial(problem))) => Err(problem.to_string()),
        Ok(Err(Failure::Gone(problem))) => Err(format!("the connection broke ({problem})")),
        Ok(Err(_)) => Err("no usable answer".to_owned()),
        Err(_) => Err(format!("no answer within {} s", PATIENCE.as_secs())),
    }
}

/// What came back for some raw bytes.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Raw {
    /// These bytes, perhaps cut.
    Bytes(Vec<u8>),
    /// The connection was closed without a word.
    Closed,
    /// Nothing in time.
    Silent,
}

/// Sends bytes on a connection of their own and reads what comes first.
pub(super) async fn raw(address: SocketAddr, request: &[u8], patience: Option<Duration>) -> Raw {
    let mut seen = Vec::new();
    let exchange = async {
        let mut stream = TcpStream::connect(address).await?;
        stream.write_all(request).await?;
        let mut chunk = [0u8; 1024];
        loop {
            let length = stream.read(&mut chunk).await?;
            seen.extend_from_slice(&chunk[..length]);
            if length == 0 || seen.len() >= MAX_RAW || is_enough(&seen) {
                return Ok::<(), std::io::Error>(());
            }
        }
    };
    let ended = timeout(patience.unwrap_or(FIRST_BYTES), exchange).await;
    match (seen.is_empty(), ended) {
        (false, _) => Raw::Bytes(seen),
        (true, Ok(_)) => Raw::Closed,
        (true, Err(_)) => Raw::Silent,
    }
}

/// A head is enough, but the reason of a 400 stands in the body.
fn is_enough(seen: &[u8]) -> bool {
    let is_bad_request = seen.starts_with(b"HTTP/1.1 400") || seen.starts_with(b"HTTP/1.0 400");
    let has_head = seen.windows(4).any(|window| window == b"\r\n\r\n");
    !seen.starts_with(b"HTTP/") || (has_head && !is_bad_request)
}
