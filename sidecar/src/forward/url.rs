//! A gateway's address.

use std::fmt;
use std::str::FromStr;

use fleetgate_wire::authority::{Authority as Destination, AuthorityError};
use http::uri::{Authority, PathAndQuery, Scheme};
use http::{HeaderValue, Uri};

/// `http://host:port`. The mesh encrypts; TLS to the gateway is not spoken.
#[derive(Clone, PartialEq, Eq)]
pub struct GatewayUrl(Authority);

/// Why a text is no gateway URL.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum GatewayUrlError {
    /// TLS.
    #[error("https is not supported between sidecar and gateway: the mesh encrypts; write http://host:port")]
    Https,
    /// Some other form.
    #[error("{0:?} is no gateway address; write http://host:port")]
    Form(String),
    /// A path, query or user name: the gateway's paths are its own.
    #[error("{0:?} has more than a host and a port; write http://host:port")]
    TooMuch(String),
    /// The host or the port.
    #[error(transparent)]
    Authority(#[from] AuthorityError),
}

impl FromStr for GatewayUrl {
    type Err = GatewayUrlError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let form = || GatewayUrlError::Form(text.to_owned());
        if text.starts_with("https:") {
            return Err(GatewayUrlError::Https);
        }
        let rest = text.strip_prefix("http://").ok_or_else(form)?;
        let rest = rest.strip_suffix('/').unwrap_or(rest);
        if rest.contains(['/', '?', '#', '@']) {
            // A password in the address must not be repeated.
            return Err(GatewayUrlError::TooMuch(rest.rsplit('@').next().unwrap_or_default().to_owned()));
        }
        let canonical = Destination::parse(rest)?.to_string();
        canonical.parse().map(Self).map_err(|_| form())
    }
}

impl GatewayUrl {
    /// `host:port`.
    #[must_use]
    pub fn authority(&self) -> &str {
        self.0.as_str()
    }

    /// A path on the gateway.
    #[must_use]
    pub fn uri(&self, path: PathAndQuery) -> Uri {
        let mut parts = http::uri::Parts::default();
        parts.scheme = Some(Scheme::HTTP);
        parts.authority = Some(self.0.clone());
        parts.path_and_query = Some(path);
        // All three parts are there, which is the only condition.
        Uri::from_parts(parts).unwrap_or_default()
    }

    /// What a gateway with this address is called in `Host`.
    pub(super) fn host_header(&self) -> HeaderValue {
        HeaderValue::from_str(self.authority()).unwrap_or_else(|_| HeaderValue::from_static("gateway"))
    }
}

impl fmt::Display for GatewayUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "http://{}", self.0)
    }
}

impl fmt::Debug for GatewayUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{self}")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_plain_address_is_a_gateway() {
        for (text, authority) in [
            ("http://100.64.0.1:4000", "100.64.0.1:4000"),
            ("http://Box.tail.ts.net:4000/", "box.tail.ts.net:4000"),
            ("http://[fd7a:115c:a1e0::1]:4000", "[fd7a:115c:a1e0::1]:4000"),
        ] {
            assert_eq!(text.parse::<GatewayUrl>().unwrap().authority(), authority);
        }
        for bad in ["", "box:4000", "http://box", "http://box:4000/v1", "http://:4000", "https://box:4000", "ftp://b:1"]
        {
            assert!(bad.parse::<GatewayUrl>().is_err(), "{bad}");
        }
        let error = "http://me:secret@box:4000".parse::<GatewayUrl>().unwrap_err();
        assert!(!error.to_string().contains("secret"), "{error}");
    }
}
