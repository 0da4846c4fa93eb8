//! Where a request may carry its key.

use std::borrow::Cow;
use std::fmt;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use fleetgate_wire::header::CREDENTIALS;
use http::HeaderMap;
use percent_encoding::percent_decode_str;

/// A place that can hold a key; for messages.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Place {
    /// A header.
    Header(http::HeaderName),
    /// `?key=` in the address, as Google's clients do.
    Query,
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Header(name) => write!(f, "the header '{name}'"),
            Self::Query => f.write_str("the query parameter 'key'"),
        }
    }
}

/// Every credential that a request carries, in LiteLLM's order of precedence.
pub fn credentials<'a>(headers: &'a HeaderMap, query: Option<&'a str>) -> impl Iterator<Item = (Place, Cow<'a, str>)> {
    let in_headers = CREDENTIALS.iter().filter_map(|name| {
        let text = headers.get(name)?.to_str().ok()?;
        Some((Place::Header(name.clone()), unwrap_scheme(text)))
    });
    let in_query = query
        .into_iter()
        .flat_map(|query| query.split('&'))
        .filter_map(|pair| pair.strip_prefix("key="))
        .map(|text| (Place::Query, percent_decode_str(text).decode_utf8_lossy()));
    in_headers.chain(in_query).filter(|(_, text)| !text.is_empty())
}

/// `Bearer k` and `Basic base64(user:k)` (or the key as the user, with an empty password) are all `k`, and so is a bare `k`.
fn unwrap_scheme(text: &str) -> Cow<'_, str> {
    let text = text.trim();
    let Some((scheme, rest)) = text.split_once(' ') else { return Cow::Borrowed(text) };
    let rest = rest.trim();
    if scheme.eq_ignore_ascii_case("bearer") {
        return Cow::Borrowed(rest);
    }
    if scheme.eq_ignore_ascii_case("basic")
        && let Ok(bytes) = STANDARD.decode(rest)
        && let Ok(pair) = String::from_utf8(bytes)
    {
        let (user, password) = pair.split_once(':').unwrap_or((&pair, ""));
        return Cow::Owned(if password.is_empty() { user.to_owned() } else { password.to_owned() });
    }
    Cow::Borrowed(text)
}
