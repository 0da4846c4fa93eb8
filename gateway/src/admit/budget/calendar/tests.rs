use jiff::civil::time;
use proptest::prelude::*;

use super::*;

const ZONES: [&str; 12] = [
    "UTC",
    "Europe/Berlin",
    "America/New_York",
    "America/Sao_Paulo",
    "Asia/Kathmandu",
    "Asia/Beirut",
    "Australia/Lord_Howe",
    "Pacific/Apia",
    "Pacific/Kiritimati",
    "Africa/Cairo",
    "America/St_Johns",
    "Antarctica/Troll",
];

fn calendar(zone: &str, reset: Time) -> Calendar {
    Calendar::new(TimeZone::get(zone).unwrap(), reset)
}

fn snapped(text: &str) -> Term {
    Term::Snapped(Period::parse(text).unwrap())
}

fn window(zone: &str, reset: Time, term: &str, at: &str) -> (String, String) {
    let window = calendar(zone, reset).window(snapped(term), at.parse().unwrap());
    let shown = |at: Timestamp| at.to_zoned(TimeZone::get(zone).unwrap()).strftime("%Y-%m-%d %H:%M").to_string();
    (shown(window.start), shown(window.end.unwrap()))
}

#[test]
fn resets_snap_as_in_litellm() {
    // A Wednesday.
    let at = "2026-11-25T13:47:11Z";
    for (term, start, end) in [
        ("1d", "2026-11-25 00:00", "2026-11-26 00:00"),
        ("24h", "2026-11-25 00:00", "2026-11-26 00:00"),
        ("7d", "2026-11-23 00:00", "2026-11-30 00:00"),
        ("1w", "2026-11-23 00:00", "2026-11-30 00:00"),
        ("weekly", "2026-11-23 00:00", "2026-11-30 00:00"),
        ("30d", "2026-11-01 00:00", "2026-12-01 00:00"),
        ("1mo", "2026-11-01 00:00", "2026-12-01 00:00"),
        ("1h", "2026-11-25 13:00", "2026-11-25 14:00"),
        ("6h", "2026-11-25 12:00", "2026-11-25 18:00"),
        ("5h", "2026-11-25 10:00", "2026-11-25 15:00"),
        ("15m", "2026-11-25 13:45", "2026-11-25 14:00"),
    ] {
        assert_eq!(window("UTC", Time::midnight(), term, at), (start.into(), end.into()), "{term}");
    }
}

#[test]
fn days_begin_at_the_hour_of_reset_in_the_zone() {
    let at = "2026-11-25T02:30:00Z";
    assert_eq!(
        window("Europe/Berlin", time(6, 0, 0, 0), "1d", at),
        ("2026-11-24 06:00".into(), "2026-11-25 06:00".into())
    );
    assert_eq!(
        window("America/New_York", Time::midnight(), "1d", at),
        ("2026-11-24 00:00".into(), "2026-11-25 00:00".into())
    );
    // At 03:00 on the first it is still last month where days begin at 06:00.
    assert_eq!(
        window("UTC", time(6, 0, 0, 0), "1mo", "2026-12-01T03:00:00Z"),
        ("2026-11-01 06:00".into(), "2026-12-01 06:00".into())
    );
}

#[test]
fn a_day_lasts_as_long_as_its_zone_makes_it() {
    let hours = |at: &str| {
        let window = calendar("Europe/Berlin", Time::midnight()).window(snapped("1d"), at.parse().unwrap());
        window.end.unwrap().duration_since(window.start).as_hours()
    };
    assert_eq!(
        (hours("2026-03-29T12:00:00Z"), hours("2026-10-25T12:00:00Z"), hours("2026-11-25T12:00:00Z")),
        (23, 25, 24)
    );
}

#[test]
fn a_rolling_window_begins_on_a_bucket() {
    let term = Term::Rolling(Period::parse("1h").unwrap());
    let window = Calendar::default().window(term, "2026-11-25T13:47:11Z".parse().unwrap());
    assert_eq!(window.start.to_string(), "2026-11-25T12:45:00Z");
}

fn moment() -> impl Strategy<Value = Timestamp> {
    // 1995 to 2060, with many just around the hours at which zones change.
    let seconds = prop_oneof![
        788_918_400i64..2_840_140_800,
        (0i64..65 * 365, -7_200i64..7_200).prop_map(|(day, off)| 788_918_400 + day * 86_400 + off),
    ];
    (seconds, 0i32..1_000_000_000).prop_map(|(second, nano)| Timestamp::new(second, nano).unwrap())
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(4_000))]

    /// Neither a gap nor an overlap: each window holds its moment, and its neighbours begin where it ends.
    #[test]
    fn windows_tile_time(
        zone in prop::sample::select(&ZONES[..]),
        reset in prop_oneof![Just((0i8, 0i8)), (0i8..24, 0i8..60)],
        term in prop_oneof![
            Just("1d".to_owned()), Just("7d".to_owned()), Just("30d".to_owned()), Just("1mo".to_owned()),
            "[1-9][0-9]{0,2}[smhdw]",
        ],
        at in moment(),
    ) {
        let calendar = calendar(zone, time(reset.0, reset.1, 0, 0));
        let term = snapped(&term);
        let window = calendar.window(term, at);
        let end = window.end.unwrap();
        prop_assert!(window.start <= at && at < end, "{window:?} does not hold {at}");
        prop_assert_eq!(calendar.window(term, window.start), window);
        prop_assert_eq!(calendar.window(term, end).start, end);
        let before = window.start.checked_sub(SignedDuration::from_nanos(1)).unwrap();
        prop_assert_eq!(calendar.window(term, before).end, Some(window.start));
        let last = end.checked_sub(SignedDuration::from_nanos(1)).unwrap();
        prop_assert_eq!(calendar.window(term, last), window);
    }

    #[test]
    fn a_bucket_holds_its_moments(at in moment()) {
        let bucket = bucket_of(at);
        prop_assert!(bucket_start(bucket) <= at && at < bucket_start(bucket + 1));
    }
}
