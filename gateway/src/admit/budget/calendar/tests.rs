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

/// By the clock on the wall, and how many hours it takes: zones that change their clocks, one that lies a quarter of an hour aside,
/// and one that left a day out.
#[test]
fn windows_across_changes_of_the_clock_begin_and_end_by_the_wall() {
    for (zone, term, at, start, end, hours) in [
        // 29 March 2026 has no 02:30 in Berlin, 25 October has it twice.
        ("Europe/Berlin", "7d", "2026-03-28T12:00:00Z", "2026-03-23 00:00", "2026-03-30 00:00", 167),
        ("Europe/Berlin", "1w", "2026-10-25T12:00:00Z", "2026-10-19 00:00", "2026-10-26 00:00", 169),
        ("Europe/Berlin", "30d", "2026-03-15T12:00:00Z", "2026-03-01 00:00", "2026-04-01 00:00", 743),
        ("Europe/Berlin", "1mo", "2026-10-31T22:59:59Z", "2026-10-01 00:00", "2026-11-01 00:00", 745),
        ("Europe/Berlin", "6h", "2026-03-29T00:30:00Z", "2026-03-29 00:00", "2026-03-29 07:00", 6),
        // 8 March and 1 November in New York.
        ("America/New_York", "1d", "2026-03-08T12:00:00Z", "2026-03-08 00:00", "2026-03-09 00:00", 23),
        ("America/New_York", "1d", "2026-11-01T12:00:00Z", "2026-11-01 00:00", "2026-11-02 00:00", 25),
        ("America/New_York", "30d", "2026-11-01T03:59:59Z", "2026-10-01 00:00", "2026-11-01 00:00", 744),
        ("America/New_York", "1mo", "2026-11-01T04:00:00Z", "2026-11-01 00:00", "2026-12-01 00:00", 721),
        // 5:45 ahead of UTC.
        ("Asia/Kathmandu", "1d", "2026-11-25T18:14:59Z", "2026-11-25 00:00", "2026-11-26 00:00", 24),
        ("Asia/Kathmandu", "1d", "2026-11-25T18:15:00Z", "2026-11-26 00:00", "2026-11-27 00:00", 24),
        ("Asia/Kathmandu", "1mo", "2026-11-30T18:15:00Z", "2026-12-01 00:00", "2027-01-01 00:00", 744),
        // Samoa went from 29 December 2011 to the 31st.
        ("Pacific/Apia", "1d", "2011-12-30T09:59:59Z", "2011-12-29 00:00", "2011-12-31 00:00", 24),
        ("Pacific/Apia", "1d", "2011-12-30T10:00:00Z", "2011-12-31 00:00", "2012-01-01 00:00", 24),
        ("Pacific/Apia", "7d", "2011-12-30T12:00:00Z", "2011-12-26 00:00", "2012-01-02 00:00", 144),
        ("Pacific/Apia", "1mo", "2011-12-30T12:00:00Z", "2011-12-01 00:00", "2012-01-01 00:00", 720),
    ] {
        let shown = window(zone, Time::midnight(), term, at);
        assert_eq!(shown, (start.into(), end.into()), "{zone} {term} {at}");
        let window = calendar(zone, Time::midnight()).window(snapped(term), at.parse().unwrap());
        assert_eq!(window.end.unwrap().duration_since(window.start).as_hours(), hours, "{zone} {term} {at}");
    }
    // Days that begin at an hour which the clock leaves out begin at the first moment that there is; of an hour twice, the first.
    for (at, reset, start, end, hours) in [
        ("2026-03-29T12:00:00Z", time(2, 30, 0, 0), "2026-03-29 03:30", "2026-03-30 02:30", 23),
        ("2026-10-25T12:00:00Z", time(2, 30, 0, 0), "2026-10-25 02:30", "2026-10-26 02:30", 25),
    ] {
        assert_eq!(window("Europe/Berlin", reset, "1d", at), (start.into(), end.into()), "{at}");
        let window = calendar("Europe/Berlin", reset).window(snapped("1d"), at.parse().unwrap());
        assert_eq!(window.end.unwrap().duration_since(window.start).as_hours(), hours, "{at}");
    }
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
