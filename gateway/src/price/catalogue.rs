//! The price catalogue that ships inside the program.

use std::collections::HashMap;
use std::sync::Arc;

use arc_swap::ArcSwap;
use serde_json::value::RawValue;
use serde_json::{Map, Value};

use super::rates::Rates;

static PACKED: &[u8] = include_bytes!(concat!(env!("OUT_DIR"), "/model_prices.json.zst"));

/// Prices by model name. Rows stay text until a model is first priced: most of the 4,500 never are.
#[derive(Debug)]
pub struct Catalogue {
    rows: HashMap<Box<str>, Box<RawValue>>,
    parsed: ArcSwap<HashMap<String, Option<Row>>>,
}

#[derive(Debug, Clone)]
struct Row {
    provider: Option<String>,
    rates: Arc<Rates>,
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

    /// Reads a map of models in the price file's own form.
    ///
    /// # Errors
    /// When it is not one.
    pub fn from_json(json: &[u8]) -> Result<Self, serde_json::Error> {
        Ok(Self { rows: serde_json::from_slice(json)?, parsed: ArcSwap::default() })
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
        self.row(name).map(|row| row.rates)
    }

    /// The same, but only if the row belongs to this provider.
    #[must_use]
    pub fn get_of(&self, provider: &str, name: &str) -> Option<Arc<Rates>> {
        let row = self.row(name)?;
        let owner = row.provider.as_deref().unwrap_or_default();
        (owner == provider || owner.ends_with(&format!("-{provider}"))).then_some(row.rates)
    }

    fn row(&self, name: &str) -> Option<Row> {
        if let Some(known) = self.parsed.load().get(name) {
            return known.clone();
        }
        let text = self.rows.get(name)?;
        let row = parse(text);
        self.parsed.rcu(|parsed| {
            let mut parsed = HashMap::clone(parsed);
            parsed.insert(name.to_owned(), row.clone());
            parsed
        });
        row
    }
}

fn parse(text: &RawValue) -> Option<Row> {
    let fields: Map<String, Value> = serde_json::from_str(text.get()).ok()?;
    let provider = fields.get("litellm_provider").and_then(Value::as_str).map(str::to_owned);
    let prices = fields.iter().filter_map(|(name, value)| Some((name.as_str(), value.as_f64()?)));
    let rates = Rates::from_fields(prices)?;
    Some(Row { provider, rates: Arc::new(rates) })
}
