//! Token counts, the same for every dialect.

use serde::{Deserialize, Serialize};

/// What one answer used. All counts are tokens.
///
/// `input` is the *whole* prompt: `cache_read`, `cache_write_5m`, `cache_write_1h` and `audio_input` are parts of it. `output` is
/// everything produced: `reasoning` and `audio_output` are parts of it. (OpenAI counts so; Anthropic reports the parts apart
/// and is added up by the meter.)
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Usage {
    /// The whole prompt.
    pub input: u64,
    /// Prompt tokens read from a provider's prompt cache.
    pub cache_read: u64,
    /// Prompt tokens written to a cache that lives five minutes, or of unstated life.
    pub cache_write_5m: u64,
    /// Prompt tokens written to a cache that lives an hour.
    pub cache_write_1h: u64,
    /// Prompt tokens that were audio.
    pub audio_input: u64,
    /// Everything produced.
    pub output: u64,
    /// Produced tokens that were reasoning.
    pub reasoning: u64,
    /// Produced tokens that were audio.
    pub audio_output: u64,
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
