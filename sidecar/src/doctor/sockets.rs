//! The kernel's table of TCP sockets, as `/proc/net/tcp` and `tcp6` show it to everybody.

use std::fs;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::path::Path;

const LISTEN: u8 = 0x0a;

/// One socket.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Socket {
    pub(super) local: SocketAddr,
    pub(super) remote: SocketAddr,
    pub(super) inode: u64,
    pub(super) is_listening: bool,
}

/// All sockets of this process's network.
pub(super) fn table(processes: &Path) -> Vec<Socket> {
    let tables =
        ["self/net/tcp", "self/net/tcp6"].map(|name| fs::read_to_string(processes.join(name)).unwrap_or_default());
    tables.iter().flat_map(|table| table.lines()).filter_map(read).collect()
}

/// `sl local remote state queues timer retransmits uid timeout inode …`
fn read(line: &str) -> Option<Socket> {
    let mut fields = line.split_whitespace().skip(1);
    let (local, remote) = (address(fields.next()?)?, address(fields.next()?)?);
    let state = u8::from_str_radix(fields.next()?, 16).ok()?;
    let inode = fields.nth(5)?.parse().ok()?;
    Some(Socket { local, remote, inode, is_listening: state == LISTEN })
}

/// The kernel prints each 32-bit word of the address in the machine's byte order.
fn address(text: &str) -> Option<SocketAddr> {
    let (ip, port) = text.split_once(':')?;
    let word = |text: &str| u32::from_str_radix(text, 16).ok().map(u32::to_ne_bytes);
    let words: Vec<[u8; 4]> = (0..ip.len()).step_by(8).map(|at| word(ip.get(at..at + 8)?)).collect::<Option<_>>()?;
    let ip = match &words[..] {
        [only] => IpAddr::V4(Ipv4Addr::from(*only)),
        [_, _, _, _] => IpAddr::V6(Ipv6Addr::from(<[u8; 16]>::try_from(words.concat()).ok()?)),
        _ => return None,
    };
    Some(SocketAddr::new(ip.to_canonical(), u16::from_str_radix(port, 16).ok()?))
}

/// The listening addresses of a process, when this user may look.
pub(super) fn listening_of(processes: &Path, pid: u32) -> Option<Vec<SocketAddr>> {
    let files = fs::read_dir(processes.join(pid.to_string()).join("fd")).ok()?;
    let targets = files.flatten().filter_map(|file| fs::read_link(file.path()).ok());
    let inodes: Vec<u64> = targets
        .filter_map(|target| target.to_str()?.strip_prefix("socket:[")?.strip_suffix(']')?.parse().ok())
        .collect();
    let sockets = table(processes);
    Some(
        sockets
            .iter()
            .filter(|socket| socket.is_listening && inodes.contains(&socket.inode))
            .map(|socket| socket.local)
            .collect(),
    )
}

#[cfg(test)]
#[cfg(target_endian = "little")]
mod tests {
    use super::*;

    #[test]
    fn the_kernels_lines_are_read() {
        let line =
            "   0: 0100007F:0FA0 00000000:0000 0A 00000000:00000000 00:00000000 00000000  1000        0 48213 1 0 100";
        let socket = read(line).unwrap();
        assert_eq!(
            (socket.local.to_string().as_str(), socket.inode, socket.is_listening),
            ("127.0.0.1:4000", 48213, true)
        );
        let mapped = line.replace("0100007F", "0000000000000000FFFF00000100007F").replace(" 0A ", " 01 ");
        let socket = read(&mapped).unwrap();
        assert_eq!((socket.local.to_string().as_str(), socket.is_listening), ("127.0.0.1:4000", false));
        assert_eq!(read("  sl  local_address rem_address   st"), None);
    }

    #[cfg(target_os = "linux")]
    #[test]
    fn our_own_listener_is_among_them() {
        let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let ours = listening_of(Path::new("/proc"), std::process::id()).unwrap();
        assert!(ours.contains(&listener.local_addr().unwrap()));
    }
}
