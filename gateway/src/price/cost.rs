//! What an answer cost, and who says so.

use std::sync::Arc;

use fleetgate_wire::money::NanoDollars;

/// What an answer cost, and who says so.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Cost {
    /// `None` when it is not known.
    pub amount: Option<NanoDollars>,
    /// Who says so.
    pub source: PriceSource,
    /// What it was priced by: the catalogue's name of the model, or the id of the entry in `model_list`.
    pub price_name: Option<Arc<str>>,
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

    /// Reads a row's word.
    #[must_use]
    pub fn parse(word: &str) -> Option<Self> {
        let all = [Self::Provider, Self::Override, Self::Catalogue, Self::Free, Self::Unpriced];
        all.into_iter().find(|source| source.word() == word)
    }
}

impl Cost {
    /// A call that costs nothing by its nature.
    pub const FREE: Self = Self::new(Some(NanoDollars::ZERO), PriceSource::Free);
    /// Nobody knows.
    pub const UNPRICED: Self = Self::new(None, PriceSource::Unpriced);

    /// A cost that no price list explains.
    #[must_use]
    pub const fn new(amount: Option<NanoDollars>, source: PriceSource) -> Self {
        Self { amount, source, price_name: None }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_source_has_a_word_of_its_own() {
        for source in ["provider", "override", "catalogue", "free", "unpriced"] {
            assert_eq!(PriceSource::parse(source).map(PriceSource::word), Some(source));
        }
        assert_eq!(PriceSource::parse("guess"), None);
    }
}
