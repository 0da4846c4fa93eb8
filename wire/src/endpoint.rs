//! Which API a path speaks.

/// A wire API's family: how its requests, streams and errors look.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Dialect {
    /// OpenAI's chat, text completions and embeddings.
    OpenAi,
    /// OpenAI's Responses.
    Responses,
    /// Anthropic's Messages.
    Anthropic,
}

/// One API that calls a model.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Endpoint {
    /// `/v1/chat/completions`
    Chat,
    /// `/v1/completions`
    Completions,
    /// `/v1/embeddings`
    Embeddings,
    /// `/v1/responses`
    Responses,
    /// `/v1/messages`
    Messages,
    /// `/v1/messages/count_tokens`, which costs nothing
    CountTokens,
}

const PATHS: [(&str, Endpoint); 6] = [
    ("/chat/completions", Endpoint::Chat),
    ("/completions", Endpoint::Completions),
    ("/embeddings", Endpoint::Embeddings),
    ("/responses", Endpoint::Responses),
    ("/messages", Endpoint::Messages),
    ("/messages/count_tokens", Endpoint::CountTokens),
];

impl Endpoint {
    /// How many there are.
    pub const COUNT: usize = PATHS.len();

    /// Reads a request's path, with `/v1` in front, without, or (a common slip) twice.
    #[must_use]
    pub fn of_path(path: &str) -> Option<Self> {
        let path = strip_version(path);
        PATHS.iter().find(|(known, _)| *known == path).map(|(_, endpoint)| *endpoint)
    }

    /// The path behind a provider's base address.
    #[must_use]
    pub fn path(self) -> &'static str {
        match self {
            Self::Chat => "/chat/completions",
            Self::Completions => "/completions",
            Self::Embeddings => "/embeddings",
            Self::Responses => "/responses",
            Self::Messages => "/messages",
            Self::CountTokens => "/messages/count_tokens",
        }
    }

    /// The family it belongs to.
    #[must_use]
    pub fn dialect(self) -> Dialect {
        match self {
            Self::Chat | Self::Completions | Self::Embeddings => Dialect::OpenAi,
            Self::Responses => Dialect::Responses,
            Self::Messages | Self::CountTokens => Dialect::Anthropic,
        }
    }

    /// The word for rows and messages.
    #[must_use]
    pub fn word(self) -> &'static str {
        match self {
            Self::Chat => "chat",
            Self::Completions => "completions",
            Self::Embeddings => "embeddings",
            Self::Responses => "responses",
            Self::Messages => "messages",
            Self::CountTokens => "count_tokens",
        }
    }
}

/// Cuts `/v1` (or `/v1/v1`) off the front of a path.
#[must_use]
pub fn strip_version(path: &str) -> &str {
    let once = path.strip_prefix("/v1").filter(|rest| rest.starts_with('/')).unwrap_or(path);
    once.strip_prefix("/v1").filter(|rest| rest.starts_with('/')).unwrap_or(once)
}

/// The dialect in which a refusal on this path is best understood. Paths that no model API has get OpenAI's.
#[must_use]
pub fn dialect_of_path(path: &str) -> Dialect {
    match Endpoint::of_path(path) {
        Some(endpoint) => endpoint.dialect(),
        None if strip_version(path).starts_with("/messages") => Dialect::Anthropic,
        None => Dialect::OpenAi,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_path_is_known_with_v1_without_and_twice() {
        for path in ["/v1/messages", "/messages", "/v1/v1/messages"] {
            assert_eq!(Endpoint::of_path(path), Some(Endpoint::Messages), "{path}");
        }
        for (path, endpoint) in PATHS {
            assert_eq!(Endpoint::of_path(&format!("/v1{path}")), Some(endpoint));
            assert_eq!(endpoint.path(), path);
        }
    }

    #[test]
    fn look_alikes_are_not_known() {
        for path in
            ["/v1", "/", "/v1messages", "/v1/messages/", "/v2/messages", "/v1/v1/v1/messages", "/chat/completionsX"]
        {
            assert_eq!(Endpoint::of_path(path), None, "{path}");
        }
    }
}
