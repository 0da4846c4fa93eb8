//! One question to each configured name server, because the system's resolver does not say who refused and why.

use std::fs;
use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::time::Duration;

use futures_util::future::join_all;
use tokio::net::UdpSocket;
use tokio::time::timeout;

/// Two attempts of this length fit into what the system's resolver gets.
const PATIENCE: Duration = Duration::from_millis(1500);
const ATTEMPTS: usize = 2;
const PORT: u16 = 53;
const HEADER: usize = 12;
const MAX_SERVERS: usize = 3;
/// Recursion desired: a stub's question (RFC 1035 §4.1.1).
const FLAGS: [u8; 2] = [0x01, 0x00];
/// One question of type A, class IN; the answer's code is that of the name, whatever the type.
const TYPE_A_CLASS_IN: [u8; 4] = [0, 1, 0, 1];

/// What a name server says about a name.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Reply {
    /// It knows the name.
    Knows,
    /// NXDOMAIN.
    NoSuchName,
    /// SERVFAIL.
    ServerFailure,
    /// REFUSED.
    Refuses,
    /// Some other code.
    Other(u8),
    /// Nothing came back.
    Silent,
}

impl Reply {
    /// For a sentence that begins with the server.
    pub(super) fn words(self) -> String {
        match self {
            Self::Knows => "it knows the name".to_owned(),
            Self::NoSuchName => "NXDOMAIN".to_owned(),
            Self::ServerFailure => "SERVFAIL".to_owned(),
            Self::Refuses => "REFUSED".to_owned(),
            Self::Other(code) => format!("code {code}"),
            Self::Silent => "nothing (no answer)".to_owned(),
        }
    }

    /// Reads the head of an answer to the question with this id. `None` when it is no answer to it.
    #[must_use]
    pub fn read(packet: &[u8], id: [u8; 2]) -> Option<Self> {
        let head: &[u8; HEADER] = packet.first_chunk()?;
        let is_response = head[2] & 0x80 != 0;
        if head[..2] != id || !is_response {
            return None;
        }
        Some(match head[3] & 0x0f {
            0 => Self::Knows,
            2 => Self::ServerFailure,
            3 => Self::NoSuchName,
            5 => Self::Refuses,
            code => Self::Other(code),
        })
    }
}

/// The servers of `/etc/resolv.conf`, in their order.
pub(super) fn configured() -> Vec<IpAddr> {
    servers_in(&fs::read_to_string("/etc/resolv.conf").unwrap_or_default())
}

fn servers_in(text: &str) -> Vec<IpAddr> {
    let lines = text.lines().filter_map(|line| line.trim().strip_prefix("nameserver"));
    lines.filter_map(|rest| rest.trim().parse().ok()).take(MAX_SERVERS).collect()
}

/// Asks all of them at the same time.
pub(super) async fn ask_all(servers: &[IpAddr], name: &str) -> Vec<(IpAddr, Reply)> {
    join_all(servers.iter().map(|server| async { (*server, ask(SocketAddr::new(*server, PORT), name).await) })).await
}

async fn ask(server: SocketAddr, name: &str) -> Reply {
    for attempt in 0..ATTEMPTS {
        // Not a secret: it only tells a late answer from that of this attempt.
        let id = [0x46, u8::try_from(attempt).unwrap_or_default()];
        if let Ok(Ok(reply)) = timeout(PATIENCE, exchange(server, name, id)).await {
            return reply;
        }
    }
    Reply::Silent
}

async fn exchange(server: SocketAddr, name: &str, id: [u8; 2]) -> io::Result<Reply> {
    let any: IpAddr = if server.is_ipv4() { Ipv4Addr::UNSPECIFIED.into() } else { Ipv6Addr::UNSPECIFIED.into() };
    let socket = UdpSocket::bind((any, 0)).await?;
    socket.connect(server).await?;
    socket.send(&question(name, id)).await?;
    let mut packet = [0u8; 512];
    loop {
        let length = socket.recv(&mut packet).await?;
        if let Some(reply) = Reply::read(&packet[..length], id) {
            return Ok(reply);
        }
    }
}

/// A question (RFC 1035 §4.1). Labels that are too long are cut; such a name does not exist anyway.
fn question(name: &str, id: [u8; 2]) -> Vec<u8> {
    let mut packet = [&id[..], &FLAGS, &[0, 1, 0, 0, 0, 0, 0, 0]].concat();
    for label in name.trim_end_matches('.').split('.') {
        let label = &label.as_bytes()[..label.len().min(63)];
        packet.push(u8::try_from(label.len()).unwrap_or_default());
        packet.extend_from_slice(label);
    }
    packet.push(0);
    packet.extend_from_slice(&TYPE_A_CLASS_IN);
    packet
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_question_is_written_as_the_rfc_says() {
        let expected = b"\x46\x00\x01\x00\x00\x01\x00\x00\x00\x00\x00\x00\x03box\x05fleet\x00\x00\x01\x00\x01";
        assert_eq!(question("box.fleet", [0x46, 0]), expected);
    }

    #[test]
    fn answers_are_told_apart_and_others_packets_ignored() {
        let packet = |code: u8| [0x46, 0, 0x81, 0x80 | code, 0, 1, 0, 0, 0, 0, 0, 0];
        assert_eq!(Reply::read(&packet(3), [0x46, 0]), Some(Reply::NoSuchName));
        assert_eq!(Reply::read(&packet(2), [0x46, 0]), Some(Reply::ServerFailure));
        assert_eq!(Reply::read(&packet(0), [0x46, 0]), Some(Reply::Knows));
        assert_eq!(Reply::read(&packet(0), [0x46, 1]), None);
        assert_eq!(Reply::read(&packet(0)[..11], [0x46, 0]), None);
    }

    #[test]
    fn the_servers_are_read_from_resolv_conf() {
        let text = "# comment\nsearch fleet\nnameserver 100.100.100.100\n nameserver fd7a::53\nnameserver bad\n";
        let expected: Vec<IpAddr> = vec!["100.100.100.100".parse().unwrap(), "fd7a::53".parse().unwrap()];
        assert_eq!(servers_in(text), expected);
    }
}
