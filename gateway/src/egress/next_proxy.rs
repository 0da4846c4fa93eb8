//! Through another proxy: which one, and how it is asked for a connection.

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use fleetgate_wire::ExposeSecret;
use fleetgate_wire::authority::{Authority, Host};
use http::{HeaderValue, Method, Request, StatusCode, header};
use http_body_util::Empty;
use hyper::client::conn::http1;
use hyper_util::rt::TokioIo;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use super::dial::{self, Patience};
use crate::config::{NextProxy, NextProxyCredentials, NextProxyProtocol, NextProxyRule};

/// For one connection through a proxy, which has to connect in turn. The next address is tried late: proxies count connections.
const THROUGH: Patience = Patience { attempt: Duration::from_secs(15), stagger: Duration::from_secs(2) };
/// The head of a proxy's answer.
const MAX_HEAD_BYTES: usize = 16 * 1024;

/// Which destinations are reached through which proxy.
#[derive(Debug, Default)]
pub(super) struct NextProxies(Vec<NextProxyRule>);

/// What a proxy is asked to connect to.
#[derive(Debug, Clone)]
pub(super) enum Target {
    /// One of these addresses, which were judged.
    Addresses(Vec<SocketAddr>),
    /// A name that the proxy resolves, or an address.
    Authority(Authority),
}

/// A connection through a proxy.
#[derive(Debug)]
pub(super) struct Through {
    pub(super) stream: TcpStream,
    /// What the destination said already.
    pub(super) early: Bytes,
    /// The address that the proxy was given.
    pub(super) address: Option<SocketAddr>,
}

impl NextProxies {
    pub(super) fn new(rules: Vec<NextProxyRule>) -> Self {
        Self(rules)
    }

    /// The proxy on the way to a destination: that of the closest pattern, of two as close the first in the file.
    pub(super) fn of(&self, host: &Host) -> Option<&Arc<NextProxy>> {
        let mut best = None;
        for rule in &self.0 {
            for pattern in rule.domains.iter().filter(|pattern| pattern.matches(host)) {
                if best.is_none_or(|(closeness, _)| closeness < pattern.closeness()) {
                    best = Some((pattern.closeness(), rule));
                }
            }
        }
        best?.1.next.as_ref()
    }
}

/// Connects to `target` through the proxy at one of `proxy`'s addresses.
///
/// # Errors
/// With what the last attempt says.
pub(super) async fn connect(next: &NextProxy, proxy: &[SocketAddr], target: Target) -> Result<Through, String> {
    match target {
        Target::Authority(authority) => {
            let asked = tokio::time::timeout(THROUGH.attempt, ask(next, proxy, &authority, None)).await;
            let asked = asked.map_err(|_| format!("no answer within {} s", THROUGH.attempt.as_secs()))?;
            asked.map_err(|error| error.to_string())
        }
        Target::Addresses(addresses) => {
            let order = dial::interleave(&addresses, |address| address.is_ipv6());
            let attempt = |address: SocketAddr| async move {
                let authority = Authority::of(address);
                ask(next, proxy, &authority, Some(address)).await
            };
            dial::race(order.into_iter(), attempt, THROUGH).await.map(|(through, _)| through)
        }
    }
}

async fn ask(
    next: &NextProxy,
    proxy: &[SocketAddr],
    target: &Authority,
    address: Option<SocketAddr>,
) -> io::Result<Through> {
    let order = dial::interleave(proxy, |address| address.is_ipv6());
    let reached = dial::race(order.into_iter(), TcpStream::connect, dial::DIRECT).await;
    let (stream, _) = reached.map_err(|cause| io::Error::other(format!("cannot connect to it: {cause}")))?;
    super::attend(&stream);
    let (stream, early) = match next.protocol {
        NextProxyProtocol::Http => by_http(stream, target, next.credentials.as_ref()).await?,
        NextProxyProtocol::Socks5 => (by_socks5(stream, target, next.credentials.as_ref()).await?, Bytes::new()),
    };
    Ok(Through { stream, early, address })
}

/// `CONNECT` (RFC 9110 §9.3.6).
async fn by_http(
    stream: TcpStream,
    target: &Authority,
    credentials: Option<&NextProxyCredentials>,
) -> io::Result<(TcpStream, Bytes)> {
    let mut request = Request::new(Empty::<Bytes>::new());
    *request.method_mut() = Method::CONNECT;
    *request.uri_mut() = target.to_string().parse().map_err(io::Error::other)?;
    let host = HeaderValue::from_str(&target.to_string()).map_err(io::Error::other)?;
    request.headers_mut().insert(header::HOST, host);
    if let Some(NextProxyCredentials { user, password }) = credentials {
        let basic = format!("Basic {}", STANDARD.encode(format!("{user}:{}", password.expose_secret())));
        let mut basic = HeaderValue::from_str(&basic).map_err(io::Error::other)?;
        basic.set_sensitive(true);
        request.headers_mut().insert(header::PROXY_AUTHORIZATION, basic);
    }
    let handshake = http1::Builder::new().max_buf_size(MAX_HEAD_BYTES).handshake(TokioIo::new(stream));
    let (mut sender, connection) = handshake.await.map_err(io::Error::other)?;
    let asking = async {
        let answer = sender.send_request(request).await.map_err(io::Error::other)?;
        match answer.status() {
            status if status.is_success() => hyper::upgrade::on(answer).await.map_err(io::Error::other),
            StatusCode::PROXY_AUTHENTICATION_REQUIRED => {
                Err(io::Error::other("it wants another user and password (407); its address holds them"))
            }
            status => Err(io::Error::other(format!("it answered {status}"))),
        }
    };
    let upgraded = tokio::select! {
        biased;
        upgraded = asking => upgraded?,
        // What it has to say, the one who asks hears.
        never = async { drop(connection.with_upgrades().await); std::future::pending().await } => never,
    };
    let parts =
        upgraded.downcast::<TokioIo<TcpStream>>().map_err(|_| io::Error::other("it is no connection of ours"))?;
    Ok((parts.io.into_inner(), parts.read_buf))
}

/// SOCKS5 (RFC 1928) with name and password (RFC 1929).
async fn by_socks5(
    mut stream: TcpStream,
    target: &Authority,
    credentials: Option<&NextProxyCredentials>,
) -> io::Result<TcpStream> {
    const NONE: u8 = 0;
    const PASSWORD: u8 = 2;
    let greeting: &[u8] = if credentials.is_some() { &[5, 2, NONE, PASSWORD] } else { &[5, 1, NONE] };
    stream.write_all(greeting).await?;
    let [version, chosen] = read(&mut stream).await?;
    let credentials = match (version, chosen, credentials) {
        (5, NONE, _) => None,
        (5, PASSWORD, Some(credentials)) => Some(credentials),
        (5, _, None) => return Err(io::Error::other("it wants a user and password; its address holds them")),
        (5, ..) => return Err(io::Error::other("it takes no user and password")),
        _ => return Err(io::Error::other("it does not speak SOCKS5")),
    };
    if let Some(NextProxyCredentials { user, password }) = credentials {
        let mut message = vec![1];
        for text in [user.as_str(), password.expose_secret()] {
            // Checked where the configuration is read.
            message.push(u8::try_from(text.len()).map_err(io::Error::other)?);
            message.extend_from_slice(text.as_bytes());
        }
        stream.write_all(&message).await?;
        let [_, refused] = read(&mut stream).await?;
        if refused != 0 {
            return Err(io::Error::other("it wants another user and password; its address holds them"));
        }
    }
    let mut message = vec![5, 1, 0];
    match target.host() {
        Host::Address(std::net::IpAddr::V4(address)) => {
            message.push(1);
            message.extend_from_slice(&address.octets());
        }
        Host::Address(std::net::IpAddr::V6(address)) => {
            message.push(4);
            message.extend_from_slice(&address.octets());
        }
        Host::Name(name) => {
            // A canonical name has at most 253 bytes.
            message.extend_from_slice(&[3, u8::try_from(name.len()).map_err(io::Error::other)?]);
            message.extend_from_slice(name.as_bytes());
        }
    }
    message.extend_from_slice(&target.port().to_be_bytes());
    stream.write_all(&message).await?;
    let [_, reply, _, kind] = read(&mut stream).await?;
    if reply != 0 {
        return Err(io::Error::other(format!("it answered {}", socks5_words(reply))));
    }
    let bound = match kind {
        1 => 4,
        4 => 16,
        3 => usize::from(read::<1>(&mut stream).await?[0]),
        _ => return Err(io::Error::other("its answer is none of SOCKS5")),
    };
    stream.read_exact(&mut vec![0; bound + 2]).await?;
    Ok(stream)
}

async fn read<const LENGTH: usize>(stream: &mut TcpStream) -> io::Result<[u8; LENGTH]> {
    let mut bytes = [0; LENGTH];
    stream.read_exact(&mut bytes).await?;
    Ok(bytes)
}

/// RFC 1928 §6.
fn socks5_words(reply: u8) -> String {
    let words = match reply {
        1 => "general failure",
        2 => "not allowed by its rules",
        3 => "network unreachable",
        4 => "host unreachable",
        5 => "connection refused",
        6 => "TTL expired",
        7 => "command not supported",
        8 => "address type not supported",
        _ => "something unknown",
    };
    format!("{words} ({reply})")
}

#[cfg(test)]
mod tests {
    use fleetgate_wire::domain::DomainPattern;

    use super::*;

    #[test]
    fn the_closest_pattern_says_which_way_and_of_two_as_close_the_first() {
        let proxy = |name: &str| {
            let address = Authority::parse(&format!("{name}:3128")).unwrap();
            let protocol = NextProxyProtocol::Http;
            Some(Arc::new(NextProxy { protocol, address, credentials: None, resolves: false }))
        };
        let rule = |next, domains: &[&str]| NextProxyRule {
            next,
            domains: domains.iter().map(|text| DomainPattern::parse(text).unwrap()).collect(),
        };
        let next = NextProxies::new(vec![
            rule(proxy("rest"), &["*"]),
            rule(proxy("org"), &[".example.org", "*.example.net"]),
            rule(None, &["api.example.org"]),
            rule(proxy("late"), &["*.example.org", ".example.net"]),
        ]);
        let of = |host: &str| {
            let authority = Authority::parse(&format!("{host}:443")).unwrap();
            next.of(authority.host()).map(|next| next.address.host().to_string())
        };
        assert_eq!(of("example.com").as_deref(), Some("rest"));
        assert_eq!(of("1.2.3.4").as_deref(), Some("rest"));
        assert_eq!(of("www.example.org").as_deref(), Some("org"));
        assert_eq!(of("api.example.org."), None);
        assert_eq!(of("a.example.net").as_deref(), Some("org"));
        assert_eq!(of("example.net").as_deref(), Some("late"));
        assert!(NextProxies::default().of(Authority::parse("a:1").unwrap().host()).is_none());
    }
}
