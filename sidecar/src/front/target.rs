//! Which way a request goes, by the form of its target (RFC 9112 §3.2).

use std::net::{IpAddr, SocketAddr};

use fleetgate_wire::authority::Authority;
use fleetgate_wire::workload::Workload;
use http::uri::{PathAndQuery, Uri};
use http::{Method, StatusCode};

use crate::local;
use crate::refusal::Refusal;

/// Where a request wants to go.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Target {
    /// `/__fleetgate/…`
    Local,
    /// Any other path: the gateway's API.
    Api,
    /// `CONNECT host:port`
    Tunnel(Authority),
}

/// Reads the target. An absolute one that names ourselves becomes a plain path: clients with `HTTP_PROXY` and no `NO_PROXY` send that.
pub(super) fn read(method: &Method, uri: &mut Uri, ours: SocketAddr, names: &[String]) -> Result<Target, Refusal> {
    let bad = |message: String| Refusal::new(StatusCode::BAD_REQUEST, "bad_target", message);
    if method == Method::CONNECT {
        let text = uri.authority().map_or("", |authority| authority.as_str());
        return Authority::parse(text).map(Target::Tunnel).map_err(|error| bad(format!("CONNECT: {error}")));
    }
    if let Some(authority) = uri.authority() {
        let port = authority.port_u16().unwrap_or(80);
        if uri.scheme_str() != Some("http") || port != ours.port() || !names_us(authority.host(), ours.ip(), names) {
            return Err(absolute_form());
        }
        let path = uri.path_and_query().cloned().unwrap_or_else(|| PathAndQuery::from_static("/"));
        *uri = Uri::from(path);
    }
    match uri.path() {
        path if path.starts_with(local::PREFIX) => Ok(Target::Local),
        path if path.starts_with('/') => Ok(Target::Api),
        path => Err(bad(format!("{path:?} is no path"))),
    }
}

/// Takes `/w/NAME` off the front of a path: programs that cannot set a header name their workload in the base address.
pub(super) fn take_workload(uri: &mut Uri) -> Option<Workload> {
    let target = uri.path_and_query()?.as_str();
    let (name, _) = target.strip_prefix("/w/")?.split_once('/')?;
    let workload = Workload::parse(name).ok()?;
    let rest = PathAndQuery::try_from(&target["/w/".len() + name.len()..]).ok()?;
    *uri = Uri::from(rest);
    Some(workload)
}

fn absolute_form() -> Refusal {
    Refusal::new(
        StatusCode::BAD_REQUEST,
        "absolute_form",
        "the sidecar is no proxy for plain http:// addresses, only for CONNECT tunnels (https). If this call was meant for \
         localhost, set NO_PROXY=localhost,127.0.0.1,::1 and no_proxy to the same; if not, use https",
    )
}

/// Whether a host name means this machine: `localhost`, or one of the names that the operator vouches for. Address literals are
/// safe: only names can be rebound to another machine's page.
pub(super) fn names_us(host: &str, ours: IpAddr, names: &[String]) -> bool {
    if host.eq_ignore_ascii_case("localhost") || names.iter().any(|name| host.eq_ignore_ascii_case(name)) {
        return true;
    }
    let literal = host.strip_prefix('[').and_then(|rest| rest.strip_suffix(']')).unwrap_or(host);
    literal.parse::<IpAddr>().is_ok_and(|ip| ip.is_loopback() || ip == ours)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read_text(method: &Method, text: &str) -> (Result<Target, &'static str>, String) {
        let mut uri = text.parse().unwrap();
        let target = read(method, &mut uri, "127.0.0.1:4000".parse().unwrap(), &[]).map_err(|refusal| refusal.reason);
        (target, uri.to_string())
    }

    #[test]
    fn the_form_of_the_target_decides() {
        for (text, expected) in [
            ("/v1/messages?beta=true", Ok(Target::Api)),
            ("/", Ok(Target::Api)),
            ("/__fleetgate/health", Ok(Target::Local)),
            ("*", Err("bad_target")),
            ("http://example.com/", Err("absolute_form")),
            ("http://localhost/", Err("absolute_form")),
            ("https://localhost:4000/", Err("absolute_form")),
        ] {
            assert_eq!(read_text(&Method::POST, text).0, expected, "{text}");
        }
        for text in ["http://localhost:4000/v1/x?a=1", "http://127.0.0.1:4000/v1/x?a=1", "http://[::1]:4000/v1/x?a=1"] {
            assert_eq!(read_text(&Method::POST, text), (Ok(Target::Api), "/v1/x?a=1".to_owned()), "{text}");
        }
    }

    #[test]
    fn a_workload_in_the_path_is_taken_off_it() {
        let mut uri: Uri = "/w/hermes/v1/messages?beta=true".parse().unwrap();
        assert_eq!(take_workload(&mut uri).map(String::from).as_deref(), Some("hermes"));
        assert_eq!(uri.to_string(), "/v1/messages?beta=true");
        for other in ["/v1/messages", "/w/", "/w//v1/messages", "/w/name", "/words/a/b"] {
            let mut uri: Uri = other.parse().unwrap();
            assert_eq!((take_workload(&mut uri), uri.to_string().as_str()), (None, other));
        }
    }

    #[test]
    fn a_tunnel_needs_a_port_and_an_unambiguous_host() {
        assert!(matches!(read_text(&Method::CONNECT, "api.example.com:443").0, Ok(Target::Tunnel(_))));
        for bad in ["example.com", "127.1:443"] {
            assert_eq!(read_text(&Method::CONNECT, bad).0, Err("bad_target"), "{bad}");
        }
    }
}
