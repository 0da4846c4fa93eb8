//! The price file's names: a base such as `input_cost_per_token`, then `_above_200k_tokens` (the price of the whole request once its
//! prompt is larger), then a service tier such as `_priority`.

/// What a price is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(usize)]
pub(super) enum Kind {
    Input,
    Output,
    CacheRead,
    CacheReadHit,
    CacheReadAudio,
    CacheReadImage,
    CacheWrite,
    CacheWrite1h,
    Reasoning,
    AudioInput,
    AudioOutput,
    ImageInput,
    ImageOutput,
    Citation,
    ImageIn,
    Image,
    SecondIn,
    SecondOut,
    Character,
    Query,
    Request,
    SearchLow,
    SearchMedium,
    SearchHigh,
    Page,
    AnnotatedPage,
}

impl Kind {
    pub(super) const COUNT: usize = Self::AnnotatedPage as usize + 1;
}

const BASES: [(&str, Kind); 27] = [
    ("input_cost_per_token", Kind::Input),
    ("output_cost_per_token", Kind::Output),
    ("cache_read_input_token_cost", Kind::CacheRead),
    // DeepSeek's rows name it so.
    ("input_cost_per_token_cache_hit", Kind::CacheReadHit),
    ("cache_read_input_audio_token_cost", Kind::CacheReadAudio),
    ("cache_read_input_image_token_cost", Kind::CacheReadImage),
    ("cache_creation_input_token_cost", Kind::CacheWrite),
    // Anthropic's long cache.
    ("cache_creation_input_token_cost_above_1hr", Kind::CacheWrite1h),
    ("output_cost_per_reasoning_token", Kind::Reasoning),
    ("input_cost_per_audio_token", Kind::AudioInput),
    ("output_cost_per_audio_token", Kind::AudioOutput),
    ("input_cost_per_image_token", Kind::ImageInput),
    ("output_cost_per_image_token", Kind::ImageOutput),
    ("citation_cost_per_token", Kind::Citation),
    ("input_cost_per_image", Kind::ImageIn),
    ("output_cost_per_image", Kind::Image),
    ("input_cost_per_second", Kind::SecondIn),
    ("input_cost_per_audio_per_second", Kind::SecondIn),
    ("output_cost_per_second", Kind::SecondOut),
    ("input_cost_per_character", Kind::Character),
    ("input_cost_per_query", Kind::Query),
    ("input_cost_per_request", Kind::Request),
    ("search_context_size_low", Kind::SearchLow),
    ("search_context_size_medium", Kind::SearchMedium),
    ("search_context_size_high", Kind::SearchHigh),
    ("ocr_cost_per_page", Kind::Page),
    ("annotation_cost_per_page", Kind::AnnotatedPage),
];

/// A service tier that has prices of its own; 0 is the standard one.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Tier(u8);

const TIERS: [&str; 6] = ["priority", "flex", "batches", "balanced", "ultrafast", "decisions"];

impl Tier {
    pub(super) const STANDARD: Self = Self(0);

    /// The tier of an answer's `service_tier`; what has no prices of its own (`default`, `auto`, `on_demand`) is standard.
    pub(super) fn of_answer(word: Option<&str>) -> Self {
        let word = word.unwrap_or_default();
        Self::named(if word == "batch" { "batches" } else { word }).unwrap_or(Self::STANDARD)
    }

    fn named(word: &str) -> Option<Self> {
        let at = TIERS.iter().position(|tier| *tier == word)?;
        u8::try_from(at + 1).ok().map(Self)
    }
}

/// What a price's name says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Name {
    pub(super) kind: Kind,
    /// Prompts larger than so many tokens.
    pub(super) above: u64,
    pub(super) tier: Tier,
}

impl Name {
    /// Reads a name; `None` for what is no price, or one for something that no call here can use.
    pub(super) fn parse(name: &str) -> Option<Self> {
        let (name, tier) = match name.rsplit_once('_').and_then(|(rest, word)| Some((rest, Tier::named(word)?))) {
            Some((rest, tier)) => (rest, tier),
            None => (name, Tier::STANDARD),
        };
        let (base, above) = match name.strip_suffix("k_tokens").and_then(|rest| rest.rsplit_once("_above_")) {
            Some((base, thousands)) => (base, thousands.parse::<u64>().ok()?.checked_mul(1000)?),
            None => (name, 0),
        };
        let (_, kind) = BASES.iter().find(|(known, _)| *known == base)?;
        Some(Self { kind: *kind, above, tier })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_is_a_base_a_threshold_and_a_tier() {
        let name = Name::parse("cache_creation_input_token_cost_above_1hr_above_200k_tokens_batches").unwrap();
        assert_eq!((name.kind, name.above, name.tier), (Kind::CacheWrite1h, 200_000, Tier::of_answer(Some("batch"))));
        let plain = Name::parse("input_cost_per_token").unwrap();
        assert_eq!((plain.kind, plain.above, plain.tier), (Kind::Input, 0, Tier::STANDARD));
    }

    #[test]
    fn what_is_no_price_of_ours_is_none() {
        for name in ["max_tokens", "input_cost_per_token_cache_miss", "input_cost_per_token_above_k_tokens", ""] {
            assert_eq!(Name::parse(name), None, "{name}");
        }
    }
}
