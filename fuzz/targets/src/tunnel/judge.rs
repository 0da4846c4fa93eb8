//! What must hold of whatever a connection led to, said without the gateway's own words for it.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use fleetgate_gateway::front::{Door, read_methods, read_password, read_request};

use super::KEY;
use super::network::Seen;

const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";

pub(super) fn judge(sent: &[u8], door: Door, seen: &Seen) {
    for name in &seen.names {
        let labels: Vec<String> = name.trim_end_matches('.').split('.').map(str::to_ascii_lowercase).collect();
        assert!(!labels.ends_with(&["blocked".into(), "example".into()]), "{name} is denied, and was asked for");
    }
    for address in &seen.dialled {
        assert_eq!(address.port(), 443, "no other port was opened");
        assert!(!is_inside(address.ip()), "{address} must not be dialled");
        assert!(seen.given.contains(address) || is_literal(address, sent), "{address} was dialled, and not looked up");
    }
    if !seen.names.is_empty() || !seen.dialled.is_empty() {
        assert!(shows_the_key(sent), "something was asked for without a key: {seen:?}");
    }
    for arrived in &seen.arrived {
        assert!(came_behind(arrived, sent, door), "{arrived:?} arrived at a destination");
    }
}

/// Networks that no tunnel may enter.
fn is_inside(address: IpAddr) -> bool {
    let v4 = |ip: Ipv4Addr| {
        let [a, b, c, _] = ip.octets();
        matches!(
            (a, b, c),
            (0 | 10 | 127 | 224.., ..)
                | (100, 64..128, _)
                | (169, 254, _)
                | (172, 16..32, _)
                | (192, 168, _)
                | (198, 18 | 19, _)
        ) || ip == Ipv4Addr::new(168, 63, 129, 16)
    };
    let v6 = |ip: Ipv6Addr| match ip.segments() {
        [0, 0, 0, 0, 0, 0xffff, ..] => ip.to_ipv4_mapped().is_none_or(v4),
        // Global unicast, without Teredo, 6to4 and documentation.
        [0x2001, 0 | 0xdb8, ..] | [0x2002, ..] => true,
        [first, ..] => !(0x2000..0x4000).contains(&first),
    };
    match address {
        IpAddr::V4(ip) => v4(ip),
        IpAddr::V6(ip) => v6(ip),
    }
}

/// An address may be dialled without a look where it was written down; then its digits, or for SOCKS5 its octets, were sent.
fn is_literal(address: &SocketAddr, sent: &[u8]) -> bool {
    let holds = |part: &[u8]| sent.windows(part.len()).any(|window| window.eq_ignore_ascii_case(part));
    match address.ip() {
        IpAddr::V4(ip) => holds(ip.to_string().as_bytes()) || holds(&ip.octets()),
        // It has many forms.
        IpAddr::V6(ip) => holds(b"[") || holds(&ip.octets()),
    }
}

/// The key as it is, or as the base64 of a user and the key.
fn shows_the_key(sent: &[u8]) -> bool {
    let holds = |bytes: &[u8]| bytes.windows(KEY.len()).any(|window| window == KEY.as_bytes());
    let is_base64 = |byte: &u8| byte.is_ascii_alphanumeric() || b"+/=".contains(byte);
    holds(sent)
        || sent.split(|byte| !is_base64(byte)).any(|run| {
            // What stands before it without a space between may be read as a part of it.
            (0..run.len().min(4)).any(|start| STANDARD.decode(&run[start..]).is_ok_and(|pair| holds(&pair)))
        })
}

/// Nothing that a destination gets was sent before the decision on it.
fn came_behind(arrived: &[u8], sent: &[u8], door: Door) -> bool {
    if door == Door::Proxy && sent.first() == Some(&5) {
        return behind_socks(sent).is_some_and(|behind| behind == arrived);
    }
    if let Some(frames) = sent.strip_prefix(PREFACE) {
        return streams(frames).iter().any(|(_, data)| data.starts_with(arrived));
    }
    sent.strip_suffix(arrived).is_some_and(|head| head.ends_with(b"\n\r\n") || head.ends_with(b"\n\n"))
}

fn behind_socks(sent: &[u8]) -> Option<&[u8]> {
    let (_, methods) = read_methods(sent).ok()??;
    let (_, password) = read_password(&sent[methods..]).ok()??;
    let (_, request) = read_request(&sent[methods + password..]).ok()??;
    Some(&sent[methods + password + request..])
}

/// The bytes of each stream's DATA frames (RFC 9113 §6.1).
fn streams(mut frames: &[u8]) -> Vec<(u32, Vec<u8>)> {
    let mut streams: Vec<(u32, Vec<u8>)> = Vec::new();
    while let Some((head, rest)) = frames.split_first_chunk::<9>() {
        let [a, b, c, kind, flags, id @ ..] = *head;
        let length = usize::try_from(u32::from_be_bytes([0, a, b, c])).unwrap_or(usize::MAX);
        let Some((payload, rest)) = rest.split_at_checked(length) else { break };
        frames = rest;
        if kind != 0 {
            continue;
        }
        let data = match payload {
            [padding, data @ ..] if flags & 8 != 0 => &data[..data.len().saturating_sub(usize::from(*padding))],
            data => data,
        };
        let id = u32::from_be_bytes(id) & 0x7fff_ffff;
        match streams.iter_mut().find(|(known, _)| *known == id) {
            Some((_, known)) => known.extend_from_slice(data),
            None => streams.push((id, data.to_vec())),
        }
    }
    // A tunnel through which nothing went.
    streams.push((0, Vec::new()));
    streams
}
