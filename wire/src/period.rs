//! LiteLLM's durations: `30s`, `5m`, `12h`, `30d`, `2w`, `1mo`, and the words hourly to monthly.

use std::fmt;

/// A span of time as people write it for a budget or for the life of a key. More than none.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Period {
    count: u32,
    unit: Unit,
}

/// What a period counts.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Unit {
    /// `s`
    Second,
    /// `m`
    Minute,
    /// `h`
    Hour,
    /// `d`
    Day,
    /// `w`
    Week,
    /// `mo`
    Month,
}

/// A text that is no period.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0:?} is no duration; write a number and s, m, h, d, w or mo, for example 30d")]
pub struct PeriodError(String);

const UNITS: [(&str, Unit); 6] = [
    ("s", Unit::Second),
    ("m", Unit::Minute),
    ("h", Unit::Hour),
    ("d", Unit::Day),
    ("w", Unit::Week),
    ("mo", Unit::Month),
];

/// Longer ones end behind the last date that a calendar knows.
const LONGEST_SECONDS: u64 = 1_000 * 366 * 86_400;

impl Period {
    /// One day.
    pub const DAY: Self = Self { count: 1, unit: Unit::Day };

    /// Reads a period. Of months LiteLLM knows only one.
    ///
    /// # Errors
    /// When the text is none, is no time at all, or is more than a thousand years.
    pub fn parse(text: &str) -> Result<Self, PeriodError> {
        let whole = match text {
            "hourly" => "1h",
            "daily" => "1d",
            "weekly" => "7d",
            "monthly" => "30d",
            _ => text,
        };
        let digits = whole.bytes().take_while(u8::is_ascii_digit).count();
        let (number, word) = whole.split_at(digits);
        let unit = UNITS.iter().find(|(known, _)| *known == word).map(|(_, unit)| *unit);
        let period = number.parse().ok().zip(unit).map(|(count, unit)| Self { count, unit });
        let fits = |period: &Self| {
            (1..=LONGEST_SECONDS).contains(&period.seconds()) && (period.unit != Unit::Month || period.count == 1)
        };
        period.filter(fits).ok_or_else(|| PeriodError(text.to_owned()))
    }

    /// How many of its unit.
    #[must_use]
    pub fn count(self) -> u32 {
        self.count
    }

    /// What it counts.
    #[must_use]
    pub fn unit(self) -> Unit {
        self.unit
    }

    /// Its length in seconds, where a day has 24 hours and a month 30 days.
    #[must_use]
    pub fn seconds(self) -> u64 {
        let one = match self.unit {
            Unit::Second => 1,
            Unit::Minute => 60,
            Unit::Hour => 3_600,
            Unit::Day => 86_400,
            Unit::Week => 7 * 86_400,
            Unit::Month => 30 * 86_400,
        };
        u64::from(self.count) * one
    }
}

impl fmt::Display for Period {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let word = UNITS.iter().find(|(_, unit)| *unit == self.unit).map_or("", |(word, _)| word);
        write!(f, "{}{word}", self.count)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn a_period_is_a_number_and_a_unit_or_a_word() {
        let seconds = |text| Period::parse(text).map(Period::seconds);
        assert_eq!(seconds("30s"), Ok(30));
        assert_eq!(seconds("12h"), Ok(43_200));
        assert_eq!(seconds("2w"), Ok(1_209_600));
        assert_eq!(seconds("1mo"), Ok(2_592_000));
        assert_eq!(Period::parse("weekly"), Period::parse("7d"));
        assert_eq!(Period::parse("monthly"), Period::parse("30d"));
    }

    #[test]
    fn what_is_no_time_or_too_much_of_it_is_refused() {
        for bad in ["", "d", "30", "30x", "-1d", "+1d", "0d", "2mo", "1 d", "99999999999999999999d", "4000000d"] {
            assert_eq!(Period::parse(bad), Err(PeriodError(bad.to_owned())), "{bad:?}");
        }
    }

    proptest! {
        #[test]
        fn a_written_period_reads_back(text in "[1-9][0-9]{0,3}[smhdw]") {
            let period = Period::parse(&text).unwrap();
            prop_assert_eq!(period.to_string(), text);
        }
    }
}
