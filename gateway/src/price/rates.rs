//! One model's prices, with their thresholds and service tiers.
//!
//! The names are the price file's: a base such as `input_cost_per_token`, then `_above_1hr` (Anthropic's long cache), then
//! `_above_200k_tokens` (the price of the whole request once its prompt is larger), then `_priority`, `_flex` or `_batches`.

use std::collections::HashMap;

use fleetgate_wire::money::{NanoDollars, Rate, round_to_nano};
use fleetgate_wire::usage::Usage;

const INPUT: &str = "input_cost_per_token";
const OUTPUT: &str = "output_cost_per_token";
const CACHE_READ: &str = "cache_read_input_token_cost";
/// DeepSeek's rows name it so.
const CACHE_READ_HIT: &str = "input_cost_per_token_cache_hit";
const CACHE_WRITE: &str = "cache_creation_input_token_cost";
const CACHE_WRITE_1H: &str = "cache_creation_input_token_cost_above_1hr";
const REASONING: &str = "output_cost_per_reasoning_token";
const AUDIO_INPUT: &str = "input_cost_per_audio_token";
const AUDIO_OUTPUT: &str = "output_cost_per_audio_token";
const BASES: [&str; 9] =
    [INPUT, OUTPUT, CACHE_READ, CACHE_READ_HIT, CACHE_WRITE, CACHE_WRITE_1H, REASONING, AUDIO_INPUT, AUDIO_OUTPUT];

/// One model's prices per token.
#[derive(Debug, Default)]
pub struct Rates {
    by_name: HashMap<Box<str>, Rate>,
    /// Prompt sizes above which other prices hold, in thousands of tokens, largest first.
    thresholds: Vec<u64>,
}

impl Rates {
    /// Takes the prices that are known by name; `None` when neither input nor output has one.
    pub fn from_fields<'a>(fields: impl Iterator<Item = (&'a str, f64)>) -> Option<Self> {
        let mut rates = Self::default();
        for (name, dollars) in fields {
            if !BASES.iter().any(|base| name.starts_with(base)) {
                continue;
            }
            if let Some(rate) = Rate::from_dollars_per_unit(dollars) {
                rates.thresholds.extend(threshold_of(name));
                rates.by_name.insert(name.into(), rate);
            }
        }
        rates.thresholds.sort_unstable_by(|a, b| b.cmp(a));
        rates.thresholds.dedup();
        let priced = rates.by_name.contains_key(INPUT) || rates.by_name.contains_key(OUTPUT);
        priced.then_some(rates)
    }

    /// The cost of an answer; `None` when it used something that has no price.
    #[must_use]
    pub fn cost(&self, usage: &Usage, tier: Option<&str>) -> Option<NanoDollars> {
        let pick = |base: &str| self.pick(base, usage.input, tier);
        let input = pick(INPUT);
        let output = pick(OUTPUT);
        let cache_read = pick(CACHE_READ).or_else(|| pick(CACHE_READ_HIT)).or(input);
        let cache_write = pick(CACHE_WRITE).or(input);
        let cache_write_1h = pick(CACHE_WRITE_1H).or(cache_write);
        let plain_input = usage.input.saturating_sub(usage.cache_read + usage.cache_write() + usage.audio_input);
        let plain_output = usage.output.saturating_sub(usage.reasoning + usage.audio_output);
        let parts = [
            (plain_input, input),
            (usage.audio_input, pick(AUDIO_INPUT).or(input)),
            (usage.cache_read, cache_read),
            (usage.cache_write_5m, cache_write),
            (usage.cache_write_1h, cache_write_1h),
            (plain_output, output),
            (usage.reasoning, pick(REASONING).or(output)),
            (usage.audio_output, pick(AUDIO_OUTPUT).or(output)),
        ];
        let mut femtos = 0i128;
        for (tokens, rate) in parts.into_iter().filter(|(tokens, _)| *tokens > 0) {
            femtos += rate?.times(tokens);
        }
        Some(round_to_nano(femtos))
    }

    /// The most particular price: threshold and tier, threshold, tier, plain.
    fn pick(&self, base: &str, prompt: u64, tier: Option<&str>) -> Option<Rate> {
        let above = self.thresholds.iter().find(|thousands| prompt > **thousands * 1000);
        let above = above.map(|thousands| format!("_above_{thousands}k_tokens")).unwrap_or_default();
        let tier = match tier {
            Some("priority") => "_priority",
            Some("flex") => "_flex",
            Some("batch") => "_batches",
            _ => "",
        };
        [format!("{base}{above}{tier}"), format!("{base}{above}"), format!("{base}{tier}"), base.to_owned()]
            .iter()
            .find_map(|name| self.by_name.get(name.as_str()).copied())
    }
}

fn threshold_of(name: &str) -> Option<u64> {
    let (_, rest) = name.rsplit_once("_above_")?;
    rest.split_once("k_tokens")?.0.parse().ok()
}
