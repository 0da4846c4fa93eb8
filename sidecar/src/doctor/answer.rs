//! Who answers at the gateway's address: the protocol by its first bytes, the program by its headers.

use std::net::SocketAddr;

use fleetgate_wire::header;
use http::header::{CONTENT_TYPE, LOCATION, SERVER, VIA};
use http::{HeaderMap, StatusCode};

use super::exchange::{self, Raw};
use super::report::Finding;
use crate::forward::{Answer, GatewayUrl};

const PROTOCOL: &str = "protocol";
const MARKER: &str = "marker";
/// Needs no key and costs nothing.
pub(super) const ALIVE: &str = "/health/liveliness";

/// A TLS 1.2 ClientHello of the smallest kind (RFC 5246 §7.4.1.2): version, random, no session, two ciphers, no compression.
const CLIENT_HELLO: &[u8] = b"\x16\x03\x01\x00\x2f\x01\x00\x00\x2b\x03\x03fleetgate doctor asks for TLS...\
    \x00\x00\x04\xc0\x2f\x00\x9c\x01\x00";

/// What the first bytes of an answer belong to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Protocol {
    /// HTTP/1.
    Http,
    /// TLS, by a record of its own or by words about it.
    Tls,
    /// HTTP/2 without an upgrade.
    Http2,
    /// SSH.
    Ssh,
    /// Something else.
    Unknown,
}

impl Protocol {
    /// Recognises a protocol by what it answers to a plain HTTP/1 request.
    #[must_use]
    pub fn recognise(bytes: &[u8]) -> Self {
        match bytes {
            [0x14..=0x17, 0x03, ..] => Self::Tls,
            [b'S', b'S', b'H', b'-', ..] => Self::Ssh,
            // A SETTINGS frame on stream 0.
            [0, 0, _, 4, _, 0, 0, 0, 0, ..] => Self::Http2,
            [b'H', b'T', b'T', b'P', b'/', b'1', ..] if speaks_of_tls(bytes) => Self::Tls,
            [b'H', b'T', b'T', b'P', b'/', b'1', ..] => Self::Http,
            _ => Self::Unknown,
        }
    }
}

/// nginx ("The plain HTTP request was sent to HTTPS port"), Go ("Client sent an HTTP request to an HTTPS server"), Apache
/// ("speaking plain HTTP to an SSL-enabled server port").
fn speaks_of_tls(bytes: &[u8]) -> bool {
    let text = String::from_utf8_lossy(bytes).to_ascii_lowercase();
    text.starts_with("http/1.")
        && text.get(9..12) == Some("400")
        && ["https port", "https server", "ssl-enabled server"].iter().any(|words| text.contains(words))
}

/// Reads the first bytes that answer a plain request.
pub(super) async fn protocol(address: SocketAddr, gateway: &GatewayUrl) -> Result<Finding, Finding> {
    let request = format!("GET {ALIVE} HTTP/1.1\r\nHost: {}\r\nConnection: close\r\n\r\n", gateway.authority());
    let first = exchange::raw(address, request.as_bytes(), None).await;
    let recognised = match &first {
        Raw::Bytes(bytes) => Protocol::recognise(bytes),
        Raw::Closed | Raw::Silent => Protocol::Unknown,
    };
    match recognised {
        Protocol::Http => return Ok(Finding::ok(PROTOCOL, format!("{address} speaks HTTP/1.1"))),
        Protocol::Tls => return Err(tls(address)),
        Protocol::Ssh => return Err(foreign(address, "an SSH server", "its port is not the gateway's")),
        Protocol::Http2 => {
            return Err(foreign(address, "an HTTP/2 server, such as gRPC,", "its port is not the gateway's"));
        }
        Protocol::Unknown => {}
    }
    // Servers of TLS often close without a word when they are spoken to in plain.
    if let Raw::Bytes(bytes) = exchange::raw(address, CLIENT_HELLO, None).await
        && Protocol::recognise(&bytes) == Protocol::Tls
    {
        return Err(tls(address));
    }
    Err(match first {
        Raw::Bytes(bytes) => {
            let shown: String = bytes.iter().take(24).map(|byte| byte.escape_ascii().to_string()).collect();
            foreign(address, &format!("something that speaks no HTTP (\"{shown}\")"), "its port is not the gateway's")
        }
        Raw::Closed => {
            Finding::problem(PROTOCOL, "closes", format!("{address} takes the connection and closes it without a word"))
                .cause("a port forwarding or load balancer in front of a gateway that is stopped")
                .next("fleetgate doctor --on-gateway  # there")
        }
        Raw::Silent => Finding::problem(PROTOCOL, "mute", format!("{address} takes the connection and says nothing"))
            .cause("the gateway hangs, or another program listens there that waits for something else than HTTP")
            .next("fleetgate doctor --on-gateway  # there"),
    })
}

fn tls(address: SocketAddr) -> Finding {
    Finding::problem(PROTOCOL, "tls", format!("{address} speaks TLS (https), and was spoken to in plain HTTP"))
        .cause("another program has the port, or something terminates TLS in front of the gateway; the mesh encrypts already")
        .next(format!("curl -kI https://{address}/  # says who answers"))
        .next("export FLEETGATE_GATEWAY=http://GATEWAY:4000  # the gateway's own port, without TLS")
}

fn foreign(address: SocketAddr, who: &str, cause: &str) -> Finding {
    Finding::problem(PROTOCOL, "foreign", format!("{who} answers at {address}"))
        .cause(cause)
        .next(format!("ss -ltnp 'sport = :{}'  # there: who listens", address.port()))
}

/// Looks for the gateway's marker, and names what else answers.
pub(super) fn marker(answer: &Answer, gateway: &GatewayUrl) -> Result<Finding, Finding> {
    let at = gateway.authority();
    let text = |name: http::HeaderName| {
        answer.headers.get(name).map(|value| String::from_utf8_lossy(value.as_bytes()).into_owned())
    };
    if let Some(version) = text(header::GATEWAY) {
        let finding = format!("a Fleetgate gateway, version {version}, answers at {at}");
        if answer.status.is_success() {
            return Ok(Finding::ok(MARKER, finding));
        }
        return Err(Finding::problem(
            MARKER,
            "unwell",
            format!("{finding}, with {} to its health check", answer.status),
        )
        .cause("the gateway itself is in trouble")
        .next("fleetgate doctor --on-gateway  # there")
        .next("journalctl -u fleetgate-gateway -n 50  # there"));
    }
    let said = format!(
        "{at} answers {}{}",
        answer.status,
        text(SERVER).map_or_else(String::new, |name| format!(", Server: {name}"))
    );
    let (code, who, cause) = recognise(answer.status, &answer.headers, &answer.body);
    Err(Finding::problem(
        MARKER,
        code,
        format!("{who} answers instead of a gateway: {said}, and no {} header", header::GATEWAY),
    )
    .cause(cause)
    .next(format!("curl -si http://{at}{ALIVE} | head -20"))
    .next("echo $FLEETGATE_GATEWAY  # does it name the gateway's machine and port?"))
}

/// Who answered, by what everybody of that kind sends: a word, a name, and how that comes about.
fn recognise(status: StatusCode, headers: &HeaderMap, body: &[u8]) -> (&'static str, String, String) {
    let text =
        |name: http::HeaderName| headers.get(name).map(|value| String::from_utf8_lossy(value.as_bytes()).into_owned());
    let server = text(SERVER).unwrap_or_default();
    let lower = server.to_ascii_lowercase();
    let is_html = text(CONTENT_TYPE).is_some_and(|kind| kind.contains("text/html"));
    let is_proxy = |name: &str| ["squid", "tinyproxy", "privoxy", "3proxy"].iter().any(|proxy| name.contains(proxy));
    let taken = "another program has the gateway's port, or FLEETGATE_GATEWAY names the wrong machine or port";
    if headers.contains_key(header::SIDECAR) {
        return (
            "sidecar",
            "a Fleetgate sidecar".to_owned(),
            "FLEETGATE_GATEWAY names a sidecar: it leads in a circle".to_owned(),
        );
    }
    if headers.keys().any(|name| name.as_str().starts_with("x-litellm-")) || body == b"\"I'm alive!\"" {
        return ("litellm", "LiteLLM".to_owned(), format!("{taken}; LiteLLM's default port is 4000 too"));
    }
    let via = text(VIA).unwrap_or_default().to_ascii_lowercase();
    if is_proxy(&lower)
        || is_proxy(&via)
        || status == StatusCode::PROXY_AUTHENTICATION_REQUIRED
        || headers.contains_key("x-squid-error")
    {
        let name = if via.is_empty() { server } else { via };
        return ("proxy", format!("a forward proxy ({name})"), format!("{taken}: a proxy stands in the way"));
    }
    let leads_away = status.is_redirection() && text(LOCATION).is_some_and(|to| to.contains("://"));
    if leads_away || status == StatusCode::NETWORK_AUTHENTICATION_REQUIRED || (status.is_success() && is_html) {
        let where_to = text(LOCATION).map_or_else(String::new, |to| format!(" (it leads to {})", origin_of(&to)));
        let cause = "this network intercepts HTTP until somebody logs in, or the packets do not go through the mesh";
        return ("captive_portal", format!("a captive portal or a web page{where_to}"), cause.to_owned());
    }
    if server.is_empty() {
        return ("not_a_gateway", "some other HTTP server".to_owned(), taken.to_owned());
    }
    ("not_a_gateway", format!("another HTTP server ({server})"), taken.to_owned())
}

/// A portal's address may carry a token behind its host.
fn origin_of(url: &str) -> &str {
    let start = url.find("://").map_or(0, |at| at + 3);
    let end = url[start..].find(['/', '?', '#']).map_or(url.len(), |at| start + at);
    &url[..end]
}

#[cfg(test)]
mod tests {
    use super::*;

    fn who(status: u16, lines: &[(&'static str, &'static str)], body: &str) -> &'static str {
        let headers = lines.iter().map(|(name, value)| (name.parse().unwrap(), value.parse().unwrap())).collect();
        recognise(StatusCode::from_u16(status).unwrap(), &headers, body.as_bytes()).0
    }

    #[test]
    fn whoever_answers_instead_is_named() {
        assert_eq!(who(200, &[("server", "uvicorn")], "\"I'm alive!\""), "litellm");
        assert_eq!(who(404, &[("x-litellm-version", "1.80")], ""), "litellm");
        assert_eq!(who(404, &[("x-fleetgate-sidecar", "0.1.0")], "{}"), "sidecar");
        assert_eq!(who(302, &[("location", "http://login.hotel.example/?t=secret")], ""), "captive_portal");
        assert_eq!(who(302, &[("location", "/login")], ""), "not_a_gateway");
        assert_eq!(who(511, &[], ""), "captive_portal");
        assert_eq!(who(200, &[("content-type", "text/html; charset=utf-8")], "<html>"), "captive_portal");
        assert_eq!(who(404, &[("server", "nginx"), ("content-type", "text/html")], ""), "not_a_gateway");
        assert_eq!(who(403, &[("server", "tinyproxy/1.11.1")], ""), "proxy");
        assert_eq!(who(200, &[("via", "1.1 box (squid/6.1)")], ""), "proxy");
        assert_eq!(origin_of("http://login.hotel.example/?t=secret"), "http://login.hotel.example");
        assert_eq!(origin_of("http://é?x"), "http://é");
    }

    #[test]
    fn first_bytes_tell_the_protocol() {
        for (bytes, expected) in [
            (&b"HTTP/1.1 200 OK\r\n"[..], Protocol::Http),
            (b"\x15\x03\x03\x00\x02\x02\x46", Protocol::Tls),
            (b"HTTP/1.1 400 Bad Request\r\n\r\n<h1>The plain HTTP request was sent to HTTPS port", Protocol::Tls),
            (b"HTTP/1.0 400 Bad Request\r\n\r\nClient sent an HTTP request to an HTTPS server.\n", Protocol::Tls),
            (b"SSH-2.0-OpenSSH_9.6\r\n", Protocol::Ssh),
            (b"\x00\x00\x12\x04\x00\x00\x00\x00\x00", Protocol::Http2),
            (b"220 smtp", Protocol::Unknown),
            (b"", Protocol::Unknown),
        ] {
            assert_eq!(Protocol::recognise(bytes), expected, "{}", bytes.escape_ascii());
        }
    }

    #[test]
    fn the_client_hello_says_its_own_length() {
        assert_eq!(CLIENT_HELLO.len(), 5 + 0x2f);
        assert_eq!(CLIENT_HELLO.len(), 5 + 4 + 0x2b);
    }
}
