//! The real budgets and rates of several gateways on one server.

use std::collections::VecDeque;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use fleetgate_tests::eventually;
use fleetgate_wire::money::NanoDollars;
use fleetgate_wire::period::Period;
use jiff::Timestamp;
use tokio::sync::watch;
use tokio::task::JoinSet;

use super::{Server, gateway, number, record};
use crate::admit::budget::{BudgetOptions, Budgets, Calendar, Charge, Rule, RuleId, Term};
use crate::admit::rate::{Funds, RateCaps, Rates};
use crate::admit::scope::{Scope, ScopeKind};
use crate::ledger::postgres::Postgres;
use crate::ledger::postgres::lease::Leasable;
use crate::ledger::postgres::task::Leases;
use crate::ledger::share::{LeasedBudgets, LeasedRates};

const TTL: Duration = Duration::from_secs(60);

/// Joins with an engine. The tasks end with the set.
fn share(postgres: &Arc<Postgres>, engine: Arc<dyn Leasable>, tasks: &mut JoinSet<()>) -> watch::Sender<bool> {
    let (stop, stopped) = watch::channel(false);
    tasks.spawn(Arc::clone(postgres).listen());
    tasks.spawn(Leases::new(Arc::clone(postgres), vec![engine], TTL, String::new()).run(stopped, async || ()));
    stop
}

async fn a_cap_is_kept(term: Term) {
    const CAP: i64 = 10_000_000;
    const CALLS: usize = 300;
    let server = Server::start().await;
    let url = server.database("ledger").await;
    let scope = Scope::new(ScopeKind::Key, "k");
    let id = RuleId { scope: scope.clone(), term };
    let (spent, mut tasks, mut callers, mut stops) =
        (Arc::new(AtomicU64::new(0)), JoinSet::new(), JoinSet::new(), vec![]);
    for seed in 0..3 {
        let postgres = Arc::new(gateway(&url));
        let budgets = Budgets::new(BudgetOptions { patience: Duration::from_secs(5), ..BudgetOptions::default() });
        let rule = Rule { id: id.clone(), max: Some(NanoDollars(CAP)), soft: None, increase: None, leased: true };
        budgets.replace(vec![rule], Timestamp::now());
        let engine = Arc::new(LeasedBudgets::new(budgets.clone(), Calendar::default(), true));
        stops.push(share(&postgres, engine, &mut tasks));
        let journal: Arc<Mutex<VecDeque<(u128, i64, i64)>>> = Arc::default();
        let shipper = Arc::clone(&journal);
        tasks.spawn(async move {
            loop {
                let rows: Vec<_> = shipper.lock().unwrap().drain(..).collect();
                let records: Vec<_> = rows.iter().map(|(id, at, cost)| record(*id, *at, Some(*cost))).collect();
                postgres.apply(&records, || ()).await.unwrap();
                tokio::time::sleep(Duration::from_millis(10)).await;
            }
        });
        let seq = Arc::new(AtomicU64::new(0));
        for call in 0..CALLS {
            let (budgets, journal, scope, seq) =
                (budgets.clone(), Arc::clone(&journal), scope.clone(), Arc::clone(&seq));
            let spent = Arc::clone(&spent);
            callers.spawn(async move {
                let mut dice = fastrand::Rng::with_seed(seed * 1_000 + call as u64);
                let most = NanoDollars(100_000);
                let charge =
                    Charge { scopes: [scope].into(), least: most, comfortable: most, most, at: Timestamp::now() };
                let Ok(hold) = budgets.reserve(charge).await else { return false };
                tokio::time::sleep(Duration::from_millis(dice.u64(1..20))).await;
                let cost = dice.i64(50_000..=100_000);
                spent.fetch_add(cost.unsigned_abs(), Ordering::Relaxed);
                journal.lock().unwrap().push_back((uuid::Uuid::now_v7().as_u128(), hold.at().as_microsecond(), cost));
                hold.settle(NanoDollars(cost), seq.fetch_add(1, Ordering::Relaxed) + 1);
                true
            });
        }
    }
    let passed = callers.join_all().await.into_iter().filter(|passed| *passed).count();
    let spent = i64::try_from(spent.load(Ordering::Relaxed)).unwrap();
    println!("{term}: {passed} of {} calls passed through 3 gateways, and spent {spent} of {CAP}", 3 * CALLS);
    assert!(spent <= CAP, "{spent} of {CAP}");
    assert!(spent >= CAP * 9 / 10, "only {spent} of {CAP}");
    eventually("all is applied", async || {
        (number(&server, "SELECT coalesce(sum(cost_nanousd), 0) FROM spend WHERE scope = 'key:k'").await == spent)
            .then_some(())
    })
    .await;
    for stop in &stops {
        stop.send_replace(true);
    }
    eventually("everything is returned", async || {
        (number(&server, "SELECT count(*) FROM lease").await == 0).then_some(())
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn three_gateways_keep_to_one_budget() {
    a_cap_is_kept(Term::Lifetime).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn three_gateways_keep_to_one_rolling_budget() {
    a_cap_is_kept(Term::Rolling(Period::parse("1h").unwrap())).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn three_gateways_keep_to_one_rate() {
    a_rate_is_kept(RateCaps { rpm: Some(30), ..RateCaps::default() }).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn three_gateways_keep_to_one_limit_of_a_day_also_when_they_start_again() {
    let (url, mut admitted, _server) = a_rate_is_kept(RateCaps { rpd: Some(30), ..RateCaps::default() }).await;
    // All have left; who comes now finds what they used.
    let (mut tasks, scope) = (JoinSet::new(), Scope::new(ScopeKind::Key, "k"));
    let postgres = Arc::new(gateway(&url));
    let caps = RateCaps { rpd: Some(30), ..RateCaps::default() };
    let rates = Rates::new([(scope.clone(), caps)], Funds::Leased);
    let _stop = share(&postgres, Arc::new(LeasedRates::new(rates.clone())), &mut tasks);
    for _ in 0..40 {
        admitted += usize::from(rates.admit_or_wait(std::slice::from_ref(&scope), 0, Timestamp::now).await.is_ok());
    }
    assert!(admitted <= 30, "{admitted} of 30 a day");
}

/// Calls at once through three gateways that then end; gives the database's address and how many passed.
async fn a_rate_is_kept(caps: RateCaps) -> (String, usize, Server) {
    let server = Server::start().await;
    let url = server.database("ledger").await;
    let scope = Scope::new(ScopeKind::Key, "k");
    let (mut tasks, mut callers) = (JoinSet::new(), JoinSet::new());
    let mut stops = Vec::new();
    for _ in 0..3 {
        let postgres = Arc::new(gateway(&url));
        let rates = Rates::new([(scope.clone(), caps)], Funds::Leased);
        stops.push(share(&postgres, Arc::new(LeasedRates::new(rates.clone())), &mut tasks));
        for _ in 0..60 {
            let (rates, scope) = (rates.clone(), scope.clone());
            callers.spawn(async move {
                // A server that is busy grants later than a call waits; whoever lacks a grant alone may come again.
                for _ in 0..10 {
                    match rates.admit_or_wait(std::slice::from_ref(&scope), 0, Timestamp::now).await {
                        Err(limited) if limited.awaits_grant => {}
                        decided => return decided.is_ok(),
                    }
                }
                false
            });
        }
    }
    let admitted = callers.join_all().await.into_iter().filter(|admitted| *admitted).count();
    println!("{admitted} of 180 calls passed through 3 gateways with a limit of 30");
    assert!((27..=30).contains(&admitted), "{admitted}");
    for stop in &stops {
        stop.send_replace(true);
    }
    eventually("all have left", async || {
        (number(&server, "SELECT count(*) FROM gateway WHERE process IS NOT NULL").await == 0).then_some(())
    })
    .await;
    (url, admitted, server)
}
