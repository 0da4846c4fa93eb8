//! What an answer says about the limits that it counted in.

use std::sync::LazyLock;

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
        if self.lines.is_empty() {
            return;
        }
        for (names, level) in
            NAMES.iter().zip([(|line| line.requests) as fn(&Line) -> Option<Level>, |line| line.tokens])
        {
            let tightest = |kind: Option<ScopeKind>| {
                let of_kind = self.lines.iter().filter(move |line| kind.is_none_or(|kind| line.scope.kind() == kind));
                of_kind.filter_map(level).min_by_key(|level| (level.remaining, level.limit))
            };
            let Some(overall) = tightest(None) else { continue };
            let [limit, remaining] = &names.overall;
            headers.insert(limit, HeaderValue::from(overall.limit));
            headers.insert(remaining, HeaderValue::from(overall.remaining));
            if let Ok(reset) = HeaderValue::from_str(&spelled(overall.resets_in)) {
                headers.insert(&names.reset, reset);
            }
            for (kind, [limit, remaining]) in &names.by_kind {
                if let Some(level) = tightest(Some(*kind)) {
                    headers.insert(limit, HeaderValue::from(level.limit));
                    headers.insert(remaining, HeaderValue::from(level.remaining));
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

/// The names for one measure: put together once, for each answer has them.
struct Names {
    /// The limit, and what is left of it.
    overall: [HeaderName; 2],
    reset: HeaderName,
    by_kind: Vec<(ScopeKind, [HeaderName; 2])>,
}

static NAMES: LazyLock<[Names; 2]> = LazyLock::new(|| {
    [Measure::Requests, Measure::Tokens].map(|measure| {
        let word = measure.word();
        // All of these are lower-case words and dashes.
        let name = |text: String| HeaderName::try_from(text).unwrap_or(KEY_RPM);
        let pair = |whose: &str| ["limit", "remaining"].map(|what| name(format!("x-ratelimit-{whose}{what}-{word}")));
        Names {
            overall: pair(""),
            reset: name(format!("x-ratelimit-reset-{word}")),
            by_kind: ScopeKind::ALL.into_iter().map(|kind| (kind, pair(&format!("{}-", descriptor(kind))))).collect(),
        }
    })
});

/// A time as OpenAI writes it: `1s`, `6m0s`.
fn spelled(seconds: u64) -> String {
    // Each answer has one: without the way through formatting.
    let rest = (seconds % 60).to_string() + "s";
    match seconds / 60 {
        0 => rest,
        minutes => minutes.to_string() + "m" + &rest,
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
