//! Header names that both sides must treat alike.

use http::header::{self, HeaderMap, HeaderName, HeaderValue};

/// Which machine made the call, said by the sidecar.
pub const HOST: HeaderName = HeaderName::from_static("x-fleetgate-host");
/// What on that machine made the call.
pub const WORKLOAD: HeaderName = HeaderName::from_static("x-fleetgate-workload");
/// What the sidecar found at the other end of the connection: user, executable, unit or container, in one short text.
pub const PROCESS: HeaderName = HeaderName::from_static("x-fleetgate-process");
/// The operating system's user that the calling process belongs to.
pub const OS_USER: HeaderName = HeaderName::from_static("x-fleetgate-user");
/// `1` when the sidecar's host matched nothing and lives on the fallback key.
pub const FALLBACK_KEY: HeaderName = HeaderName::from_static("x-fleetgate-fallback-key");
/// `PROVIDER:FINGERPRINT` of a provider's key that the sidecar took out of the call.
pub const SIGHTING: HeaderName = HeaderName::from_static("x-fleetgate-sighting");
/// Set on every answer of a gateway, with its version: how a sidecar knows that it reached one.
pub const GATEWAY: HeaderName = HeaderName::from_static("x-fleetgate-gateway");
/// The ledger's identifier of the call.
pub const REQUEST_ID: HeaderName = HeaderName::from_static("x-fleetgate-request-id");
/// A machine-readable word for every refusal.
pub const REASON: HeaderName = HeaderName::from_static("x-fleetgate-reason");
/// Tells SDKs not to repeat a refused call (OpenAI's and Anthropic's obey it).
pub const SHOULD_RETRY: HeaderName = HeaderName::from_static("x-should-retry");
/// Set by the sidecar on what it forwards; seen again, there is a loop.
pub const SIDECAR: HeaderName = HeaderName::from_static("x-fleetgate-sidecar");

/// What the gateway writes into `Via` (RFC 9110 §7.6.3) of calls to its own machine: should the address be the sidecar's, which
/// happens when `OPENAI_BASE_URL` is set in the gateway's environment, the sidecar sees the loop.
pub const GATEWAY_VIA: HeaderValue = HeaderValue::from_static("1.1 fleetgate-gateway");

/// The prefix of all our own headers.
pub const PREFIX: &str = "x-fleetgate-";

/// The seven headers that may carry a caller's key, in LiteLLM's order of precedence.
pub static CREDENTIALS: [HeaderName; 7] = [
    HeaderName::from_static("x-litellm-api-key"),
    header::AUTHORIZATION,
    HeaderName::from_static("api-key"),
    HeaderName::from_static("x-api-key"),
    HeaderName::from_static("x-goog-api-key"),
    HeaderName::from_static("ocp-apim-subscription-key"),
    header::PROXY_AUTHORIZATION,
];

/// Headers that belong to one connection and are never passed on (RFC 9110 §7.6.1).
static HOP_BY_HOP: [HeaderName; 8] = [
    header::CONNECTION,
    HeaderName::from_static("keep-alive"),
    HeaderName::from_static("proxy-connection"),
    header::PROXY_AUTHENTICATE,
    header::TE,
    header::TRAILER,
    header::TRANSFER_ENCODING,
    header::UPGRADE,
];

/// What ends with the connection that a head came by: the hop-by-hop headers, and those that its `Connection` names. For a copy in
/// one pass; [`strip_hop_by_hop`] does the same in place.
#[derive(Debug)]
pub struct HopByHop(Vec<HeaderName>);

impl HopByHop {
    /// Those of a head.
    #[must_use]
    pub fn of(headers: &HeaderMap) -> Self {
        Self(named_by_connection(headers))
    }

    /// Whether a header is one of them.
    #[must_use]
    pub fn contains(&self, name: &HeaderName) -> bool {
        HOP_BY_HOP.contains(name) || self.0.contains(name)
    }
}

/// Removes the hop-by-hop headers and those that `Connection` names. `Host`, `Content-Length` and the like stay even when a
/// peer names them there: dropping what frames the message is how requests are smuggled.
pub fn strip_hop_by_hop(headers: &mut HeaderMap) {
    strip(headers, &named_by_connection(headers));
    strip(headers, &HOP_BY_HOP);
}

/// Removes the headers of these names. Of many names few are there: to compare them with those that are costs less than to look
/// each of them up.
pub fn strip(headers: &mut HeaderMap, names: &[HeaderName]) {
    for name in names {
        if headers.keys().any(|known| known == name) {
            headers.remove(name);
        }
    }
}

fn named_by_connection(headers: &HeaderMap) -> Vec<HeaderName> {
    let values = headers.get_all(header::CONNECTION).iter().filter_map(|value| value.to_str().ok());
    let names = values.flat_map(|value| value.split(',')).filter_map(|name| name.trim().parse().ok());
    names.filter(|name| !is_end_to_end(name)).collect()
}

fn is_end_to_end(name: &HeaderName) -> bool {
    *name == header::HOST
        || *name == header::CONTENT_LENGTH
        || *name == header::CONTENT_TYPE
        || *name == header::CONTENT_ENCODING
        || name.as_str().starts_with(PREFIX)
        || CREDENTIALS.contains(name)
}

/// Removes every header that can carry a caller's credential.
pub fn strip_credentials(headers: &mut HeaderMap) {
    for name in &CREDENTIALS {
        headers.remove(name);
    }
}

/// Removes every header of ours: nobody but the sidecar may set them, and no provider gets them.
pub fn strip_ours(headers: &mut HeaderMap) {
    let ours: Vec<HeaderName> = headers.keys().filter(|name| name.as_str().starts_with(PREFIX)).cloned().collect();
    for name in &ours {
        headers.remove(name);
    }
}

/// Removes `key=` from a query: Google's clients may carry their credential there. `None` when nothing is left.
#[must_use]
pub fn strip_key_parameter(query: &str) -> Option<String> {
    let kept: Vec<&str> = query.split('&').filter(|pair| *pair != "key" && !pair.starts_with("key=")).collect();
    (!kept.is_empty()).then(|| kept.join("&"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn headers(pairs: &[(&'static str, &'static str)]) -> HeaderMap {
        pairs.iter().map(|(n, v)| (HeaderName::from_static(n), HeaderValue::from_static(v))).collect()
    }

    fn names(headers: &HeaderMap) -> Vec<&str> {
        let mut names: Vec<&str> = headers.keys().map(HeaderName::as_str).collect();
        names.sort_unstable();
        names
    }

    #[test]
    fn connection_headers_go_and_so_do_those_it_names() {
        let mut map = headers(&[
            ("connection", "close, x-private, connection, host, content-length, authorization"),
            ("x-private", "1"),
            ("keep-alive", "5"),
            ("te", "trailers"),
            ("upgrade", "websocket"),
            ("host", "a"),
            ("content-length", "3"),
            ("authorization", "Bearer x"),
            ("x-kept", "1"),
        ]);
        let hop = HopByHop::of(&map);
        let mut copied: Vec<&str> = map.keys().filter(|name| !hop.contains(name)).map(HeaderName::as_str).collect();
        copied.sort_unstable();
        assert_eq!(copied, ["authorization", "content-length", "host", "x-kept"]);
        strip_hop_by_hop(&mut map);
        assert_eq!(names(&map), ["authorization", "content-length", "host", "x-kept"]);
    }

    #[test]
    fn all_credentials_go_wherever_they_are() {
        let mut map: HeaderMap =
            CREDENTIALS.iter().map(|name| (name.clone(), HeaderValue::from_static("sk-x"))).collect();
        map.insert("x-kept", HeaderValue::from_static("1"));
        strip_credentials(&mut map);
        assert_eq!(names(&map), ["x-kept"]);
        assert_eq!(strip_key_parameter("alt=sse&key=abc&x=1").as_deref(), Some("alt=sse&x=1"));
        assert_eq!(strip_key_parameter("key=abc"), None);
        assert_eq!(strip_key_parameter("keyword=a").as_deref(), Some("keyword=a"));
    }

    #[test]
    fn our_own_headers_cannot_be_claimed() {
        let mut map = headers(&[("x-fleetgate-host", "mac"), ("x-fleetgate-anything", "1"), ("x-other", "1")]);
        strip_ours(&mut map);
        assert_eq!(names(&map), ["x-other"]);
    }
}
