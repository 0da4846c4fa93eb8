//! [`Usage`] to [`Cost`]: the provider's own figure, the entry's prices, the catalogue, or an honest "unpriced".

mod catalogue;
mod rates;

use std::sync::Arc;

use fleetgate_wire::money::NanoDollars;
use fleetgate_wire::usage::Usage;

use crate::config::Deployment;
use crate::meter::Reading;

pub use catalogue::{Catalogue, CatalogueError};
pub use rates::Rates;

/// What an answer cost, and who says so.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Cost {
    /// `None` when it is not known.
    pub amount: Option<NanoDollars>,
    /// Who says so.
    pub source: PriceSource,
}

/// Where a price came from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum PriceSource {
    /// The provider reported it with the answer.
    Provider,
    /// The entry in `model_list`.
    Override,
    /// The catalogue.
    Catalogue,
    /// Nothing was called that costs anything.
    Free,
    /// Nobody knows.
    Unpriced,
}

impl PriceSource {
    /// The word in the row.
    #[must_use]
    pub fn word(self) -> &'static str {
        match self {
            Self::Provider => "provider",
            Self::Override => "override",
            Self::Catalogue => "catalogue",
            Self::Free => "free",
            Self::Unpriced => "unpriced",
        }
    }
}

impl Cost {
    /// A call that costs nothing by its nature.
    pub const FREE: Self = Self { amount: Some(NanoDollars::ZERO), source: PriceSource::Free };
    /// Nobody knows.
    pub const UNPRICED: Self = Self { amount: None, source: PriceSource::Unpriced };
}

/// Prices answers.
#[derive(Debug)]
pub struct Pricer {
    catalogue: Catalogue,
}

impl Pricer {
    /// Prices by this catalogue.
    #[must_use]
    pub fn new(catalogue: Catalogue) -> Self {
        Self { catalogue }
    }

    /// Prices one answer. The order is LiteLLM's: provider, entry, `base_model`, the model that answered, the model asked for.
    #[must_use]
    pub fn price(&self, deployment: &Deployment, provider: &str, asked: &str, reading: &Reading) -> Cost {
        if provider == "openrouter"
            && let Some(amount) = reading.reported_cost.and_then(NanoDollars::from_dollars)
        {
            return Cost { amount: Some(amount), source: PriceSource::Provider };
        }
        let Some(usage) = &reading.usage else { return Cost::UNPRICED };
        let tier = reading.service_tier.as_deref();
        if let Some(rates) = Rates::from_fields(deployment.prices.iter().map(|(name, price)| (name.as_str(), *price))) {
            return cost(&rates, usage, tier, PriceSource::Override);
        }
        match self.rates(deployment, provider, asked, reading.model.as_deref()) {
            Some(rates) => cost(&rates, usage, tier, PriceSource::Catalogue),
            None => Cost::UNPRICED,
        }
    }

    fn rates(
        &self,
        deployment: &Deployment,
        provider: &str,
        asked: &str,
        answered: Option<&str>,
    ) -> Option<Arc<Rates>> {
        if let Some(base_model) = &deployment.base_model {
            return self.catalogue.get(base_model);
        }
        let names = answered.into_iter().chain([asked]);
        names.filter_map(|model| self.named(provider, model)).next()
    }

    /// With the provider's prefix, or bare where the row belongs to the same provider: `gpt-4o` on another's server is not
    /// OpenAI's.
    fn named(&self, provider: &str, model: &str) -> Option<Arc<Rates>> {
        let prefixed = self.catalogue.get(&format!("{provider}/{model}"));
        prefixed.or_else(|| self.catalogue.get_of(provider, model))
    }
}

fn cost(rates: &Rates, usage: &Usage, tier: Option<&str>, source: PriceSource) -> Cost {
    match rates.cost(usage, tier) {
        Some(amount) => Cost { amount: Some(amount), source },
        None => Cost::UNPRICED,
    }
}

#[cfg(test)]
mod tests;
