//! The engine as its callers see it. Time is tokio's and stands still unless everybody waits.

mod caution;
mod fleet;
mod leases;
mod loading;
mod waiting;
mod windows;

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use fleetgate_wire::money::NanoDollars;
use fleetgate_wire::period::Period;
use jiff::{SignedDuration, Timestamp};
use tokio::time::Instant;

use super::*;
use crate::admit::scope::{Scope, ScopeKind};

/// A gateway's budgets, and what its calls have cost.
#[derive(Clone)]
struct Desk {
    budgets: Budgets,
    began: Instant,
    seq: Arc<AtomicU64>,
}

fn start() -> Timestamp {
    "2026-11-25T13:47:11Z".parse().unwrap()
}

fn key(id: &str) -> Scope {
    Scope::new(ScopeKind::Key, id)
}

fn deployment(id: &str) -> Scope {
    Scope::new(ScopeKind::Deployment, id)
}

fn rule(scope: Scope, term: &str, max: i64) -> Rule {
    let term = match term.strip_prefix("rolling ") {
        Some(period) => Term::Rolling(Period::parse(period).unwrap()),
        None if term == "lifetime" => Term::Lifetime,
        None => Term::Snapped(Period::parse(term).unwrap()),
    };
    let id = RuleId { scope, term };
    Rule { id, max: Some(NanoDollars(max)), soft: None, increase: None, leased: false }
}

impl Desk {
    /// Budgets with these rules, of which nothing is spent yet.
    fn new(rules: Vec<Rule>) -> Self {
        Self::with(BudgetOptions::default(), rules)
    }

    fn with(options: BudgetOptions, rules: Vec<Rule>) -> Self {
        let desk = Self { budgets: Budgets::new(options), began: Instant::now(), seq: Arc::default() };
        desk.budgets.replace(rules, start());
        desk.load_nothing();
        desk
    }

    fn load_nothing(&self) {
        for missing in self.budgets.missing() {
            assert!(self.budgets.load(&missing.id, missing.from, &[], missing.after));
        }
    }

    fn now(&self) -> Timestamp {
        start() + SignedDuration::try_from(self.began.elapsed()).unwrap()
    }

    fn charge(&self, scopes: &[Scope], least: i64, most: i64) -> Charge {
        let amounts = (NanoDollars(least), NanoDollars(most));
        Charge { scopes: scopes.into(), least: amounts.0, comfortable: amounts.1, most: amounts.1, at: self.now() }
    }

    async fn reserve(&self, scopes: &[Scope], amount: i64) -> Result<Hold, Box<Exceeded>> {
        self.budgets.reserve(self.charge(scopes, amount, amount)).await
    }

    fn settle(&self, hold: Hold, actual: i64) {
        hold.settle(NanoDollars(actual), self.seq.fetch_add(1, Ordering::Relaxed) + 1);
    }

    /// One whole call: reserved, under way for a while, settled. Gives what it cost, or why it was refused.
    async fn call(&self, scopes: &[Scope], bound: i64, cost: i64, takes: Duration) -> Result<i64, Box<Exceeded>> {
        let hold = self.reserve(scopes, bound).await?;
        tokio::time::sleep(takes).await;
        self.settle(hold, cost);
        Ok(cost)
    }

    fn only(&self) -> Status {
        let mut all = self.budgets.status(self.now());
        assert_eq!(all.len(), 1, "{all:?}");
        all.remove(0)
    }
}

fn secs(seconds: u64) -> Duration {
    Duration::from_secs(seconds)
}

#[tokio::test(start_paused = true)]
async fn a_call_is_set_aside_in_every_budget_or_in_none() {
    let (key, host) = (key("k"), Scope::new(ScopeKind::Host, "mac"));
    let desk = Desk::new(vec![rule(key.clone(), "1d", 100), rule(host.clone(), "1d", 50)]);
    let scopes = [key, host];
    let hold = desk.reserve(&scopes, 50).await.unwrap();
    let reserved =
        |desk: &Desk| desk.budgets.status(start()).iter().map(|status| status.reserved.0).collect::<Vec<_>>();
    assert_eq!(reserved(&desk), [50, 50]);
    desk.settle(hold, 45);
    assert_eq!(reserved(&desk), [0, 0]);
    let refused = desk.reserve(&scopes, 6).await.unwrap_err();
    assert_eq!((refused.scope.to_string(), refused.reason), ("host:mac".to_owned(), Shortfall::Spent));
    assert_eq!((refused.spent.0, refused.cap.0, refused.needed.0), (45, 50, 6));
    assert_eq!(reserved(&desk), [0, 0]);
    assert_eq!(desk.budgets.remaining_for(&scopes, start()), Some(NanoDollars(5)));
}

#[tokio::test(start_paused = true)]
async fn what_is_not_settled_is_given_back_and_what_nobody_knows_stays_spent() {
    let desk = Desk::new(vec![rule(key("k"), "1d", 100)]);
    drop(desk.reserve(&[key("k")], 100).await.unwrap());
    assert_eq!((desk.only().spent.0, desk.only().reserved.0), (0, 0));
    desk.reserve(&[key("k")], 30).await.unwrap().keep(1);
    assert_eq!((desk.only().spent.0, desk.only().reserved.0), (30, 0));
    desk.seq.store(1, Ordering::Relaxed);
    let hold = desk.reserve(&[key("k")], 30).await.unwrap();
    desk.settle(hold, 45);
    assert_eq!(desk.only().spent.0, 75, "a cost beyond the hold counts too");
}

#[tokio::test(start_paused = true)]
async fn nothing_may_be_spent_of_a_budget_of_zero_but_free_calls_pass() {
    let desk = Desk::new(vec![rule(key("k"), "1d", 0)]);
    assert_eq!(desk.reserve(&[key("k")], 1).await.unwrap_err().reason, Shortfall::Spent);
    assert_eq!(desk.reserve(&[key("k")], 0).await.unwrap().amount().0, 0);
}

#[tokio::test(start_paused = true)]
async fn whoever_has_no_budget_is_not_held_up() {
    let desk = Desk::new(vec![rule(key("poor"), "1d", 0)]);
    let hold = desk.reserve(&[key("rich"), deployment("d")], 1_000).await.unwrap();
    assert_eq!((hold.amount().0, hold.reserved().0), (1_000, 1_000));
}

#[tokio::test(start_paused = true)]
async fn a_glob_gives_each_scope_its_own_counter_and_yields_to_a_rule_of_its_own() {
    let host = |id: &str| Scope::new(ScopeKind::Host, id);
    let desk = Desk::new(vec![rule(host("*"), "1d", 10), rule(host("ci-*"), "1d", 20), rule(host("big"), "1d", 500)]);
    for (id, fits) in [("mac", 10), ("pc", 10), ("ci-1", 20), ("big", 500)] {
        let reserve = tokio::spawn({
            let (desk, scope) = (desk.clone(), host(id));
            async move { desk.reserve(&[scope], fits).await }
        });
        tokio::task::yield_now().await;
        desk.load_nothing();
        let hold = reserve.await.unwrap().unwrap();
        assert!(desk.charge_is_refused(&host(id)).await, "{id}");
        desk.settle(hold, fits);
    }
    let ids: Vec<_> = desk.budgets.status(start()).iter().map(|status| status.id.to_string()).collect();
    assert_eq!(ids, ["host:big 1d", "host:ci-1 1d", "host:mac 1d", "host:pc 1d"]);
}

impl Desk {
    /// Refused once it has waited in vain: everything is set aside.
    async fn charge_is_refused(&self, scope: &Scope) -> bool {
        self.reserve(std::slice::from_ref(scope), 1).await.is_err_and(|exceeded| exceeded.reason == Shortfall::InFlight)
    }
}

#[tokio::test(start_paused = true)]
async fn a_soft_limit_is_told_of_once_in_a_window_and_blocks_nothing() {
    let mut soft = rule(key("k"), "1h", 0);
    (soft.max, soft.soft) = (None, Some(NanoDollars(10)));
    let desk = Desk::new(vec![soft]);
    for cost in [9, 1, 5] {
        let hold = desk.reserve(&[key("k")], cost).await.unwrap();
        desk.settle(hold, cost);
    }
    desk.budgets.crossed().await;
    let told = desk.budgets.crossings();
    assert_eq!(told.iter().map(|crossing| (crossing.spent.0, crossing.soft.0)).collect::<Vec<_>>(), [(10, 10)]);
    tokio::time::sleep(secs(3_600)).await;
    let hold = desk.reserve(&[key("k")], 12).await.unwrap();
    desk.settle(hold, 12);
    assert_eq!(desk.budgets.crossings().len(), 1);
}

#[tokio::test(start_paused = true)]
async fn a_scope_that_is_given_twice_pays_once() {
    let tag = Scope::new(ScopeKind::Tag, "t");
    let desk = Desk::new(vec![rule(tag.clone(), "1d", 100)]);
    let hold = desk.reserve(&[tag.clone(), tag.clone()], 60).await.unwrap();
    assert_eq!((desk.only().reserved.0, desk.only().in_flight), (60, 1));
    desk.settle(hold, 50);
    assert_eq!(desk.only().spent.0, 50);
}

#[tokio::test(start_paused = true)]
async fn names_without_number_fill_no_memory_and_each_is_limited() {
    let customer = |number: usize| Scope::new(ScopeKind::Customer, number.to_string());
    let desk = Desk::new(vec![rule(Scope::new(ScopeKind::Customer, "*"), "1m", 10)]);
    for number in 0..9_000 {
        let scopes: Arc<[Scope]> = [customer(number), customer(number + 100_000)].into();
        let mut reserve = tokio::spawn({
            let (desk, scopes) = (desk.clone(), Arc::clone(&scopes));
            async move { desk.reserve(&scopes, 10).await }
        });
        tokio::task::yield_now().await;
        desk.load_nothing();
        let hold = (&mut reserve).await.unwrap().unwrap();
        desk.settle(hold, 10);
        assert_eq!(desk.reserve(&scopes, 1).await.unwrap_err().reason, Shortfall::Spent);
        if number % 1_000 == 999 {
            // The windows of those so far are over.
            tokio::time::sleep(secs(60)).await;
        }
    }
    assert!(desk.budgets.status(start()).len() < 9_000);
}

/// Real threads, since time that stands still has only one.
#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn callers_on_many_threads_neither_overspend_nor_hang() {
    let desk = Desk::new(vec![rule(Scope::global(), "lifetime", 40_000), rule(key("a"), "lifetime", 10_000)]);
    let mut calls = tokio::task::JoinSet::new();
    for number in 0..2_000u32 {
        let desk = desk.clone();
        calls.spawn(async move {
            let scopes = [key(if number % 2 == 0 { "a" } else { "b" }), Scope::global(), deployment("d")];
            let hold = desk.reserve(&scopes, 100).await?;
            tokio::task::yield_now().await;
            desk.settle(hold, 90);
            Ok::<_, Box<Exceeded>>(())
        });
    }
    let passed = calls.join_all().await.iter().flatten().count();
    let spent: Vec<i64> = desk.budgets.status(desk.now()).iter().map(|status| status.spent.0).collect();
    assert!(spent[0] <= 10_000 && spent[1] <= 40_000, "{spent:?}");
    // Both are used up but for less than a call.
    assert!(spent[0] > 10_000 - 190 && spent[1] > 40_000 - 190, "{spent:?} by {passed}");
}
