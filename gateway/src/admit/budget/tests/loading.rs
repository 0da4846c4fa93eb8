//! Counters whose money only the ledger knows.

use super::*;

#[tokio::test(start_paused = true)]
async fn calls_wait_for_the_ledger_s_figure() {
    let budgets = Budgets::new(BudgetOptions::default());
    let desk = Desk { budgets, began: Instant::now(), seq: Arc::default() };
    desk.budgets.replace(vec![rule(key("k"), "1d", 100)], start());
    let waits = tokio::spawn({
        let desk = desk.clone();
        async move { desk.reserve(&[key("k")], 60).await }
    });
    desk.budgets.loads_wanted().await;
    let missing = desk.budgets.missing();
    assert_eq!(missing.len(), 1);
    assert_eq!(
        (missing[0].id.to_string(), missing[0].from.to_string()),
        ("key:k 1d".into(), "2026-11-25T00:00:00Z".into())
    );
    assert!(desk.budgets.load(&missing[0].id, missing[0].from, &[(0, NanoDollars(41))], 7));
    assert_eq!(waits.await.unwrap().unwrap_err().reason, Shortfall::Spent);
    assert_eq!(desk.now(), start());
    assert!(!desk.budgets.load(&missing[0].id, missing[0].from, &[], 8), "it has its figure");
}

#[tokio::test(start_paused = true)]
async fn a_ledger_that_does_not_answer_is_named() {
    let budgets = Budgets::new(BudgetOptions::default());
    let desk = Desk { budgets, began: Instant::now(), seq: Arc::default() };
    desk.budgets.replace(vec![rule(key("k"), "1d", 100)], start());
    assert_eq!(desk.reserve(&[key("k")], 60).await.unwrap_err().reason, Shortfall::Loading);
    assert_eq!(desk.now(), start() + SignedDuration::from_secs(30));
}

#[tokio::test(start_paused = true)]
async fn each_settlement_counts_once_on_whichever_side_of_the_figure() {
    let desk = Desk::new(vec![rule(Scope::global(), "1d", 10_000)]);
    let scopes = [key("k"), Scope::global()];
    let mut holds = Vec::new();
    for _ in 0..5 {
        holds.push(desk.reserve(&scopes, 100).await.unwrap());
    }
    let mut settle = |seq| holds.pop().unwrap().settle(NanoDollars(10), seq);
    settle(1);
    settle(2);
    // Five calls began before the key had a budget; two of them have settled.
    desk.budgets.replace(vec![rule(Scope::global(), "1d", 10_000), rule(key("k"), "1d", 100)], start());
    let missing = desk.budgets.missing();
    assert_eq!((missing.len(), missing[0].after), (1, 2));
    settle(3);
    settle(4);
    let (id, from) = (&missing[0].id, missing[0].from);
    assert!(!desk.budgets.load(id, from, &[(0, NanoDollars(10))], 1), "older than the counter");
    assert!(desk.budgets.load(id, from, &[(0, NanoDollars(30))], 3));
    let spent = |desk: &Desk| desk.budgets.status(start()).into_iter().map(|status| status.spent.0).collect::<Vec<_>>();
    assert_eq!(spent(&desk), [40, 40]);
    settle(5);
    assert_eq!(spent(&desk), [50, 50]);
}

#[tokio::test(start_paused = true)]
async fn a_settlement_that_the_figure_holds_already_is_not_added_again() {
    let budgets = Budgets::new(BudgetOptions::default());
    let desk = Desk { budgets, began: Instant::now(), seq: Arc::default() };
    desk.budgets.replace(vec![rule(Scope::global(), "1d", 100)], start());
    let missing = desk.budgets.missing().remove(0);
    desk.load_nothing();
    let hold = desk.reserve(&[key("k"), Scope::global()], 10).await.unwrap();
    desk.budgets.replace(vec![rule(key("k"), "1d", 100)], start());
    // The journal knows of settlement 1, and so does the ledger, before the caller comes to say so here.
    assert_ne!(desk.budgets.missing()[0].id, missing.id);
    let missing = desk.budgets.missing().remove(0);
    assert!(desk.budgets.load(&missing.id, missing.from, &[(0, NanoDollars(10))], 1));
    hold.settle(NanoDollars(10), 1);
    assert_eq!(desk.only().spent.0, 10);
}

#[tokio::test(start_paused = true)]
async fn a_rule_that_stays_keeps_its_money_and_one_that_comes_back_asks_again() {
    let desk = Desk::new(vec![rule(key("k"), "1d", 100)]);
    let hold = desk.reserve(&[key("k")], 30).await.unwrap();
    desk.settle(hold, 30);
    desk.budgets.replace(vec![rule(key("k"), "1d", 50), rule(key("l"), "1d", 1)], start());
    let status = &desk.budgets.status(start())[0];
    assert_eq!((status.spent.0, status.cap.unwrap().0, status.is_loading), (30, 50, false));
    desk.budgets.replace(Vec::new(), start());
    assert!(desk.budgets.status(start()).is_empty());
    desk.budgets.replace(vec![rule(key("k"), "1d", 100)], start());
    assert!(desk.only().is_loading);
}
