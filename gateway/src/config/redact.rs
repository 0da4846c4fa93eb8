//! Showing values that may hold a secret.

use serde_json::Value as Json;

/// The word for a secret's presence.
pub(super) fn presence(is_set: bool) -> &'static str {
    if is_set { "[set]" } else { "[not set]" }
}

/// A URL without its user, password, query and fragment: any of them may be a credential. A password with `/`, `?` or `#` in it
/// makes the rest ambiguous, and then nothing but the scheme is shown.
pub(super) fn url(text: &str) -> String {
    let (scheme, rest) = match text.split_once("://") {
        Some((scheme, rest)) => (format!("{scheme}://"), rest),
        None => (String::new(), text),
    };
    let end_of_authority = rest.find(['/', '?', '#']).unwrap_or(rest.len());
    if rest[end_of_authority..].contains('@') {
        return format!("{scheme}[redacted]");
    }
    let end = rest.find(['?', '#']).unwrap_or(rest.len());
    let hidden = if end < rest.len() { "?[redacted]" } else { "" };
    match rest[..end].rsplit_once('@') {
        Some((_, host)) => format!("{scheme}[redacted]@{host}{hidden}"),
        None => format!("{scheme}{}{hidden}", &rest[..end]),
    }
}

/// A request default: numbers and truths are shown, texts are not, for nobody knows what an unknown parameter holds.
pub(super) fn parameter(value: &Json) -> String {
    match value {
        Json::Bool(_) | Json::Number(_) | Json::Null => value.to_string(),
        Json::String(_) | Json::Array(_) | Json::Object(_) => presence(true).to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_url_is_shown_without_anything_that_could_be_a_credential() {
        for (text, shown) in [
            ("https://api.example.com/v1", "https://api.example.com/v1"),
            ("postgresql://fleet:canary/ss@db:5432/litellm", "postgresql://[redacted]"),
            ("https://u:canary#x@host/v1", "https://[redacted]"),
            ("postgresql://u:p@db:5432/litellm?password=x", "postgresql://[redacted]@db:5432/litellm?[redacted]"),
            ("https://host/v1?key=canary", "https://host/v1?[redacted]"),
            ("user:canary@host/v1", "[redacted]@host/v1"),
            ("https://host/#canary", "https://host/?[redacted]"),
        ] {
            assert_eq!(url(text), shown);
        }
    }
}
