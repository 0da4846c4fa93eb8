//! Workload names: what made the call on a host.

use std::fmt;

use serde::{Deserialize, Serialize};

const MAX_LENGTH: usize = 128;

/// A launcher, service or script, for example `claude-glm`, `unit:hermes.service` or `python:/srv/agent/app.py`.
///
/// Printable ASCII without blanks, at most 128 characters: it goes into headers, rows and metrics.
#[derive(Clone, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Workload(String);

/// Why a text is no workload name.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0:?} is no workload name: 1 to 128 printable ASCII characters without blanks are allowed")]
pub struct WorkloadError(String);

impl Workload {
    /// Takes a name as it is.
    ///
    /// # Errors
    /// When it is empty, too long, or holds blanks or anything outside printable ASCII.
    pub fn parse(name: &str) -> Result<Self, WorkloadError> {
        let name = name.trim();
        if !is_name(name) {
            return Err(WorkloadError(name.chars().take(MAX_LENGTH).collect()));
        }
        Ok(Self(name.to_owned()))
    }

    /// The product that a `User-Agent` names first, in lower case: `claude-cli/2.1 (external)` is `claude-cli`.
    #[must_use]
    pub fn from_user_agent(user_agent: &str) -> Option<Self> {
        let product = user_agent.split([' ', '/', '(', ';']).next()?.trim();
        is_name(product).then(|| Self(product.to_ascii_lowercase()))
    }

    /// What a row says when nothing names the caller.
    #[must_use]
    pub fn unknown() -> Self {
        Self("unknown".to_owned())
    }

    /// The name's text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

fn is_name(name: &str) -> bool {
    !name.is_empty() && name.len() <= MAX_LENGTH && name.bytes().all(|b| b.is_ascii_graphic())
}

impl fmt::Display for Workload {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl fmt::Debug for Workload {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl TryFrom<String> for Workload {
    type Error = WorkloadError;

    fn try_from(name: String) -> Result<Self, Self::Error> {
        Self::parse(&name)
    }
}

impl From<Workload> for String {
    fn from(workload: Workload) -> Self {
        workload.0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_product_of_a_user_agent_names_the_workload() {
        let name = |ua| Workload::from_user_agent(ua).map(String::from);
        assert_eq!(name("claude-cli/2.1.330 (external, sdk-cli)").as_deref(), Some("claude-cli"));
        assert_eq!(name("OpenAI/Python 3.51").as_deref(), Some("openai"));
        assert_eq!(name("curl/7.88.1").as_deref(), Some("curl"));
        assert_eq!(name(""), None);
    }

    #[test]
    fn names_that_would_break_a_header_or_a_metric_are_refused() {
        for bad in ["", "  ", "two words", "ümlaut", "a\r\nb"] {
            assert!(Workload::parse(bad).is_err(), "{bad:?}");
        }
        assert!(Workload::parse(&"a".repeat(129)).is_err());
        assert_eq!(Workload::parse("python:/srv/agent/app.py").unwrap().as_str(), "python:/srv/agent/app.py");
    }
}
