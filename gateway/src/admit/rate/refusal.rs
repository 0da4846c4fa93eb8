//! Why a call comes too early, in words that a person can act on and headers that programs wait by.

use std::fmt;

use http::{HeaderMap, HeaderName, HeaderValue, header};
use jiff::Timestamp;
use jiff::tz::TimeZone;

use super::counter::Measure;
use crate::admit::scope::{Scope, ScopeKind};

const RATE_LIMIT_TYPE: HeaderName = HeaderName::from_static("rate_limit_type");
const RESET_AT: HeaderName = HeaderName::from_static("reset_at");

/// A limit is used up for now: HTTP 429. Its text begins as LiteLLM's does, word for word: scripts read the numbers from it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RateLimited {
    /// Whose limit.
    pub scope: Scope,
    /// Of what.
    pub measure: Measure,
    /// How much is allowed.
    pub limit: u64,
    /// How much of it is left, which is less than the call needs.
    pub remaining: u64,
    /// What the call needs: 1, or tokens.
    pub needed: u64,
    /// Seconds until it is worth trying again, at least 1. Calls at once end when they end; 1 stands for that.
    pub retry_after: u64,
    /// The same as a time.
    pub resets_at: Timestamp,
    /// Gateways share the limit, and nobody has said yet whether there is more.
    pub awaits_grant: bool,
    /// It is not known yet what the day has seen before this process began.
    pub awaits_load: bool,
}

impl std::error::Error for RateLimited {}

impl fmt::Display for RateLimited {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { scope, measure, limit, remaining, .. } = self;
        let (whose, resets_at) = (descriptor(scope.kind()), self.resets_at_text());
        write!(f, "Rate limit exceeded for {whose}: {}. Limit type: {}. ", scope.id(), measure.word())?;
        write!(f, "Current limit: {limit}, Remaining: {remaining}. Limit resets at: {resets_at}")?;
        if measure.is_of_tokens() {
            write!(f, ". This call may use {} tokens", self.needed)?;
        }
        Ok(())
    }
}

impl RateLimited {
    /// Sets the headers of the answer that says it.
    pub fn set_headers(&self, headers: &mut HeaderMap) {
        headers.insert(header::RETRY_AFTER, HeaderValue::from(self.retry_after));
        headers.insert(RATE_LIMIT_TYPE, HeaderValue::from_static(self.measure.word()));
        if let Ok(value) = HeaderValue::from_str(&self.resets_at_text()) {
            headers.insert(RESET_AT, value);
        }
    }

    fn resets_at_text(&self) -> String {
        self.resets_at.to_zoned(TimeZone::UTC).strftime("%Y-%m-%d %H:%M:%S UTC").to_string()
    }
}

/// LiteLLM's word for whose limit it is, and words of the same kind for what LiteLLM does not limit.
pub(super) fn descriptor(kind: ScopeKind) -> &'static str {
    match kind {
        ScopeKind::Key => "api_key",
        ScopeKind::User => "user",
        ScopeKind::Team => "team",
        ScopeKind::Customer => "end_user",
        ScopeKind::KeyModel => "model_per_key",
        ScopeKind::Tag => "tag",
        ScopeKind::Host => "host",
        ScopeKind::Workload => "workload",
        ScopeKind::Model => "model",
        ScopeKind::Provider => "provider",
        ScopeKind::Deployment => "deployment",
        ScopeKind::Global => "global",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_refusal_reads_as_litellms_and_says_when_to_come_back() {
        let limited = RateLimited {
            scope: Scope::new(ScopeKind::Key, "0123abcd"),
            measure: Measure::Requests,
            limit: 60,
            remaining: 0,
            needed: 1,
            retry_after: 12,
            resets_at: "2026-11-22T10:00:12Z".parse().unwrap(),
            awaits_grant: false,
            awaits_load: false,
        };
        assert_eq!(
            limited.to_string(),
            "Rate limit exceeded for api_key: 0123abcd. Limit type: requests. Current limit: 60, Remaining: 0. \
             Limit resets at: 2026-11-22 10:00:12 UTC"
        );
        let mut headers = HeaderMap::new();
        limited.set_headers(&mut headers);
        assert_eq!(headers["retry-after"], "12");
        assert_eq!(headers["rate_limit_type"], "requests");
        assert_eq!(headers["reset_at"], "2026-11-22 10:00:12 UTC");
        let tokens = RateLimited { measure: Measure::Tokens, needed: 900, remaining: 7, ..limited };
        assert!(tokens.to_string().ends_with("UTC. This call may use 900 tokens"), "{tokens}");
    }
}
