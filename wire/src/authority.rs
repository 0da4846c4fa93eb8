//! `host:port` of a tunnel request, canonical: one form for the rules, the row and the dialer.

use std::fmt;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

/// Where a tunnel shall lead. The host is lower case, punycoded, without a trailing dot.
#[derive(Clone, PartialEq, Eq, Hash)]
pub struct Authority {
    host: Host,
    port: u16,
}

/// A name to resolve, or an address given literally.
#[derive(Clone, PartialEq, Eq, Hash)]
pub enum Host {
    /// A DNS name in its canonical ASCII form.
    Name(String),
    /// A literal address.
    Address(IpAddr),
}

/// Why a text is no authority. Each names what to write instead.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum AuthorityError {
    /// `CONNECT` needs a port (RFC 9110 §9.3.6).
    #[error("{0:?} has no port; write host:port")]
    NoPort(String),
    /// Not a decimal number from 1 to 65535.
    #[error("{0:?} is no port; write a number from 1 to 65535")]
    BadPort(String),
    /// Empty, or with characters or labels that no host name has.
    #[error("{0:?} is no host name or address")]
    BadHost(String),
    /// Forms such as `127.1`, `0x7f.1` or `2130706433`, which resolvers read as addresses.
    #[error("{0:?} is an address in an unusual form; write four decimal numbers")]
    OddAddress(String),
}

impl Authority {
    /// Reads `host:port`, `1.2.3.4:port` or `[::1]:port`.
    ///
    /// # Errors
    /// On everything that two programs could read differently.
    pub fn parse(text: &str) -> Result<Self, AuthorityError> {
        let (host, port) = match text.strip_prefix('[') {
            Some(rest) => {
                let (inside, after) = rest.split_once(']').ok_or_else(|| AuthorityError::BadHost(text.to_owned()))?;
                let address: Ipv6Addr = inside.parse().map_err(|_| AuthorityError::BadHost(inside.to_owned()))?;
                let port = after.strip_prefix(':').ok_or_else(|| AuthorityError::NoPort(text.to_owned()))?;
                (Host::Address(IpAddr::V6(address)), port)
            }
            None => {
                let (name, port) = text.rsplit_once(':').ok_or_else(|| AuthorityError::NoPort(text.to_owned()))?;
                (parse_host(name)?, port)
            }
        };
        Ok(Self { host, port: parse_port(port)? })
    }

    /// An address that is known.
    #[must_use]
    pub fn of(address: SocketAddr) -> Self {
        Self { host: Host::Address(address.ip()), port: address.port() }
    }

    /// The host.
    #[must_use]
    pub fn host(&self) -> &Host {
        &self.host
    }

    /// The port, 1 to 65535.
    #[must_use]
    pub fn port(&self) -> u16 {
        self.port
    }
}

fn parse_port(text: &str) -> Result<u16, AuthorityError> {
    let bad = || AuthorityError::BadPort(text.to_owned());
    // `u16::from_str` takes `+443` and `0443`; other programs do not.
    if text.is_empty() || text.starts_with('0') || !text.bytes().all(|b| b.is_ascii_digit()) {
        return Err(bad());
    }
    text.parse().map_err(|_| bad())
}

pub(crate) fn parse_host(text: &str) -> Result<Host, AuthorityError> {
    let bad = || AuthorityError::BadHost(text.to_owned());
    if let Ok(address) = text.parse::<Ipv4Addr>() {
        return Ok(Host::Address(IpAddr::V4(address)));
    }
    let name = idna::domain_to_ascii(text.strip_suffix('.').unwrap_or(text)).map_err(|_| bad())?;
    // Full-width digits become ASCII only above, so the address forms are looked for again.
    if name.parse::<Ipv4Addr>().is_ok() || name.rsplit('.').next().is_some_and(is_number) {
        return Err(AuthorityError::OddAddress(text.to_owned()));
    }
    let valid_label = |label: &str| {
        !label.is_empty()
            && label.len() <= 63
            && !label.starts_with('-')
            && !label.ends_with('-')
            && label.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-' || b == b'_')
    };
    if name.len() > 253 || !name.split('.').all(valid_label) {
        return Err(bad());
    }
    Ok(Host::Name(name))
}

/// Whether a resolver would take this last label for a number (WHATWG URL §3.5, "ends in a number").
fn is_number(label: &str) -> bool {
    let hex = label.strip_prefix("0x").or_else(|| label.strip_prefix("0X"));
    match hex {
        Some(digits) => digits.bytes().all(|b| b.is_ascii_hexdigit()),
        None => !label.is_empty() && label.bytes().all(|b| b.is_ascii_digit()),
    }
}

impl fmt::Display for Host {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Name(name) => f.write_str(name),
            Self::Address(IpAddr::V4(address)) => write!(f, "{address}"),
            Self::Address(IpAddr::V6(address)) => write!(f, "[{address}]"),
        }
    }
}

impl fmt::Debug for Host {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{self}")
    }
}

impl fmt::Display for Authority {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}", self.host, self.port)
    }
}

impl fmt::Debug for Authority {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{self}")
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn canonical(text: &str) -> String {
        Authority::parse(text).unwrap().to_string()
    }

    #[test]
    fn one_destination_has_one_form() {
        assert_eq!(canonical("Example.COM:443"), "example.com:443");
        assert_eq!(canonical("example.com.:443"), "example.com:443");
        assert_eq!(canonical("bücher.example:443"), "xn--bcher-kva.example:443");
        assert_eq!(canonical("1.2.3.4:443"), "1.2.3.4:443");
        assert_eq!(canonical("[2001:DB8:0::1]:443"), "[2001:db8::1]:443");
        assert_eq!(canonical("_dmarc.example.com:443"), "_dmarc.example.com:443");
    }

    #[test]
    fn what_two_programs_read_differently_is_refused() {
        use AuthorityError::{BadHost, BadPort, NoPort, OddAddress};
        type Kind = fn(String) -> AuthorityError;
        let table: &[(&str, Kind)] = &[
            ("example.com", NoPort),
            ("", NoPort),
            ("[::1]", NoPort),
            (":443", BadHost),
            (":", BadHost),
            ("::1:443", BadHost),
            ("[name]:443", BadHost),
            ("[[::1]]:443", BadHost),
            ("[::1%eth0]:443", BadHost),
            ("a..b:443", BadHost),
            ("a b:443", BadHost),
            ("user@host:443", BadHost),
            ("-a.example:443", BadHost),
            ("host:007", BadPort),
            ("host:0", BadPort),
            ("host:-12", BadPort),
            ("host:+443", BadPort),
            ("host:65536", BadPort),
            ("host:4294967739", BadPort),
            ("host:https", BadPort),
            ("host:", BadPort),
            ("127.1:443", OddAddress),
            ("0x7f.1:443", OddAddress),
            ("0x7f000001:443", OddAddress),
            ("2130706433:443", OddAddress),
            ("017700000001:443", OddAddress),
            ("1.2.3.4.:443", OddAddress),
            ("１27.0.0.1:443", OddAddress),
        ];
        for (text, kind) in table {
            let error = Authority::parse(text).unwrap_err();
            assert_eq!(
                std::mem::discriminant(&error),
                std::mem::discriminant(&kind(String::new())),
                "{text:?} gave {error}"
            );
        }
    }

    proptest! {
        #[test]
        fn the_canonical_form_reads_back_as_itself(text in "\\PC{0,40}:[0-9]{1,6}") {
            if let Ok(authority) = Authority::parse(&text) {
                prop_assert_eq!(Authority::parse(&authority.to_string()), Ok(authority));
            }
        }
    }
}
