//! What an answer says about the limits that it counted in.

use http::{HeaderMap, HeaderName, HeaderValue};

use super::RateHold;
use super::counter::{Level, Measure};
use super::refusal::descriptor;
use super::state::Line;
use crate::admit::scope::ScopeKind;

const KEY_RPM: HeaderName = HeaderName::from_static("x-litellm-key-rpm-limit");
const KEY_TPM: HeaderName = HeaderName::from_static("x-litellm-key-tpm-limit");

impl RateHold {
    /// Sets the headers of an admitted answer. OpenAI's names tell of the tightest limit, the one of which the least is left;
    /// they take the place of the provider's only where a limit of ours is, since programs pace themselves by them. LiteLLM's
    /// names tell of each kind of scope.
    pub fn set_headers(&self, headers: &mut HeaderMap) {
        for (measure, level) in [
            (Measure::Requests, (|line| line.requests) as fn(&Line) -> Option<Level>),
            (Measure::Tokens, |line| line.tokens),
        ] {
            let word = measure.word();
            let tightest = |kind: Option<ScopeKind>| {
                let of_kind = self.lines.iter().filter(move |line| kind.is_none_or(|kind| line.scope.kind() == kind));
                of_kind.filter_map(level).min_by_key(|level| (level.remaining, level.limit))
            };
            let Some(overall) = tightest(None) else { continue };
            insert(headers, &format!("x-ratelimit-limit-{word}"), &overall.limit);
            insert(headers, &format!("x-ratelimit-remaining-{word}"), &overall.remaining);
            insert(headers, &format!("x-ratelimit-reset-{word}"), &spelled(overall.resets_in));
            for kind in ScopeKind::ALL {
                if let Some(level) = tightest(Some(kind)) {
                    let whose = descriptor(kind);
                    insert(headers, &format!("x-ratelimit-{whose}-limit-{word}"), &level.limit);
                    insert(headers, &format!("x-ratelimit-{whose}-remaining-{word}"), &level.remaining);
                }
            }
        }
        if let Some(key) = self.lines.iter().find(|line| line.scope.kind() == ScopeKind::Key) {
            for (name, limit) in [(KEY_RPM, key.caps.rpm), (KEY_TPM, key.caps.tpm)] {
                if let Some(limit) = limit {
                    headers.insert(name, HeaderValue::from(limit));
                }
            }
        }
    }
}

fn insert(headers: &mut HeaderMap, name: &str, value: &dyn ToString) {
    if let (Ok(name), Ok(value)) = (name.parse::<HeaderName>(), HeaderValue::from_str(&value.to_string())) {
        headers.insert(name, value);
    }
}

/// A time as OpenAI writes it: `1s`, `6m0s`.
fn spelled(seconds: u64) -> String {
    match seconds / 60 {
        0 => format!("{seconds}s"),
        minutes => format!("{minutes}m{}s", seconds % 60),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_spelled_as_openai_does() {
        assert_eq!([0, 1, 59, 60, 61, 360].map(spelled), ["0s", "1s", "59s", "1m0s", "1m1s", "6m0s"]);
    }
}
