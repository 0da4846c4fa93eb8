//! Anthropic's usage: cumulative over a stream's events, with the prompt's parts apart.
//!
//! Source: docs.anthropic.com (messages, streaming, prompt caching, web search tool): `input_tokens` excludes what was read from or
//! written to a cache; counts in `message_delta` are cumulative.

use fleetgate_wire::usage::{Usage, UsageSource};

use super::node::Node;
use super::openai::number;
use super::reading::tokens;

/// The largest counts seen so far.
#[derive(Debug, Default)]
pub(super) struct Counts {
    seen: bool,
    /// The output was counted to its end.
    is_final: bool,
    input: u64,
    cache_read: u64,
    cache_write: u64,
    cache_write_5m: u64,
    cache_write_1h: u64,
    output: u64,
    searches: u64,
}

impl Counts {
    /// Takes in a usage object. `is_final`: it counts the whole output.
    pub(super) fn merge(&mut self, usage: Option<&Node<'_>>, is_final: bool) {
        let Some(usage) = usage.filter(|usage| usage.is_object()) else { return };
        self.seen = true;
        self.is_final |= is_final;
        let targets: [(&mut u64, &str); 7] = [
            (&mut self.input, "/input_tokens"),
            (&mut self.cache_read, "/cache_read_input_tokens"),
            (&mut self.cache_write, "/cache_creation_input_tokens"),
            (&mut self.cache_write_5m, "/cache_creation/ephemeral_5m_input_tokens"),
            (&mut self.cache_write_1h, "/cache_creation/ephemeral_1h_input_tokens"),
            (&mut self.output, "/output_tokens"),
            (&mut self.searches, "/server_tool_use/web_search_requests"),
        ];
        for (target, path) in targets {
            *target = (*target).max(number(usage.pointer(path)).unwrap_or(0));
        }
    }

    /// The whole; `None` when no usage came. What was produced but not counted is estimated from its bytes.
    pub(super) fn usage(&self, produced: u64) -> Option<(Usage, UsageSource)> {
        // Without the split, all writes are of the usual five minutes.
        let cache_write_5m = self.cache_write.saturating_sub(self.cache_write_1h).max(self.cache_write_5m);
        let (output, source) = match self.is_final {
            true => (self.output, UsageSource::Provider),
            false => (self.output.max(tokens(produced)), UsageSource::Partial),
        };
        let usage = Usage {
            input: self.input + self.cache_read + cache_write_5m + self.cache_write_1h,
            cache_read: self.cache_read,
            cache_write_5m,
            cache_write_1h: self.cache_write_1h,
            output,
            searches: self.searches,
            ..Usage::default()
        };
        self.seen.then_some((usage, source))
    }
}
