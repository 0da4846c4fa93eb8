//! Several gateways, one cap.

use std::collections::VecDeque;
use std::pin::Pin;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use fleetgate_tests::eventually;
use sqlx::{Connection, PgConnection};
use tokio::sync::{Notify, watch};
use tokio::task::JoinHandle;

use super::{Server, handle, number, record};
use crate::ledger::postgres::lease::{Leasable, LeaseError, Return, Share, Wish};
use crate::ledger::postgres::member::Introduction;
use crate::ledger::postgres::task::Leases;
use crate::ledger::postgres::{GatewayId, Postgres};

const RULE: &str = "global:all lifetime";
/// Where a window without a beginning begins.
const FIRST: i64 = i64::MIN / 4;
const CAP: i64 = 1_000_000;
const TTL: Duration = Duration::from_secs(60);
const HERE: Introduction<'static> = Introduction { name: "here", address: "127.0.0.1:4000" };

fn wish(least: i64, want: i64) -> Wish {
    Wish {
        rule: RULE.to_owned(),
        scope: Some("global:all".to_owned()),
        window_start: FIRST,
        window_end: i64::MAX,
        since: FIRST,
        reach: 0,
        cap: CAP,
        least,
        want,
        owed: 0,
        counts_held: true,
        lasting: false,
    }
}

fn back(amount: i64) -> Return {
    Return { rule: RULE.to_owned(), window_start: FIRST, amount }
}

fn identity() -> GatewayId {
    GatewayId::of(tempfile::tempdir().unwrap().path()).unwrap()
}

/// A gateway that has joined.
async fn member(url: &str) -> (Postgres, crate::ledger::postgres::member::Member) {
    let postgres = handle(url, identity());
    let member = postgres.join(&HERE).await.unwrap();
    (postgres, member)
}

#[tokio::test]
async fn a_slice_is_half_an_even_share_unless_more_is_needed() {
    let server = Server::start().await;
    let url = server.database("ledger").await;
    let (first, mut one) = member(&url).await;
    let (second, mut two) = member(&url).await;
    let granted = first.exchange(&mut one, &[wish(10, CAP)], &[]).await.unwrap().remove(0);
    assert_eq!((granted.amount, granted.spent, granted.leased), (CAP / 4, 0, 0));
    let granted = second.exchange(&mut two, &[wish(500_000, 500_000)], &[]).await.unwrap().remove(0);
    assert_eq!((granted.amount, granted.leased), (500_000, CAP / 4));
    let granted = first.exchange(&mut one, &[wish(400_000, 400_000)], &[]).await.unwrap().remove(0);
    assert_eq!((granted.amount, granted.leased), (CAP / 4, 500_000), "no more than there is");
    let granted = first.exchange(&mut one, &[wish(1, 1)], &[]).await.unwrap().remove(0);
    assert_eq!(granted.amount, 0);
    second.exchange(&mut two, &[], &[back(300_000)]).await.unwrap();
    let granted = first.exchange(&mut one, &[wish(300_000, 300_000)], &[]).await.unwrap().remove(0);
    assert_eq!(granted.amount, 300_000);
}

#[tokio::test]
async fn what_a_row_cost_leaves_the_lease_of_its_gateway_and_window() {
    let server = Server::start().await;
    let url = server.database("ledger").await;
    let (postgres, mut one) = member(&url).await;
    let day = Wish { window_start: 0, window_end: 86_400_000_000, rule: "day".into(), ..wish(1000, 1000) };
    let host = Wish { scope: Some("host:dgx".into()), rule: "dgx".into(), ..wish(1000, 1000) };
    let known = Wish { counts_held: false, rule: "known".into(), ..wish(1000, 1000) };
    let rate = Wish { scope: None, rule: "rpm".into(), ..wish(60, 60) };
    postgres.exchange(&mut one, &[wish(1000, 1000), day, host, known, rate], &[]).await.unwrap();
    let next_day = record(2, 86_400_000_000, Some(7));
    let mut unknown = record(3, 5, None);
    unknown.reserved_nanousd = Some(40);
    let rows = [record(1, 5, Some(100)), next_day, unknown];
    postgres.apply(&rows, || ()).await.unwrap();
    postgres.apply(&rows, || ()).await.unwrap();
    let left = server.sql("ledger", "SELECT rule, granted, amount FROM lease ORDER BY 1").await;
    assert_eq!(left, "day|1000|860\ndgx|1000|1000\nglobal:all lifetime|1000|853\nknown|1000|893\nrpm|60|60");
    let share = postgres.exchange(&mut one, &[wish(1, 1)], &[]).await.unwrap().remove(0);
    assert_eq!((share.spent, share.leased), (0, 0), "it was all spent here");
    let (second, mut two) = member(&url).await;
    let share = second.exchange(&mut two, &[wish(1, 1)], &[]).await.unwrap().remove(0);
    assert_eq!((share.spent, share.leased), (147, 854));
}

#[tokio::test]
async fn what_was_spent_beside_a_short_window_takes_nothing_from_it() {
    const SECOND: i64 = 1_000_000;
    let server = Server::start().await;
    let url = server.database("ledger").await;
    let (elsewhere, _) = member(&url).await;
    let (postgres, mut one) = member(&url).await;
    // Half a minute in the middle of a quarter of an hour, and one across the end of it.
    let short = |scope: &str, start: i64, seconds: i64| Wish {
        rule: format!("{scope} {start}"),
        scope: Some(scope.to_owned()),
        window_start: start * SECOND,
        window_end: (start + seconds) * SECOND,
        since: start * SECOND,
        ..wish(CAP, CAP)
    };
    let mut unknown = record(5, 629 * SECOND, None);
    unknown.reserved_nanousd = Some(30);
    let rows = [
        record(1, 599 * SECOND, Some(900_000)),
        record(2, 600 * SECOND, Some(100)),
        record(3, 630 * SECOND - 1, Some(20)),
        record(4, 630 * SECOND, Some(800_000)),
        unknown,
        record(6, 899 * SECOND, Some(7)),
        record(7, 900 * SECOND, Some(2)),
    ];
    elsewhere.apply(&rows, || ()).await.unwrap();
    let known = Wish { counts_held: false, ..short("host:mac", 600, 30) };
    let wishes = [
        short("global:all", 600, 30),
        short("tag:b\"c", 600, 30),
        short("key:other", 600, 30),
        short("user:anna", 890, 20),
        short("global:all", 0, 900),
        known,
    ];
    let shares = postgres.exchange(&mut one, &wishes, &[]).await.unwrap();
    let of = |rule: &str| shares.iter().find(|share| share.rule == rule).map(|share| (share.amount, share.spent));
    for (rule, spent) in [
        ("global:all 600", 150),
        ("tag:b\"c 600", 150),
        ("key:other 600", 0),
        ("user:anna 890", 9),
        ("host:mac 600", 120),
        ("global:all 0", 1_700_157),
    ] {
        assert_eq!(of(rule), Some(((CAP - spent).max(0), spent)), "{rule}");
    }
}

#[tokio::test]
async fn a_rates_neighbouring_windows_count_and_what_is_owed_is_booked() {
    let server = Server::start().await;
    let url = server.database("ledger").await;
    let (postgres, mut one) = member(&url).await;
    let (second, mut two) = member(&url).await;
    let rpm = |start: i64, least, owed| {
        let rule = "rpm".to_owned();
        let (window_start, window_end) = (start * 1_000_000, (start + 65) * 1_000_000);
        Wish {
            counts_held: true,
            rule,
            scope: None,
            window_start,
            window_end,
            since: window_start,
            reach: 60_000_000,
            cap: 10,
            least,
            want: least,
            owed,
            lasting: false,
        }
    };
    let mut granted = async |start, least, owed| {
        postgres.exchange(&mut one, &[rpm(start, least, owed)], &[]).await.unwrap().remove(0).amount
    };
    assert_eq!(granted(100, 6, 0).await, 6);
    assert_eq!(granted(105, 6, 0).await, 4, "both lie in the same minute");
    assert_eq!(granted(160, 6, 0).await, 0);
    assert_eq!(granted(165, 6, 0).await, 6, "the first is over");
    assert_eq!(granted(165, 0, 9).await, 9, "tokens that were used are counted");
    assert_eq!(second.exchange(&mut two, &[rpm(170, 1, 0)], &[]).await.unwrap().remove(0).amount, 0);
}

#[tokio::test]
async fn a_restart_and_a_stop_return_everything_and_a_second_process_takes_over() {
    let server = Server::start().await;
    let url = server.database("ledger").await;
    let id = identity();
    let postgres = handle(&url, id.clone());
    let mut first = postgres.join(&HERE).await.unwrap();
    postgres.exchange(&mut first, &[wish(1000, 1000)], &[]).await.unwrap();
    let second = postgres.join(&HERE).await.unwrap();
    assert_eq!(number(&server, "SELECT count(*) FROM lease").await, 0);
    assert!(matches!(postgres.exchange(&mut first, &[wish(1, 1)], &[]).await, Err(LeaseError::Replaced)));
    assert!(matches!(postgres.heartbeat(&first).await, Err(LeaseError::Replaced)));
    let mut second = second;
    postgres.exchange(&mut second, &[wish(1000, 1000)], &[]).await.unwrap();
    postgres.leave(&second, &[]).await.unwrap();
    assert_eq!(number(&server, "SELECT count(*) FROM lease").await, 0);
}

#[tokio::test]
async fn a_lasting_slice_counts_until_its_window_is_over_but_for_what_is_given_back() {
    let server = Server::start().await;
    let url = server.database("ledger").await;
    let (postgres, mut one) = member(&url).await;
    let (second, mut two) = member(&url).await;
    let bytes = |least| Wish { rule: "bytes".into(), scope: None, lasting: true, cap: 100, ..wish(least, least) };
    let back = |amount| Return { rule: "bytes".into(), ..back(amount) };
    let granted = async |postgres: &Postgres, member: &mut _, least| {
        postgres
            .exchange(member, &[bytes(least), wish(7, 7)], &[])
            .await
            .unwrap()
            .into_iter()
            .find(|s| s.rule == "bytes")
    };
    assert_eq!(granted(&postgres, &mut one, 60).await.unwrap().amount, 60);
    // A new process of the same gateway, one that nobody hears of any more, and an orderly end.
    let mut one = postgres.join(&HERE).await.unwrap();
    assert_eq!(granted(&postgres, &mut one, 10).await.unwrap().amount, 10);
    let silent = "UPDATE gateway SET last_seen = now() - interval '1 hour'";
    server.sql("ledger", silent).await;
    assert_eq!(second.write_off(Duration::ZERO).await.unwrap().len(), 1);
    assert_eq!(number(&server, "SELECT sum(amount)::bigint FROM lease WHERE rule = 'bytes'").await, 70);
    assert_eq!(number(&server, "SELECT count(*) FROM lease WHERE rule <> 'bytes'").await, 0);
    assert_eq!(granted(&second, &mut two, 50).await.unwrap().amount, 30, "what is left of 100");
    second.leave(&two, &[back(20)]).await.unwrap();
    assert_eq!(number(&server, "SELECT sum(amount)::bigint FROM lease WHERE rule = 'bytes'").await, 80);
}

#[tokio::test]
async fn an_exchange_that_was_cut_off_is_known_by_its_outcome() {
    let server = Server::start().await;
    let url = server.database("ledger").await;
    let (postgres, mut one) = member(&url).await;
    let before = one.clone();
    let shares = postgres.exchange(&mut one, &[wish(1000, 1000)], &[]).await.unwrap();
    let mut unsure = before;
    assert_eq!(postgres.outcome(&mut unsure).await.unwrap(), Some(shares));
    assert_eq!(postgres.outcome(&mut unsure).await.unwrap(), None, "what was heard is not granted twice");
}

#[tokio::test]
async fn a_dead_gateways_leases_are_written_off_but_not_because_the_server_was_away() {
    let mut server = Server::start().await;
    let url = server.database("ledger").await;
    let (dead, mut one) = member(&url).await;
    dead.exchange(&mut one, &[wish(1000, 1000)], &[]).await.unwrap();
    let (alive, _) = member(&url).await;
    server.sql("ledger", "UPDATE gateway SET last_seen = now() - interval '1 hour'").await;
    assert!(alive.write_off(TTL).await.unwrap().is_empty(), "the server itself has not been there for so long");
    server.stop().await;
    server.restart().await;
    assert!(eventually("the server", async || alive.write_off(TTL).await.ok()).await.is_empty());
    let gone = alive.write_off(Duration::ZERO).await.unwrap();
    assert_eq!((gone.len(), gone[0].amount, gone[0].name.as_str()), (1, 1000, "here"));
    assert!(matches!(dead.heartbeat(&one).await, Err(LeaseError::Replaced)));
}

/// A budget engine in small: money that was granted, spent, and is wanted.
#[derive(Debug, Default)]
struct Purse {
    funds: Mutex<Funds>,
    shortage: Notify,
    granted: Notify,
}

#[derive(Debug, Default)]
struct Funds {
    free: i64,
    needed: i64,
}

impl Leasable for Purse {
    fn wanted(&self) -> Vec<Wish> {
        let funds = self.funds.lock().unwrap();
        let short = funds.needed - funds.free;
        if short > 0 { vec![wish(short, short * 8)] } else { Vec::new() }
    }

    fn grant(&self, share: &Share) -> bool {
        self.funds.lock().unwrap().free += share.amount;
        self.granted.notify_waiters();
        true
    }

    fn take_back(&self, rule: Option<&str>, _from_waiting: bool) -> Vec<Return> {
        assert!(rule.is_none_or(|rule| rule == RULE));
        let free = std::mem::take(&mut self.funds.lock().unwrap().free);
        vec![back(free)]
    }

    fn unused(&self) -> Vec<Return> {
        Vec::new()
    }

    fn shortage(&self) -> Pin<Box<dyn Future<Output = ()> + Send + '_>> {
        Box::pin(self.shortage.notified())
    }
}

impl Purse {
    /// Takes so much out, or gives up when there is nothing for a while.
    async fn take(&self, amount: i64) -> bool {
        for _ in 0..20 {
            let granted = self.granted.notified();
            {
                let mut funds = self.funds.lock().unwrap();
                if funds.free >= amount {
                    (funds.free, funds.needed) = (funds.free - amount, 0);
                    return true;
                }
                funds.needed = amount;
            }
            self.shortage.notify_one();
            let _nothing = tokio::time::timeout(Duration::from_millis(100), granted).await;
        }
        self.funds.lock().unwrap().needed = 0;
        false
    }

    fn give(&self, amount: i64) {
        self.funds.lock().unwrap().free += amount;
    }
}

/// What outlives a gateway's process: its identity and its journal.
struct Machine {
    id: GatewayId,
    journal: Arc<Mutex<VecDeque<(u128, i64)>>>,
    spent: Arc<AtomicU64>,
}

/// The tasks of a gateway's process.
struct Process {
    tasks: Vec<JoinHandle<()>>,
    stop: watch::Sender<bool>,
}

impl Process {
    fn kill(&self) {
        self.tasks.iter().for_each(JoinHandle::abort);
    }
}

async fn ship(postgres: &Postgres, journal: &Mutex<VecDeque<(u128, i64)>>) {
    let rows: Vec<_> = journal.lock().unwrap().iter().copied().collect();
    let records: Vec<_> = rows.iter().map(|(id, cost)| record(*id, 1, Some(*cost))).collect();
    if postgres.apply(&records, || ()).await.is_ok() {
        journal.lock().unwrap().retain(|(id, _)| !rows.iter().any(|(applied, _)| applied == id));
    } else {
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}

impl Machine {
    fn start(&self, url: &str, seed: u64) -> Process {
        let postgres = Arc::new(handle(url, self.id.clone()));
        let purse = Arc::new(Purse::default());
        let (stop, stopped) = watch::channel(false);
        let engines: Vec<Arc<dyn Leasable>> = vec![Arc::clone(&purse) as _];
        let leases = Leases::new(Arc::clone(&postgres), engines, TTL, String::new());
        let (journal, shipper) = (Arc::clone(&self.journal), Arc::clone(&postgres));
        let drained = Arc::clone(&self.journal);
        let mut tasks = vec![
            tokio::spawn(Arc::clone(&postgres).listen()),
            tokio::spawn(leases.run(stopped, async move || {
                while !drained.lock().unwrap().is_empty() {
                    tokio::time::sleep(Duration::from_millis(10)).await;
                }
            })),
            tokio::spawn(async move {
                loop {
                    ship(&shipper, &journal).await;
                    tokio::time::sleep(Duration::from_millis(5)).await;
                }
            }),
        ];
        for caller in 0..4 {
            let (purse, journal, spent) = (Arc::clone(&purse), Arc::clone(&self.journal), Arc::clone(&self.spent));
            tasks.push(tokio::spawn(async move {
                let mut dice = fastrand::Rng::with_seed(seed * 31 + caller);
                loop {
                    let worst = dice.i64(1..4000);
                    if !purse.take(worst).await {
                        continue;
                    }
                    tokio::time::sleep(Duration::from_millis(dice.u64(0..4))).await;
                    let cost = dice.i64(0..=worst);
                    spent.fetch_add(u64::try_from(cost).unwrap(), Ordering::Relaxed);
                    journal.lock().unwrap().push_back((uuid::Uuid::now_v7().as_u128(), cost));
                    purse.give(worst - cost);
                }
            }));
        }
        Process { tasks, stop }
    }
}

/// What is applied and what is leased, seen at one instant.
const TOTAL: &str = "SELECT coalesce((SELECT sum(cost_nanousd) FROM spend WHERE scope = 'global:all'), 0)::bigint \
                     + coalesce((SELECT sum(amount) FROM lease), 0)::bigint";

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn gateways_that_spend_die_and_return_never_exceed_the_cap() {
    let mut server = Server::start().await;
    let url = server.database("ledger").await;
    let machines: Vec<_> =
        (0..3).map(|_| Machine { id: identity(), journal: Arc::default(), spent: Arc::default() }).collect();
    let mut processes: Vec<_> = machines.iter().zip(0..).map(|(machine, seed)| machine.start(&url, seed)).collect();
    let spent = || machines.iter().map(|machine| machine.spent.load(Ordering::Relaxed)).sum::<u64>();
    let (mut looks, mut highest) = (0, 0);
    for round in 0..8_u64 {
        if round == 4 {
            server.crash().await;
            server.restart().await;
        }
        let mut eye = eventually("the server", async || PgConnection::connect(&url).await.ok()).await;
        let goal = 100_000 * (round + 1);
        eventually("spending", async || {
            for _ in 0..10 {
                let total: i64 = sqlx::query_scalar(TOTAL).fetch_one(&mut eye).await.unwrap_or(0);
                assert!(total <= CAP, "{total} of {CAP} in round {round}");
                (looks, highest) = (looks + 1, highest.max(total));
            }
            (spent() >= goal).then_some(())
        })
        .await;
        // Killed with rows in its journal and money in its purse; the same machine starts again.
        let victim = usize::try_from(round % 3).unwrap();
        processes[victim].kill();
        processes[victim] = machines[victim].start(&url, 100 + round);
    }
    eventually("nearly everything is spent", async || (spent() >= 985_000).then_some(())).await;
    for process in &processes {
        process.stop.send_replace(true);
    }
    eventually("everything is returned", async || {
        (number(&server, "SELECT count(*) FROM lease").await == 0).then_some(())
    })
    .await;
    let applied = number(&server, "SELECT cost_nanousd FROM spend WHERE scope = 'global:all'").await;
    println!("of {CAP}: {} spent, {applied} applied, {highest} at most spent or leased in {looks} looks", spent());
    assert!(spent() <= CAP.unsigned_abs() && applied <= CAP);
    processes.iter().for_each(Process::kill);
}
