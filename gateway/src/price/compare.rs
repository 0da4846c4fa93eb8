//! Whether a new catalogue may take the old one's place: a mistake in somebody's file must not change what calls cost.

use std::fmt;

use fleetgate_wire::money::Rate;

use super::catalogue::{Catalogue, Row};

/// A new catalogue must know at least so many hundredths of the models that the old one knows.
const LEAST_PER_CENT: usize = 90;
/// A price that is so many times as high or as low as before is a slipped unit.
const ABSURD: u64 = 1000;

/// What comes of comparing two catalogues.
#[derive(Debug, Clone, PartialEq)]
pub enum Verdict {
    /// The new one is sound.
    Take(Changes),
    /// The old one stays.
    Keep(Refused),
}

/// How a catalogue differs from the one before.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Changes {
    /// Models that are new.
    pub added: usize,
    /// Models that are gone.
    pub removed: usize,
    /// Models whose input or output price changed.
    pub repriced: usize,
}

/// Why a catalogue is not taken.
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
pub enum Refused {
    /// It knows too few of the models.
    #[error("it knows {kept} of the {known} models in force, less than {LEAST_PER_CENT} %")]
    Shrunk {
        /// Models of the old one.
        known: usize,
        /// How many of those are in the new one.
        kept: usize,
    },
    /// Models are in it without the price that they had.
    #[error("{count} models lost their price, {example} among them")]
    LostPrices {
        /// How many.
        count: usize,
        /// The first of them by name.
        example: String,
    },
    /// Prices changed beyond belief.
    #[error("{count} models have a price a thousand times as high or low as before, {example} among them")]
    Absurd {
        /// How many.
        count: usize,
        /// The first of them by name.
        example: String,
    },
}

impl fmt::Display for Changes {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} models added, {} removed, {} repriced", self.added, self.removed, self.repriced)
    }
}

impl Catalogue {
    /// Whether `new` may take the place of `old`. Parses both whole.
    #[must_use]
    pub fn compare(old: &Self, new: &Self) -> Verdict {
        let (mut kept, mut repriced) = (0, 0);
        let (mut lost, mut absurd) = (Vec::new(), Vec::new());
        for (name, before) in old.rows() {
            let Some(after) = new.row(name) else { continue };
            kept += 1;
            match compare(&before, &after) {
                Change::None => {}
                Change::Repriced => repriced += 1,
                Change::Lost => lost.push(name.to_string()),
                Change::Absurd => absurd.push(name.to_string()),
            }
        }
        if kept * 100 < old.len() * LEAST_PER_CENT {
            return Verdict::Keep(Refused::Shrunk { known: old.len(), kept });
        }
        if let Some(example) = lost.iter().min().cloned() {
            return Verdict::Keep(Refused::LostPrices { count: lost.len(), example });
        }
        if let Some(example) = absurd.iter().min().cloned() {
            return Verdict::Keep(Refused::Absurd { count: absurd.len(), example });
        }
        Verdict::Take(Changes { added: new.len() - kept, removed: old.len() - kept, repriced })
    }
}

#[derive(Debug, PartialEq)]
enum Change {
    None,
    Repriced,
    Lost,
    Absurd,
}

fn compare(before: &Row, after: &Row) -> Change {
    let (Some(before), after) = (&before.rates, &after.rates) else { return Change::None };
    let Some(after) = after else { return Change::Lost };
    let mut change = Change::None;
    for (was, is) in before.base_prices().into_iter().zip(after.base_prices()) {
        match (was, is) {
            (Some(was), Some(is)) if was == is => {}
            // A price that falls to nothing is lost as well: calls would cost nothing from one day to the next.
            (Some(was), None | Some(Rate::ZERO)) if was > Rate::ZERO => return Change::Lost,
            (Some(was), Some(is)) if is_absurd(was, is) => change = Change::Absurd,
            (None, None) => {}
            _ if change == Change::None => change = Change::Repriced,
            _ => {}
        }
    }
    change
}

fn is_absurd(was: Rate, is: Rate) -> bool {
    let both = was > Rate::ZERO && is > Rate::ZERO;
    both && (is.times(1) >= was.times(ABSURD) || was.times(1) >= is.times(ABSURD))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn catalogue(rows: &[(&str, &str)]) -> Catalogue {
        let rows: Vec<String> = rows.iter().map(|(name, fields)| format!("\"{name}\":{{{fields}}}")).collect();
        Catalogue::from_json(format!("{{{}}}", rows.join(",")).as_bytes()).unwrap()
    }

    const PRICED: &str = r#""input_cost_per_token":1e-6,"output_cost_per_token":2e-6"#;

    fn verdict(after: &str) -> Verdict {
        Catalogue::compare(&catalogue(&[("a", PRICED), ("b", PRICED)]), &catalogue(&[("a", PRICED), ("b", after)]))
    }

    #[test]
    fn ordinary_changes_are_taken_and_counted() {
        let dearer = r#""input_cost_per_token":2e-6,"output_cost_per_token":2e-6"#;
        assert_eq!(verdict(dearer), Verdict::Take(Changes { repriced: 1, ..Changes::default() }));
        assert_eq!(verdict(PRICED), Verdict::Take(Changes::default()));
        let more = catalogue(&[("a", PRICED), ("b", PRICED)]);
        let less = catalogue(&[("a", PRICED)]);
        assert_eq!(Catalogue::compare(&less, &more), Verdict::Take(Changes { added: 1, ..Changes::default() }));
    }

    #[test]
    fn a_lost_price_keeps_the_old_catalogue() {
        let example = "b".to_owned();
        for after in [
            r#""mode":"chat""#,
            r#""input_cost_per_token":0,"output_cost_per_token":2e-6"#,
            r#""input_cost_per_token":1e-6"#,
        ] {
            assert_eq!(
                verdict(after),
                Verdict::Keep(Refused::LostPrices { count: 1, example: example.clone() }),
                "{after}"
            );
        }
    }

    #[test]
    fn a_slipped_unit_keeps_the_old_catalogue() {
        for (after, is_absurd) in [("1e-3", true), ("1e-9", true), ("0.9e-3", false), ("1.1e-9", false)] {
            let fields = format!("\"input_cost_per_token\":{after},\"output_cost_per_token\":2e-6");
            let refused = matches!(verdict(&fields), Verdict::Keep(Refused::Absurd { count: 1, .. }));
            assert_eq!(refused, is_absurd, "{after}");
        }
    }

    #[test]
    fn nine_of_ten_models_are_enough_and_fewer_are_not() {
        let names: Vec<String> = (0..10).map(|number| format!("m{number}")).collect();
        let rows: Vec<(&str, &str)> = names.iter().map(|name| (name.as_str(), PRICED)).collect();
        let old = catalogue(&rows);
        let gone = Changes { removed: 1, ..Changes::default() };
        assert_eq!(Catalogue::compare(&old, &catalogue(&rows[1..])), Verdict::Take(gone));
        let verdict = Catalogue::compare(&old, &catalogue(&rows[2..]));
        assert_eq!(verdict, Verdict::Keep(Refused::Shrunk { known: 10, kept: 8 }));
        assert_eq!(Catalogue::compare(&old, &catalogue(&[])), Verdict::Keep(Refused::Shrunk { known: 10, kept: 0 }));
    }
}
