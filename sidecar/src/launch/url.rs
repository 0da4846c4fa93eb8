//! Where the sidecar listens, as programs are told.

use std::fmt;
use std::str::FromStr;

/// `http://host:port`, perhaps with a path, without `/` and `/v1` at its end.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SidecarUrl(String);

/// `FLEETGATE_URL` cannot be used.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("FLEETGATE_URL is no address of a sidecar: write http://127.0.0.1:4000, without a user, a query or blanks")]
pub struct SidecarUrlError;

impl Default for SidecarUrl {
    fn default() -> Self {
        Self("http://127.0.0.1:4000".to_owned())
    }
}

impl FromStr for SidecarUrl {
    type Err = SidecarUrlError;

    fn from_str(text: &str) -> Result<Self, SidecarUrlError> {
        let text = text.trim_end_matches('/');
        // People add it as often as they forget it; each program gets what it needs.
        let text = text.strip_suffix("/v1").unwrap_or(text).trim_end_matches('/');
        let rest = text.strip_prefix("http://").or_else(|| text.strip_prefix("https://")).ok_or(SidecarUrlError)?;
        let is_url = rest.bytes().all(|b| b.is_ascii_graphic() && !matches!(b, b'@' | b'?' | b'#' | b'"' | b'\\'));
        let has_host = !rest.is_empty() && !rest.starts_with(['/', ':']);
        if is_url && has_host { Ok(Self(text.to_owned())) } else { Err(SidecarUrlError) }
    }
}

impl SidecarUrl {
    /// The base of calls.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// The base of calls for a program that can say its workload in no header.
    #[must_use]
    pub fn with_workload(&self, workload: Option<&str>) -> String {
        workload.map_or_else(|| self.0.clone(), |name| format!("{}/w/{name}", self.0))
    }

    /// Scheme, host and port: a proxy's address.
    #[must_use]
    pub fn origin(&self) -> &str {
        let start = self.0.find("://").map_or(0, |at| at + 3);
        self.0.get(start..).and_then(|rest| rest.find('/')).and_then(|end| self.0.get(..start + end)).unwrap_or(&self.0)
    }

    /// The host alone, as `NO_PROXY` names it.
    #[must_use]
    pub fn host(&self) -> &str {
        let authority = self.origin().rsplit("://").next().unwrap_or_default();
        match authority.strip_prefix('[') {
            Some(rest) => rest.split(']').next().unwrap_or_default(),
            None => authority.split(':').next().unwrap_or_default(),
        }
    }
}

impl fmt::Display for SidecarUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_is_taken_apart_for_those_who_need_a_part() {
        for (text, base, origin, host) in [
            ("http://127.0.0.1:4000", "http://127.0.0.1:4000", "http://127.0.0.1:4000", "127.0.0.1"),
            ("http://localhost:4000/v1/", "http://localhost:4000", "http://localhost:4000", "localhost"),
            ("http://[::1]:4000/", "http://[::1]:4000", "http://[::1]:4000", "::1"),
            ("http://box:1/w/x/v1", "http://box:1/w/x", "http://box:1", "box"),
        ] {
            let url: SidecarUrl = text.parse().unwrap();
            assert_eq!((url.as_str(), url.origin(), url.host()), (base, origin, host));
        }
        for bad in
            ["", "127.0.0.1:4000", "http://", "http://u:p@h", "http://a b", "http:///v1", "http://:1", "http://h?x"]
        {
            assert!(bad.parse::<SidecarUrl>().is_err(), "{bad}");
        }
    }
}
