//! One ICMP echo to the gateway's machine: whether it is there although its port is silent.

use std::io;
use std::net::{IpAddr, SocketAddr, UdpSocket as StdUdpSocket};
use std::process::Stdio;
use std::time::Duration;

use socket2::{Domain, Protocol, Socket, Type};
use tokio::net::UdpSocket;
use tokio::process::Command;
use tokio::time::timeout;

/// The first packet after a pause may take a second through a relayed mesh path.
const PATIENCE: Duration = Duration::from_millis(1200);
const ATTEMPTS: u16 = 2;
/// Marks our echoes; the kernel replaces the identifier on unprivileged sockets, but never the payload.
const PAYLOAD: &[u8] = b"fleetgate doctor";

/// What became of it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Ping {
    /// It came back.
    Answered,
    /// It did not.
    Silent,
    /// Some machine, or this one, says that there is no way.
    Unreachable,
    /// This user may send none.
    NotAllowed,
}

impl Ping {
    pub(super) fn words(self) -> &'static str {
        match self {
            Self::Answered => "ping is answered",
            Self::Silent => "ping is not answered",
            Self::Unreachable => "ping finds no way",
            Self::NotAllowed => "ping could not be tried",
        }
    }
}

/// Pings an address: by a socket for which no privilege is needed, by a raw one, or by the program `ping`.
pub(super) async fn ping(address: IpAddr) -> Ping {
    match open(address) {
        Ok(socket) => by_socket(&socket, address).await,
        Err(error) if is_no_way(&error) => Ping::Unreachable,
        Err(_) => by_program(address).await,
    }
}

fn open(address: IpAddr) -> io::Result<UdpSocket> {
    let (domain, protocol) =
        if address.is_ipv4() { (Domain::IPV4, Protocol::ICMPV4) } else { (Domain::IPV6, Protocol::ICMPV6) };
    let socket =
        Socket::new(domain, Type::DGRAM, Some(protocol)).or_else(|_| Socket::new(domain, Type::RAW, Some(protocol)))?;
    socket.connect(&SocketAddr::new(address, 0).into())?;
    socket.set_nonblocking(true)?;
    // The same calls read and write it; only the protocol is another.
    UdpSocket::from_std(StdUdpSocket::from(socket))
}

async fn by_socket(socket: &UdpSocket, address: IpAddr) -> Ping {
    let mut outcome = Ping::Silent;
    for sequence in 1..=ATTEMPTS {
        match timeout(PATIENCE, exchange(socket, &echo(address, sequence))).await {
            Ok(Ok(())) => return Ping::Answered,
            Ok(Err(error)) if is_no_way(&error) => outcome = Ping::Unreachable,
            Ok(Err(_)) | Err(_) => {}
        }
    }
    outcome
}

async fn exchange(socket: &UdpSocket, request: &[u8]) -> io::Result<()> {
    socket.send(request).await?;
    let mut packet = [0u8; 256];
    loop {
        let length = socket.recv(&mut packet).await?;
        if is_reply(&packet[..length]) {
            return Ok(());
        }
    }
}

/// Our payload at the end, behind the type "echo reply" (0, in IPv6 129). A raw IPv4 socket gives the IP header too, and on
/// loopback also the request itself (type 8 or 128).
fn is_reply(packet: &[u8]) -> bool {
    let Some(header) = packet.strip_suffix(PAYLOAD) else { return false };
    header.len() >= 8 && matches!(header[header.len() - 8], 0 | 129)
}

fn echo(address: IpAddr, sequence: u16) -> Vec<u8> {
    let kind = if address.is_ipv4() { 8 } else { 128 };
    let identifier = u16::try_from(std::process::id() & 0xffff).unwrap_or_default();
    let mut packet = vec![kind, 0, 0, 0];
    packet.extend_from_slice(&identifier.to_be_bytes());
    packet.extend_from_slice(&sequence.to_be_bytes());
    packet.extend_from_slice(PAYLOAD);
    // For IPv6 the kernel writes its own.
    let sum = checksum(&packet);
    packet[2..4].copy_from_slice(&sum.to_be_bytes());
    packet
}

/// RFC 1071. The packet has an even length.
fn checksum(packet: &[u8]) -> u16 {
    let words = packet.chunks_exact(2).map(|pair| u32::from(u16::from_be_bytes([pair[0], pair[1]])));
    let mut sum: u32 = words.sum();
    while sum > 0xffff {
        sum = (sum & 0xffff) + (sum >> 16);
    }
    !u16::try_from(sum).unwrap_or_default()
}

fn is_no_way(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::HostUnreachable | io::ErrorKind::NetworkUnreachable)
}

async fn by_program(address: IpAddr) -> Ping {
    let mut ping = Command::new("ping");
    ping.args(["-n", "-c", "1", &address.to_string()]).stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
    match timeout(PATIENCE * u32::from(ATTEMPTS), ping.kill_on_drop(true).status()).await {
        Ok(Ok(status)) if status.success() => Ping::Answered,
        // 1: no reply; 2: something else, such as no permission.
        Ok(Ok(status)) if status.code() == Some(1) => Ping::Silent,
        Ok(_) => Ping::NotAllowed,
        Err(_) => Ping::Silent,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_echo_has_a_valid_checksum_and_is_recognised_as_answered_only_when_it_was() {
        let mut packet = echo("10.0.0.1".parse().unwrap(), 1);
        assert_eq!(checksum(&packet), 0);
        assert!(!is_reply(&packet), "the request itself");
        packet[0] = 0;
        assert!(is_reply(&packet));
        let with_ip_header = [&[0x45; 20][..], &packet].concat();
        assert!(is_reply(&with_ip_header));
        assert!(!is_reply(b"fleetgate doctor") && !is_reply(b""));
    }
}
