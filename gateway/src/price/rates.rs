//! One model's prices, with their thresholds and service tiers, resolved once so that an answer is priced by looking up one sheet.

use fleetgate_wire::money::{NanoDollars, Rate, round_to_nano};
use fleetgate_wire::usage::{SearchContext, Usage};

use super::names::{Kind, Name, Tier};

/// One model's prices.
#[derive(Debug)]
pub struct Rates {
    /// By tier, then by threshold, smallest first. The standard tier is always there.
    sheets: Vec<Sheet>,
    /// The higher price holds from the threshold on, not only above it (xAI).
    inclusive: bool,
}

/// The prices of one tier for prompts above one threshold, with what a missing one falls back to.
#[derive(Debug)]
pub(super) struct Sheet {
    pub(super) tier: Tier,
    pub(super) above: u64,
    rates: [Option<Rate>; Kind::COUNT],
}

/// One price and its name.
pub(super) type Listed = (Name, Rate);

impl Rates {
    /// Takes the prices that are known by name; `None` when there are none.
    pub fn from_fields<'a>(fields: impl Iterator<Item = (&'a str, f64)>) -> Option<Self> {
        let list: Vec<Listed> = fields.filter_map(|(name, dollars)| listed(name, dollars)).collect();
        Self::from_list(&list, false)
    }

    /// `inclusive`: a threshold's price holds from it on.
    pub(super) fn from_list(list: &[Listed], inclusive: bool) -> Option<Self> {
        if list.is_empty() {
            return None;
        }
        let distinct = |mut values: Vec<u64>| {
            values.sort_unstable();
            values.dedup();
            values
        };
        let levels = distinct(std::iter::once(0).chain(list.iter().map(|(name, _)| name.above)).collect());
        let mut tiers = vec![Tier::STANDARD];
        tiers.extend(list.iter().map(|(name, _)| name.tier));
        tiers.sort_unstable();
        tiers.dedup();
        let sheets = tiers.iter().flat_map(|tier| levels.iter().map(|above| Sheet::resolve(list, *tier, *above)));
        Some(Self { sheets: sheets.collect(), inclusive })
    }

    /// The cost of an answer; `None` when it used something that has no price.
    #[must_use]
    pub fn cost(&self, usage: &Usage, tier: Option<&str>) -> Option<NanoDollars> {
        self.sheet(usage.input, tier).cost(usage)
    }

    /// Whether prompt and output are expressly free of charge.
    #[must_use]
    pub fn is_free(&self) -> bool {
        let free = |kind| self.sheets.iter().all(|sheet| sheet.rate(kind) == Some(Rate::ZERO));
        free(Kind::Input) && free(Kind::Output) && self.sheets.iter().all(|sheet| sheet.rate(Kind::Request).is_none())
    }

    /// The standard prices of small prompts: input, output, and those of one piece.
    pub(super) fn base_prices(&self) -> [Option<Rate>; 6] {
        let kinds = [Kind::Input, Kind::Output, Kind::Image, Kind::SecondIn, Kind::Query, Kind::Page];
        kinds.map(|kind| self.sheets[0].rate(kind))
    }

    /// The sheets that a request can be priced by whose prompt has at most so many tokens.
    pub(super) fn possible(&self, prompt: u64, tier: Option<&str>) -> impl Iterator<Item = &Sheet> {
        let tier = Tier::of_answer(tier);
        self.sheets
            .iter()
            // A provider may serve a request by the standard tier whatever it asked for.
            .filter(move |sheet| sheet.tier == tier || sheet.tier == Tier::STANDARD)
            .filter(move |sheet| self.reaches(prompt, sheet.above))
    }

    fn sheet(&self, prompt: u64, tier: Option<&str>) -> &Sheet {
        let wanted = Tier::of_answer(tier);
        let best =
            |tier| self.sheets.iter().rev().find(move |sheet| sheet.tier == tier && self.reaches(prompt, sheet.above));
        // Every list has a standard sheet for the smallest prompts, and it is the first.
        best(wanted).or_else(|| best(Tier::STANDARD)).unwrap_or(&self.sheets[0])
    }

    fn reaches(&self, prompt: u64, above: u64) -> bool {
        above == 0 || prompt > above || (self.inclusive && prompt == above)
    }
}

/// A price by its name, if both are sound.
pub(super) fn listed(name: &str, dollars: f64) -> Option<Listed> {
    Some((Name::parse(name)?, Rate::from_dollars_per_unit(dollars)?))
}

impl Sheet {
    fn resolve(list: &[Listed], tier: Tier, above: u64) -> Self {
        let mut rates = [None; Kind::COUNT];
        for (name, rate) in
            list.iter().filter(|(name, _)| name.above <= above && [tier, Tier::STANDARD].contains(&name.tier))
        {
            let is_closer =
                |other: &Name| (other.above, other.tier != Tier::STANDARD) > (name.above, name.tier != Tier::STANDARD);
            let outdone = list.iter().any(|(other, _)| {
                other.kind == name.kind
                    && other.above <= above
                    && [tier, Tier::STANDARD].contains(&other.tier)
                    && is_closer(other)
            });
            if !outdone {
                rates[name.kind as usize] = Some(*rate);
            }
        }
        let mut sheet = Self { tier, above, rates };
        sheet.fill();
        sheet
    }

    /// What a missing price falls back to, as in LiteLLM.
    fn fill(&mut self) {
        for (kind, fallback) in [
            (Kind::CacheRead, Kind::CacheReadHit),
            (Kind::CacheRead, Kind::Input),
            (Kind::CacheReadAudio, Kind::CacheRead),
            (Kind::CacheReadImage, Kind::CacheRead),
            (Kind::CacheWrite, Kind::Input),
            (Kind::CacheWrite1h, Kind::CacheWrite),
            (Kind::AudioInput, Kind::Input),
            (Kind::ImageInput, Kind::Input),
            (Kind::Reasoning, Kind::Output),
            (Kind::AudioOutput, Kind::Output),
            (Kind::ImageOutput, Kind::Output),
            (Kind::SearchMedium, Kind::SearchLow),
            (Kind::SearchMedium, Kind::SearchHigh),
            (Kind::SearchLow, Kind::SearchMedium),
            (Kind::SearchHigh, Kind::SearchMedium),
            // Older rows price a made image and heard audio by the other side's name.
            (Kind::Image, Kind::ImageIn),
            (Kind::SecondIn, Kind::SecondOut),
        ] {
            self.rates[kind as usize] = self.rates[kind as usize].or(self.rates[fallback as usize]);
        }
    }

    pub(super) fn rate(&self, kind: Kind) -> Option<Rate> {
        self.rates[kind as usize]
    }

    fn cost(&self, usage: &Usage) -> Option<NanoDollars> {
        let left = |whole: u64, part: u64| whole.saturating_sub(part);
        let cached_media = usage.cache_read_audio.saturating_add(usage.cache_read_image);
        let cached = usage.cache_read.saturating_add(usage.cache_write());
        // Parts that overlap without saying so must not be paid twice.
        let fresh = left(usage.input, cached);
        let audio = left(usage.audio_input, usage.cache_read_audio).min(fresh);
        let image = left(usage.image_input, usage.cache_read_image).min(fresh - audio);
        let reasoning = usage.reasoning.min(usage.output);
        let audio_made = usage.audio_output.min(usage.output - reasoning);
        let image_made = usage.image_output.min(usage.output - reasoning - audio_made);
        let search = match usage.search_context.unwrap_or(SearchContext::Medium) {
            SearchContext::Low => Kind::SearchLow,
            SearchContext::Medium => Kind::SearchMedium,
            SearchContext::High => Kind::SearchHigh,
        };
        // Made media that was counted in tokens is priced by those.
        let by_the_piece = |count: u64| if usage.output == 0 { count } else { 0 };
        let parts = [
            (fresh - audio - image, Kind::Input),
            (audio, Kind::AudioInput),
            (image, Kind::ImageInput),
            (left(usage.cache_read, cached_media), Kind::CacheRead),
            (usage.cache_read_audio, Kind::CacheReadAudio),
            (usage.cache_read_image, Kind::CacheReadImage),
            (usage.cache_write_5m, Kind::CacheWrite),
            (usage.cache_write_1h, Kind::CacheWrite1h),
            (usage.output - reasoning - audio_made - image_made, Kind::Output),
            (reasoning, Kind::Reasoning),
            (audio_made, Kind::AudioOutput),
            (image_made, Kind::ImageOutput),
            (usage.citations, Kind::Citation),
            (usage.searches, search),
            (usage.images_input, Kind::ImageIn),
            (by_the_piece(usage.images), Kind::Image),
            (usage.characters, Kind::Character),
            (usage.queries, Kind::Query),
            (usage.pages, Kind::Page),
            (usage.annotated_pages, Kind::AnnotatedPage),
        ];
        let mut femtos = self.rate(Kind::Request).map_or(0, |rate| rate.times(1));
        for (units, kind) in parts.into_iter().filter(|(units, _)| *units > 0) {
            femtos += self.rate(kind)?.times(units);
        }
        let heard = if usage.audio_input == 0 { usage.audio_input_ms } else { 0 };
        for (milliseconds, kind) in [(heard, Kind::SecondIn), (by_the_piece(usage.audio_output_ms), Kind::SecondOut)] {
            if milliseconds > 0 {
                femtos += self.rate(kind)?.times(milliseconds) / 1000;
            }
        }
        Some(round_to_nano(femtos))
    }
}
