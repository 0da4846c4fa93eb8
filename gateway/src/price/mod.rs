//! [`Usage`] to [`Cost`]: the provider's own figure, the entry's prices, the catalogue, or an honest "unpriced".

mod adjustment;
mod catalogue;
mod ceiling;
mod compare;
mod cost;
mod names;
mod overrides;
mod rates;
mod refresh;
mod reprice;
mod vendors;

use std::sync::Arc;

use arc_swap::ArcSwap;
use fleetgate_wire::usage::Usage;

use crate::config::{Deployment, PriceAdjustments};
use crate::meter::Reading;

pub use catalogue::{Catalogue, CatalogueError};
pub use ceiling::{Bound, Ceiling};
pub use compare::{Changes, Refused, Verdict};
pub use cost::{Cost, PriceSource};
pub use rates::Rates;
pub use refresh::{RefreshError, catalogue_at_start, keep_fresh, refresh};
pub use reprice::PricedRow;

/// Providers whose own figure is what they charge.
const REPORTING: [&str; 3] = ["openrouter", "xai", "perplexity"];

/// Prices answers.
#[derive(Debug)]
pub struct Pricer {
    catalogue: ArcSwap<Catalogue>,
    overrides: overrides::Overrides,
    adjustments: PriceAdjustments,
}

/// The prices that apply, and their name.
struct Found {
    rates: Arc<Rates>,
    name: Arc<str>,
    source: PriceSource,
    limits: Limits,
}

/// A model's longest prompt and output.
type Limits = (Option<u64>, Option<u64>);

/// Whose prices are looked for.
#[derive(Clone, Copy)]
struct Wanted<'a> {
    deployment: Option<&'a Deployment>,
    base_model: Option<&'a str>,
    provider: &'a str,
    asked: &'a str,
    answered: Option<&'a str>,
}

impl Pricer {
    /// Prices by this catalogue.
    #[must_use]
    pub fn new(catalogue: Catalogue) -> Self {
        let adjustments = PriceAdjustments::default();
        Self { catalogue: ArcSwap::from_pointee(catalogue), overrides: overrides::Overrides::default(), adjustments }
    }

    /// With the operator's discounts and margins on every price.
    #[must_use]
    pub fn with_adjustments(self, adjustments: PriceAdjustments) -> Self {
        Self { adjustments, ..self }
    }

    /// Prices by another catalogue from now on.
    pub fn replace(&self, catalogue: Catalogue) {
        self.catalogue.store(Arc::new(catalogue));
    }

    /// The catalogue in force.
    #[must_use]
    pub fn catalogue(&self) -> Arc<Catalogue> {
        self.catalogue.load_full()
    }

    /// Prices one answer. The order is LiteLLM's: provider, entry, `base_model`, the model that answered, the model asked for.
    #[must_use]
    pub fn price(&self, deployment: &Deployment, provider: &str, asked: &str, reading: &Reading) -> Cost {
        if REPORTING.contains(&provider)
            && let Some(amount) = reading.reported_cost
        {
            return Cost::new(Some(self.adjustments.apply(provider, amount)), PriceSource::Provider);
        }
        let Some(usage) = &reading.usage else { return Cost::UNPRICED };
        let base_model = deployment.base_model.as_deref();
        let answered = reading.model.as_deref();
        let wanted = Wanted { deployment: Some(deployment), base_model, provider, asked, answered };
        self.by_list(wanted, usage, reading.service_tier.as_deref())
    }

    /// The most that a call can cost; `None` when nobody knows its price. Cheap: it is asked for every call that has a budget.
    #[must_use]
    pub fn ceiling(&self, deployment: &Deployment, provider: &str, model: &str, bound: &Bound<'_>) -> Option<Ceiling> {
        let base_model = deployment.base_model.as_deref();
        let wanted = Wanted { deployment: Some(deployment), base_model, provider, asked: model, answered: None };
        let found = self.find(wanted).or_else(|| self.find_vendors(wanted))?;
        // Perplexity's models search for each answer, whether or not they are asked to.
        let bound = Bound { searches: bound.searches.max(u64::from(always_searches(provider, model))), ..*bound };
        let ceiling = found.rates.ceiling(&bound)?;
        let (max_input_tokens, max_output_tokens) = found.limits;
        Some(self.adjustments.raise(provider, Ceiling { max_input_tokens, max_output_tokens, ..ceiling }))
    }

    fn by_list(&self, wanted: Wanted<'_>, usage: &Usage, tier: Option<&str>) -> Cost {
        let Some(found) = self.find(wanted) else { return Cost::UNPRICED };
        match found.rates.cost(usage, tier) {
            Some(amount) => Cost {
                amount: Some(self.adjustments.apply(wanted.provider, amount)),
                source: found.source,
                price_name: Some(found.name),
            },
            None => Cost::UNPRICED,
        }
    }

    fn find(&self, wanted: Wanted<'_>) -> Option<Found> {
        let catalogue = self.catalogue.load();
        let listed = || match wanted.base_model {
            Some(base_model) => catalogue.named(base_model),
            None => {
                let names = wanted.answered.into_iter().chain([wanted.asked]);
                names.filter_map(|model| catalogue.find(wanted.provider, model)).next()
            }
        };
        if let Some((name, rates)) =
            wanted.deployment.and_then(|deployment| self.overrides.of(deployment, wanted.provider))
        {
            let limits = listed().map_or((None, None), |(_, row)| (row.max_input_tokens, row.max_output_tokens));
            return Some(Found { rates, name, source: PriceSource::Override, limits });
        }
        let (name, row) = listed()?;
        Some(Found {
            rates: Arc::clone(row.rates.as_ref()?),
            name: Arc::clone(name),
            source: PriceSource::Catalogue,
            limits: (row.max_input_tokens, row.max_output_tokens),
        })
    }
}

fn always_searches(provider: &str, model: &str) -> bool {
    provider == "perplexity" || (model.starts_with("gpt-") && model.contains("-search-"))
}

#[cfg(test)]
mod tests;
