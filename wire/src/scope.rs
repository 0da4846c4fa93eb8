//! What a budget or a rate is counted for: one key, one host, one model, everything.

use std::cmp::Ordering;
use std::fmt;
use std::hash::{Hash, Hasher};
use std::str::FromStr;
use std::sync::Arc;

/// The kinds of things that spend.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum ScopeKind {
    /// A virtual key, by its hash.
    Key,
    /// A machine, by its label.
    Host,
    /// What made the call on that machine.
    Workload,
    /// A team, by its id.
    Team,
    /// A user, by its id.
    User,
    /// A tag of the request or the key.
    Tag,
    /// A model group, by the name that was asked for.
    Model,
    /// A provider, by its name in `model_list`.
    Provider,
    /// One deployment, by its id.
    Deployment,
    /// A customer (LiteLLM's end user), by its id.
    Customer,
    /// One model on one key: `<hash>/<model>`.
    KeyModel,
    /// Everything this gateway pays for; its id is `all`.
    Global,
}

impl ScopeKind {
    /// Every kind.
    pub const ALL: [Self; 12] = [
        Self::Key,
        Self::Host,
        Self::Workload,
        Self::Team,
        Self::User,
        Self::Tag,
        Self::Model,
        Self::Provider,
        Self::Deployment,
        Self::Customer,
        Self::KeyModel,
        Self::Global,
    ];

    /// The word in front of the colon, in settings, in answers and in the database.
    #[must_use]
    pub fn word(self) -> &'static str {
        match self {
            Self::Key => "key",
            Self::Host => "host",
            Self::Workload => "workload",
            Self::Team => "team",
            Self::User => "user",
            Self::Tag => "tag",
            Self::Model => "model",
            Self::Provider => "provider",
            Self::Deployment => "deployment",
            Self::Customer => "customer",
            Self::KeyModel => "key_model",
            Self::Global => "global",
        }
    }

    fn from_word(word: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|kind| kind.word() == word)
    }
}

/// One thing that spends, written `kind:id`. A clone costs a counter, not a copy.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Scope {
    kind: ScopeKind,
    id: Id,
}

/// An identifier, wherever it lives.
#[derive(Debug, Clone)]
enum Id {
    Fixed(&'static str),
    Shared(Arc<str>),
}

impl Id {
    fn text(&self) -> &str {
        match self {
            Self::Fixed(text) => text,
            Self::Shared(text) => text,
        }
    }
}

impl PartialEq for Id {
    fn eq(&self, other: &Self) -> bool {
        self.text() == other.text()
    }
}

impl Eq for Id {}

impl Hash for Id {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.text().hash(state);
    }
}

impl PartialOrd for Id {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for Id {
    fn cmp(&self, other: &Self) -> Ordering {
        self.text().cmp(other.text())
    }
}

/// Why a text names no scope.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ScopeError {
    /// There is no colon.
    #[error("{0:?} is no scope: write kind:id, for example host:mac or global:all")]
    NoKind(String),
    /// The word in front of the colon is none of ours.
    #[error("{0:?} is no kind of scope; known are {kinds}", kinds = kinds())]
    UnknownKind(String),
    /// There is nothing behind the colon. A budget counted for "" would be everyone's.
    #[error("the scope {0:?} names nothing behind its colon")]
    NoId(String),
}

impl Scope {
    /// A scope of that kind. An empty id stays one that no rule can name (see [`Scope::parse`]).
    #[must_use]
    pub fn new(kind: ScopeKind, id: impl Into<Arc<str>>) -> Self {
        Self { kind, id: Id::Shared(id.into()) }
    }

    /// The same with an id that is part of the program.
    #[must_use]
    pub fn fixed(kind: ScopeKind, id: &'static str) -> Self {
        Self { kind, id: Id::Fixed(id) }
    }

    /// Everything.
    #[must_use]
    pub fn global() -> Self {
        Self::fixed(ScopeKind::Global, "all")
    }

    /// One model on one key.
    #[must_use]
    pub fn key_model(hash: &str, model: &str) -> Self {
        Self::new(ScopeKind::KeyModel, [hash, "/", model].concat())
    }

    /// Reads `kind:id`. What stands behind the first colon is the id, further colons included.
    ///
    /// # Errors
    /// When there is no known kind, or no id.
    pub fn parse(text: &str) -> Result<Self, ScopeError> {
        let (word, id) = text.split_once(':').ok_or_else(|| ScopeError::NoKind(text.to_owned()))?;
        let kind = ScopeKind::from_word(word).ok_or_else(|| ScopeError::UnknownKind(word.to_owned()))?;
        if id.is_empty() {
            return Err(ScopeError::NoId(text.to_owned()));
        }
        Ok(Self::new(kind, id))
    }

    /// What kind of thing.
    #[must_use]
    pub fn kind(&self) -> ScopeKind {
        self.kind
    }

    /// Which one.
    #[must_use]
    pub fn id(&self) -> &str {
        self.id.text()
    }
}

impl fmt::Display for Scope {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}", self.kind.word(), self.id())
    }
}

impl FromStr for Scope {
    type Err = ScopeError;

    fn from_str(text: &str) -> Result<Self, ScopeError> {
        Self::parse(text)
    }
}

fn kinds() -> String {
    ScopeKind::ALL.map(ScopeKind::word).join(", ")
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn a_scope_needs_a_known_kind_and_an_id() {
        assert_eq!(Scope::parse("mac"), Err(ScopeError::NoKind("mac".into())));
        assert_eq!(Scope::parse("hosts:mac"), Err(ScopeError::UnknownKind("hosts".into())));
        assert_eq!(Scope::parse("host:"), Err(ScopeError::NoId("host:".into())));
        assert_eq!(Scope::parse("global:all"), Ok(Scope::global()));
    }

    proptest! {
        #[test]
        fn a_written_scope_reads_back(kind in prop::sample::select(&ScopeKind::ALL[..]), id in "\\PC{1,20}") {
            let scope = Scope::new(kind, id.as_str());
            prop_assert_eq!(Scope::parse(&scope.to_string()), Ok(scope));
        }
    }
}
