//! Tunnels as programs ask for them, by each of the protocols. The first byte chooses the port.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;

use super::KEY;

const PROXY: u8 = 0;
const API: u8 = 1;

pub(crate) fn seeds() -> Vec<Vec<u8>> {
    let bearer = format!("Proxy-Authorization: Bearer {KEY}\r\n");
    let basic = format!("Proxy-Authorization: Basic {}\r\n", STANDARD.encode(format!("any:{KEY}")));
    let connect = |door: u8, to: &str, headers: &str| {
        [&[door][..], format!("CONNECT {to} HTTP/1.1\r\nHost: {to}\r\n{headers}\r\nearly bytes").as_bytes()].concat()
    };
    let mut seeds = vec![
        connect(PROXY, "api.example.com:443", &bearer),
        connect(API, "api.example.com:443", &basic),
        connect(PROXY, "shifty.example:443", &basic),
        connect(PROXY, "files.Blocked.example.:443", &bearer),
        connect(PROXY, "8.8.4.4:443", &bearer),
        connect(API, "[2606:4700::1111]:443", &bearer),
        connect(PROXY, "[::ffff:127.0.0.1]:443", &bearer),
        connect(PROXY, "0x7f.1:443", &bearer),
        connect(PROXY, "localhost:443", &bearer),
        connect(API, "api.example.com:443", ""),
        connect(PROXY, "api.example.com:443", "Proxy-Authorization: Bearer sk-of-nobody-0123456789\r\n"),
        connect(API, "api.example.com:443", &format!("{bearer}Content-Length: 3\r\nTransfer-Encoding: chunked\r\n")),
    ];
    let again = connect(API, "api.example.com:443", &bearer);
    seeds.push([b"\x01GET /health/liveliness HTTP/1.1\r\nHost: x\r\n\r\n", &again[1..]].concat());
    seeds.push(format!("\0GET http://api.example.com/ HTTP/1.1\r\nHost: api.example.com\r\n{bearer}\r\n").into_bytes());

    let greeting =
        [&[PROXY, 5, 2, 0, 2, 1, 3][..], b"any", &[u8::try_from(KEY.len()).unwrap_or_default()], KEY.as_bytes()]
            .concat();
    let named = [&[5, 1, 0, 3, 15][..], b"api.example.com", &[1, 187]].concat();
    seeds.push([&greeting[..], &named, b"early bytes"].concat());
    seeds.push([&greeting[..], &[5, 1, 0, 1, 8, 8, 4, 4, 1, 187], b"early bytes"].concat());
    seeds.push([&greeting[..], &[5, 1, 0, 1, 127, 0, 0, 1, 1, 187]].concat());
    seeds.push([&[PROXY, 5, 1, 0][..], &named].concat());

    seeds.push(two(PROXY, "api.example.com:443"));
    seeds.push(two(API, "shifty.example:443"));
    seeds.push(two(PROXY, "127.0.0.1:443"));
    seeds
}

/// A tunnel by HTTP/2, with bytes in it, and another stream behind it.
fn two(door: u8, to: &str) -> Vec<u8> {
    let mut block = Vec::new();
    field(&mut block, b":method", b"CONNECT");
    field(&mut block, b":authority", to.as_bytes());
    field(&mut block, b"proxy-authorization", format!("Bearer {KEY}").as_bytes());
    let mut bytes = vec![door];
    bytes.extend_from_slice(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n");
    frame(&mut bytes, 4, 0, 0, &[]);
    frame(&mut bytes, 1, 4, 1, &block);
    frame(&mut bytes, 0, 0, 1, b"early bytes");
    frame(&mut bytes, 1, 5, 3, &block);
    frame(&mut bytes, 0, 1, 1, b"and the last");
    bytes
}

/// A literal field without Huffman's code (RFC 7541 §6.2.2).
fn field(block: &mut Vec<u8>, name: &[u8], value: &[u8]) {
    block.push(0);
    for text in [name, value] {
        block.push(u8::try_from(text.len()).unwrap_or_default());
        block.extend_from_slice(text);
    }
}

fn frame(bytes: &mut Vec<u8>, kind: u8, flags: u8, stream: u32, payload: &[u8]) {
    let length = u32::try_from(payload.len()).unwrap_or_default().to_be_bytes();
    bytes.extend_from_slice(&length[1..]);
    bytes.extend_from_slice(&[kind, flags]);
    bytes.extend_from_slice(&stream.to_be_bytes());
    bytes.extend_from_slice(payload);
}
