//! The head of a TCP segment as a packet socket shows it: who tries to connect, and what this machine answers.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

const TCP: u8 = 6;
const SYN: u8 = 0x02;
const RST: u8 = 0x04;
const ACK: u8 = 0x10;
const IPV6_HEADER: usize = 40;

/// What a segment does for a connection that is being set up.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Turn {
    /// SYN: somebody wants to connect.
    Attempt,
    /// SYN and ACK: the kernel takes it.
    Accept,
    /// RST: the kernel refuses.
    Refuse,
}

/// One segment of a connection's set-up.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Segment {
    /// Who sent it.
    pub from: SocketAddr,
    /// Who is to get it.
    pub to: SocketAddr,
    /// What it does.
    pub turn: Turn,
}

impl Segment {
    /// Reads an IP packet without its link header. `None` for everything that does not set up a TCP connection.
    #[must_use]
    pub fn read(packet: &[u8]) -> Option<Self> {
        let (from, to, segment) = match packet.first()? >> 4 {
            4 => read_v4(packet)?,
            6 => read_v6(packet)?,
            _ => return None,
        };
        let port = |at: usize| Some(u16::from_be_bytes(segment.get(at..at + 2)?.try_into().ok()?));
        let turn = match segment.get(13)? & (SYN | ACK | RST) {
            SYN => Turn::Attempt,
            flags if flags == SYN | ACK => Turn::Accept,
            flags if flags & RST != 0 => Turn::Refuse,
            _ => return None,
        };
        Some(Self { from: SocketAddr::new(from, port(0)?), to: SocketAddr::new(to, port(2)?), turn })
    }
}

fn read_v4(packet: &[u8]) -> Option<(IpAddr, IpAddr, &[u8])> {
    let length = usize::from(packet.first()? & 0x0f) * 4;
    let fragment = u16::from_be_bytes(packet.get(6..8)?.try_into().ok()?) & 0x1fff;
    // Only the first fragment has the head of the segment.
    if *packet.get(9)? != TCP || fragment != 0 || length < 20 {
        return None;
    }
    let address = |at: usize| Some(IpAddr::V4(Ipv4Addr::from(<[u8; 4]>::try_from(packet.get(at..at + 4)?).ok()?)));
    Some((address(12)?, address(16)?, packet.get(length..)?))
}

fn read_v6(packet: &[u8]) -> Option<(IpAddr, IpAddr, &[u8])> {
    // With extension headers nobody sets up a connection to us.
    if *packet.get(6)? != TCP {
        return None;
    }
    let address = |at: usize| Some(IpAddr::V6(Ipv6Addr::from(<[u8; 16]>::try_from(packet.get(at..at + 16)?).ok()?)));
    Some((address(8)?, address(24)?, packet.get(IPV6_HEADER..)?))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn v4(flags: u8) -> Vec<u8> {
        let mut packet = vec![0x45, 0, 0, 40, 0, 0, 0x40, 0, 64, TCP, 0, 0, 100, 64, 0, 7, 100, 64, 0, 1];
        packet.extend_from_slice(&[0x9c, 0x40, 0x0f, 0xa0, 0, 0, 0, 1, 0, 0, 0, 0, 0x50, flags, 0, 0, 0, 0, 0, 0]);
        packet
    }

    #[test]
    fn the_set_up_of_a_connection_is_read_and_nothing_else() {
        let segment = Segment::read(&v4(SYN)).unwrap();
        assert_eq!(
            (segment.from.to_string().as_str(), segment.to.to_string().as_str()),
            ("100.64.0.7:40000", "100.64.0.1:4000")
        );
        assert_eq!(segment.turn, Turn::Attempt);
        assert_eq!(Segment::read(&v4(SYN | ACK)).unwrap().turn, Turn::Accept);
        assert_eq!(Segment::read(&v4(RST | ACK)).unwrap().turn, Turn::Refuse);
        assert_eq!(Segment::read(&v4(ACK)), None);
        let mut udp = v4(SYN);
        udp[9] = 17;
        assert_eq!(Segment::read(&udp), None);
    }

    #[test]
    fn an_ipv6_packet_is_read_too() {
        let mut packet = vec![0x60, 0, 0, 0, 0, 20, TCP, 64];
        packet.extend_from_slice(&Ipv6Addr::LOCALHOST.octets());
        packet.extend_from_slice(&Ipv6Addr::LOCALHOST.octets());
        packet.extend_from_slice(&v4(SYN)[20..]);
        assert_eq!(Segment::read(&packet).unwrap().to.to_string(), "[::1]:4000");
    }

    #[test]
    fn a_cut_packet_is_ignored() {
        let whole = v4(SYN);
        for length in 0..33 {
            assert_eq!(Segment::read(&whole[..length]), None, "{length}");
        }
    }
}
