//! Any number of schedules of gateways that share one budget: answers of the pool come late, gateways die, windows end.

use std::collections::BTreeMap;
use std::sync::{Mutex, MutexGuard};

use proptest::prelude::*;
use tokio::task::JoinSet;

use super::*;

const GATEWAYS: usize = 3;
/// Eleven seconds of the first minute are over when the clock starts, so it ends among the callers of 30 to 60 seconds.
const TERM: &str = "1m";

fn leased(cap: i64) -> Rule {
    Rule { leased: true, ..rule(key("k"), TERM, cap) }
}

fn window(at: Timestamp) -> Timestamp {
    Calendar::default().window(leased(0).id.term, at).start
}

/// One call: at which gateway, what it may cost and costs, when it begins, how long it takes, when its client leaves.
#[derive(Debug, Clone)]
struct Caller {
    gateway: usize,
    bound: i64,
    percent: i64,
    begins: u64,
    takes: u64,
    leaves_after: u64,
}

fn caller() -> impl Strategy<Value = Caller> {
    (
        0..GATEWAYS,
        1i64..200,
        0i64..=100,
        30_000u64..60_000,
        0u64..3_000,
        prop_oneof![4 => Just(60_000u64), 1 => 0u64..4_000],
    )
        .prop_map(|(gateway, bound, percent, begins, takes, leaves_after)| Caller {
            gateway,
            bound,
            percent,
            begins,
            takes,
            leaves_after,
        })
}

/// What is granted in a window; `None` when nothing is left of it.
type Slice = (Timestamp, Option<i64>);

/// What the database knows of one gateway.
struct Member {
    desk: Desk,
    /// Counts its lives: a call of an earlier one is over.
    life: u64,
    granted: BTreeMap<Timestamp, i64>,
    spent: BTreeMap<Timestamp, i64>,
    open: BTreeMap<u64, (Timestamp, i64)>,
    /// An answer that is on its way: until then nothing more is asked.
    answer: Option<(Instant, Vec<Slice>)>,
}

/// The database: what each gateway has of the cap, and what the dead have spent of it.
struct Pool {
    cap: i64,
    members: Vec<Member>,
    gone: BTreeMap<Timestamp, i64>,
    delays: Vec<u64>,
    asked: usize,
}

#[derive(Clone)]
struct Fleet(Arc<Mutex<Pool>>);

fn at(sums: &BTreeMap<Timestamp, i64>, window: Timestamp) -> i64 {
    sums.get(&window).copied().unwrap_or_default()
}

impl Pool {
    fn free(&self, window: Timestamp) -> i64 {
        self.cap - at(&self.gone, window) - self.members.iter().map(|one| at(&one.granted, window)).sum::<i64>()
    }

    fn spent(&self, window: Timestamp) -> i64 {
        at(&self.gone, window) + self.members.iter().map(|one| at(&one.spent, window)).sum::<i64>()
    }

    /// One round of exchanges.
    fn tick(&mut self) {
        for number in 0..self.members.len() {
            self.exchange(number);
        }
    }

    fn exchange(&mut self, number: usize) {
        let id = leased(0).id;
        let desk = self.members[number].desk.clone();
        if let Some((due, _)) = &self.members[number].answer {
            if *due > Instant::now() {
                return;
            }
            for (window, amount) in self.members[number].answer.take().unwrap().1 {
                match amount {
                    Some(amount) if desk.budgets.grant(&id, window, NanoDollars(amount)) => {}
                    // Its window is over: it goes back.
                    Some(amount) => *self.members[number].granted.get_mut(&window).unwrap() -= amount,
                    None => {
                        let spent = self.spent(window) - at(&self.members[number].spent, window);
                        let all: i64 =
                            self.members.iter().map(|one| at(&one.granted, window) - at(&one.spent, window)).sum();
                        let own = at(&self.members[number].granted, window) - at(&self.members[number].spent, window);
                        desk.budgets.run_dry(&id, window, NanoDollars(spent), NanoDollars(all - own));
                    }
                }
            }
        }
        let now = desk.now();
        let wanted = desk.budgets.wanted(now);
        if wanted.is_empty() {
            let back = desk.budgets.take_back(&id, window(now), NanoDollars(self.cap)).0;
            *self.members[number].granted.entry(window(now)).or_default() -= back;
            return;
        }
        let mut answers = Vec::new();
        for wish in wanted {
            let slice = wish.amount.0.min(self.free(wish.window_start));
            answers.push((wish.window_start, (slice > 0).then_some(slice)));
            *self.members[number].granted.entry(wish.window_start).or_default() += slice.max(0);
        }
        let delay = Duration::from_millis(self.delays[self.asked % self.delays.len()]);
        self.asked += 1;
        self.members[number].answer = Some((Instant::now() + delay, answers));
    }

    /// A gateway dies: what its open calls cost nobody knows, so all that was set aside for them counts. The rest of its lease is
    /// everybody's again.
    fn kill(&mut self, number: usize) {
        let dead = &mut self.members[number];
        for (window, spent) in std::mem::take(&mut dead.spent) {
            *self.gone.entry(window).or_default() += spent;
        }
        for (window, bound) in std::mem::take(&mut dead.open).into_values() {
            *self.gone.entry(window).or_default() += bound;
        }
        let began = dead.desk.began;
        (dead.granted, dead.answer, dead.life) = (BTreeMap::new(), None, dead.life + 1);
        dead.desk = Desk { began, ..Desk::new(vec![leased(self.cap)]) };
    }
}

impl Fleet {
    fn lock(&self) -> MutexGuard<'_, Pool> {
        self.0.lock().unwrap()
    }

    async fn call(self, number: u64, caller: Caller) {
        tokio::time::sleep(Duration::from_millis(caller.begins)).await;
        let (desk, life) = {
            let pool = self.lock();
            (pool.members[caller.gateway].desk.clone(), pool.members[caller.gateway].life)
        };
        let leaves = Duration::from_millis(caller.leaves_after);
        let Ok(Ok(hold)) = tokio::time::timeout(leaves, desk.reserve(&[key("k")], caller.bound)).await else { return };
        let window = window(hold.at());
        let is_alive = |pool: &Pool| pool.members[caller.gateway].life == life;
        {
            let mut pool = self.lock();
            if !is_alive(&pool) {
                return;
            }
            pool.members[caller.gateway].open.insert(number, (window, caller.bound));
        }
        tokio::time::sleep(Duration::from_millis(caller.takes)).await;
        let mut pool = self.lock();
        if is_alive(&pool) {
            let cost = caller.bound * caller.percent / 100;
            desk.settle(hold, cost);
            pool.members[caller.gateway].open.remove(&number);
            *pool.members[caller.gateway].spent.entry(window).or_default() += cost;
        }
    }
}

async fn schedule(callers: Vec<Caller>, cap: i64, delays: Vec<u64>, deaths: Vec<(usize, u64)>) {
    let member = |_| Member {
        desk: Desk::new(vec![leased(cap)]),
        life: 0,
        granted: BTreeMap::new(),
        spent: BTreeMap::new(),
        open: BTreeMap::new(),
        answer: None,
    };
    let members = (0..GATEWAYS).map(member).collect();
    let fleet = Fleet(Arc::new(Mutex::new(Pool { cap, members, gone: BTreeMap::new(), delays, asked: 0 })));
    let mut calls = JoinSet::new();
    for (number, caller) in (0..).zip(callers) {
        calls.spawn(fleet.clone().call(number, caller));
    }
    for (gateway, when) in deaths {
        let fleet = fleet.clone();
        calls.spawn(async move {
            tokio::time::sleep(Duration::from_millis(when)).await;
            fleet.lock().kill(gateway);
        });
    }
    let lender = tokio::spawn({
        let fleet = fleet.clone();
        async move {
            loop {
                fleet.lock().tick();
                tokio::time::sleep(Duration::from_millis(50)).await;
            }
        }
    });
    calls.join_all().await;
    // Whatever is on its way arrives, and whatever was believed of the others is out of date.
    tokio::time::sleep(secs(3)).await;
    let desk = fleet.lock().members[0].desk.clone();
    let now = desk.now();
    let left = {
        let pool = fleet.lock();
        let windows: Vec<Timestamp> =
            pool.members.iter().flat_map(|one| one.spent.keys()).chain(pool.gone.keys()).copied().collect();
        for window in windows {
            assert!(pool.spent(window) <= cap, "{} of {cap} spent", pool.spent(window));
            assert!(pool.free(window) >= 0, "more was granted than there is");
        }
        cap - pool.spent(window(now))
    };
    let last = desk.reserve(&[key("k")], left).await;
    lender.abort();
    assert!(last.is_ok(), "{left} of {cap} are left, and were refused: {}", last.unwrap_err());
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(40))]

    /// Gateways together never exceed a cap, and once they are quiet any of them can spend the last of it.
    #[test]
    fn a_shared_cap_holds_and_can_be_spent_to_its_end(
        callers in prop::collection::vec(caller(), 1..50),
        cap in 0i64..2_000,
        delays in prop::collection::vec(prop_oneof![Just(0u64), 0u64..2_000], 1..12),
        deaths in prop::collection::vec((0..GATEWAYS, 30_000u64..60_000), 0..3),
    ) {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_time().start_paused(true).build().unwrap();
        runtime.block_on(schedule(callers, cap, delays, deaths));
    }
}
