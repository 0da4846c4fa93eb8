//! The operator's discounts and margins, on top of every price.

use fleetgate_wire::money::{NanoDollars, Rate};

use super::ceiling::Ceiling;
use crate::config::PriceAdjustments;

const MILLION: i128 = 1_000_000;

impl PriceAdjustments {
    /// The price after the provider's discount, then its margin: LiteLLM's order.
    pub(super) fn apply(&self, provider: &str, amount: NanoDollars) -> NanoDollars {
        if self.is_empty() {
            return amount;
        }
        let margin = self.margin(provider);
        let millionths = self.millionths(provider);
        // Half up, as all money here.
        let scaled = (i128::from(amount.0) * i128::from(millionths) + MILLION / 2).div_euclid(MILLION);
        NanoDollars(i64::try_from(scaled).unwrap_or(i64::MAX)) + margin.fee
    }

    /// The same for what a call can cost at most.
    pub(super) fn raise(&self, provider: &str, ceiling: Ceiling) -> Ceiling {
        if self.is_empty() {
            return ceiling;
        }
        let (millionths, fee) = (self.millionths(provider), self.margin(provider).fee);
        // A nano-dollar more for each part that is rounded by itself.
        let raise = |amount: NanoDollars| NanoDollars(scale(amount, millionths));
        Ceiling {
            prompt: raise(ceiling.prompt),
            per_output_token: Rate::scale(ceiling.per_output_token, millionths),
            fixed: raise(ceiling.fixed) + fee,
            ..ceiling
        }
    }

    /// What a price is multiplied by.
    fn millionths(&self, provider: &str) -> u64 {
        let discount = self.discounts.get(provider).copied().unwrap_or(0).min(1_000_000);
        let margin = self.margin(provider).millionths;
        (1_000_000 - discount) * (1_000_000 + margin) / 1_000_000
    }
}

fn scale(amount: NanoDollars, millionths: u64) -> i64 {
    let scaled = (i128::from(amount.0) * i128::from(millionths) + MILLION - 1).div_euclid(MILLION);
    i64::try_from(scaled).unwrap_or(i64::MAX)
}
