//! Showing values that may hold a secret.

use serde_json::Value as Json;

/// The word for a secret's presence.
pub(super) fn presence(is_set: bool) -> &'static str {
    if is_set { "[set]" } else { "[not set]" }
}

/// A URL without its user, password, query and fragment: any of them may be a credential.
pub(super) fn url(text: &str) -> String {
    let end = text.find(['?', '#']).unwrap_or(text.len());
    let (kept, hidden) = text.split_at(end);
    let hidden = if hidden.is_empty() { "" } else { "?[redacted]" };
    let Some((scheme, rest)) = kept.split_once("://") else {
        // `user:password@host` without a scheme.
        return match kept.rsplit_once('@') {
            Some((_, host)) => format!("[redacted]@{host}{hidden}"),
            None => format!("{kept}{hidden}"),
        };
    };
    // A password may hold a slash by mistake, so everything up to the last @ goes.
    match rest.rsplit_once('@') {
        Some((_, host)) => format!("{scheme}://[redacted]@{host}{hidden}"),
        None => format!("{scheme}://{rest}{hidden}"),
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
            (
                "postgresql://fleet:pa/ss@db:5432/litellm?password=x",
                "postgresql://[redacted]@db:5432/litellm?[redacted]",
            ),
            ("https://host/v1?key=canary", "https://host/v1?[redacted]"),
            ("user:canary@host/v1", "[redacted]@host/v1"),
            ("https://host/#canary", "https://host/?[redacted]"),
        ] {
            assert_eq!(url(text), shown);
        }
    }
}
