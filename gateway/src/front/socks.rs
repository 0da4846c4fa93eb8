//! SOCKS5 (RFC 1928) with name and password (RFC 1929): the messages that come before a tunnel, read from a client's bytes.

use std::io;
use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr};
use std::time::Duration;

use bytes::{Buf, BytesMut};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use super::Listener;

/// The first byte of everything that a client says.
pub(super) const VERSION: u8 = 5;
const PASSWORD_VERSION: u8 = 1;
const NO_METHOD: u8 = 0xff;
/// From the connection's beginning to its request.
const PATIENCE: Duration = Duration::from_secs(30);
/// After `accept` failed for want of descriptors there is nothing to do but wait for some to be closed.
const ACCEPT_PAUSE: Duration = Duration::from_millis(50);

/// How a client says who it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Method {
    /// It does not.
    None = 0,
    /// By name and password.
    Password = 2,
}

/// What the answer to a request says (RFC 1928 §6).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SocksReply {
    /// The tunnel stands.
    Succeeded = 0,
    /// Something else.
    Failed = 1,
    /// The rules do not allow it.
    NotAllowed = 2,
    /// No address, or no answer from there.
    HostUnreachable = 4,
    /// Nobody listens there.
    Refused = 5,
    /// `BIND` and `UDP ASSOCIATE`.
    NoSuchCommand = 7,
    /// Neither a name nor an address.
    NoSuchAddressType = 8,
}

/// Why bytes are no message of SOCKS5.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum SocksError {
    /// Another version, or another protocol.
    #[error("this is not SOCKS5")]
    NotSocks5,
    /// A client that offers no way to say who it is that is served here.
    #[error("no method of SOCKS5 that is served here was offered; use a name and a password")]
    NoMethod,
    /// A command that is not served.
    #[error("only CONNECT is served by SOCKS5 here")]
    Command,
    /// An address of an unknown kind.
    #[error("SOCKS5 knows names, IPv4 and IPv6 addresses")]
    AddressType,
}

impl SocksError {
    /// What a client is told, where the protocol has a word for it.
    #[must_use]
    pub fn reply(self) -> Option<SocksReply> {
        match self {
            Self::Command => Some(SocksReply::NoSuchCommand),
            Self::AddressType => Some(SocksReply::NoSuchAddressType),
            Self::NotSocks5 | Self::NoMethod => None,
        }
    }
}

/// A message that was read and how many bytes it took; `None` while more must come.
type Read<T> = Result<Option<(T, usize)>, SocksError>;

/// Reads the methods that a client offers and takes the best of them.
///
/// # Errors
/// When it speaks something else, or offers nothing that is served.
pub fn read_methods(bytes: &[u8]) -> Read<Method> {
    let [version, rest @ ..] = bytes else { return Ok(None) };
    if *version != VERSION {
        return Err(SocksError::NotSocks5);
    }
    let Some(methods) = counted(rest) else { return Ok(None) };
    let offers = |method: Method| methods.contains(&(method as u8));
    let method = [Method::Password, Method::None].into_iter().find(|method| offers(*method));
    method.map(|method| Some((method, 2 + methods.len()))).ok_or(SocksError::NoMethod)
}

/// Reads a name and a password; the password is what counts.
///
/// # Errors
/// When it is something else.
pub fn read_password(bytes: &[u8]) -> Read<Vec<u8>> {
    let [version, rest @ ..] = bytes else { return Ok(None) };
    if *version != PASSWORD_VERSION {
        return Err(SocksError::NotSocks5);
    }
    let Some(name) = counted(rest) else { return Ok(None) };
    let Some(password) = counted(&rest[1 + name.len()..]) else { return Ok(None) };
    Ok(Some((password.to_vec(), 3 + name.len() + password.len())))
}

/// Reads a request: where to, as the target of a `CONNECT` would be written.
///
/// # Errors
/// When it is something else, or asks for something else than a tunnel.
pub fn read_request(bytes: &[u8]) -> Read<String> {
    let [version, rest @ ..] = bytes else { return Ok(None) };
    if *version != VERSION {
        return Err(SocksError::NotSocks5);
    }
    let [command, _reserved, kind, rest @ ..] = rest else { return Ok(None) };
    if *command != 1 {
        return Err(SocksError::Command);
    }
    let (host, length) = match kind {
        1 => match rest.first_chunk::<4>() {
            Some(octets) => (Ipv4Addr::from(*octets).to_string(), 4),
            None => return Ok(None),
        },
        3 => match counted(rest) {
            Some(name) => (name_of(name), 1 + name.len()),
            None => return Ok(None),
        },
        4 => match rest.first_chunk::<16>() {
            Some(octets) => (format!("[{}]", Ipv6Addr::from(*octets)), 16),
            None => return Ok(None),
        },
        _ => return Err(SocksError::AddressType),
    };
    let Some(port) = rest[length..].first_chunk::<2>() else { return Ok(None) };
    Ok(Some((format!("{host}:{}", u16::from_be_bytes(*port)), 4 + length + 2)))
}

/// A name is a name: brackets and colons in it would make it an address, or bring a port of its own.
fn name_of(name: &[u8]) -> String {
    let text = String::from_utf8_lossy(name);
    if text.contains(['[', ']', ':']) {
        format!("{}.invalid name", text.replace(['[', ']', ':'], "?"))
    } else {
        text.into_owned()
    }
}

/// The bytes behind a byte that says how many.
fn counted(bytes: &[u8]) -> Option<&[u8]> {
    let [count, rest @ ..] = bytes else { return None };
    rest.get(..usize::from(*count))
}

/// A client's connection before its tunnel.
#[derive(Debug)]
pub struct SocksClient {
    stream: TcpStream,
    bytes: BytesMut,
}

impl SocksClient {
    /// A connection that has just been taken.
    #[must_use]
    pub fn new(stream: TcpStream) -> Self {
        let _harmless = stream.set_nodelay(true);
        Self { stream, bytes: BytesMut::new() }
    }

    /// Agrees on a method and takes the password, if there is one. `None` where that does not come about.
    pub async fn greet(&mut self) -> Option<Option<Vec<u8>>> {
        let greeting = async {
            match self.next(read_methods).await? {
                Err(_) => {
                    self.stream.write_all(&[VERSION, NO_METHOD]).await?;
                    Ok(None)
                }
                Ok(method) => {
                    self.stream.write_all(&[VERSION, method as u8]).await?;
                    if method == Method::None {
                        return Ok(Some(None));
                    }
                    Ok(self.next(read_password).await?.ok().map(Some))
                }
            }
        };
        patient(greeting).await
    }

    /// Says whether a password was taken.
    ///
    /// # Errors
    /// When the client is gone.
    pub async fn welcome(&mut self, known: bool) -> io::Result<()> {
        self.stream.write_all(&[PASSWORD_VERSION, u8::from(!known)]).await
    }

    /// Waits for the request. One that is not served is answered here.
    pub async fn request(&mut self) -> Option<String> {
        let asking = async {
            match self.next(read_request).await? {
                Ok(authority) => Ok(Some(authority)),
                Err(error) => {
                    if let Some(reply) = error.reply() {
                        self.reply(reply).await?;
                    }
                    Ok(None)
                }
            }
        };
        patient(asking).await
    }

    /// Answers the request. The address is always the empty one: nobody needs ours.
    ///
    /// # Errors
    /// When the client is gone.
    pub async fn reply(&mut self, reply: SocksReply) -> io::Result<()> {
        self.stream.write_all(&[VERSION, reply as u8, 0, 1, 0, 0, 0, 0, 0, 0]).await
    }

    /// The connection, and what came behind the request.
    #[must_use]
    pub fn into_parts(self) -> (TcpStream, bytes::Bytes) {
        (self.stream, self.bytes.freeze())
    }

    async fn next<T>(&mut self, read: impl Fn(&[u8]) -> Read<T>) -> io::Result<Result<T, SocksError>> {
        loop {
            match read(&self.bytes) {
                Ok(Some((message, length))) => {
                    self.bytes.advance(length);
                    return Ok(Ok(message));
                }
                Err(error) => return Ok(Err(error)),
                Ok(None) => {}
            }
            if self.stream.read_buf(&mut self.bytes).await? == 0 {
                return Err(io::ErrorKind::UnexpectedEof.into());
            }
        }
    }
}

async fn patient<T>(step: impl Future<Output = io::Result<Option<T>>>) -> Option<T> {
    tokio::time::timeout(PATIENCE, step).await.ok()?.ok()?
}

/// Takes connections until `stop` resolves, and hands each over at once.
pub async fn accept_socks(
    listeners: Vec<Listener>,
    handle: impl Fn(TcpStream, SocketAddr) + Clone + Send + 'static,
    stop: impl Future<Output = ()>,
) {
    let mut accepting = tokio::task::JoinSet::new();
    for listener in listeners {
        let handle = handle.clone();
        accepting.spawn(async move {
            loop {
                match listener.accept().await {
                    Ok((stream, peer)) => handle(stream, peer),
                    Err(error) => {
                        tracing::warn!(%error, "cannot accept a connection");
                        tokio::time::sleep(ACCEPT_PAUSE).await;
                    }
                }
            }
        });
    }
    stop.await;
    accepting.shutdown().await;
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_password_is_preferred_and_a_client_without_a_method_of_ours_is_refused() {
        assert_eq!(read_methods(&[5, 3, 0, 1, 2]), Ok(Some((Method::Password, 5))));
        assert_eq!(read_methods(&[5, 1, 0, 9]), Ok(Some((Method::None, 3))));
        assert_eq!(read_methods(&[5, 1, 1]), Err(SocksError::NoMethod));
        assert_eq!(read_methods(&[5, 0]), Err(SocksError::NoMethod));
        assert_eq!(read_methods(&[4, 1, 0]), Err(SocksError::NotSocks5));
        assert_eq!(read_methods(b"GET / HTTP/1.1"), Err(SocksError::NotSocks5));
        for part in [&[][..], &[5], &[5, 2], &[5, 2, 2]] {
            assert_eq!(read_methods(part), Ok(None));
        }
    }

    #[test]
    fn a_request_becomes_the_target_of_a_connect() {
        let name = [&[5, 1, 0, 3, 11][..], b"example.com", &[1, 187, 22, 3]].concat();
        assert_eq!(read_request(&name), Ok(Some(("example.com:443".to_owned(), 18))));
        assert_eq!(read_request(&[5, 1, 0, 1, 8, 8, 4, 4, 0, 53]), Ok(Some(("8.8.4.4:53".to_owned(), 10))));
        let six = [&[5, 1, 0, 4][..], &Ipv6Addr::LOCALHOST.octets(), &[1, 187]].concat();
        assert_eq!(read_request(&six), Ok(Some(("[::1]:443".to_owned(), 22))));
        for length in 0..name.len() - 2 {
            assert_eq!(read_request(&name[..length]), Ok(None), "{length}");
        }
        let sly = [&[5, 1, 0, 3, 5][..], b"[::1]", &[1, 187]].concat();
        let target = read_request(&sly).unwrap().unwrap().0;
        assert!(fleetgate_wire::authority::Authority::parse(&target).is_err(), "{target}");
    }

    #[test]
    fn other_commands_and_kinds_of_addresses_have_their_own_answers() {
        assert_eq!(read_request(&[5, 2, 0, 1]), Err(SocksError::Command));
        assert_eq!(read_request(&[5, 3, 0, 1]).unwrap_err().reply(), Some(SocksReply::NoSuchCommand));
        assert_eq!(read_request(&[5, 1, 0, 2]).unwrap_err().reply(), Some(SocksReply::NoSuchAddressType));
        assert_eq!(read_request(&[4, 1, 0, 1]).unwrap_err().reply(), None);
    }

    #[test]
    fn a_password_stands_behind_any_name() {
        assert_eq!(read_password(&[1, 1, b'u', 3, b's', b'k', b'-']), Ok(Some((b"sk-".to_vec(), 7))));
        assert_eq!(read_password(&[1, 0, 0]), Ok(Some((Vec::new(), 3))));
        assert_eq!(read_password(&[1, 1, b'u', 3, b's']), Ok(None));
        assert_eq!(read_password(&[5, 1]), Err(SocksError::NotSocks5));
    }
}
