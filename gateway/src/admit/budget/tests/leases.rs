//! Budgets that several gateways share.

use tokio::task::JoinSet;

use super::*;

fn leased(cap: i64) -> Rule {
    Rule { leased: true, ..rule(key("k"), "1d", cap) }
}

fn window() -> Timestamp {
    "2026-11-25T00:00:00Z".parse().unwrap()
}

fn id() -> RuleId {
    leased(0).id
}

#[tokio::test(start_paused = true)]
async fn a_call_waits_for_a_grant_and_spends_no_more_than_that() {
    let desk = Desk::new(vec![leased(1_000)]);
    let waits = tokio::spawn({
        let desk = desk.clone();
        async move { desk.reserve(&[key("k")], 60).await }
    });
    desk.budgets.shortage().await;
    let wanted = desk.budgets.wanted(start());
    assert_eq!((wanted.len(), wanted[0].amount.0, wanted[0].window_start), (1, 60, window()));
    assert!(desk.budgets.grant(&id(), window(), NanoDollars(100)));
    let hold = waits.await.unwrap().unwrap();
    assert!(desk.budgets.wanted(start())[0].amount.0 > 0, "little is left, so more is asked for ahead");
    assert_eq!(desk.budgets.take_back(&id(), window(), NanoDollars(1_000)).0, 40);
    desk.settle(hold, 60);
    assert_eq!(desk.budgets.take_back(&id(), window(), NanoDollars(1_000)).0, 0);
    assert_eq!((desk.only().granted.unwrap().0, desk.only().spent.0), (60, 60));
}

#[tokio::test(start_paused = true)]
async fn what_others_hold_is_waited_for_and_what_they_spent_is_not() {
    let desk = Desk::new(vec![leased(1_000)]);
    assert!(desk.budgets.run_dry(&id(), window(), NanoDollars(900), NanoDollars(100)));
    let refused = desk.reserve(&[key("k")], 60).await.unwrap_err();
    assert_eq!(refused.reason, Shortfall::LeasedElsewhere { amount: NanoDollars(100) });
    assert_eq!((refused.spent.0, desk.now()), (900, start() + SignedDuration::from_secs(30)));
    assert!(desk.budgets.run_dry(&id(), window(), NanoDollars(1_000), NanoDollars(0)));
    let asked = desk.now();
    assert_eq!(desk.reserve(&[key("k")], 60).await.unwrap_err().reason, Shortfall::Spent);
    assert_eq!(desk.now(), asked, "at once");
}

#[tokio::test(start_paused = true)]
async fn a_spent_budget_is_asked_for_again_a_second_later() {
    let desk = Desk::new(vec![leased(1_000)]);
    assert!(desk.budgets.run_dry(&id(), window(), NanoDollars(1_000), NanoDollars(0)));
    assert_eq!(desk.reserve(&[key("k")], 60).await.unwrap_err().reason, Shortfall::Spent);
    assert!(desk.budgets.wanted(start()).is_empty());
    tokio::time::advance(Duration::from_secs(1)).await;
    let waits = tokio::spawn({
        let desk = desk.clone();
        async move { desk.reserve(&[key("k")], 60).await }
    });
    desk.budgets.shortage().await;
    assert!(desk.budgets.grant(&id(), window(), NanoDollars(60)));
    waits.await.unwrap().unwrap();
}

#[tokio::test(start_paused = true)]
async fn what_was_given_to_others_may_come_back() {
    let desk = Desk::new(vec![leased(1_000)]);
    assert!(desk.budgets.grant(&id(), window(), NanoDollars(1_000)));
    assert!(desk.budgets.run_dry(&id(), window(), NanoDollars(0), NanoDollars(0)));
    assert_eq!(desk.budgets.take_back(&id(), window(), NanoDollars(1_000)).0, 1_000);
    let waits = tokio::spawn({
        let desk = desk.clone();
        async move { desk.reserve(&[key("k")], 60).await }
    });
    desk.budgets.shortage().await;
    assert_eq!(desk.budgets.wanted(start())[0].amount.0, 60, "others may have it");
    assert!(desk.budgets.grant(&id(), window(), NanoDollars(60)));
    waits.await.unwrap().unwrap();
}

#[tokio::test(start_paused = true)]
async fn a_soft_limit_is_reached_by_what_all_gateways_spend() {
    let desk = Desk::new(vec![Rule { soft: Some(NanoDollars(100)), ..leased(1_000) }]);
    let look = |spent: i64, first: bool| desk.budgets.note_fleet(&id(), window(), NanoDollars(spent), first);
    assert!(desk.budgets.grant(&id(), window(), NanoDollars(1_000)));
    desk.call(&[key("k")], 60, 60, Duration::ZERO).await.unwrap();
    look(90, true);
    assert_eq!((desk.only().spent_by_all.0, desk.only().is_over_soft), (90, false));
    look(120, false);
    look(130, false);
    let told = desk.budgets.crossings();
    assert_eq!(told.iter().map(|crossing| crossing.spent.0).collect::<Vec<_>>(), [120]);
    assert_eq!((desk.only().spent.0, desk.only().spent_by_all.0, desk.only().is_over_soft), (60, 130, true));
    let restarted = Desk::new(vec![Rule { soft: Some(NanoDollars(100)), ..leased(1_000) }]);
    restarted.budgets.note_fleet(&id(), window(), NanoDollars(130), true);
    assert!(restarted.only().is_over_soft && restarted.budgets.crossings().is_empty(), "it was told of before");
}

#[tokio::test(start_paused = true)]
async fn a_grant_for_another_window_is_not_taken() {
    let desk = Desk::new(vec![leased(1_000)]);
    assert!(!desk.budgets.grant(&id(), start(), NanoDollars(100)));
    assert!(!desk.budgets.grant(&rule(key("other"), "1d", 1).id, window(), NanoDollars(100)));
    assert_eq!(desk.only().granted.unwrap().0, 0);
}

#[tokio::test(start_paused = true)]
async fn a_budget_that_grants_nothing_is_named() {
    let desk = Desk::new(vec![leased(1_000)]);
    assert_eq!(desk.reserve(&[key("k")], 60).await.unwrap_err().reason, Shortfall::NotGranted);
}

/// A pool that hands out slices, as the database will.
#[tokio::test(start_paused = true)]
async fn three_gateways_never_spend_more_than_they_share() {
    const CAP: i64 = 1_000;
    let desks: Vec<Desk> = (0..3).map(|_| Desk::new(vec![leased(CAP)])).collect();
    let mut calls = JoinSet::new();
    for number in 0..300u64 {
        let desk = desks[usize::try_from(number % 3).unwrap()].clone();
        calls.spawn(async move { desk.call(&[key("k")], 30, 20, Duration::from_millis(number % 50)).await });
    }
    let lender = tokio::spawn({
        let desks = desks.clone();
        async move {
            let mut pool = CAP;
            loop {
                for desk in &desks {
                    let idle = desk.budgets.wanted(start()).is_empty();
                    pool += if idle { desk.budgets.take_back(&id(), window(), NanoDollars(CAP)).0 } else { 0 };
                }
                for (number, desk) in desks.iter().enumerate() {
                    for wanted in desk.budgets.wanted(start()) {
                        let slice = wanted.amount.0.min(pool).min(CAP / 10);
                        pool -= slice;
                        if slice > 0 {
                            assert!(desk.budgets.grant(&id(), window(), NanoDollars(slice)));
                            continue;
                        }
                        let others = || {
                            desks.iter().enumerate().filter(|(other, _)| *other != number).map(|(_, desk)| desk.only())
                        };
                        let spent: i64 = others().map(|status| status.spent.0).sum();
                        let leased: i64 = others().map(|status| status.granted.unwrap().0 - status.spent.0).sum();
                        assert!(desk.budgets.run_dry(&id(), window(), NanoDollars(spent), NanoDollars(leased)));
                    }
                }
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
        }
    });
    let passed = calls.join_all().await.iter().flatten().count();
    lender.abort();
    let spent: i64 = desks.iter().map(|desk| desk.only().spent.0).sum();
    assert!(spent <= CAP, "{spent}");
    // What is left in three gateways' hands is less than a call each.
    assert!(passed >= 45, "{passed} of 50 passed");
}
