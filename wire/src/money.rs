//! Money and rates as integers: no floating point between a provider's figure and a row.

use std::fmt;
use std::iter::Sum;
use std::ops::{Add, AddAssign};

use serde::{Deserialize, Serialize};

const NANO_PER_DOLLAR: i64 = 1_000_000_000;
/// Femto-dollars in a nano-dollar.
const FEMTO_PER_NANO: i128 = 1_000_000;
const MILLION: i128 = 1_000_000;
const FEMTO_PER_DOLLAR: f64 = 1e15;

/// An amount of money in nano-dollars (10⁻⁹ US dollars).
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct NanoDollars(pub i64);

impl NanoDollars {
    /// No money.
    pub const ZERO: Self = Self(0);

    /// Rounds dollars to the nearest nano-dollar; `None` for what is no finite amount of at most 9 billion dollars.
    #[must_use]
    pub fn from_dollars(dollars: f64) -> Option<Self> {
        #[expect(clippy::cast_precision_loss, reason = "10⁹ is exact in a double")]
        let nanos = (dollars * NANO_PER_DOLLAR as f64).round();
        #[expect(clippy::cast_possible_truncation, reason = "the range is checked in the same line")]
        (nanos.is_finite() && nanos.abs() < 9e18).then_some(Self(nanos as i64))
    }

    /// From xAI's ticks, of which ten are a nano-dollar (docs.x.ai, cost tracking).
    #[must_use]
    pub fn from_ticks(ticks: u64) -> Option<Self> {
        i64::try_from(ticks.saturating_add(5) / 10).ok().map(Self)
    }

    /// Dollars, for display and for LiteLLM's JSON.
    #[must_use]
    pub fn dollars(self) -> f64 {
        #[expect(clippy::cast_precision_loss, reason = "display only; rows keep the integer")]
        let dollars = self.0 as f64 / NANO_PER_DOLLAR as f64;
        dollars
    }
}

impl Add for NanoDollars {
    type Output = Self;

    fn add(self, other: Self) -> Self {
        Self(self.0.saturating_add(other.0))
    }
}

impl AddAssign for NanoDollars {
    fn add_assign(&mut self, other: Self) {
        *self = *self + other;
    }
}

impl Sum for NanoDollars {
    fn sum<I: Iterator<Item = Self>>(iter: I) -> Self {
        iter.fold(Self::ZERO, Add::add)
    }
}

/// `$0.000123`, with at least two decimals and no more than needed.
impl fmt::Display for NanoDollars {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let sign = if self.0 < 0 { "-" } else { "" };
        let (whole, rest) = (self.0.unsigned_abs() / 1_000_000_000, self.0.unsigned_abs() % 1_000_000_000);
        let decimals = format!("{rest:09}");
        let shown = decimals.trim_end_matches('0').len().max(2);
        write!(f, "{sign}${whole}.{}", &decimals[..shown])
    }
}

/// A price per unit (token, image, second …) in femto-dollars (10⁻¹⁵ US dollars): the cheapest price on the market is
/// 1.3 × 10⁻¹⁰ dollars a token.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct Rate(i64);

impl Rate {
    /// Nothing is charged.
    pub const ZERO: Self = Self(0);

    /// A price list's figure in dollars per unit; `None` for negative or absurd ones.
    #[must_use]
    pub fn from_dollars_per_unit(dollars: f64) -> Option<Self> {
        let femtos = (dollars * FEMTO_PER_DOLLAR).round();
        #[expect(clippy::cast_possible_truncation, reason = "the range is checked in the same line")]
        (femtos.is_finite() && (0.0..9e18).contains(&femtos)).then_some(Self(femtos as i64))
    }

    /// The price of so many units in femto-dollars, exact. Add these up, then [`round_to_nano`] once.
    #[must_use]
    pub fn times(self, units: u64) -> i128 {
        i128::from(self.0) * i128::from(units)
    }

    /// How many units so much money pays for; `None` when they cost nothing.
    #[must_use]
    pub fn units_for(self, funds: NanoDollars) -> Option<u64> {
        let femtos = i128::from(funds.0.max(0)) * FEMTO_PER_NANO;
        femtos.checked_div(i128::from(self.0)).map(|units| u64::try_from(units).unwrap_or(u64::MAX))
    }

    /// So many millionths of this price, rounded up.
    #[must_use]
    pub fn scale(self, millionths: u64) -> Self {
        let femtos = (self.times(millionths) + MILLION - 1).div_euclid(MILLION);
        Self(i64::try_from(femtos).unwrap_or(i64::MAX))
    }
}

/// Rounds a sum of femto-dollars half up to nano-dollars.
#[must_use]
pub fn round_to_nano(femtos: i128) -> NanoDollars {
    let nanos = (femtos + FEMTO_PER_NANO / 2).div_euclid(FEMTO_PER_NANO);
    NanoDollars(i64::try_from(nanos).unwrap_or(i64::MAX))
}

/// Rounds a sum of femto-dollars up to nano-dollars: for what is reserved.
#[must_use]
pub fn round_up_to_nano(femtos: i128) -> NanoDollars {
    let nanos = (femtos + FEMTO_PER_NANO - 1).div_euclid(FEMTO_PER_NANO);
    NanoDollars(i64::try_from(nanos).unwrap_or(i64::MAX))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_reserved_is_rounded_up_and_what_it_pays_for_down() {
        assert_eq!(round_up_to_nano(1), NanoDollars(1));
        assert_eq!(round_up_to_nano(1_000_000), NanoDollars(1));
        let rate = Rate::from_dollars_per_unit(4e-7).unwrap();
        assert_eq!(rate.units_for(NanoDollars(1_199)), Some(2));
        assert_eq!(rate.units_for(NanoDollars(-5)), Some(0));
        assert_eq!(Rate::ZERO.units_for(NanoDollars(1)), None);
        assert_eq!(rate.scale(1_100_000), Rate::from_dollars_per_unit(4.4e-7).unwrap());
    }

    #[test]
    fn ten_ticks_are_a_nano_dollar() {
        // docs.x.ai: 37,756,000 ticks are $0.0037756.
        assert_eq!(NanoDollars::from_ticks(37_756_000), Some(NanoDollars(3_775_600)));
        assert_eq!(NanoDollars::from_ticks(15), Some(NanoDollars(2)));
    }

    #[test]
    fn a_price_list_figure_is_kept_exactly() {
        let cheapest = Rate::from_dollars_per_unit(1.3e-10).unwrap();
        assert_eq!(cheapest.times(1), 130_000);
        // gpt-4.1-mini: 1,000 prompt tokens at $0.40 a million are 400,000 nano-dollars.
        assert_eq!(round_to_nano(Rate::from_dollars_per_unit(4e-7).unwrap().times(1_000)), NanoDollars(400_000));
    }

    #[test]
    fn rounding_happens_once_and_half_goes_up() {
        assert_eq!(round_to_nano(499_999), NanoDollars(0));
        assert_eq!(round_to_nano(500_000), NanoDollars(1));
        assert_eq!(round_to_nano(cheap_sum()), NanoDollars(130));
    }

    fn cheap_sum() -> i128 {
        Rate::from_dollars_per_unit(1.3e-10).unwrap().times(1_000)
    }

    #[test]
    fn absurd_figures_are_no_money() {
        assert_eq!(Rate::from_dollars_per_unit(-1.0), None);
        assert_eq!(Rate::from_dollars_per_unit(f64::NAN), None);
        assert_eq!(NanoDollars::from_dollars(f64::INFINITY), None);
        assert_eq!(NanoDollars::from_dollars(1e12), None);
    }

    #[test]
    fn money_reads_as_people_write_it() {
        assert_eq!(NanoDollars(0).to_string(), "$0.00");
        assert_eq!(NanoDollars(5_000_000_000).to_string(), "$5.00");
        assert_eq!(NanoDollars(123_000).to_string(), "$0.000123");
        assert_eq!(NanoDollars(-1).to_string(), "-$0.000000001");
    }
}
