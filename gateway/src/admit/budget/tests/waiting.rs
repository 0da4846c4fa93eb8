//! Callers that wait for money which is reserved but not spent.

use std::sync::Mutex;

use proptest::prelude::*;
use tokio::task::JoinSet;

use super::*;

#[tokio::test(start_paused = true)]
async fn a_thousand_callers_never_spend_more_than_a_small_cap() {
    let desk = Desk::new(vec![rule(key("k"), "lifetime", 1_000)]);
    let mut calls = JoinSet::new();
    for number in 0..1_000u64 {
        let desk = desk.clone();
        calls.spawn(async move { desk.call(&[key("k")], 100, 90, Duration::from_millis(number % 40)).await });
    }
    let outcomes = calls.join_all().await;
    let spent: i64 = outcomes.iter().flatten().sum();
    // Ten fit at the bound, and what they leave pays for one more.
    assert_eq!((spent, outcomes.iter().flatten().count()), (990, 11));
    assert!(outcomes.iter().filter_map(|outcome| outcome.as_ref().err()).all(|why| why.reason == Shortfall::Spent));
    assert_eq!((desk.only().spent.0, desk.only().reserved.0, desk.only().waiting), (990, 0, 0));
}

#[tokio::test(start_paused = true)]
async fn callers_without_an_output_limit_take_turns() {
    let desk = Desk::new(vec![rule(key("k"), "lifetime", 1_000)]);
    let mut calls = JoinSet::new();
    for _ in 0..100 {
        let desk = desk.clone();
        calls.spawn(async move {
            // The model could write far more than there is money for.
            let mut charge = desk.charge(&[key("k")], 50, 1_000_000);
            charge.comfortable = NanoDollars(400);
            let hold = desk.budgets.reserve(charge).await?;
            assert!(hold.amount().0 <= 1_000);
            tokio::time::sleep(secs(1)).await;
            desk.settle(hold, 100);
            Ok::<_, Box<Exceeded>>(())
        });
    }
    let passed = calls.join_all().await.iter().flatten().count();
    assert_eq!((passed, desk.only().spent.0), (10, 1_000));
}

#[tokio::test(start_paused = true)]
async fn who_came_first_goes_first_however_little_the_others_need() {
    let desk = Desk::new(vec![rule(key("k"), "lifetime", 100)]);
    let first = desk.reserve(&[key("k")], 60).await.unwrap();
    let order = Arc::new(Mutex::new(Vec::new()));
    let mut calls = JoinSet::new();
    for amount in [80, 5, 30, 1] {
        let (desk, order) = (desk.clone(), Arc::clone(&order));
        calls.spawn(async move {
            let hold = desk.reserve(&[key("k")], amount).await.unwrap();
            order.lock().unwrap().push(amount);
            tokio::time::sleep(secs(1)).await;
            drop(hold);
        });
        tokio::task::yield_now().await;
    }
    // Forty are free all the while, and nobody with less to ask for gets them.
    assert_eq!((order.lock().unwrap().len(), desk.only().waiting), (0, 4));
    drop(first);
    calls.join_all().await;
    assert_eq!(*order.lock().unwrap(), [80, 5, 30, 1]);
}

#[tokio::test(start_paused = true)]
async fn whoever_waits_holds_nobody_up_where_money_is_left() {
    let desk = Desk::new(vec![rule(Scope::global(), "lifetime", 1_000), rule(key("a"), "lifetime", 10)]);
    let held = desk.reserve(&[key("a"), Scope::global()], 10).await.unwrap();
    let waits = tokio::spawn({
        let desk = desk.clone();
        async move { desk.reserve(&[key("a"), Scope::global()], 10).await }
    });
    tokio::task::yield_now().await;
    let other = desk.reserve(&[key("b"), Scope::global()], 900).await.unwrap();
    assert_eq!(desk.now(), start(), "nobody waited");
    drop(held);
    assert!(waits.await.unwrap().is_ok());
    drop(other);
}

#[tokio::test(start_paused = true)]
async fn waiting_in_vain_ends_and_says_for_whom() {
    let desk = Desk::new(vec![rule(key("k"), "lifetime", 100)]);
    let held = desk.reserve(&[key("k")], 100).await.unwrap();
    let refused = desk.reserve(&[key("k")], 50).await.unwrap_err();
    assert_eq!(desk.now(), start() + SignedDuration::from_secs(30));
    assert_eq!((refused.reason, refused.reserved.0, refused.in_flight), (Shortfall::InFlight, 100, 1));
    assert_eq!(desk.only().waiting, 0);
    drop(held);
}

#[tokio::test(start_paused = true)]
async fn who_has_waited_long_enough_takes_what_makes_sense() {
    let desk = Desk::new(vec![rule(key("k"), "lifetime", 100)]);
    let held = desk.reserve(&[key("k")], 70).await.unwrap();
    let hold = desk.budgets.reserve(desk.charge(&[key("k")], 20, 80)).await.unwrap();
    assert_eq!((hold.amount().0, desk.now()), (30, start() + SignedDuration::from_secs(30)));
    drop(held);
}

#[tokio::test(start_paused = true)]
async fn a_caller_that_goes_away_leaves_the_queue_and_gives_back_what_it_was_granted() {
    let desk = Desk::new(vec![rule(key("k"), "lifetime", 100)]);
    let held = desk.reserve(&[key("k")], 100).await.unwrap();
    let wait = |amount| {
        let desk = desk.clone();
        tokio::spawn(async move { desk.reserve(&[key("k")], amount).await })
    };
    let (big, small) = (wait(100), wait(10));
    tokio::task::yield_now().await;
    assert_eq!(desk.only().waiting, 2);
    // Granted in this very step, but never fetched.
    drop(held);
    assert_eq!((desk.only().reserved.0, desk.only().waiting), (100, 1));
    big.abort();
    assert!(big.await.is_err());
    assert!(small.await.unwrap().is_ok());
    assert_eq!((desk.only().reserved.0, desk.now()), (0, start()));
}

#[tokio::test(start_paused = true)]
async fn no_more_wait_than_may() {
    let options = BudgetOptions { most_waiting: 1, ..BudgetOptions::default() };
    let desk = Desk::with(options, vec![rule(key("k"), "lifetime", 100)]);
    let held = desk.reserve(&[key("k")], 100).await.unwrap();
    let waits = tokio::spawn({
        let desk = desk.clone();
        async move { desk.reserve(&[key("k")], 100).await }
    });
    tokio::task::yield_now().await;
    assert_eq!(desk.reserve(&[key("k")], 1).await.unwrap_err().reason, Shortfall::Queue);
    drop(held);
    assert!(waits.await.unwrap().is_ok());
}

#[tokio::test(start_paused = true)]
async fn a_raised_cap_wakes_those_who_wait() {
    let desk = Desk::new(vec![rule(key("k"), "lifetime", 100)]);
    let held = desk.reserve(&[key("k")], 100).await.unwrap();
    let waits = tokio::spawn({
        let desk = desk.clone();
        async move { desk.reserve(&[key("k")], 50).await }
    });
    tokio::task::yield_now().await;
    desk.budgets.replace(vec![rule(key("k"), "lifetime", 150)], start());
    assert!(waits.await.unwrap().is_ok());
    assert_eq!((desk.only().cap.unwrap().0, desk.now()), (150, start()));
    drop(held);
}

#[tokio::test(start_paused = true)]
async fn who_leaves_one_of_two_queues_lets_the_next_go_on_there() {
    let desk = Desk::new(vec![rule(Scope::global(), "lifetime", 100), rule(key("a"), "lifetime", 100)]);
    let (one, all) =
        (desk.reserve(&[key("a")], 100).await.unwrap(), desk.reserve(&[Scope::global()], 100).await.unwrap());
    let wait = |scopes: Vec<Scope>| {
        let desk = desk.clone();
        tokio::spawn(async move { desk.reserve(&scopes, 50).await })
    };
    let in_both = wait(vec![key("a"), Scope::global()]);
    tokio::task::yield_now().await;
    let behind = wait(vec![Scope::global()]);
    tokio::task::yield_now().await;
    // The first still lacks its own budget, but no longer everybody's.
    drop(all);
    drop(behind.await.unwrap().unwrap());
    assert_eq!(desk.now(), start());
    drop(one);
    assert!(in_both.await.unwrap().is_ok());
}

/// One random caller.
#[derive(Debug, Clone)]
struct Caller {
    key: u8,
    bound: i64,
    percent: i64,
    begins: u64,
    takes: u64,
    gives_up_after: u64,
}

fn caller() -> impl Strategy<Value = Caller> {
    (0u8..3, 1i64..300, 0i64..=100, 0u64..500, 0u64..500, 1u64..60_000).prop_map(
        |(key, bound, percent, begins, takes, gives_up_after)| Caller {
            key,
            bound,
            percent,
            begins,
            takes,
            gives_up_after,
        },
    )
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(60))]

    /// Whatever callers do: no cap is exceeded, nothing stays reserved, nobody stays in a queue, and nobody is turned away while
    /// there is money and nobody else has it.
    #[test]
    fn caps_hold_and_nobody_is_forgotten(
        callers in prop::collection::vec(caller(), 1..60),
        caps in prop::array::uniform3(0i64..1_000),
        all in 0i64..2_000,
    ) {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_time().start_paused(true).build().unwrap();
        runtime.block_on(async move {
            let mut rules = vec![rule(Scope::global(), "lifetime", all)];
            let name = |key: u8| super::key(&key.to_string());
            rules.extend((0u8..).zip(caps).map(|(key, cap)| rule(name(key), "lifetime", cap)));
            let desk = Desk::new(rules);
            let mut calls = JoinSet::new();
            for Caller { key, bound, percent, begins, takes, gives_up_after } in callers {
                let desk = desk.clone();
                calls.spawn(async move {
                    tokio::time::sleep(Duration::from_millis(begins)).await;
                    let (scopes, cost) = ([name(key), Scope::global()], bound * percent / 100);
                    let call = desk.call(&scopes, bound, cost, Duration::from_millis(takes));
                    let gives_up = Duration::from_millis(gives_up_after);
                    if let Ok(Err(why)) = tokio::time::timeout(gives_up, call).await {
                        assert!(why.reason == Shortfall::Spent, "{why}");
                    }
                });
            }
            calls.join_all().await;
            for status in desk.budgets.status(desk.now()) {
                assert!(status.spent <= status.cap.unwrap(), "{status:?}");
                assert_eq!((status.reserved.0, status.in_flight, status.waiting), (0, 0, 0), "{status:?}");
            }
        });
    }
}
