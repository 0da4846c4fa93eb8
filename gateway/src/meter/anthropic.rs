//! Anthropic's usage: cumulative over a stream's events, with the prompt's parts apart.
//!
//! Source: docs.anthropic.com (messages, streaming, prompt caching): `input_tokens` excludes what was read from or written to a
//! cache; counts in `message_delta` are cumulative.

use fleetgate_wire::usage::Usage;
use serde_json::Value;

use super::openai::number;

/// The largest counts seen so far.
#[derive(Debug, Default)]
pub(super) struct Counts {
    seen: bool,
    input: u64,
    cache_read: u64,
    cache_write: u64,
    cache_write_5m: u64,
    cache_write_1h: u64,
    output: u64,
}

impl Counts {
    /// Takes in a usage object.
    pub(super) fn merge(&mut self, usage: Option<&Value>) {
        let Some(usage) = usage.filter(|usage| usage.is_object()) else { return };
        self.seen = true;
        let targets: [(&mut u64, &str); 6] = [
            (&mut self.input, "/input_tokens"),
            (&mut self.cache_read, "/cache_read_input_tokens"),
            (&mut self.cache_write, "/cache_creation_input_tokens"),
            (&mut self.cache_write_5m, "/cache_creation/ephemeral_5m_input_tokens"),
            (&mut self.cache_write_1h, "/cache_creation/ephemeral_1h_input_tokens"),
            (&mut self.output, "/output_tokens"),
        ];
        for (target, path) in targets {
            *target = (*target).max(number(usage.pointer(path)).unwrap_or(0));
        }
    }

    /// The whole; `None` when no usage came.
    pub(super) fn usage(&self) -> Option<Usage> {
        // Without the split, all writes are of the usual five minutes.
        let cache_write_5m = self.cache_write.saturating_sub(self.cache_write_1h).max(self.cache_write_5m);
        self.seen.then(|| Usage {
            input: self.input + self.cache_read + cache_write_5m + self.cache_write_1h,
            cache_read: self.cache_read,
            cache_write_5m,
            cache_write_1h: self.cache_write_1h,
            output: self.output,
            ..Usage::default()
        })
    }
}
