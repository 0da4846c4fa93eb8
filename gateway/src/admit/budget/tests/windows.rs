//! Calls and the ends of windows.

use super::*;

#[tokio::test(start_paused = true)]
async fn a_call_counts_in_the_window_in_which_it_began() {
    let desk = Desk::new(vec![rule(key("k"), "1h", 100)]);
    let old = desk.reserve(&[key("k")], 100).await.unwrap();
    tokio::time::sleep(secs(3_600)).await;
    let new = desk.reserve(&[key("k")], 80).await.unwrap();
    assert_eq!((desk.only().reserved.0, desk.only().window.start.to_string()), (80, "2026-11-25T14:00:00Z".into()));
    desk.settle(old, 100);
    assert_eq!((desk.only().spent.0, desk.only().reserved.0), (0, 80), "the old window's money is the old window's");
    desk.settle(new, 70);
    assert_eq!((desk.only().spent.0, desk.only().reserved.0), (70, 0));
}

#[tokio::test(start_paused = true)]
async fn a_new_window_wakes_those_who_wait() {
    let desk = Desk::new(vec![rule(key("k"), "1h", 100)]);
    // Eleven seconds before two o'clock.
    tokio::time::sleep(secs(12 * 60 + 38)).await;
    let held = desk.reserve(&[key("k")], 100).await.unwrap();
    let hold = desk.reserve(&[key("k")], 100).await.unwrap();
    assert_eq!((hold.at().to_string(), desk.now()), ("2026-11-25T14:00:00Z".to_owned(), hold.at()));
    drop(held);
    assert_eq!(desk.only().reserved.0, 100);
}

#[tokio::test(start_paused = true)]
async fn a_rolling_window_frees_money_as_it_ages() {
    let desk = Desk::new(vec![rule(key("k"), "rolling 1h", 100)]);
    let hold = desk.reserve(&[key("k")], 60).await.unwrap();
    desk.settle(hold, 60);
    tokio::time::sleep(secs(1_800)).await;
    let hold = desk.reserve(&[key("k")], 40).await.unwrap();
    desk.settle(hold, 40);
    let refused = desk.reserve(&[key("k")], 1).await.unwrap_err();
    // Spent at 13:47, so in the quarter that ends at 14:00, and counted for an hour after that.
    assert_eq!(refused.resets_at.unwrap().to_string(), "2026-11-25T15:00:00Z");
    let until = SignedDuration::try_from(desk.began.elapsed()).unwrap();
    let at = start() + until;
    tokio::time::sleep(Duration::try_from(refused.resets_at.unwrap().duration_since(at)).unwrap()).await;
    assert_eq!(desk.budgets.remaining_for(&[key("k")], desk.now()), Some(NanoDollars(60)));
}

#[tokio::test(start_paused = true)]
async fn a_moment_before_the_window_counts_in_it_and_a_clock_set_back_asks_the_ledger() {
    let desk = Desk::new(vec![rule(key("k"), "1h", 100)]);
    tokio::time::sleep(secs(3_600)).await;
    drop(desk.reserve(&[key("k")], 1).await.unwrap());
    let mut charge = desk.charge(&[key("k")], 1, 1);
    charge.at = "2026-11-25T13:59:59Z".parse().unwrap();
    let hold = desk.budgets.reserve(charge).await.unwrap();
    assert_eq!(hold.at().to_string(), "2026-11-25T14:00:00Z");
    drop(hold);
    assert!(desk.budgets.status("2026-11-25T11:00:00Z".parse().unwrap())[0].is_loading);
}

#[tokio::test(start_paused = true)]
async fn a_temporary_increase_ends() {
    let mut raised = rule(key("k"), "lifetime", 100);
    raised.increase = Some(Increase { by: NanoDollars(50), until: start() + SignedDuration::from_secs(10) });
    let desk = Desk::new(vec![raised]);
    drop(desk.reserve(&[key("k")], 150).await.unwrap());
    tokio::time::sleep(secs(10)).await;
    assert!(desk.reserve(&[key("k")], 101).await.is_err());
    assert!(desk.reserve(&[key("k")], 100).await.is_ok());
}
