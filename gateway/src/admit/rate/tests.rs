//! The engine from outside: calls come and go, time passes.

use http::HeaderMap;
use proptest::prelude::*;

use super::*;

mod daily;
mod lease;

fn at(milliseconds: i64) -> Timestamp {
    Timestamp::from_millisecond(1_790_000_000_000 + milliseconds).unwrap()
}

fn scope(text: &str) -> Scope {
    Scope::parse(text).unwrap()
}

fn rpm(rpm: u64) -> RateCaps {
    RateCaps { rpm: Some(rpm), ..RateCaps::default() }
}

fn tpm(tpm: u64) -> RateCaps {
    RateCaps { tpm: Some(tpm), ..RateCaps::default() }
}

fn parallel(max_parallel: u64) -> RateCaps {
    RateCaps { max_parallel: Some(max_parallel), ..RateCaps::default() }
}

fn own(rules: &[(&str, RateCaps)]) -> Rates {
    Rates::new(rules.iter().map(|(text, caps)| (scope(text), *caps)), Funds::Own)
}

#[test]
fn a_call_without_limits_holds_nothing() {
    let rates = own(&[("host:mac", rpm(1))]);
    let hold = rates.admit(&[scope("host:pi"), scope("key:abc")], 5, at(0)).unwrap();
    let mut headers = HeaderMap::new();
    hold.set_headers(&mut headers);
    assert!(hold.is_unlimited() && headers.is_empty() && hold.lines.capacity() == 0);
    assert_eq!(rates.counters(), 0);
}

#[test]
fn a_refused_call_counts_nowhere() {
    let rates = own(&[("host:mac", rpm(5)), ("key:a", parallel(1)), ("key:b", rpm(5))]);
    let held = rates.admit(&[scope("host:mac"), scope("key:a")], 0, at(0)).unwrap();
    for _ in 0..10 {
        let limited = rates.admit(&[scope("host:mac"), scope("key:a")], 0, at(0)).unwrap_err();
        assert_eq!((limited.scope, limited.measure, limited.retry_after), (scope("key:a"), Measure::Parallel, 1));
    }
    for _ in 0..4 {
        let _ = rates.admit(&[scope("host:mac"), scope("key:b")], 0, at(0)).unwrap();
    }
    drop(held);
    let limited = rates.admit(&[scope("host:mac"), scope("key:a")], 0, at(0)).unwrap_err();
    assert_eq!(limited.scope, scope("host:mac"));
}

#[test]
fn of_two_limits_that_are_used_up_the_later_one_is_told() {
    let rates = own(&[("host:mac", rpm(1)), ("key:a", rpm(1))]);
    let _ = rates.admit(&[scope("host:mac")], 0, at(0)).unwrap();
    let _ = rates.admit(&[scope("key:a")], 0, at(30_000)).unwrap();
    let limited = rates.admit(&[scope("key:a"), scope("host:mac")], 0, at(40_500)).unwrap_err();
    assert_eq!((limited.scope.clone(), limited.remaining), (scope("key:a"), 0));
    // It is told when it helps to come back, and coming back then does help.
    assert!(rates.admit(&[scope("key:a")], 0, limited.resets_at).is_ok());
    assert_eq!(limited.retry_after, 51);
}

#[test]
fn a_glob_gives_each_host_its_own_counter() {
    let rates = own(&[("host:*", rpm(1))]);
    for host in ["host:mac", "host:pi"] {
        assert!(rates.admit(&[scope(host)], 0, at(0)).is_ok());
        assert!(rates.admit(&[scope(host)], 0, at(0)).is_err());
    }
}

#[test]
fn a_tag_that_is_given_twice_counts_once() {
    let rates = own(&[("tag:x", rpm(2))]);
    for _ in 0..2 {
        assert!(rates.admit(&[scope("tag:x"), scope("tag:x")], 0, at(0)).is_ok());
    }
}

#[test]
fn limits_of_a_key_change_while_calls_are_in_flight() {
    let rates = own(&[]);
    let key = scope("key:a");
    rates.set(&key, &Limits { caps: parallel(2), ..Limits::default() });
    let first = rates.admit(std::slice::from_ref(&key), 0, at(0)).unwrap();
    let second = rates.admit(std::slice::from_ref(&key), 0, at(0)).unwrap();
    rates.set(&key, &Limits { caps: parallel(1), ..Limits::default() });
    drop(first);
    assert!(rates.admit(std::slice::from_ref(&key), 0, at(0)).is_err());
    rates.set(&key, &Limits::default());
    assert!(rates.admit(std::slice::from_ref(&key), 0, at(0)).unwrap().is_unlimited());
    drop(second);
    rates.set(&key, &Limits { caps: parallel(1), ..Limits::default() });
    assert!(rates.admit(&[key], 0, at(0)).is_ok());
}

#[test]
fn what_was_reserved_too_much_comes_back_and_what_was_too_little_counts_now() {
    let rates = own(&[("key:a", tpm(100))]);
    let key = [scope("key:a")];
    rates.admit(&key, 90, at(0)).unwrap().settle(10, at(500));
    let long = rates.admit(&key, 90, at(1_000)).unwrap();
    assert_eq!(rates.admit(&key, 1, at(1_000)).unwrap_err().remaining, 0);
    // It ran for two minutes: its reservation has long left the window, the surplus is from now.
    long.settle(150, at(121_000));
    assert_eq!(rates.admit(&key, 50, at(121_000)).unwrap_err().remaining, 40);
    assert!(rates.admit(&key, 40, at(121_000)).is_ok());
}

#[test]
fn a_call_above_the_whole_limit_takes_an_empty_minute() {
    let rates = own(&[("key:a", tpm(100))]);
    let key = [scope("key:a")];
    let small = rates.admit(&key, 1, at(0)).unwrap();
    let limited = rates.admit(&key, 5_000, at(0)).unwrap_err();
    assert_eq!((limited.needed, limited.limit, limited.remaining), (100, 100, 99));
    small.settle(0, at(0));
    let large = rates.admit(&key, 5_000, at(0)).unwrap();
    assert!(rates.admit(&key, 0, at(0)).is_err());
    large.settle(5_000, at(1_000));
    assert!(rates.admit(&key, 1, at(61_500)).is_err());
    assert!(rates.admit(&key, 1, at(62_000)).is_ok());
}

#[test]
fn a_limit_of_none_lets_nothing_pass() {
    for caps in [rpm(0), tpm(0), parallel(0)] {
        let rates = own(&[("key:a", caps)]);
        let limited = rates.admit(&[scope("key:a")], 0, at(0)).unwrap_err();
        assert!(limited.remaining == 0 && limited.retry_after >= 1, "{limited}");
    }
}

#[test]
fn a_clock_that_is_set_back_blocks_nobody_for_long() {
    let rates = own(&[("key:a", rpm(1))]);
    let key = [scope("key:a")];
    assert!(rates.admit(&key, 0, at(86_400_000)).is_ok());
    assert!(rates.admit(&key, 0, at(0)).is_ok());
    assert!(rates.admit(&key, 0, at(0)).is_err());
}

#[test]
fn counters_that_nobody_uses_are_dropped() {
    let rates = own(&[("tag:*", rpm(1)), ("host:*", parallel(1))]);
    let held = rates.admit(&[scope("host:mac")], 0, at(0)).unwrap();
    for number in 0..500 {
        assert!(rates.admit(&[scope(&format!("tag:{number}"))], 0, at(0)).is_ok());
    }
    assert!(rates.admit(&[scope("tag:0")], 0, at(200_000)).is_ok());
    assert_eq!(rates.counters(), 2);
    assert!(rates.admit(&[scope("host:mac")], 0, at(200_000)).is_err());
    drop(held);
}

#[test]
fn an_answer_tells_of_the_tightest_limit_and_of_each_kind() {
    let rates = own(&[
        ("host:mac", RateCaps { tpm: Some(50), ..rpm(3) }),
        ("key:abc", RateCaps { tpm: Some(1_000), ..rpm(10) }),
    ]);
    let scopes = [scope("key:abc"), scope("host:mac")];
    let hold = rates.admit(&scopes, 20, at(0)).unwrap();
    let mut headers = HeaderMap::new();
    headers.insert("x-ratelimit-limit-requests", "9999".parse().unwrap());
    headers.insert("x-ratelimit-limit-input-tokens", "8888".parse().unwrap());
    hold.set_headers(&mut headers);
    for (name, value) in [
        ("x-ratelimit-limit-requests", "3"),
        ("x-ratelimit-remaining-requests", "2"),
        ("x-ratelimit-reset-requests", "1m1s"),
        ("x-ratelimit-limit-tokens", "50"),
        ("x-ratelimit-remaining-tokens", "30"),
        ("x-ratelimit-api_key-remaining-requests", "9"),
        ("x-ratelimit-api_key-limit-tokens", "1000"),
        ("x-ratelimit-host-remaining-tokens", "30"),
        ("x-litellm-key-rpm-limit", "10"),
        ("x-litellm-key-tpm-limit", "1000"),
        ("x-ratelimit-limit-input-tokens", "8888"),
    ] {
        assert_eq!(headers.get(name).and_then(|value| value.to_str().ok()), Some(value), "{name}");
    }
}

#[test]
fn many_threads_never_hold_more_than_may_be_held_at_once() {
    use std::sync::atomic::{AtomicU64, Ordering};
    let rates = own(&[("key:a", parallel(3)), ("host:mac", rpm(400))]);
    let (inside, admitted) = (AtomicU64::new(0), AtomicU64::new(0));
    std::thread::scope(|threads| {
        for _ in 0..8 {
            threads.spawn(|| {
                for _ in 0..500 {
                    if let Ok(hold) = rates.admit(&[scope("key:a"), scope("host:mac")], 0, at(0)) {
                        assert!(inside.fetch_add(1, Ordering::SeqCst) < 3);
                        admitted.fetch_add(1, Ordering::SeqCst);
                        inside.fetch_sub(1, Ordering::SeqCst);
                        drop(hold);
                    }
                }
            });
        }
    });
    assert!(admitted.into_inner() <= 400);
    let hold = rates.admit(&[scope("key:a")], 0, at(0));
    assert!(hold.is_ok(), "a hold was not released");
}

/// The most of what was used in any 60 s.
fn densest(used: &[(i64, u64)]) -> u64 {
    let within = |start: i64| used.iter().filter(move |(at, _)| (start..start + 60_000).contains(at));
    used.iter().map(|(start, _)| within(*start).map(|(_, amount)| amount).sum()).max().unwrap_or(0)
}

proptest! {
    #[test]
    fn no_60_seconds_see_more_calls_than_the_limit(
        limit in 1_u64..20,
        gaps in prop::collection::vec(prop_oneof![0_i64..50, 0_i64..3_000, 0_i64..70_000], 1..300),
        offset in 0_i64..1_000,
    ) {
        let rates = own(&[("key:a", rpm(limit))]);
        let (mut now, mut admitted) = (offset, Vec::new());
        for gap in gaps {
            now += gap;
            match rates.admit(&[scope("key:a")], 0, at(now)) {
                Ok(_) => admitted.push((now, 1)),
                Err(limited) => {
                    // It is full in the 61 s that count, and not before the promised time is there room.
                    let recent = admitted.iter().filter(|(at, _)| *at > now - 61_000).count() as u64;
                    prop_assert!(recent >= limit);
                    prop_assert!((1..=61).contains(&limited.retry_after));
                }
            }
        }
        prop_assert!(densest(&admitted) <= limit);
    }

    #[test]
    fn no_60_seconds_see_more_tokens_than_the_limit_when_estimates_hold(
        limit in 1_u64..1_000,
        calls in prop::collection::vec((0_i64..20_000, 0_u64..400, 0_u64..=100, any::<bool>()), 1..200),
    ) {
        let rates = own(&[("key:a", tpm(limit))]);
        let (mut now, mut used, mut open) = (0, Vec::new(), Vec::new());
        for (gap, estimate, percent, settles) in calls {
            now += gap;
            let estimate = estimate.min(limit);
            if let Ok(hold) = rates.admit(&[scope("key:a")], estimate, at(now)) {
                open.push((hold, now, estimate * percent / 100));
            }
            if settles && let Some((hold, since, actual)) = open.pop() {
                hold.settle(actual, at(now));
                used.push((since, actual));
            }
        }
        used.extend(open.iter().map(|(_, since, actual)| (*since, *actual)));
        prop_assert!(densest(&used) <= limit);
    }

    #[test]
    fn whatever_is_promised_is_kept(
        limit in 1_u64..10,
        gaps in prop::collection::vec(0_i64..9_000, 1..60),
    ) {
        let rates = own(&[("key:a", rpm(limit))]);
        let mut now = 0;
        for gap in gaps {
            now += gap;
            if let Err(limited) = rates.admit(&[scope("key:a")], 0, at(now)) {
                now += i64::try_from(limited.retry_after).unwrap() * 1_000;
                prop_assert!(rates.admit(&[scope("key:a")], 0, at(now)).is_ok());
            }
        }
    }
}

#[tokio::test(start_paused = true)]
async fn a_limit_of_its_own_makes_nobody_wait() {
    let rates = own(&[("key:a", rpm(1))]);
    let (key, begin) = ([scope("key:a")], Instant::now());
    assert!(rates.admit_or_wait(&key, 0, || at(0)).await.is_ok());
    assert!(rates.admit_or_wait(&key, 0, || at(0)).await.is_err());
    assert_eq!(begin.elapsed(), Duration::ZERO);
}
