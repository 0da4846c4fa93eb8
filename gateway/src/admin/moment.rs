//! A point in time as people write it in `since` and `until`.

use fleetgate_wire::period::Period;
use jiff::civil::Date;
use jiff::tz::TimeZone;
use jiff::{SignedDuration, Timestamp, ToSpan};

use super::fields::bad;
use crate::ledger::Span;
use crate::respond::Refusal;

/// Reads both ends. Each is a time (`2026-11-22T10:00:00Z`), a date in UTC, or a period: so long before `now`. A date's whole day is
/// within.
pub(super) fn span(since: Option<&str>, until: Option<&str>, now: Timestamp) -> Result<Span, Refusal> {
    let since = since.map(|text| read(text, now, "since", Ok)).transpose()?;
    let until = until.map(|text| read(text, now, "until", |date| date.checked_add(1.day()))).transpose()?;
    Ok(Span { since, until })
}

fn read(
    text: &str,
    now: Timestamp,
    param: &'static str,
    day: impl Fn(Date) -> Result<Date, jiff::Error>,
) -> Result<Timestamp, Refusal> {
    if let Ok(period) = Period::parse(text) {
        let length = i64::try_from(period.seconds()).map(SignedDuration::from_secs);
        // Further back than a calendar goes is before every row.
        let ago = length.ok().and_then(|length| now.checked_sub(length).ok());
        return Ok(ago.unwrap_or(Timestamp::MIN));
    }
    let midnight = || text.parse().and_then(day).and_then(|date| date.to_zoned(TimeZone::UTC));
    let time = text.parse().or_else(|_| midnight().map(|midnight| midnight.timestamp()));
    let form = "write a date (2026-11-22), a time (2026-11-22T10:00:00Z) or how long ago (7d, 12h)";
    time.map_err(|_: jiff::Error| bad(format!("{param} {text:?} is no time; {form}"), Some(param)))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn seconds(since: &str, until: &str) -> Result<(i64, i64), String> {
        let now = Timestamp::from_second(1_000_000).unwrap();
        let span = span(Some(since), Some(until), now).map_err(|refusal| refusal.to_string())?;
        Ok((span.since.unwrap().as_second(), span.until.unwrap().as_second()))
    }

    #[test]
    fn a_moment_is_a_time_a_date_or_so_long_ago_and_a_dates_day_is_within() {
        assert_eq!(seconds("1970-01-02", "1970-01-02"), Ok((86_400, 2 * 86_400)));
        assert_eq!(seconds("7d", "1h"), Ok((1_000_000 - 7 * 86_400, 1_000_000 - 3_600)));
        assert_eq!(seconds("1970-01-01T00:00:05Z", "1970-01-01T01:00:05+01:00"), Ok((5, 5)));
        assert!(seconds("999y", "1d").unwrap_err().contains("since \"999y\""));
        assert!(seconds("1d", "yesterday").unwrap_err().contains("until"));
        assert!(seconds("999w", "9999-12-31").is_err(), "there is no day behind it");
    }
}
