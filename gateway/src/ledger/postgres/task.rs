//! Keeps an engine's leases: asks for what is short, gives back what others need, and says often enough that this gateway is there.

use std::pin::Pin;
use std::sync::Arc;
use std::time::{Duration, Instant};

use tokio::sync::{broadcast, watch};

use super::Postgres;
use super::lease::{Leasable, LeaseError, Return, Share, Wish};
use super::listen::Change;
use super::member::{Introduction, Member};

/// How often a gateway says that it is there, and looks for those that are not.
const HEARTBEAT: Duration = Duration::from_secs(5);
/// How often funds are asked for again while there are none.
const ASK_AGAIN: Duration = Duration::from_millis(250);
/// How long to wait while the server is away.
const AWAY: Duration = Duration::from_millis(500);

/// A gateway's part in the sharing of budgets and rates.
#[derive(Debug)]
pub(in crate::ledger) struct Leases {
    postgres: Arc<Postgres>,
    engines: Vec<Arc<dyn Leasable>>,
    /// After so long without a word, a gateway's leases are written off.
    ttl: Duration,
    address: String,
}

impl Leases {
    pub(in crate::ledger) fn new(
        postgres: Arc<Postgres>,
        engines: Vec<Arc<dyn Leasable>>,
        ttl: Duration,
        address: String,
    ) -> Self {
        Self { postgres, engines, ttl, address }
    }

    /// Shares until `stop` is true, then returns everything. `applied` resolves when all rows that were settled when it was called
    /// are in the database.
    pub(in crate::ledger) async fn run(self, mut stop: watch::Receiver<bool>, applied: impl AsyncFn()) {
        let mut changes = self.postgres.changes();
        while !*stop.borrow() {
            let member = tokio::select! {
                member = self.join(&applied) => member,
                _ = stop.changed() => return,
            };
            let mut session = Session::new(&self, member);
            if session.run(&mut changes, &mut stop).await {
                self.take_back(None, true);
                let lasting: Vec<Return> = self.engines.iter().flat_map(|engine| engine.leave()).collect();
                applied().await;
                if let Err(error) = self.postgres.leave(&session.member, &lasting).await {
                    tracing::warn!(%error, "this gateway's leases return when it starts again, or are written off");
                }
                return;
            }
            tracing::warn!(
                "this gateway's leases were written off, or another process uses its state directory; it starts anew"
            );
            self.take_back(None, true);
        }
    }

    async fn join(&self, applied: &impl AsyncFn()) -> Member {
        // What an earlier process spent comes first: then its leases can be returned.
        applied().await;
        loop {
            let introduction = Introduction { name: &host_name(), address: &self.address };
            match self.postgres.join(&introduction).await {
                Ok(member) => return member,
                Err(error) => tracing::debug!(%error, "cannot share budgets yet"),
            }
            tokio::time::sleep(AWAY).await;
        }
    }

    fn heartbeat(&self) -> Duration {
        HEARTBEAT.min(self.ttl / 8)
    }

    fn take_back(&self, rule: Option<&str>, from_waiting: bool) -> Vec<Return> {
        let returns = self.engines.iter().flat_map(|engine| engine.take_back(rule, from_waiting));
        returns.filter(|back| back.amount > 0).collect()
    }

    /// What the engines do not accept.
    fn grant(&self, shares: Vec<Share>) -> Vec<Return> {
        let refused = shares.into_iter().filter(|share| !self.engines.iter().any(|engine| engine.grant(share)));
        let back = |Share { rule, window_start, amount, .. }| Return { rule, window_start, amount };
        refused.map(back).filter(|back| back.amount > 0).collect()
    }

    fn wanted(&self) -> Vec<Wish> {
        let mut wishes: Vec<Wish> = self.engines.iter().flat_map(|engine| engine.wanted()).collect();
        // One grant for each: the statement sees what was there before it.
        wishes.sort_by(|a, b| (&a.rule, a.window_start).cmp(&(&b.rule, b.window_start)));
        wishes.dedup_by(|a, b| (&a.rule, a.window_start) == (&b.rule, b.window_start));
        wishes
    }
}

/// One process's sharing, until it ends or somebody else speaks for this gateway.
struct Session<'a> {
    leases: &'a Leases,
    member: Member,
    /// What was given up, and is to be returned with the next exchange.
    returns: Vec<Return>,
    /// What was in an exchange of which nobody knows whether it was committed.
    lost: Option<Vec<Return>>,
    /// When the last message that was heard was sent.
    heard: Instant,
    looked: Option<Instant>,
    /// Something is short, and there was not enough of it.
    hungry: bool,
}

impl<'a> Session<'a> {
    fn new(leases: &'a Leases, member: Member) -> Self {
        let heard = Instant::now();
        Self { leases, member, returns: Vec::new(), lost: None, heard, looked: None, hungry: false }
    }

    /// Whether it ended because it should.
    async fn run(&mut self, changes: &mut broadcast::Receiver<Change>, stop: &mut watch::Receiver<bool>) -> bool {
        while !*stop.borrow() {
            let sent = Instant::now();
            match self.turn().await {
                Ok(()) => self.heard = sent,
                Err(LeaseError::Replaced) => return false,
                Err(LeaseError::Database(error)) => {
                    tracing::debug!(%error, "cannot exchange leases");
                    if self.heard.elapsed() > self.leases.ttl * 3 / 4 {
                        // Nobody may have heard of this gateway: its leases are about to be written off, so it must not spend them.
                        self.returns.extend(self.leases.take_back(None, true));
                    }
                    tokio::select! {
                        () = tokio::time::sleep(AWAY) => {}
                        _ = stop.changed() => {}
                    }
                    continue;
                }
            }
            if !self.returns.is_empty() {
                continue;
            }
            tokio::select! {
                () = self.wait(changes) => {}
                _ = stop.changed() => {}
            }
        }
        true
    }

    /// Until there is something to do: what others need is taken from the engines.
    async fn wait(&mut self, changes: &mut broadcast::Receiver<Change>) {
        let pause = if self.hungry { ASK_AGAIN } else { self.leases.heartbeat() };
        let deadline = tokio::time::Instant::now() + pause;
        let mut shortage = shortage(&self.leases.engines);
        loop {
            let change = tokio::select! {
                () = tokio::time::sleep_until(deadline) => return,
                () = &mut shortage => return,
                change = changes.recv() => change,
            };
            match change {
                Ok(Change::Shortage { gateway, rule }) => {
                    // Where all wait with too little, the first gateway gets what the others have.
                    let yields = gateway.as_str() < self.member.gateway.as_str();
                    if gateway == self.member.gateway.as_str() {
                        continue;
                    }
                    self.returns = self.leases.take_back(Some(&rule), yields);
                    if !self.returns.is_empty() {
                        return;
                    }
                }
                Ok(Change::Funds { .. } | Change::Everything) | Err(broadcast::error::RecvError::Lagged(_)) => {
                    if self.hungry {
                        return;
                    }
                }
                Err(broadcast::error::RecvError::Closed) => std::future::pending().await,
                Ok(_) => {}
            }
        }
    }

    /// One exchange, or one sign of life.
    async fn turn(&mut self) -> Result<(), LeaseError> {
        self.find_lost().await?;
        let mut returns = std::mem::take(&mut self.returns);
        returns.extend(self.leases.engines.iter().flat_map(|engine| engine.unused()));
        let mut wishes = self.leases.wanted();
        // What is given up for others is not asked for in the same breath.
        wishes.retain(|wish| !returns.iter().any(|back| back.rule == wish.rule));
        if wishes.is_empty() && returns.is_empty() {
            self.hungry = false;
            return self.look_around().await;
        }
        match self.leases.postgres.exchange(&mut self.member, &wishes, &returns).await {
            Ok(shares) => {
                let is_short = |(share, wish): (&Share, &Wish)| share.amount < wish.least.saturating_add(wish.owed);
                let by_name = |share: &&Share| {
                    wishes.iter().find(|wish| wish.rule == share.rule && wish.window_start == share.window_start)
                };
                self.hungry = shares.iter().any(|share| by_name(&share).is_some_and(|wish| is_short((share, wish))));
                self.returns = self.leases.grant(shares);
                Ok(())
            }
            Err(error) => {
                self.lost = Some(returns);
                Err(error)
            }
        }
    }

    /// After an exchange that was cut off: was it committed?
    async fn find_lost(&mut self) -> Result<(), LeaseError> {
        let Some(lost) = self.lost.take() else { return Ok(()) };
        match self.leases.postgres.outcome(&mut self.member).await {
            Ok(Some(shares)) => self.returns.extend(self.leases.grant(shares)),
            Ok(None) => self.returns.extend(lost),
            Err(error) => {
                self.lost = Some(lost);
                return Err(error);
            }
        }
        Ok(())
    }

    /// Says that this gateway is there, and looks for those that are not.
    async fn look_around(&mut self) -> Result<(), LeaseError> {
        let postgres = &self.leases.postgres;
        postgres.heartbeat(&self.member).await?;
        if self.looked.is_some_and(|looked| looked.elapsed() < self.leases.heartbeat()) {
            return Ok(());
        }
        self.looked = Some(Instant::now());
        for gone in postgres.write_off(self.leases.ttl).await? {
            tracing::warn!(
                gateway = gone.name,
                nanousd = gone.amount,
                "a gateway was not heard of for too long; what it had leased can be spent again, although it may have spent it"
            );
        }
        Ok(())
    }
}

/// Resolves when one of the engines is short of something.
fn shortage(engines: &[Arc<dyn Leasable>]) -> Pin<Box<dyn Future<Output = ()> + Send + '_>> {
    if engines.is_empty() {
        return Box::pin(std::future::pending());
    }
    let waits: Vec<_> = engines.iter().map(|engine| engine.shortage()).collect();
    Box::pin(async move { drop(futures_util::future::select_all(waits).await) })
}

/// What people call the machine.
fn host_name() -> String {
    let name = std::fs::read_to_string("/proc/sys/kernel/hostname")
        .or_else(|_| std::env::var("HOSTNAME").map_err(std::io::Error::other));
    name.map_or_else(|_| "unknown".to_owned(), |name| name.trim().to_owned())
}
