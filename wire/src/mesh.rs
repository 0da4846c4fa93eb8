//! What the mesh knows of machines: Tailscale's LocalAPI (Headscale's machines have it too), HTTP over the Unix socket of
//! `tailscaled`.
//!
//! The daemon answers from memory. It may hang all the same: whoever asks sets a limit to the wait.

use std::io;
use std::net::{IpAddr, SocketAddr};
use std::path::{Path, PathBuf};

use serde::Deserialize;
use serde::de::DeserializeOwned;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::UnixStream;

use crate::host::{HostLabel, HostLabelError};

/// Where `tailscaled` listens: Linux, then macOS (the open-source daemon; the App Store's has no socket).
pub const SOCKETS: [&str; 2] = ["/var/run/tailscale/tailscaled.sock", "/var/run/tailscaled.socket"];

/// An answer is one node's record. One that is larger is none.
const MOST: u64 = 1 << 20;

/// Why the mesh tells nothing.
#[derive(Debug, thiserror::Error)]
pub enum MeshError {
    /// No daemon, or one that this user may not ask.
    #[error("{socket}: {source}", socket = socket.display())]
    Socket {
        /// Its socket.
        socket: PathBuf,
        /// The operating system's reason.
        source: io::Error,
    },
    /// It refuses, or is not logged in.
    #[error("{socket} answered {status}; see 'tailscale status'", socket = socket.display())]
    Status {
        /// Its socket.
        socket: PathBuf,
        /// The HTTP status.
        status: u16,
    },
    /// Something else than `tailscaled` answers there.
    #[error("{socket} does not speak Tailscale's LocalAPI", socket = socket.display())]
    NotLocalApi {
        /// Its socket.
        socket: PathBuf,
    },
    /// It has a name that is no host label.
    #[error("the mesh's name: {0}")]
    Name(#[from] HostLabelError),
}

impl MeshError {
    /// There is no such daemon on this machine.
    #[must_use]
    pub fn is_absence(&self) -> bool {
        matches!(self, Self::Socket { source, .. } if source.kind() == io::ErrorKind::NotFound)
    }
}

/// The part of `apitype.WhoIsResponse` that names the machine.
#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct WhoIs {
    node: Node,
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Node {
    /// `mac.tail1234.ts.net.`: the control server makes it unique. What the machine says of itself is in `Hostinfo`, and not
    /// asked.
    name: String,
}

/// The part of `ipnstate.Status` that names this machine.
#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Status {
    #[serde(rename = "Self")]
    own: Option<Own>,
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Own {
    #[serde(default, rename = "DNSName")]
    dns_name: String,
    #[serde(default)]
    host_name: String,
    #[serde(default, rename = "TailscaleIPs")]
    addresses: Option<Vec<IpAddr>>,
}

/// Whose address this is; `None` when it is no machine of the mesh. The port matters where `tailscaled` relays connections in
/// user space.
///
/// # Errors
/// When the daemon cannot be asked.
pub async fn who_is(socket: &Path, peer: SocketAddr) -> Result<Option<HostLabel>, MeshError> {
    let peer = SocketAddr::new(peer.ip().to_canonical(), peer.port());
    // An IPv6 address has brackets, which a query must not hold.
    let addr = peer.to_string().replace('[', "%5B").replace(']', "%5D");
    match ask::<WhoIs>(socket, &format!("/localapi/v0/whois?addr={addr}")).await {
        Ok(found) => Ok(Some(HostLabel::parse(&found.node.name)?)),
        Err(MeshError::Status { status: 404, .. }) => Ok(None),
        Err(error) => Err(error),
    }
}

/// What the mesh calls this machine; `None` while it is not part of one.
///
/// # Errors
/// When the daemon cannot be asked.
pub async fn own_name(socket: &Path) -> Result<Option<HostLabel>, MeshError> {
    let status: Status = ask(socket, "/localapi/v0/status?peers=false").await?;
    let Some(own) = status.own else { return Ok(None) };
    let name = if own.dns_name.is_empty() { own.host_name } else { own.dns_name };
    if name.is_empty() { Ok(None) } else { Ok(Some(HostLabel::parse(&name)?)) }
}

/// This machine's addresses in the mesh; none while it is not part of one.
///
/// # Errors
/// When the daemon cannot be asked.
pub async fn own_addresses(socket: &Path) -> Result<Vec<IpAddr>, MeshError> {
    let status: Status = ask(socket, "/localapi/v0/status?peers=false").await?;
    Ok(status.own.and_then(|own| own.addresses).unwrap_or_default())
}

/// One request in HTTP/1.0, so that the answer ends with the connection and has no chunks.
async fn ask<A: DeserializeOwned>(socket: &Path, path: &str) -> Result<A, MeshError> {
    let failed = |source| MeshError::Socket { socket: socket.to_owned(), source };
    let mut stream = UnixStream::connect(socket).await.map_err(failed)?;
    let request = format!("GET {path} HTTP/1.0\r\nHost: local-tailscaled.sock\r\n\r\n");
    stream.write_all(request.as_bytes()).await.map_err(failed)?;
    let mut answer = Vec::new();
    stream.take(MOST).read_to_end(&mut answer).await.map_err(failed)?;
    let (status, body) = split(&answer).ok_or_else(|| MeshError::NotLocalApi { socket: socket.to_owned() })?;
    if status != 200 {
        return Err(MeshError::Status { socket: socket.to_owned(), status });
    }
    serde_json::from_slice(body).map_err(|_| MeshError::NotLocalApi { socket: socket.to_owned() })
}

/// The status and the body of an answer.
fn split(answer: &[u8]) -> Option<(u16, &[u8])> {
    let end = answer.windows(4).position(|four| four == b"\r\n\r\n")?;
    let head = std::str::from_utf8(&answer[..end]).ok()?;
    let status = head.lines().next()?.strip_prefix("HTTP/1.")?.split(' ').nth(1)?;
    Some((status.parse().ok()?, &answer[end + 4..]))
}

#[cfg(test)]
mod tests {
    use tokio::net::UnixListener;

    use super::*;

    /// Answers once with literal bytes, and gives back what it was asked.
    async fn asked<T>(answer: &'static str, ask: impl AsyncFnOnce(&Path) -> T) -> (String, T) {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("tailscaled.sock");
        let listener = UnixListener::bind(&path).unwrap();
        let serve = async {
            let (mut stream, _) = listener.accept().await.unwrap();
            let mut request = Vec::new();
            while !request.ends_with(b"\r\n\r\n") {
                request.push(stream.read_u8().await.unwrap());
            }
            stream.write_all(answer.as_bytes()).await.unwrap();
            String::from_utf8(request).unwrap()
        };
        tokio::join!(serve, ask(&path))
    }

    const WHO_IS: &str = "HTTP/1.0 200 OK\r\nContent-Type: application/json\r\n\r\n{\"Node\": {\"ID\": 3066361403632065, \"StableID\": \
        \"nAbC1CNTRL\", \"Name\": \"Mac.tail1234.ts.net.\", \"User\": 1, \"Addresses\": [\"100.64.0.7/32\"], \"Hostinfo\": {\"OS\": \
        \"macOS\", \"Hostname\": \"something else\"}, \"ComputedName\": \"mac\"}, \"UserProfile\": {\"ID\": 1, \"LoginName\": \"a@b\"}, \
        \"CapMap\": null}";

    #[tokio::test]
    async fn an_address_has_the_name_that_the_control_server_gave_it() {
        let peer = "[::ffff:100.64.0.7]:41234".parse().unwrap();
        let (request, found) = asked(WHO_IS, async |socket: &Path| who_is(socket, peer).await.unwrap()).await;
        assert_eq!(found.unwrap().as_str(), "mac");
        assert!(request.starts_with("GET /localapi/v0/whois?addr=100.64.0.7:41234 HTTP/1.0\r\n"), "{request}");
        let peer = "[fd7a:115c:a1e0::7]:1".parse().unwrap();
        let (request, _) = asked(WHO_IS, async |socket: &Path| who_is(socket, peer).await.unwrap()).await;
        assert!(request.contains("?addr=%5Bfd7a:115c:a1e0::7%5D:1 "), "{request}");
    }

    #[tokio::test]
    async fn a_stranger_is_nobody_and_anything_else_is_an_error() {
        let peer = "10.1.2.3:4".parse().unwrap();
        let found = async |answer| asked(answer, async |socket: &Path| who_is(socket, peer).await).await.1;
        assert!(found("HTTP/1.0 404 Not Found\r\n\r\nno match for IP:port\n").await.unwrap().is_none());
        let refused = found("HTTP/1.0 403 Forbidden\r\n\r\nwhois access denied\n").await.unwrap_err();
        assert!(matches!(refused, MeshError::Status { status: 403, .. }));
        for nonsense in ["", "SSH-2.0-x\r\n\r\n", "HTTP/1.1 200 OK\r\n\r\n{}", "HTTP/1.1 \u{fc} OK\r\n\r\n{}"] {
            assert!(matches!(found(nonsense).await.unwrap_err(), MeshError::NotLocalApi { .. }), "{nonsense:?}");
        }
        let absent = who_is(Path::new("/nowhere/tailscaled.sock"), peer).await.unwrap_err();
        assert!(absent.is_absence() && !refused.is_absence());
    }

    #[tokio::test]
    async fn this_machine_is_called_by_its_name_in_the_meshs_dns() {
        let own = async |answer| asked(answer, async |socket: &Path| own_name(socket).await.unwrap()).await;
        let (request, name) = own("HTTP/1.0 200 OK\r\n\r\n{\"Version\": \"1.94.2\", \"BackendState\": \"Running\", \"Self\": \
            {\"ID\": \"n1\", \"HostName\": \"Mac mini\", \"DNSName\": \"mac-mini.tail1234.ts.net.\", \"OS\": \"macOS\"}}")
        .await;
        assert!(request.starts_with("GET /localapi/v0/status?peers=false "), "{request}");
        assert_eq!(name.unwrap().as_str(), "mac-mini");
        let (_, name) = own("HTTP/1.0 200 OK\r\n\r\n{\"Self\": {\"HostName\": \"Tower\", \"DNSName\": \"\"}}").await;
        assert_eq!(name.unwrap().as_str(), "tower");
        let (_, name) = own("HTTP/1.0 200 OK\r\n\r\n{\"BackendState\": \"NeedsLogin\", \"Self\": null}").await;
        assert!(name.is_none());
    }

    #[tokio::test]
    async fn this_machine_has_the_addresses_that_the_control_server_gave_it() {
        let own = async |answer| asked(answer, async |socket: &Path| own_addresses(socket).await.unwrap()).await.1;
        let two =
            own("HTTP/1.0 200 OK\r\n\r\n{\"Self\": {\"TailscaleIPs\": [\"100.64.0.1\", \"fd7a:115c:a1e0::1\"]}}").await;
        assert_eq!(two, ["100.64.0.1".parse::<IpAddr>().unwrap(), "fd7a:115c:a1e0::1".parse().unwrap()]);
        let none = "HTTP/1.0 200 OK\r\n\r\n{\"BackendState\": \"NeedsLogin\", \"Self\": {\"TailscaleIPs\": null}}";
        assert!(own(none).await.is_empty());
    }
}
