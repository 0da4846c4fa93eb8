//! LiteLLM's durations: `30s`, `5m`, `12h`, `30d`, `2w`, `1mo`, and the words hourly to monthly.

use jiff::{Span, Timestamp, tz::TimeZone};

/// A text that is no duration.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0:?} is no duration; write a number and s, m, h, d, w or mo, for example 30d")]
pub(super) struct DurationError(String);

/// Reads a duration.
pub(super) fn parse(text: &str) -> Result<Span, DurationError> {
    let bad = || DurationError(text.to_owned());
    let span = match text {
        "hourly" => return Ok(Span::new().hours(1)),
        "daily" => return Ok(Span::new().days(1)),
        "weekly" => return Ok(Span::new().days(7)),
        "monthly" => return Ok(Span::new().days(30)),
        _ => Span::new(),
    };
    let digits = text.bytes().take_while(u8::is_ascii_digit).count();
    let number: i64 = text[..digits].parse().map_err(|_| bad())?;
    let made = match &text[digits..] {
        "s" => span.try_seconds(number),
        "m" => span.try_minutes(number),
        "h" => span.try_hours(number),
        "d" => span.try_days(number),
        "w" => span.try_weeks(number),
        "mo" if number == 1 => span.try_months(1),
        _ => return Err(bad()),
    };
    made.map_err(|_| bad())
}

/// That long from now.
pub(super) fn from_now(text: &str, now: Timestamp) -> Result<Timestamp, DurationError> {
    let later = now.to_zoned(TimeZone::UTC).checked_add(parse(text)?);
    later.map(|later| later.timestamp()).map_err(|_| DurationError(text.to_owned()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_duration_is_a_number_and_a_unit() {
        let after = |text| from_now(text, Timestamp::UNIX_EPOCH).map(|time| time.as_second());
        assert_eq!(after("30s"), Ok(30));
        assert_eq!(after("12h"), Ok(43_200));
        assert_eq!(after("30d"), Ok(2_592_000));
        assert_eq!(after("1mo"), Ok(31 * 86_400));
        assert_eq!(after("weekly"), Ok(604_800));
        for bad in ["", "d", "30", "30x", "-1d", "2mo", "99999999999999999999d", "9999999999d"] {
            assert!(after(bad).is_err(), "{bad:?}");
        }
    }
}
