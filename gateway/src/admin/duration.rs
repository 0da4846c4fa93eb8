//! The end of a key's life, from LiteLLM's `duration`.

use fleetgate_wire::period::{Period, PeriodError, Unit};
use jiff::{Span, Timestamp, tz::TimeZone};

/// That long from `now`. A month is a calendar's month.
pub(super) fn from_now(text: &str, now: Timestamp) -> Result<Timestamp, PeriodError> {
    let period = Period::parse(text)?;
    let count = i64::from(period.count());
    let span = match period.unit() {
        Unit::Second => Span::new().seconds(count),
        Unit::Minute => Span::new().minutes(count),
        Unit::Hour => Span::new().hours(count),
        Unit::Day => Span::new().days(count),
        Unit::Week => Span::new().weeks(count),
        Unit::Month => Span::new().months(count),
    };
    let later = now.to_zoned(TimeZone::UTC).checked_add(span);
    // A period has at most a thousand years, and calendars end in the year 9999.
    Ok(later.map_or(Timestamp::MAX, |later| later.timestamp()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_ends_its_duration_from_now() {
        let after = |text| from_now(text, Timestamp::UNIX_EPOCH).map(|time| time.as_second()).ok();
        assert_eq!(after("30s"), Some(30));
        assert_eq!(after("30d"), Some(2_592_000));
        assert_eq!(after("1mo"), Some(31 * 86_400));
        assert_eq!(after("soon"), None);
    }
}
