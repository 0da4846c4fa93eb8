//! Upstreams that charge more than is provable.

use proptest::prelude::*;
use tokio::task::JoinSet;

use super::*;

/// That many callers at once on one cap, through a deployment of which nothing is known. Gives how many passed, and what they spent.
async fn crowd(callers: u64, cap: i64, bound: i64, cost: i64) -> (i64, i64) {
    let desk = Desk::new(vec![rule(key("k"), "lifetime", cap)]);
    let mut calls = JoinSet::new();
    for number in 0..callers {
        let desk = desk.clone();
        // Nobody is done before everybody has begun.
        let takes = Duration::from_millis(1 + number % 7);
        calls.spawn(async move { desk.call(&[key("k"), deployment("d")], bound, cost, takes).await });
    }
    let passed = calls.join_all().await.iter().flatten().count();
    (i64::try_from(passed).unwrap(), desk.only().spent.0)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(80))]

    #[test]
    fn a_crowd_stays_within_the_cap_and_uses_it(
        bound in 1i64..10_000,
        eighths in 8i64..=64,
        calls_worth in 8i64..60,
        callers in 60u64..200,
    ) {
        // From what is provable to eight times that.
        let cost = (bound * eighths / 8).max(bound);
        let cap = bound * calls_worth;
        let runtime = tokio::runtime::Builder::new_current_thread().enable_time().start_paused(true).build().unwrap();
        let (passed, spent) = runtime.block_on(crowd(callers, cap, bound, cost));
        prop_assert!(spent <= cap, "{spent} of {cap} spent");
        prop_assert!(passed >= cap / cost - 1, "{passed} passed, worth {}", cap / cost);
    }
}

#[tokio::test(start_paused = true)]
async fn of_a_hundred_at_once_on_a_cap_worth_ten_at_least_nine_pass() {
    for cost in [100, 90, 50] {
        let (passed, spent) = crowd(100, 10 * cost, 100, cost).await;
        assert!(spent <= 10 * cost, "{spent}");
        assert!(passed >= 9, "{passed} passed at {cost}");
    }
}

#[tokio::test(start_paused = true)]
async fn an_unknown_deployment_does_not_keep_its_callers_waiting_for_ever() {
    let desk = Desk::new(vec![rule(key("k"), "lifetime", 500)]);
    let scopes = [key("k"), deployment("slow")];
    let first = desk.reserve(&scopes, 100).await.unwrap();
    assert_eq!((first.amount().0, first.reserved().0), (100, 500));
    let waits = tokio::spawn({
        let (desk, scopes) = (desk.clone(), scopes.clone());
        async move { desk.reserve(&scopes, 100).await }
    });
    tokio::task::yield_now().await;
    assert_eq!(desk.only().waiting, 1);
    desk.settle(first, 80);
    assert_eq!(waits.await.unwrap().unwrap().reserved().0, 100, "one answer is enough to know it");
}

#[tokio::test(start_paused = true)]
async fn what_rows_say_about_a_deployment_is_taken_over() {
    let desk = Desk::new(vec![rule(key("k"), "lifetime", 500)]);
    desk.budgets.remember(&deployment("d"), NanoDollars(100), NanoDollars(250), start());
    let hold = desk.reserve(&[key("k"), deployment("d")], 100).await.unwrap();
    assert_eq!((hold.amount().0, hold.reserved().0), (100, 250));
}

#[tokio::test(start_paused = true)]
async fn a_first_answer_wakes_those_who_wait_for_it_in_other_budgets() {
    let desk = Desk::new(vec![rule(key("a"), "lifetime", 500), rule(key("b"), "lifetime", 500)]);
    let held = desk.reserve(&[key("a")], 250).await.unwrap();
    let first = desk.reserve(&[key("b"), deployment("d")], 50).await.unwrap();
    let waits = tokio::spawn({
        let desk = desk.clone();
        async move { desk.reserve(&[key("a"), deployment("d")], 100).await }
    });
    tokio::task::yield_now().await;
    assert_eq!(desk.budgets.status(start())[0].waiting, 1);
    desk.settle(first, 40);
    assert!(waits.await.unwrap().is_ok());
    assert_eq!(desk.now(), start());
    drop(held);
}
