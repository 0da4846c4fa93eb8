//! What an answer used, the same for every dialect: everything that a price list has a price for.

use std::fmt;

use serde::{Deserialize, Serialize};

/// What one answer used. Counts without another unit are tokens.
///
/// `input` is the *whole* prompt: `cache_read`, `cache_write_5m`, `cache_write_1h`, `audio_input` and `image_input` are parts of
/// it. `output` is everything produced: `reasoning`, `audio_output` and `image_output` are parts of it. (OpenAI counts so; others
/// are added up by the meter.)
///
/// As JSON it leaves out what is zero; what is missing reads back as zero.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Usage {
    /// The whole prompt.
    #[serde(skip_serializing_if = "is_zero")]
    pub input: u64,
    /// Prompt tokens read from a provider's prompt cache.
    #[serde(skip_serializing_if = "is_zero")]
    pub cache_read: u64,
    /// Tokens read from a cache that were audio: a part of `cache_read` and of `audio_input`.
    #[serde(skip_serializing_if = "is_zero")]
    pub cache_read_audio: u64,
    /// Tokens read from a cache that were images: a part of `cache_read` and of `image_input`.
    #[serde(skip_serializing_if = "is_zero")]
    pub cache_read_image: u64,
    /// Prompt tokens written to a cache that lives five minutes, or of unstated life.
    #[serde(skip_serializing_if = "is_zero")]
    pub cache_write_5m: u64,
    /// Prompt tokens written to a cache that lives an hour.
    #[serde(skip_serializing_if = "is_zero")]
    pub cache_write_1h: u64,
    /// Prompt tokens that were audio.
    #[serde(skip_serializing_if = "is_zero")]
    pub audio_input: u64,
    /// Prompt tokens that were images.
    #[serde(skip_serializing_if = "is_zero")]
    pub image_input: u64,
    /// Everything produced.
    #[serde(skip_serializing_if = "is_zero")]
    pub output: u64,
    /// Produced tokens that were reasoning.
    #[serde(skip_serializing_if = "is_zero")]
    pub reasoning: u64,
    /// Produced tokens that were audio.
    #[serde(skip_serializing_if = "is_zero")]
    pub audio_output: u64,
    /// Produced tokens that were images.
    #[serde(skip_serializing_if = "is_zero")]
    pub image_output: u64,
    /// Tokens of sources that the provider read for the answer and charges apart (Perplexity's deep research).
    #[serde(skip_serializing_if = "is_zero")]
    pub citations: u64,
    /// Web searches made by the provider.
    #[serde(skip_serializing_if = "is_zero")]
    pub searches: u64,
    /// How much of each search's results was read; `None` is priced as [`SearchContext::Medium`], the providers' default.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub search_context: Option<SearchContext>,
    /// Images in the request, where they are priced by the piece.
    #[serde(skip_serializing_if = "is_zero")]
    pub images_input: u64,
    /// Images made.
    #[serde(skip_serializing_if = "is_zero")]
    pub images: u64,
    /// Audio in the request, in milliseconds.
    #[serde(skip_serializing_if = "is_zero")]
    pub audio_input_ms: u64,
    /// Audio made, in milliseconds.
    #[serde(skip_serializing_if = "is_zero")]
    pub audio_output_ms: u64,
    /// Characters in the request, where those are priced (speech).
    #[serde(skip_serializing_if = "is_zero")]
    pub characters: u64,
    /// Queries of a reranker or a search service (Cohere's "search units").
    #[serde(skip_serializing_if = "is_zero")]
    pub queries: u64,
    /// Documents that a reranker ordered.
    #[serde(skip_serializing_if = "is_zero")]
    pub documents: u64,
    /// Pages read by text recognition.
    #[serde(skip_serializing_if = "is_zero")]
    pub pages: u64,
    /// Pages that were annotated on top.
    #[serde(skip_serializing_if = "is_zero")]
    pub annotated_pages: u64,
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde asks for a reference")]
fn is_zero(count: &u64) -> bool {
    *count == 0
}

/// How much of a search's results a model reads; each has its own price.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum SearchContext {
    /// The least.
    Low,
    /// The default.
    Medium,
    /// The most.
    High,
}

impl SearchContext {
    /// Reads `low`, `medium` or `high`.
    #[must_use]
    pub fn parse(word: &str) -> Option<Self> {
        match word {
            "low" => Some(Self::Low),
            "medium" => Some(Self::Medium),
            "high" => Some(Self::High),
            _ => None,
        }
    }
}

/// Who counted.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum UsageSource {
    /// The provider, for the whole answer.
    Provider,
    /// The provider for the prompt; the answer ended before its output was counted, which is estimated.
    Partial,
    /// Nobody: both sides are estimated from their size.
    Estimated,
    /// Nobody, and nothing was estimated.
    #[default]
    None,
}

impl UsageSource {
    /// The word in the row.
    #[must_use]
    pub fn word(self) -> &'static str {
        match self {
            Self::Provider => "provider",
            Self::Partial => "partial",
            Self::Estimated => "estimated",
            Self::None => "none",
        }
    }

    /// Reads a row's word.
    #[must_use]
    pub fn parse(word: &str) -> Option<Self> {
        [Self::Provider, Self::Partial, Self::Estimated, Self::None].into_iter().find(|source| source.word() == word)
    }
}

impl fmt::Display for UsageSource {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.word())
    }
}

impl Usage {
    /// All cache writes.
    #[must_use]
    pub fn cache_write(&self) -> u64 {
        self.cache_write_5m.saturating_add(self.cache_write_1h)
    }

    /// Prompt plus output.
    #[must_use]
    pub fn total(&self) -> u64 {
        self.input.saturating_add(self.output)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn json_holds_what_was_used_and_reads_back() {
        let usage = Usage {
            input: 10,
            searches: 2,
            search_context: Some(SearchContext::High),
            audio_input_ms: 1500,
            ..Usage::default()
        };
        let text = serde_json::to_string(&usage).unwrap();
        assert_eq!(text, r#"{"input":10,"searches":2,"search_context":"high","audio_input_ms":1500}"#);
        assert_eq!(serde_json::from_str::<Usage>(&text).unwrap(), usage);
        assert_eq!(serde_json::to_string(&Usage::default()).unwrap(), "{}");
        assert_eq!(serde_json::from_str::<Usage>(r#"{"of_a_later_version":1}"#).unwrap(), Usage::default());
    }

    #[test]
    fn every_source_has_a_word_of_its_own() {
        for source in [UsageSource::Provider, UsageSource::Partial, UsageSource::Estimated, UsageSource::None] {
            assert_eq!(UsageSource::parse(source.word()), Some(source));
        }
        assert_eq!(UsageSource::parse("guessed"), None);
    }
}
