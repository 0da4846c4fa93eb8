//! What `fleetgate doctor` reads from the network: answers of name servers, first bytes of whoever listens, packets that arrive.

use fleetgate_sidecar::doctor::{Protocol, Reply, Segment, seen_address};

pub(crate) fn replies() -> Vec<Vec<u8>> {
    [0u8, 2, 3, 5].map(|code| vec![0x46, 0, 0x81, 0x80 | code, 0, 1, 0, 0, 0, 0, 0, 0, 0]).to_vec()
}

pub(crate) fn answers() -> Vec<Vec<u8>> {
    let texts = [
        "HTTP/1.1 400 Bad Request\r\n\r\nsent to HTTPS port",
        "SSH-2.0-x\r\n",
        "\u{15}\u{3}\u{3}\0\u{2}\u{2}F",
        "HTTP/1.1 200 OK\r\n\r\n{\"ip\":\"203.0.113.7\"}",
    ];
    crate::texts(&texts)
}

pub(crate) fn packets() -> Vec<Vec<u8>> {
    let mut v4 = vec![0x45, 0, 0, 40, 0, 0, 0x40, 0, 64, 6, 0, 0, 100, 64, 0, 7, 100, 64, 0, 1];
    let segment = [0x9c, 0x40, 0x0f, 0xa0, 0, 0, 0, 1, 0, 0, 0, 0, 0x50, 2, 0, 0, 0, 0, 0, 0];
    v4.extend_from_slice(&segment);
    let mut v6 = vec![0x60, 0, 0, 0, 0, 20, 6, 64];
    v6.extend_from_slice(&[0; 32]);
    v6.extend_from_slice(&segment);
    vec![v4, v6]
}

/// An answer to another question is none.
pub(crate) fn reply(bytes: &[u8]) {
    let id = [0x46, 0];
    let read = Reply::read(bytes, id);
    assert!(read.is_none() || bytes.starts_with(&id), "an answer bears the question's number");
}

/// Whoever answers in HTTP is never taken for another protocol, but for TLS when its words say so. An address that is read from an
/// answer is somebody's.
pub(crate) fn protocol(bytes: &[u8]) {
    let recognised = Protocol::recognise(bytes);
    let is_http = bytes.starts_with(b"HTTP/1");
    let seen = seen_address(&String::from_utf8_lossy(bytes));
    assert!(!seen.is_ok_and(|address| address.is_unspecified()));
    assert_eq!(is_http, recognised == Protocol::Http || (is_http && recognised == Protocol::Tls), "{recognised:?}");
}

/// A segment has ports, so it is no shorter than its heads.
pub(crate) fn segment(bytes: &[u8]) {
    let read = Segment::read(bytes);
    assert!(read.is_none() || bytes.len() >= 34, "{read:?}");
}
