//! The most that a call can cost, before it is made: what a budget reserves.

use fleetgate_wire::money::{NanoDollars, Rate, round_up_to_nano};

use super::names::Kind;
use super::rates::{Rates, Sheet};

/// What is known of a request that has not been sent. `Default` is a request of nothing; [`Bound::widest`] is one that may use
/// everything.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Bound<'a> {
    /// The most tokens that the prompt can have.
    pub prompt_tokens: u64,
    /// The prompt may be written to a cache.
    pub cache_write: bool,
    /// It may be written to a cache that lives an hour.
    pub cache_write_1h: bool,
    /// It may hold audio, or ask for some.
    pub audio: bool,
    /// It may hold images, or ask for some.
    pub images: bool,
    /// The most web searches that the provider may make.
    pub searches: u64,
    /// The `service_tier` that is asked for. Without one the standard prices hold: whoever lets a provider's project settings
    /// choose a dearer one must say so here.
    pub tier: Option<&'a str>,
}

impl Bound<'_> {
    /// A prompt of so many tokens of which nothing else is known.
    #[must_use]
    pub fn widest(prompt_tokens: u64) -> Self {
        let (cache_write, cache_write_1h, audio, images) = (true, true, true, true);
        Self { prompt_tokens, cache_write, cache_write_1h, audio, images, searches: 0, tier: None }
    }
}

/// The most that a call can cost, apart from how much it produces.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Ceiling {
    /// The dearest that so large a prompt can be.
    pub prompt: NanoDollars,
    /// The dearest that a produced token can be.
    pub per_output_token: Rate,
    /// What each call costs on top: fees per request and searches.
    pub fixed: NanoDollars,
    /// The model's longest prompt, where the catalogue knows it.
    pub max_input_tokens: Option<u64>,
    /// The model's longest output, where the catalogue knows it.
    pub max_output_tokens: Option<u64>,
    /// Input and output are expressly free of charge.
    pub(super) free: bool,
}

impl Ceiling {
    /// Whether input and output have a price of 0, and nothing else is charged. Budgets let such calls pass.
    #[must_use]
    pub fn is_free(&self) -> bool {
        self.free && self.fixed == NanoDollars::ZERO
    }

    /// The ceiling of a call that either of two models may serve.
    #[must_use]
    pub fn or(self, other: Self) -> Self {
        let both = |one: Option<u64>, other: Option<u64>| Some(one?.max(other?));
        Self {
            prompt: self.prompt.max(other.prompt),
            per_output_token: self.per_output_token.max(other.per_output_token),
            fixed: self.fixed.max(other.fixed),
            max_input_tokens: both(self.max_input_tokens, other.max_input_tokens),
            max_output_tokens: both(self.max_output_tokens, other.max_output_tokens),
            free: self.free && other.free,
        }
    }

    /// The most that the call can cost when it produces at most so many tokens.
    #[must_use]
    pub fn amount(&self, output_tokens: u64) -> NanoDollars {
        self.prompt + self.fixed + round_up_to_nano(self.per_output_token.times(output_tokens))
    }

    /// The longest output that these funds pay for; `None` when not even the prompt is paid. Free output has no end.
    #[must_use]
    pub fn output_tokens_for(&self, funds: NanoDollars) -> Option<u64> {
        let left = funds.0.checked_sub((self.prompt + self.fixed).0).filter(|left| *left >= 0)?;
        Some(self.per_output_token.units_for(NanoDollars(left)).unwrap_or(u64::MAX))
    }
}

impl Rates {
    /// The ceiling by these prices; `None` when the prompt has none.
    pub(super) fn ceiling(&self, bound: &Bound<'_>) -> Option<Ceiling> {
        let prompt = self.dearest(bound, |sheet| {
            sheet.rate(Kind::Input)?;
            let applicable = [
                (true, Kind::Input),
                (bound.cache_write, Kind::CacheWrite),
                (bound.cache_write_1h, Kind::CacheWrite1h),
                (bound.audio, Kind::AudioInput),
                (bound.images, Kind::ImageInput),
            ];
            dearest_of(sheet, &applicable)
        })?;
        let output = self.dearest(bound, |sheet| {
            let applicable = [
                (true, Kind::Output),
                (true, Kind::Reasoning),
                (bound.audio, Kind::AudioOutput),
                (bound.images, Kind::ImageOutput),
            ];
            dearest_of(sheet, &applicable)
        });
        let request = self.dearest(bound, |sheet| sheet.rate(Kind::Request)).unwrap_or(Rate::ZERO);
        let search = self.dearest(bound, |sheet| {
            dearest_of(sheet, &[(true, Kind::SearchLow), (true, Kind::SearchMedium), (true, Kind::SearchHigh)])
        });
        let searches = search.unwrap_or(Rate::ZERO).times(bound.searches);
        Some(Ceiling {
            prompt: round_up_to_nano(prompt.times(bound.prompt_tokens)),
            // What has no price for its output produces none that is charged (embeddings).
            per_output_token: output.unwrap_or(Rate::ZERO),
            fixed: round_up_to_nano(request.times(1) + searches),
            max_input_tokens: None,
            max_output_tokens: None,
            free: self.is_free(),
        })
    }

    fn dearest(&self, bound: &Bound<'_>, pick: impl Fn(&Sheet) -> Option<Rate>) -> Option<Rate> {
        self.possible(bound.prompt_tokens, bound.tier).filter_map(pick).max()
    }
}

fn dearest_of(sheet: &Sheet, kinds: &[(bool, Kind)]) -> Option<Rate> {
    kinds.iter().filter(|(applies, _)| *applies).filter_map(|(_, kind)| sheet.rate(*kind)).max()
}
