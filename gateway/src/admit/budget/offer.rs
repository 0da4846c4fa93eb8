//! How much to reserve for a call: arithmetic only.

/// What a call asks for, in nano-dollars: `least <= comfortable <= most`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Wish {
    /// Below this the call makes no sense.
    pub(super) least: i64,
    /// From here on it need not wait for more.
    pub(super) comfortable: i64,
    /// More than this it cannot cost.
    pub(super) most: i64,
}

/// What a counter has for the call.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Funds {
    /// Neither spent nor reserved.
    pub(super) free: i64,
    /// What would be free if everything in flight cost nothing.
    pub(super) ceiling: i64,
    /// Nothing is in flight, so waiting brings nothing.
    pub(super) quiet: bool,
}

/// How far a deployment's costs are believed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Trust {
    /// Costs have been seen at this many thousandths of what was provable; at least 1,000.
    pub(super) thousandths: i64,
    /// At least one cost has been seen.
    pub(super) known: bool,
}

/// What to do.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Offer {
    /// The call may cost `amount`; `reserve` is set aside for it.
    Grant { amount: i64, reserve: i64 },
    /// There may be enough once others have settled. Counters with less than `need` are the scarce ones.
    Wait { need: i64 },
    /// There will not be enough.
    Refuse { need: i64 },
}

/// A deployment whose first cost nobody has seen yet is taken to charge up to this many times what is provable. So an upstream
/// that bills more than it should (a hidden prompt, a limit that it ignores) is found out by its first answer, before many
/// callers at once have spent a small budget several times over.
pub(super) const CAUTION: i64 = 8;

impl Trust {
    /// What to set aside for a call of which so much is provable; rounded up.
    pub(super) fn scale(self, amount: i64) -> i64 {
        let scaled = (i128::from(amount) * i128::from(self.thousandths) + 999) / 1_000;
        i64::try_from(scaled).unwrap_or(i64::MAX)
    }

    /// What may be promised for so much set aside; rounded down.
    fn unscale(self, reserve: i64) -> i64 {
        let amount = i128::from(reserve) * 1_000 / i128::from(self.thousandths.max(1));
        i64::try_from(amount).unwrap_or(i64::MAX)
    }

    fn times(self, factor: i64) -> Self {
        Self { thousandths: self.thousandths.saturating_mul(factor), ..self }
    }
}

/// Decides. `last` says that the call has waited long enough: then it takes what there is, down to what makes sense.
pub(super) fn decide(funds: &[Funds], wish: Wish, trust: Trust, last: bool) -> Offer {
    let free = funds.iter().map(|funds| funds.free).min().unwrap_or(i64::MAX);
    let ceiling = funds.iter().map(|funds| funds.ceiling).min().unwrap_or(i64::MAX);
    let is_quiet = |need: i64| funds.iter().all(|funds| funds.quiet || funds.free >= need);
    let Wish { least, comfortable, most } = wish;
    let careful = if trust.known { trust } else { trust.times(CAUTION) };
    let need = careful.scale(comfortable);
    if careful.scale(most) <= free {
        return Offer::Grant { amount: most, reserve: careful.scale(most) };
    }
    // What it may cost is trimmed by what is known of the deployment; caution sets more aside, but promises no less.
    let granted = |trust: Trust| Offer::Grant { amount: trust.unscale(free).min(most), reserve: free };
    // Nobody else can pay back what is missing, or it is too late to wait for it.
    let alone = last || is_quiet(careful.scale(most)) || (free < need && is_quiet(need));
    if alone && trust.scale(least) <= free {
        return match trust.scale(most) <= free {
            true => Offer::Grant { amount: most, reserve: careful.scale(most).min(free) },
            false => granted(trust),
        };
    }
    if need <= free {
        return granted(careful);
    }
    match trust.scale(least) <= ceiling {
        true => Offer::Wait { need: need.max(trust.scale(least)) },
        false => Offer::Refuse { need: trust.scale(least) },
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const KNOWN: Trust = Trust { thousandths: 1_000, known: true };
    const UNKNOWN: Trust = Trust { thousandths: 1_000, known: false };

    fn wish(least: i64, comfortable: i64, most: i64) -> Wish {
        Wish { least, comfortable, most }
    }

    fn busy(free: i64, ceiling: i64) -> [Funds; 1] {
        [Funds { free, ceiling, quiet: false }]
    }

    fn quiet(free: i64) -> [Funds; 1] {
        [Funds { free, ceiling: free, quiet: true }]
    }

    #[test]
    fn a_known_deployment_gets_what_fits() {
        let ask = wish(10, 50, 100);
        assert_eq!(decide(&[], ask, KNOWN, false), Offer::Grant { amount: 100, reserve: 100 });
        assert_eq!(decide(&busy(100, 200), ask, KNOWN, false), Offer::Grant { amount: 100, reserve: 100 });
        assert_eq!(decide(&busy(70, 200), ask, KNOWN, false), Offer::Grant { amount: 70, reserve: 70 });
        assert_eq!(decide(&busy(49, 200), ask, KNOWN, false), Offer::Wait { need: 50 });
        assert_eq!(decide(&busy(49, 200), ask, KNOWN, true), Offer::Grant { amount: 49, reserve: 49 });
        assert_eq!(decide(&busy(9, 200), ask, KNOWN, true), Offer::Wait { need: 50 });
        assert_eq!(decide(&quiet(49), ask, KNOWN, false), Offer::Grant { amount: 49, reserve: 49 });
        assert_eq!(decide(&quiet(9), ask, KNOWN, false), Offer::Refuse { need: 10 });
        assert_eq!(decide(&busy(0, 9), ask, KNOWN, false), Offer::Refuse { need: 10 });
    }

    #[test]
    fn the_scarcest_of_several_counters_decides() {
        let both = [busy(1_000, 2_000)[0], quiet(60)[0]];
        assert_eq!(decide(&both, wish(10, 50, 100), KNOWN, false), Offer::Grant { amount: 60, reserve: 60 });
        let both = [busy(1_000, 2_000)[0], quiet(20)[0]];
        // The busy one is not scarce: what is in flight there could not pay back anything.
        assert_eq!(decide(&both, wish(10, 50, 100), KNOWN, false), Offer::Grant { amount: 20, reserve: 20 });
    }

    #[test]
    fn an_unknown_deployment_sets_more_aside_but_promises_no_less() {
        let ask = wish(100, 100, 100);
        assert_eq!(decide(&busy(800, 900), ask, UNKNOWN, false), Offer::Grant { amount: 100, reserve: 800 });
        assert_eq!(decide(&busy(799, 900), ask, UNKNOWN, false), Offer::Wait { need: 800 });
        assert_eq!(decide(&quiet(500), ask, UNKNOWN, false), Offer::Grant { amount: 100, reserve: 500 });
        assert_eq!(decide(&quiet(99), ask, UNKNOWN, false), Offer::Refuse { need: 100 });
        assert_eq!(decide(&busy(799, 900), ask, UNKNOWN, true), Offer::Grant { amount: 100, reserve: 799 });
    }

    #[test]
    fn a_deployment_that_overcharges_is_paid_for_in_advance() {
        let triple = Trust { thousandths: 3_000, known: true };
        let ask = wish(100, 100, 100);
        assert_eq!(decide(&busy(300, 900), ask, triple, false), Offer::Grant { amount: 100, reserve: 300 });
        assert_eq!(decide(&busy(299, 900), ask, triple, false), Offer::Wait { need: 300 });
        assert_eq!(decide(&quiet(299), ask, triple, false), Offer::Refuse { need: 300 });
    }

    proptest! {
        #[test]
        fn nothing_is_granted_beyond_what_is_free(
            sizes in prop::array::uniform3(0i64..1_000_000),
            free in -1_000i64..2_000_000,
            in_flight in 0i64..2_000_000,
            thousandths in 1_000i64..32_000,
            known: bool,
            last: bool,
        ) {
            let mut sizes = sizes;
            sizes.sort_unstable();
            let ask = wish(sizes[0], sizes[1], sizes[2]);
            let funds = [Funds { free, ceiling: free + in_flight, quiet: in_flight == 0 }];
            match decide(&funds, ask, Trust { thousandths, known }, last) {
                Offer::Grant { amount, reserve } => {
                    prop_assert!(reserve <= free && amount <= reserve);
                    prop_assert!(ask.least <= amount && amount <= ask.most);
                }
                Offer::Wait { need } => {
                    prop_assert!(free < need && ask.least <= free + in_flight);
                    prop_assert!(in_flight > 0, "nobody to wait for");
                }
                Offer::Refuse { need } => prop_assert!(free + in_flight < need),
            }
        }
    }
}
