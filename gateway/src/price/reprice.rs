//! Old rows by today's prices.

use fleetgate_wire::money::NanoDollars;
use fleetgate_wire::usage::Usage;

use super::{Cost, PriceSource, Pricer, Wanted};
use crate::config::Deployment;

/// What a row of the ledger says of its cost.
#[derive(Debug, Clone, Copy)]
pub struct PricedRow<'a> {
    /// Who answered.
    pub provider: &'a str,
    /// The provider's model that was asked for.
    pub asked: &'a str,
    /// The model that answered.
    pub answered: Option<&'a str>,
    /// The row's usage.
    pub usage: Option<&'a Usage>,
    /// The tier that it was served by.
    pub service_tier: Option<&'a str>,
    /// Where its price came from.
    pub source: PriceSource,
    /// What it was priced by.
    pub price_name: Option<&'a str>,
    /// What it cost.
    pub amount: Option<NanoDollars>,
}

impl Pricer {
    /// A row's cost by the prices of today. What the provider reported, what was free, and what bears no usage stays as it is; so
    /// does what was priced by an entry that is gone. `deployment`: the entry that was called, if it still exists; `base_model`:
    /// the catalogue's name for its model, by default the entry's.
    #[must_use]
    pub fn reprice(&self, row: &PricedRow<'_>, deployment: Option<&Deployment>, base_model: Option<&str>) -> Cost {
        let as_it_is = || Cost { amount: row.amount, source: row.source, price_name: row.price_name.map(Into::into) };
        let Some(usage) = row.usage else { return as_it_is() };
        match row.source {
            PriceSource::Provider | PriceSource::Free => return as_it_is(),
            PriceSource::Override if deployment.is_none() => return as_it_is(),
            PriceSource::Override | PriceSource::Catalogue | PriceSource::Unpriced => {}
        }
        let base_model = base_model.or_else(|| deployment?.base_model.as_deref());
        let (provider, asked, answered) = (row.provider, row.asked, row.answered);
        let cost = self.by_list(Wanted { deployment, base_model, provider, asked, answered }, usage, row.service_tier);
        // A price that vanished does not make the old figure unknown.
        if cost.amount.is_none() { as_it_is() } else { cost }
    }
}
