//! Which interface leads to an address: one question to the Linux kernel, over a socket that needs no privilege.

use std::io::{self, Read};
use std::net::IpAddr;
use std::time::Duration;

use socket2::{Domain, Protocol, Socket, Type};

/// From `linux/socket.h`, `linux/netlink.h`, `linux/rtnetlink.h` and `linux/if_arp.h`.
const AF_NETLINK: i32 = 16;
const NETLINK_ROUTE: i32 = 0;
const NLM_F_REQUEST: u16 = 1;
const NLMSG_ERROR: u16 = 2;
const RTM_NEWLINK: u16 = 16;
const RTM_GETLINK: u16 = 18;
const RTM_NEWROUTE: u16 = 24;
const RTM_GETROUTE: u16 = 26;
const RTA_DST: u16 = 1;
const RTA_OIF: u16 = 4;
const IFLA_IFNAME: u16 = 3;
const IFLA_MTU: u16 = 4;
/// What TUN and WireGuard interfaces have for a hardware type: none.
const ARPHRD_NONE: u16 = 0xfffe;

const MESSAGE_HEADER: usize = 16;
const ROUTE_HEADER: usize = 12;
const LINK_HEADER: usize = 16;
/// The kernel answers at once; this is for one that does not.
const PATIENCE: Duration = Duration::from_millis(500);

/// A network interface.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Interface {
    pub(super) name: String,
    /// In bytes.
    pub(super) mtu: u32,
    /// Whether it is a tunnel without hardware below it, as meshes make them.
    pub(super) is_tunnel: bool,
}

/// The interface by which packets to this address leave.
///
/// # Errors
/// When the kernel does not tell; on other systems always.
pub(super) fn interface_towards(address: IpAddr) -> io::Result<Interface> {
    let (family, bytes) = match address {
        IpAddr::V4(v4) => (2u8, v4.octets().to_vec()),
        IpAddr::V6(v6) => (10u8, v6.octets().to_vec()),
    };
    let mut route = [0u8; ROUTE_HEADER];
    route[0] = family;
    route[1] = u8::try_from(bytes.len() * 8).unwrap_or_default();
    let reply = ask(RTM_GETROUTE, &[&route[..], &attribute(RTA_DST, &bytes)].concat())?;
    let body = body(&reply, RTM_NEWROUTE)?;
    let index = find(body.get(ROUTE_HEADER..).unwrap_or_default(), RTA_OIF).and_then(number).ok_or_else(unreadable)?;

    let mut link = [0u8; LINK_HEADER];
    link[4..8].copy_from_slice(&index.to_ne_bytes());
    let reply = ask(RTM_GETLINK, &link)?;
    interface(body_of_link(&reply)?)
}

fn body_of_link(reply: &[u8]) -> io::Result<&[u8]> {
    body(reply, RTM_NEWLINK)
}

fn interface(body: &[u8]) -> io::Result<Interface> {
    let hardware = body.get(2..4).and_then(|b| b.try_into().ok()).map(u16::from_ne_bytes).ok_or_else(unreadable)?;
    let attributes = body.get(LINK_HEADER..).unwrap_or_default();
    let name = find(attributes, IFLA_IFNAME).ok_or_else(unreadable)?;
    let name = String::from_utf8_lossy(name).trim_end_matches('\0').to_owned();
    let mtu = find(attributes, IFLA_MTU).and_then(number).ok_or_else(unreadable)?;
    Ok(Interface { name, mtu, is_tunnel: hardware == ARPHRD_NONE })
}

fn ask(kind: u16, body: &[u8]) -> io::Result<Vec<u8>> {
    let mut socket = Socket::new(Domain::from(AF_NETLINK), Type::RAW, Some(Protocol::from(NETLINK_ROUTE)))?;
    socket.set_read_timeout(Some(PATIENCE))?;
    let length = u32::try_from(MESSAGE_HEADER + body.len()).map_err(|_| unreadable())?;
    let mut message = length.to_ne_bytes().to_vec();
    message.extend_from_slice(&kind.to_ne_bytes());
    message.extend_from_slice(&NLM_F_REQUEST.to_ne_bytes());
    message.extend_from_slice(&[0; 8]);
    message.extend_from_slice(body);
    socket.send(&message)?;
    let mut reply = vec![0u8; 16 * 1024];
    let length = socket.read(&mut reply)?;
    reply.truncate(length);
    Ok(reply)
}

/// The first message's body, if it is of the kind that was asked for.
fn body(reply: &[u8], wanted: u16) -> io::Result<&[u8]> {
    let length = reply.get(..4).and_then(|b| b.try_into().ok()).map(u32::from_ne_bytes).ok_or_else(unreadable)?;
    let kind = reply.get(4..6).and_then(|b| b.try_into().ok()).map(u16::from_ne_bytes).ok_or_else(unreadable)?;
    let body =
        usize::try_from(length).ok().and_then(|length| reply.get(MESSAGE_HEADER..length)).ok_or_else(unreadable)?;
    if kind == wanted {
        return Ok(body);
    }
    match body.get(..4).and_then(|b| b.try_into().ok()).map(i32::from_ne_bytes) {
        Some(code) if kind == NLMSG_ERROR => Err(io::Error::from_raw_os_error(code.saturating_neg())),
        _ => Err(unreadable()),
    }
}

fn attribute(kind: u16, data: &[u8]) -> Vec<u8> {
    // Addresses have 4 or 16 bytes, so no padding is needed.
    let length = u16::try_from(4 + data.len()).unwrap_or_default();
    [&length.to_ne_bytes()[..], &kind.to_ne_bytes(), data].concat()
}

fn find(mut attributes: &[u8], wanted: u16) -> Option<&[u8]> {
    loop {
        let length = usize::from(u16::from_ne_bytes(attributes.get(..2)?.try_into().ok()?));
        let kind = u16::from_ne_bytes(attributes.get(2..4)?.try_into().ok()?);
        let data = attributes.get(4..length)?;
        if kind == wanted {
            return Some(data);
        }
        attributes = attributes.get(length.next_multiple_of(4)..)?;
    }
}

fn number(data: &[u8]) -> Option<u32> {
    data.try_into().ok().map(u32::from_ne_bytes)
}

fn unreadable() -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, "the kernel's answer cannot be read")
}

#[cfg(test)]
#[cfg(target_os = "linux")]
mod tests {
    use super::*;

    #[test]
    fn loopback_is_reached_by_its_own_interface() {
        let lo = interface_towards("127.0.0.1".parse().unwrap()).unwrap();
        assert_eq!((lo.name.as_str(), lo.is_tunnel), ("lo", false));
        assert!(lo.mtu >= 1280, "{lo:?}");
    }

    #[test]
    fn a_broken_answer_is_an_error_and_no_panic() {
        for length in 0..40 {
            let reply = vec![0xff; length];
            assert!(body(&reply, RTM_NEWLINK).is_err());
            assert!(find(&reply, 1).is_none());
            assert!(interface(&reply).is_err());
        }
    }
}
