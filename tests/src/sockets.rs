//! What the kernel knows of connections on IPv4 loopback: a test waits for what no program says.

use std::fs;
use std::net::{Ipv4Addr, SocketAddr, SocketAddrV4};

use crate::wait::eventually;

/// The states of `/proc/net/tcp` in which a program still holds its end.
const ESTABLISHED: &str = "01";
const SYN_SENT: &str = "02";
const CLOSE_WAIT: &str = "08";

/// Waits until the program that listens at this address has let go of every connection to it. A client that closed its end is
/// seen by the server some time later; until then, the server may still take it for present.
///
/// # Panics
/// When a connection stays.
pub async fn all_closed(server: SocketAddr) {
    eventually("the server lets go of its clients", async || {
        (!table().iter().any(|s| s.local == server && [ESTABLISHED, CLOSE_WAIT].contains(&s.state.as_str())))
            .then_some(())
    })
    .await;
}

/// Waits until somebody dials this address, which does not answer.
///
/// # Panics
/// When nobody does.
pub async fn dialling(address: SocketAddr) {
    eventually("somebody dials", async || {
        table().iter().any(|s| s.remote == address && s.state == SYN_SENT).then_some(())
    })
    .await;
}

struct Socket {
    local: SocketAddr,
    remote: SocketAddr,
    state: String,
}

fn table() -> Vec<Socket> {
    let text = fs::read_to_string("/proc/net/tcp").expect("Linux has it");
    text.lines().skip(1).map(|line| read(line).unwrap_or_else(|| panic!("no socket: {line}"))).collect()
}

fn read(line: &str) -> Option<Socket> {
    let mut fields = line.split_whitespace().skip(1);
    let local = address(fields.next()?)?;
    let remote = address(fields.next()?)?;
    Some(Socket { local, remote, state: fields.next()?.to_owned() })
}

/// The kernel prints the address in the machine's byte order and the port as a number.
fn address(text: &str) -> Option<SocketAddr> {
    let (ip, port) = text.split_once(':')?;
    let ip = Ipv4Addr::from(u32::from_str_radix(ip, 16).ok()?.to_ne_bytes());
    Some(SocketAddrV4::new(ip, u16::from_str_radix(port, 16).ok()?).into())
}
