//! `fleetgate.forward_proxy.upstream`: the next proxy on the way to chosen destinations.

use std::fmt;
use std::sync::Arc;

use fleetgate_wire::authority::Authority;
use fleetgate_wire::domain::DomainPattern;
use fleetgate_wire::{ExposeSecret, SecretString};

use super::deployment::is_unexpanded;
use super::egress::patterns;
use super::node::Node;
use super::report::Report;
use super::scalar;
use super::section::Section;

const PATH: &str = "fleetgate.forward_proxy.upstream";
/// RFC 1929 §2.
const LONGEST_SOCKS5_CREDENTIAL: usize = 255;

/// Which way to go to which destinations.
#[derive(Debug, Clone)]
pub struct NextProxyRule {
    /// The proxy; `None` to go directly.
    pub next: Option<Arc<NextProxy>>,
    /// The destinations.
    pub domains: Vec<DomainPattern>,
}

/// A proxy that connections go through.
#[derive(Debug, Clone)]
pub struct NextProxy {
    /// How it is spoken to.
    pub protocol: NextProxyProtocol,
    /// Where it is.
    pub address: Authority,
    /// What it is shown.
    pub credentials: Option<NextProxyCredentials>,
    /// Whether it is told names, and resolves them itself.
    pub resolves: bool,
}

/// How a proxy is spoken to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum NextProxyProtocol {
    /// `CONNECT` of HTTP/1.1.
    Http,
    /// RFC 1928.
    Socks5,
}

/// A user of a next proxy.
#[derive(Debug, Clone)]
pub struct NextProxyCredentials {
    /// The name.
    pub user: String,
    /// The password.
    pub password: SecretString,
}

impl fmt::Display for NextProxy {
    /// As in rows and messages: without credentials.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let scheme = match self.protocol {
            NextProxyProtocol::Http => "http",
            NextProxyProtocol::Socks5 => "socks5",
        };
        write!(f, "{scheme}://{}", self.address)
    }
}

/// Reads the list.
pub(super) fn read(proxy: &Section<'_>, report: &mut Report) -> Vec<NextProxyRule> {
    let Some(node) = proxy.get("upstream") else { return Vec::new() };
    let Some(entries) = node.list() else {
        report.error(node.place.origin(), format!("{PATH} must be a list of maps with proxy and domains"));
        return Vec::new();
    };
    let mut rules: Vec<NextProxyRule> = Vec::new();
    for (number, entry) in entries.iter().enumerate() {
        let Some(rule) = rule(&format!("{PATH}[{number}]"), entry, report) else { continue };
        for pattern in &rule.domains {
            if rules.iter().any(|known| known.domains.contains(pattern)) {
                let message =
                    format!("{PATH}[{number}]: another entry has {pattern} already, so one of them means nothing");
                report.error(entry.place.origin(), message);
            }
        }
        rules.push(rule);
    }
    rules
}

/// A mistake is an error of the whole file: without the entry, connections would go another way than they should.
fn rule(path: &str, entry: &Node, report: &mut Report) -> Option<NextProxyRule> {
    const KEYS: [&str; 3] = ["proxy", "domains", RESOLVES];
    const RESOLVES: &str = "dangerously_resolve_there";
    let unknown = entry.map().unwrap_or_default().iter().find(|entry| !KEYS.contains(&entry.key.as_str()));
    if let Some(unknown) = unknown {
        report.error(unknown.place.origin(), format!("{path}.{} is none of {}", unknown.key, KEYS.join(", ")));
    }
    let section = Section::new(path, Some(entry));
    let Some(node) = section.get("proxy") else {
        let unset = entry.entry("proxy").and_then(|entry| entry.node.reference.as_ref());
        let message = match unset {
            Some(reference) => format!("{path}.proxy: the variable {} is not set", reference.variable),
            None => format!("{path} must be a map that says proxy: http://host:port, or direct"),
        };
        report.error(entry.place.origin(), message);
        return None;
    };
    let resolves = match section.get(RESOLVES) {
        None => false,
        Some(node) => node.text().and_then(scalar::truth).unwrap_or_else(|| {
            report.error(node.place.origin(), format!("{path}.{RESOLVES} must be true or false"));
            false
        }),
    };
    let next = match node.text() {
        Some("direct") => Ok(None),
        Some(text) => parse(text, resolves).map(Some),
        None => Err("it must be a text"),
    };
    let next = next.map_err(|why| {
        // Never the text itself: it may hold a password.
        let message =
            format!("{path}.proxy: {why}; write http://user:password@host:port, socks5://host:port, or direct");
        report.error(node.place.origin(), message);
    });
    let next = next.ok()?;
    let shown = next.as_ref().map_or_else(|| "direct".to_owned(), NextProxy::to_string);
    report.setting(format!("{path}.proxy"), shown, node.origin());
    if resolves {
        report.setting(format!("{path}.{RESOLVES}"), "true", node.place.origin());
    }
    let domains = match section.get("domains") {
        None => DomainPattern::parse("*").into_iter().collect(),
        Some(node) => patterns(path, Some(node), "domains", report),
    };
    Some(NextProxyRule { next: next.map(Arc::new), domains })
}

/// Reads a proxy's address.
fn parse(text: &str, resolves: bool) -> Result<NextProxy, &'static str> {
    if is_unexpanded(text) {
        return Err("nobody expands ${…} or env(…) there, only os.environ/NAME");
    }
    let (scheme, rest) = text.split_once("://").ok_or("it is no address of a proxy")?;
    let protocol = match scheme {
        "http" => NextProxyProtocol::Http,
        "socks5" | "socks5h" => NextProxyProtocol::Socks5,
        "https" => return Err("TLS to a next proxy is not spoken"),
        _ => return Err("its scheme is neither http nor socks5"),
    };
    let rest = rest.strip_suffix('/').unwrap_or(rest);
    let (user, address) = rest.rsplit_once('@').map_or((None, rest), |(user, address)| (Some(user), address));
    let address = Authority::parse(address).map_err(|_| "it has no host and port that can be read")?;
    let credentials = user.map(credentials).transpose()?;
    let too_long =
        |one: &NextProxyCredentials| one.user.len().max(one.password.expose_secret().len()) > LONGEST_SOCKS5_CREDENTIAL;
    if protocol == NextProxyProtocol::Socks5 && credentials.as_ref().is_some_and(too_long) {
        return Err("SOCKS5 has no room for a user or password of more than 255 bytes");
    }
    Ok(NextProxy { protocol, address, credentials, resolves })
}

fn credentials(text: &str) -> Result<NextProxyCredentials, &'static str> {
    let decode = |text: &str| percent_encoding::percent_decode_str(text).decode_utf8().map(|text| text.into_owned());
    let (user, password) = text.split_once(':').unwrap_or((text, ""));
    let (Ok(user), Ok(password)) = (decode(user), decode(password)) else {
        return Err("its user or password is no text");
    };
    // HTTP's Basic ends the name at the first colon (RFC 7617 §2).
    if user.contains(':') {
        return Err("a user's name has no colon");
    }
    Ok(NextProxyCredentials { user, password: SecretString::from(password) })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_with_escapes_is_read_and_shown_without_its_password() {
        let next = parse("http://anna:s%40c%3Aret@Proxy.Example.:3128/", false).unwrap();
        assert_eq!(next.to_string(), "http://proxy.example:3128");
        let credentials = next.credentials.as_ref().unwrap();
        assert_eq!((credentials.user.as_str(), credentials.password.expose_secret()), ("anna", "s@c:ret"));
        assert!(!format!("{next:?}").contains("s@c:ret"));
        let next = parse("socks5h://[fd00::1]:1080", true).unwrap();
        assert_eq!((next.to_string().as_str(), next.resolves), ("socks5://[fd00::1]:1080", true));
        assert!(next.credentials.is_none());
    }

    #[test]
    fn what_is_no_proxys_address_is_refused_with_a_word_that_holds_no_secret() {
        let long = format!("socks5://{}:x@host:1080", "u".repeat(256));
        for text in [
            "proxy:3128",
            "http://proxy",
            "http://u:sEcReT@proxy:99999",
            "https://u:sEcReT@proxy:443",
            "ftp://proxy:21",
            "http://u:sEcReT@proxy:3128/path",
            "http://${NEXT}:3128",
            "http://a%3Ab:sEcReT@proxy:3128",
            "http://u:%ff@proxy:3128",
            &long,
        ] {
            let why = parse(text, false).unwrap_err();
            assert!(!why.contains("sEcReT"), "{text}: {why}");
        }
    }
}
