//! One question to the kernel: whose socket is at the other end of this connection? (`sock_diag(7)`)
//!
//! The answer names the user and the socket's inode in some 30 µs, however many sockets there are, and cannot be talked round:
//! no program can set either. Messages are in the machine's byte order, addresses and ports in the network's.

use std::io::{self, Read, Write};
use std::net::{IpAddr, SocketAddr};

use socket2::{Domain, Protocol, Socket, Type};

use super::socket::{Found, TcpSocket};

/// `AF_NETLINK`, `NETLINK_SOCK_DIAG` and the message types of `linux/netlink.h` and `linux/sock_diag.h`.
const AF_NETLINK: i32 = 16;
const SOCK_DIAG: i32 = 4;
const BY_FAMILY: u16 = 20;
const ERROR: u16 = 2;
const IS_REQUEST: u16 = 1;

/// `AF_INET`, `AF_INET6` and `IPPROTO_TCP`.
const INET: u8 = 2;
const INET6: u8 = 10;
const TCP: u8 = 6;

const HEADER: usize = 16;
const REQUEST: usize = HEADER + 56;
/// `struct inet_diag_msg`; what follows it are attributes.
const ANSWER: usize = HEADER + 72;
/// `INET_DIAG_CGROUP_ID`, since Linux 5.9.
const CGROUP_ID: u16 = 21;
const ENOENT: i32 = 2;
/// An answer whose asker gave up may still be in the way.
const STALE_ANSWERS: usize = 4;

/// A socket to the kernel.
#[derive(Debug)]
pub(super) struct Netlink {
    socket: Socket,
    asked: u32,
}

impl Netlink {
    pub(super) fn open() -> io::Result<Self> {
        let socket = Socket::new(Domain::from(AF_NETLINK), Type::DGRAM, Some(Protocol::from(SOCK_DIAG)))?;
        // The kernel answers within the call that asks, so there is never anything to wait for.
        socket.set_nonblocking(true)?;
        Ok(Self { socket, asked: 0 })
    }

    /// The socket that was bound to `local` and speaks to `remote`.
    pub(super) fn find(&mut self, local: SocketAddr, remote: SocketAddr) -> io::Result<Found> {
        self.asked = self.asked.wrapping_add(1);
        let request = question(self.asked, local, remote);
        self.socket.write_all(&request)?;
        let mut buffer = [0u8; 1024];
        for _ in 0..STALE_ANSWERS {
            let length = self.socket.read(&mut buffer)?;
            let answer = buffer.get(..length).unwrap_or_default();
            if let Some(found) = read_answer(answer, self.asked, local, remote) {
                return found;
            }
        }
        Err(io::Error::new(io::ErrorKind::InvalidData, "the kernel answers something else"))
    }
}

fn question(number: u32, local: SocketAddr, remote: SocketAddr) -> [u8; REQUEST] {
    let (local_ip, remote_ip) = (local.ip().to_canonical(), remote.ip().to_canonical());
    let mut message = [0u8; REQUEST];
    let mut put = |at: usize, bytes: &[u8]| message[at..at + bytes.len()].copy_from_slice(bytes);
    put(0, &(REQUEST as u32).to_ne_bytes());
    put(4, &BY_FAMILY.to_ne_bytes());
    put(6, &IS_REQUEST.to_ne_bytes());
    put(8, &number.to_ne_bytes());
    put(HEADER, &[if local_ip.is_ipv4() { INET } else { INET6 }, TCP]);
    // Every state: a client may have closed its half.
    put(HEADER + 4, &u32::MAX.to_ne_bytes());
    put(HEADER + 8, &local.port().to_be_bytes());
    put(HEADER + 10, &remote.port().to_be_bytes());
    for (at, ip) in [(HEADER + 12, local_ip), (HEADER + 28, remote_ip)] {
        match ip {
            IpAddr::V4(ip) => put(at, &ip.octets()),
            IpAddr::V6(ip) => put(at, &ip.octets()),
        }
    }
    // INET_DIAG_NOCOOKIE
    put(HEADER + 48, &[0xff; 8]);
    message
}

/// `None` when this answers another question.
fn read_answer(message: &[u8], number: u32, local: SocketAddr, remote: SocketAddr) -> Option<io::Result<Found>> {
    if u32_at(message, 8)? != number {
        return None;
    }
    match u16_at(message, 4)? {
        ERROR => {
            let code = i32::from_ne_bytes(message.get(HEADER..HEADER + 4)?.try_into().ok()?);
            let found = if code == -ENOENT { Ok(Found::Nothing) } else { Err(io::Error::from_raw_os_error(-code)) };
            Some(found)
        }
        BY_FAMILY => {
            let (uid, inode) = (u32_at(message, ANSWER - 8)?, u32_at(message, ANSWER - 4)?);
            // Where no connection matches, the kernel looks for a listener.
            if address_at(message, HEADER + 4, HEADER + 8)? != canonical(local)
                || address_at(message, HEADER + 6, HEADER + 24)? != canonical(remote)
            {
                return Some(Ok(Found::Nothing));
            }
            // A socket that no process has open any more is said to be root's.
            let found = if inode == 0 {
                Found::Closed
            } else {
                Found::Socket(TcpSocket { uid, inode: inode.into(), cgroup: cgroup_id(message.get(ANSWER..)?) })
            };
            Some(Ok(found))
        }
        _ => None,
    }
}

/// The attributes are `length, type, value`, each padded to four bytes.
fn cgroup_id(mut attributes: &[u8]) -> Option<u64> {
    loop {
        let length = usize::from(u16_at(attributes, 0)?);
        let value = attributes.get(4..length)?;
        if u16_at(attributes, 2)? == CGROUP_ID {
            return Some(u64::from_ne_bytes(value.try_into().ok()?));
        }
        attributes = attributes.get(length.next_multiple_of(4)..)?;
    }
}

fn canonical(address: SocketAddr) -> (IpAddr, u16) {
    (address.ip().to_canonical(), address.port())
}

fn address_at(message: &[u8], port: usize, ip: usize) -> Option<(IpAddr, u16)> {
    let number = u16::from_be_bytes(message.get(port..port + 2)?.try_into().ok()?);
    let address = match *message.get(HEADER)? {
        INET => IpAddr::from(<[u8; 4]>::try_from(message.get(ip..ip + 4)?).ok()?),
        INET6 => IpAddr::from(<[u8; 16]>::try_from(message.get(ip..ip + 16)?).ok()?),
        _ => return None,
    };
    Some((address.to_canonical(), number))
}

fn u16_at(bytes: &[u8], at: usize) -> Option<u16> {
    Some(u16::from_ne_bytes(bytes.get(at..at + 2)?.try_into().ok()?))
}

fn u32_at(bytes: &[u8], at: usize) -> Option<u32> {
    Some(u32::from_ne_bytes(bytes.get(at..at + 4)?.try_into().ok()?))
}

#[cfg(test)]
mod tests {
    use std::net::{Ipv4Addr, Ipv6Addr, TcpListener, TcpStream};

    use proptest::prelude::*;

    use super::*;

    fn inode_of(socket: &TcpStream) -> u64 {
        use std::os::fd::AsRawFd;
        let link = std::fs::read_link(format!("/proc/self/fd/{}", socket.as_raw_fd())).unwrap();
        let text = link.to_str().unwrap().trim_start_matches("socket:[").trim_end_matches(']').to_owned();
        text.parse().unwrap()
    }

    #[test]
    fn the_kernel_says_whose_socket_it_is() {
        let mut netlink = Netlink::open().unwrap();
        for ip in [IpAddr::from(Ipv4Addr::LOCALHOST), Ipv6Addr::LOCALHOST.into()] {
            let Ok(listener) = TcpListener::bind((ip, 0)) else { continue };
            let ours = listener.local_addr().unwrap();
            let client = TcpStream::connect(ours).unwrap();
            let (_accepted, theirs) = listener.accept().unwrap();
            let Found::Socket(found) = netlink.find(theirs, ours).unwrap() else { panic!("not found") };
            assert_eq!((found.uid, found.inode), (rustix::process::geteuid().as_raw(), inode_of(&client)));

            // The kernel keeps what has been closed for a while, and calls it root's.
            drop(client);
            assert!(matches!(netlink.find(theirs, ours).unwrap(), Found::Closed | Found::Nothing));
            assert!(matches!(netlink.find((ip, 1).into(), ours).unwrap(), Found::Nothing));
            // Here the kernel offers the listener, which is no connection.
            assert!(matches!(netlink.find(ours, (ip, 1).into()).unwrap(), Found::Nothing));
        }
    }

    #[test]
    fn an_ipv4_client_of_an_ipv6_socket_is_found_by_either_name() {
        let Ok(listener) = TcpListener::bind("127.0.0.1:0") else { return };
        let ours = listener.local_addr().unwrap();
        let mapped = SocketAddr::from((Ipv4Addr::LOCALHOST.to_ipv6_mapped(), ours.port()));
        let Ok(client) = TcpStream::connect(mapped) else { return };
        let (_accepted, theirs) = listener.accept().unwrap();
        let found = Netlink::open().unwrap().find(theirs, ours).unwrap();
        assert!(matches!(found, Found::Socket(socket) if socket.inode == inode_of(&client)));
    }

    proptest! {
        #[test]
        fn no_answer_makes_it_panic(bytes in proptest::collection::vec(any::<u8>(), 0..200), flagged in any::<bool>()) {
            let mut bytes = bytes;
            if flagged && bytes.len() > HEADER {
                bytes[4..6].copy_from_slice(&BY_FAMILY.to_ne_bytes());
                bytes[8..12].copy_from_slice(&7u32.to_ne_bytes());
            }
            let address = SocketAddr::from((Ipv4Addr::LOCALHOST, 1));
            let _ = read_answer(&bytes, 7, address, address);
            let _ = cgroup_id(&bytes);
        }
    }
}
