//! The client's end of a TCP connection, as the kernel's table has it.

use std::io;
use std::net::SocketAddr;

/// A socket that a process has open.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct TcpSocket {
    /// The user who made it.
    pub(super) uid: u32,
    /// Its number among the open files of its process.
    pub(super) inode: u64,
    /// The control group it was made in.
    pub(super) cgroup: Option<u64>,
}

/// What a look at the table gives.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Found {
    Socket(TcpSocket),
    /// The client has let go of it: there is nobody any more to ask about.
    Closed,
    /// Not on this machine, or no longer.
    Nothing,
}

/// A connection, from the client's side.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(super) struct Pair {
    pub(super) client: SocketAddr,
    pub(super) ours: SocketAddr,
}

impl Pair {
    pub(super) fn is_loopback(&self) -> bool {
        self.ours.ip().to_canonical().is_loopback()
    }
}

/// Looks many connections up at once in `/proc/net/tcp`, for systems that refuse netlink: one reading for all of them.
pub(super) fn find_in_tables(pairs: &[Pair], read: impl Fn(&str) -> io::Result<String>) -> io::Result<Vec<Found>> {
    let tables = [read("/proc/net/tcp")?, read("/proc/net/tcp6").unwrap_or_default()];
    let mut found = vec![Found::Nothing; pairs.len()];
    for (pair, socket) in tables.iter().flat_map(|table| table.lines()).filter_map(read_line) {
        for (slot, _) in found.iter_mut().zip(pairs).filter(|(_, wanted)| canonical(wanted) == pair) {
            *slot = socket;
        }
    }
    Ok(found)
}

fn canonical(pair: &Pair) -> Pair {
    let canonical = |address: SocketAddr| SocketAddr::new(address.ip().to_canonical(), address.port());
    Pair { client: canonical(pair.client), ours: canonical(pair.ours) }
}

/// `sl local remote state queues timer retransmits uid timeout inode …`
fn read_line(line: &str) -> Option<(Pair, Found)> {
    let mut fields = line.split_ascii_whitespace();
    let client = read_address(fields.nth(1)?)?;
    let ours = read_address(fields.next()?)?;
    let uid = fields.nth(4)?.parse().ok()?;
    let inode = fields.nth(1)?.parse().ok()?;
    let found = if inode == 0 { Found::Closed } else { Found::Socket(TcpSocket { uid, inode, cgroup: None }) };
    Some((Pair { client, ours }, found))
}

fn read_address(text: &str) -> Option<SocketAddr> {
    let (ip, port) = text.split_once(':')?;
    let ip = fleetgate_wire::port_owner::parse_ip(ip)?.to_canonical();
    Some(SocketAddr::new(ip, u16::from_str_radix(port, 16).ok()?))
}

#[cfg(test)]
mod tests {
    use std::net::{TcpListener, TcpStream};

    use super::*;

    #[test]
    fn one_reading_finds_all_connections_that_wait() {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let ours = listener.local_addr().unwrap();
        let clients: Vec<_> = (0..3).map(|_| TcpStream::connect(ours).unwrap()).collect();
        let mut pairs: Vec<_> =
            clients.iter().map(|client| Pair { client: client.local_addr().unwrap(), ours }).collect();
        pairs.push(Pair { client: "127.0.0.1:1".parse().unwrap(), ours });
        let found = find_in_tables(&pairs, |path| std::fs::read_to_string(path)).unwrap();
        assert!(found[..3].iter().all(|one| matches!(one, Found::Socket(socket) if socket.inode != 0)), "{found:?}");
        assert_eq!(found[3], Found::Nothing);
    }

    #[cfg(target_endian = "little")]
    #[test]
    fn a_socket_without_an_owner_is_closed_and_not_roots() {
        let line = "   1: 0100007F:B3A6 0100007F:0FA0 04 00000000:00000000 01:00000014 00000000     0        0 0 2 0";
        let six = "   1: 0000000000000000FFFF00000100007F:B3A7 0000000000000000FFFF00000100007F:0FA0 01 00000000:00000000 00:00000000 \
                   00000000  1000        0 77 1 0";
        let pair =
            |port| Pair { client: SocketAddr::from(([127, 0, 0, 1], port)), ours: "127.0.0.1:4000".parse().unwrap() };
        let read = |path: &str| Ok(if path.ends_with('6') { six } else { line }.to_owned());
        let found = find_in_tables(&[pair(0xB3A6), pair(0xB3A7)], read).unwrap();
        assert_eq!(found, [Found::Closed, Found::Socket(TcpSocket { uid: 1000, inode: 77, cgroup: None })]);
        assert!(read_line("sl local_address rem_address").is_none());
    }
}
