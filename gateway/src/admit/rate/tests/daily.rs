//! Limits by the day.

use jiff::civil::time;
use jiff::tz::TimeZone;

use super::*;

/// Days begin at six in the morning.
fn days(caps: RateCaps, began: Timestamp) -> Rates {
    own(&[("key:a", caps)]).with_days(Calendar::new(TimeZone::UTC, time(6, 0, 0, 0)), began)
}

fn when(text: &str) -> Timestamp {
    format!("2026-11-22T{text}Z").parse().unwrap()
}

fn call(rates: &Rates, tokens: u64, now: Timestamp) -> Result<RateHold, RateLimited> {
    rates.admit(&[scope("key:a")], tokens, now)
}

#[test]
fn a_days_calls_count_until_it_ends() {
    let rates = days(RateCaps { rpd: Some(2), ..RateCaps::default() }, when("05:00:00"));
    let today = when("06:00:00");
    let _ = (call(&rates, 0, today).unwrap(), call(&rates, 0, when("23:00:00")).unwrap());
    let limited = call(&rates, 0, when("23:59:59")).unwrap_err();
    assert_eq!((limited.measure, limited.limit, limited.remaining), (Measure::DailyRequests, 2, 0));
    assert_eq!(limited.resets_at, "2026-11-23T06:00:00Z".parse().unwrap());
    assert_eq!(limited.retry_after, 6 * 3600 + 1);
    assert!(call(&rates, 0, "2026-11-23T05:59:59Z".parse().unwrap()).is_err());
    assert!(call(&rates, 0, "2026-11-23T06:00:00Z".parse().unwrap()).is_ok());
}

#[test]
fn a_days_tokens_are_those_that_were_used() {
    let rates = days(RateCaps { tpd: Some(1000), ..RateCaps::default() }, when("06:00:00"));
    call(&rates, 900, when("07:00:00")).unwrap().settle(300, when("07:01:00"));
    call(&rates, 100, when("08:00:00")).unwrap().settle(600, when("08:01:00"));
    let limited = call(&rates, 101, when("09:00:00")).unwrap_err();
    assert_eq!((limited.measure, limited.remaining), (Measure::DailyTokens, 100));
    assert!(limited.to_string().contains("Limit type: tokens_per_day. "), "{limited}");
    // What an answer over midnight had too little counts for the day in which it ended.
    call(&rates, 100, when("09:00:00")).unwrap().settle(900, "2026-11-23T07:00:00Z".parse().unwrap());
    assert_eq!(call(&rates, 201, "2026-11-23T08:00:00Z".parse().unwrap()).unwrap_err().remaining, 200);
}

#[tokio::test]
async fn a_call_waits_until_it_is_known_what_the_day_has_seen() {
    let rates = days(RateCaps { rpd: Some(5), tpd: Some(100), ..RateCaps::default() }, when("07:00:00"));
    let now = || when("08:00:00");
    let waiting = tokio::spawn({
        let rates = rates.clone();
        async move { rates.admit_or_wait(&[scope("key:a")], 10, now).await.is_ok() }
    });
    rates.loads_wanted().await;
    assert_eq!(rates.missing(), [(scope("key:a"), when("06:00:00"))]);
    rates.load(&scope("key:a"), when("06:00:00"), None);
    rates.loads_wanted().await;
    assert_eq!(rates.missing().len(), 1, "what nobody could say is asked again");
    assert!(!waiting.is_finished());
    rates.load(&scope("key:a"), when("06:00:00"), Some((3, 60)));
    assert!(waiting.await.unwrap());
    assert_eq!(call(&rates, 31, now()).unwrap_err().measure, Measure::DailyTokens);
    let _last = call(&rates, 30, now()).unwrap();
    assert_eq!(call(&rates, 0, now()).unwrap_err().measure, Measure::DailyRequests);
    // The next day is seen from its beginning.
    assert!(call(&rates, 0, "2026-11-23T06:00:00Z".parse().unwrap()).is_ok());
    assert!(rates.missing().is_empty());
}

#[test]
fn a_limit_that_comes_later_knows_what_the_day_has_seen() {
    let rates = own(&[]).with_days(Calendar::new(TimeZone::UTC, time(0, 0, 0, 0)), when("07:00:00"));
    let key = scope("key:a");
    let limits = |caps| Limits { caps, ..Limits::default() };
    let daily = limits(RateCaps { rpd: Some(2), ..RateCaps::default() });
    // Also on a day that this process saw from its beginning.
    for (seen, day) in [(1, "22"), (2, "22"), (1, "23")] {
        let when = |text: &str| format!("2026-11-{day}T{text}Z").parse().unwrap();
        rates.set(&key, &limits(rpm(100)));
        let _ = call(&rates, 0, when("08:00:00")).unwrap();
        rates.set(&key, &daily);
        assert!(call(&rates, 0, when("08:00:00")).unwrap_err().awaits_load);
        rates.load(&key, when("00:00:00"), Some((seen, 0)));
        assert_eq!(call(&rates, 0, when("08:00:01")).is_ok(), seen < 2);
    }
}
