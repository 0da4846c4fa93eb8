//! What an answer said of itself, and what is estimated where it did not.

use fleetgate_wire::money::NanoDollars;
use fleetgate_wire::usage::{Usage, UsageSource};

/// What an answer said of itself.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Reading {
    /// What was used.
    pub usage: Option<Usage>,
    /// Who counted that.
    pub usage_source: UsageSource,
    /// Bytes of text, reasoning and tool arguments that were seen: what there is to estimate from when no usage came.
    pub produced: u64,
    /// Web searches that were seen in a stream; once a usage came, it counts them itself.
    pub searches: u64,
    /// The provider's own price of this answer.
    pub reported_cost: Option<NanoDollars>,
    /// The model that answered.
    pub model: Option<String>,
    /// The provider's identifier of the answer.
    pub id: Option<String>,
    /// `service_tier`, which has prices of its own.
    pub service_tier: Option<String>,
    /// What went wrong, in the provider's words.
    pub error: Option<String>,
    /// A stream's last event came.
    pub finished: bool,
}

impl Reading {
    /// Estimates what the provider did not count before the answer ended, from the size of the prompt. Does nothing when there is
    /// a usage.
    pub fn estimate(&mut self, prompt_bytes: u64) {
        if self.usage.is_none() {
            self.usage = Some(Usage { searches: self.searches, ..estimate(prompt_bytes, self.produced) });
            self.usage_source = UsageSource::Estimated;
        }
    }
}

/// Tokens of a prompt and an output of so many bytes, at four bytes a token, rounded up: about what English text and program code
/// come to with the tokenizers of 2023 and later. It is an estimate, not a bound: a bound would be one token a byte.
#[must_use]
pub fn estimate(prompt_bytes: u64, produced_bytes: u64) -> Usage {
    Usage { input: tokens(prompt_bytes), output: tokens(produced_bytes), ..Usage::default() }
}

/// Tokens of so many bytes of text.
pub(super) fn tokens(bytes: u64) -> u64 {
    const BYTES_PER_TOKEN: u64 = 4;
    bytes.div_ceil(BYTES_PER_TOKEN)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_nobody_counted_is_estimated() {
        let mut silent = Reading { produced: 9, ..Reading::default() };
        silent.estimate(400);
        assert_eq!(silent.usage, Some(Usage { input: 100, output: 3, ..Usage::default() }));
        assert_eq!(silent.usage_source, UsageSource::Estimated);

        let counted = Reading {
            usage: Some(Usage { input: 7, ..Usage::default() }),
            usage_source: UsageSource::Provider,
            ..Reading::default()
        };
        let mut same = counted.clone();
        same.estimate(400);
        assert_eq!(same, counted);
    }
}
