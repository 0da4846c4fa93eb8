//! Prices and limits by model name, in the price file's own form.

use foldhash::HashMap;
use std::cell::RefCell;
use std::sync::{Arc, OnceLock};

use serde_json::value::RawValue;
use serde_json::{Map, Value};

use super::names::{Name, Tier};
use super::rates::{Listed, Rates, listed};

static PACKED: &[u8] = include_bytes!(concat!(env!("OUT_DIR"), "/model_prices.json.zst"));
/// The day of the built-in catalogue (data/README.md).
pub(super) const BUILT_IN_DAY: &str = "2026-11-22";

/// Prices by model name. Rows stay text until a model is first priced: most of the 4,500 never are.
#[derive(Debug)]
pub struct Catalogue {
    rows: HashMap<Arc<str>, Entry>,
}

#[derive(Debug)]
struct Entry {
    text: Box<RawValue>,
    row: OnceLock<Row>,
}

/// What the catalogue says of a model.
#[derive(Debug, Clone, Default)]
pub(super) struct Row {
    provider: Option<Box<str>>,
    /// `None`: the model is known, its prices are not.
    pub(super) rates: Option<Arc<Rates>>,
    pub(super) max_input_tokens: Option<u64>,
    pub(super) max_output_tokens: Option<u64>,
}

/// Why a catalogue cannot be read.
#[derive(Debug, thiserror::Error)]
pub enum CatalogueError {
    /// Damaged.
    #[error("the price catalogue cannot be unpacked: {0}")]
    Packed(#[from] std::io::Error),
    /// Not the expected JSON.
    #[error("the price catalogue is no map of models: {0}")]
    Json(#[from] serde_json::Error),
}

impl Catalogue {
    /// The one that was built in.
    ///
    /// # Errors
    /// When the program itself is damaged.
    pub fn built_in() -> Result<Self, CatalogueError> {
        Ok(Self::from_json(&zstd::decode_all(PACKED)?)?)
    }

    /// Reads a map of models in the price file's own form. What is no object, or no model (`sample_spec`), is left out.
    ///
    /// # Errors
    /// When it is no such map.
    pub fn from_json(json: &[u8]) -> Result<Self, serde_json::Error> {
        const NO_MODELS: [&str; 2] = ["sample_spec", "fallback_generalizations"];
        let texts: HashMap<Box<str>, Box<RawValue>> = serde_json::from_slice(json)?;
        let models =
            texts.into_iter().filter(|(name, text)| text.get().starts_with('{') && !NO_MODELS.contains(&name.as_ref()));
        Ok(Self { rows: models.map(|(name, text)| (name.into(), Entry { text, row: OnceLock::new() })).collect() })
    }

    /// How many models it knows.
    #[must_use]
    pub fn len(&self) -> usize {
        self.rows.len()
    }

    /// Whether it knows none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.rows.is_empty()
    }

    /// A model's rates by its full name.
    #[must_use]
    pub fn get(&self, name: &str) -> Option<Arc<Rates>> {
        self.named(name)?.1.rates.clone()
    }

    /// The same, but only if the row belongs to this provider.
    #[must_use]
    pub fn get_of(&self, provider: &str, name: &str) -> Option<Arc<Rates>> {
        let (_, row) = self.named(name)?;
        row.is_of(provider).then(|| row.rates.clone())?
    }

    /// A model's row by its full name, and that name.
    pub(super) fn named(&self, name: &str) -> Option<(&Arc<str>, &Row)> {
        let (name, entry) = self.rows.get_key_value(name)?;
        Some((name, entry.row.get_or_init(|| parse(&entry.text))))
    }

    /// With the provider's prefix, or bare where the row belongs to the same provider: `gpt-4o` on another's server is not
    /// OpenAI's.
    pub(super) fn find(&self, provider: &str, model: &str) -> Option<(&Arc<str>, &Row)> {
        thread_local! {
            /// This is asked for each answer; the joined name needs no memory of its own each time.
            static JOINED: RefCell<String> = const { RefCell::new(String::new()) };
        }
        let prefixed = JOINED.with_borrow_mut(|joined| {
            joined.clear();
            joined.extend([provider, "/", model]);
            self.named(joined)
        });
        let priced = |found: &(&Arc<str>, &Row)| found.1.rates.is_some();
        let bare = || self.named(model).filter(|(_, row)| row.is_of(provider));
        prefixed.filter(priced).or_else(|| bare().filter(priced))
    }

    /// Every model with its row. Rows are parsed anew, so that looking at all does not keep all.
    pub(super) fn rows(&self) -> impl Iterator<Item = (&Arc<str>, Row)> {
        self.rows.iter().map(|(name, entry)| (name, parse(&entry.text)))
    }

    /// A model's row, parsed anew.
    pub(super) fn row(&self, name: &str) -> Option<Row> {
        self.rows.get(name).map(|entry| parse(&entry.text))
    }
}

impl Row {
    /// `vertex_ai-anthropic_models` counts as `anthropic_models`, which is nobody; `text-completion-openai` as `openai`.
    fn is_of(&self, provider: &str) -> bool {
        let owner = self.provider.as_deref().unwrap_or_default();
        owner.strip_suffix(provider).is_some_and(|rest| rest.is_empty() || rest.ends_with('-'))
    }
}

/// xAI's higher price holds from 200,000 tokens on, others' above a threshold (LiteLLM does so as well).
pub(super) fn holds_from_threshold(provider: Option<&str>) -> bool {
    provider == Some("xai")
}

/// Reads a row; one that cannot be read has no prices.
fn parse(text: &RawValue) -> Row {
    let Ok(fields) = serde_json::from_str::<Map<String, Value>>(text.get()) else { return Row::default() };
    let provider = fields.get("litellm_provider").and_then(Value::as_str);
    let limit = |name: &str| fields.get(name).and_then(Value::as_f64).filter(|limit| (1.0..1e12).contains(limit));
    #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "the range is checked above")]
    let limit = |name: &str| limit(name).map(|limit| limit as u64);
    Row {
        provider: provider.map(Into::into),
        rates: Rates::from_list(&list(&fields, provider), holds_from_threshold(provider)).map(Arc::new),
        max_input_tokens: limit("max_input_tokens"),
        max_output_tokens: limit("max_output_tokens"),
    }
}

fn list(fields: &Map<String, Value>, provider: Option<&str>) -> Vec<Listed> {
    let prices = |fields: &Map<String, Value>| -> Vec<Listed> {
        fields.iter().filter_map(|(name, value)| listed(name, value.as_f64()?)).collect()
    };
    let mut list = prices(fields);
    match fields.get("search_context_cost_per_query") {
        Some(Value::Object(by_size)) => list.extend(prices(by_size)),
        // docs.anthropic.com, pricing: "Web search … $10 per 1,000 searches", for every model; some rows lack it.
        None if provider == Some("anthropic") && !list.is_empty() => {
            list.extend(listed("search_context_size_medium", 0.01));
        }
        _ => {}
    }
    for tier in fields.get("tiered_pricing").and_then(Value::as_array).into_iter().flatten() {
        list.extend(
            tier.as_object().map(|tier| (tier, prices(tier))).into_iter().flat_map(|(tier, prices)| from(tier, prices)),
        );
    }
    list
}

/// One entry of `tiered_pricing`: the price of a whole request whose prompt is larger than the range's beginning
/// (help.aliyun.com, model studio, billing by tiers).
fn from(tier: &Map<String, Value>, prices: Vec<Listed>) -> Vec<Listed> {
    let begin = tier.get("range").and_then(|range| range.get(0)).and_then(Value::as_f64).unwrap_or(0.0);
    #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "saturates; no prompt is so large")]
    let above = begin as u64;
    prices.into_iter().map(|(name, rate)| (Name { above, tier: Tier::STANDARD, ..name }, rate)).collect()
}
