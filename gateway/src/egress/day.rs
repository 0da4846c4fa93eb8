//! Bytes of keys and hosts in a day (UTC). A gateway that counts alone knows what was used. Where several share a database, each
//! spends out of slices that it is granted, whose sum never exceeds the limit: a slice counts as used from its grant until midnight,
//! but for what its gateway gives back, so that a gateway's death frees nothing.

use std::collections::HashMap;
use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use fleetgate_wire::tunnel::Charge;
use jiff::Timestamp;
use jiff::tz::TimeZone;
use tokio::sync::Notify;
use tokio::time::{Instant, timeout_at};

use crate::ledger::{Leasable, Return, Share, TunnelsOf, Wish};

const SECONDS: i64 = 86_400;
const MICROS: i64 = 1_000_000;
/// One part in so many of a limit is what a gateway likes to have in hand.
const PARTS: u64 = 16;
/// Less than this is not worth asking for.
const LEAST: u64 = 64 * 1024;
/// How long a tunnel is held up before it asks again.
const HOLD: Duration = Duration::from_millis(50);
/// How long a tunnel waits for a slice, and a new one before it is refused. Longer than this the database is away.
const TUNNEL_PATIENCE: Duration = Duration::from_secs(10);
const OPENING_PATIENCE: Duration = Duration::from_secs(3);
/// How long a limit that is used up is asked for before tunnels end: other gateways may give something back.
const SHORTAGE: Duration = Duration::from_millis(750);
/// How long it is not asked for after that.
const DRY: Duration = Duration::from_secs(5);

/// The days of all payers.
#[derive(Debug)]
pub(super) struct Days {
    leased: bool,
    days: Mutex<HashMap<TunnelsOf, Arc<Day>>>,
    shortage: Notify,
    granted: Notify,
}

/// One payer's.
#[derive(Debug, Default)]
pub(super) struct Day(Mutex<State>);

#[derive(Debug, Clone, Default)]
struct State {
    /// Since 1970.
    number: i64,
    /// By this process.
    used: u64,
    /// The limit, as the last tunnel had it.
    most: u64,
    /// To this process.
    granted: u64,
    /// When it last asked for more.
    asked_at: Option<Instant>,
    /// Since when it got nothing.
    short_since: Option<Instant>,
    dry_until: Option<Instant>,
    held_since: Option<Instant>,
}

/// What is known of a payer before a tunnel.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Left {
    Some,
    Nothing,
    /// No slice came.
    Unknown,
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    // Nothing panics half-way through a change.
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// The number of a day since 1970 (UTC).
fn day_of(at: Timestamp) -> i64 {
    at.as_second().div_euclid(SECONDS)
}

/// When the day of a moment began (UTC).
pub(super) fn midnight(at: Timestamp) -> Timestamp {
    Timestamp::from_second(day_of(at) * SECONDS).unwrap_or(at)
}

/// When the next day begins, as messages say it.
pub(super) fn next_day(at: Timestamp) -> String {
    let next = Timestamp::from_second((day_of(at) + 1) * SECONDS).unwrap_or(at);
    next.to_zoned(TimeZone::UTC).strftime("%Y-%m-%d %H:%M UTC").to_string()
}

/// A slice's rule, by the same name on all gateways.
fn rule(payer: &TunnelsOf) -> String {
    match payer {
        TunnelsOf::Key(hash) => format!("key:{hash} tunnel_bytes_per_day"),
        TunnelsOf::Host(host) => format!("host:{host} tunnel_bytes_per_day"),
    }
}

fn signed(bytes: u64) -> i64 {
    i64::try_from(bytes).unwrap_or(i64::MAX)
}

impl State {
    /// Begins the day that it is now, if that is another.
    fn roll(&mut self, now: Timestamp) -> &mut Self {
        let number = day_of(now);
        if self.number != number {
            *self = Self { number, most: self.most, ..Self::default() };
        }
        self
    }

    fn is_dry(&self) -> bool {
        self.dry_until.is_some_and(|until| Instant::now() < until)
    }

    fn unused(&self) -> u64 {
        self.granted.saturating_sub(self.used)
    }

    /// What it likes to be granted at once.
    fn slice(&self) -> u64 {
        (self.most / PARTS).max(LEAST)
    }

    fn is_short(&self) -> bool {
        self.unused() < self.slice() / 2 && self.used < self.most && !self.is_dry()
    }

    /// Whether to ask for more now, once for all tunnels.
    fn asks(&mut self) -> bool {
        let asks = self.is_short() && self.asked_at.is_none_or(|at| at.elapsed() >= HOLD);
        if asks {
            self.asked_at = Some(Instant::now());
        }
        asks
    }

    fn give_back(&mut self) -> u64 {
        let unused = self.unused();
        self.granted -= unused;
        unused
    }
}

impl Days {
    /// With `leased`, of several gateways' days.
    pub(super) fn new(leased: bool) -> Self {
        Self { leased, days: Mutex::default(), shortage: Notify::new(), granted: Notify::new() }
    }

    /// A payer's day.
    pub(super) fn of(&self, payer: &TunnelsOf) -> Arc<Day> {
        Arc::clone(lock(&self.days).entry(payer.clone()).or_default())
    }

    /// Whether the ledger has to be asked how much a payer used today.
    pub(super) fn must_learn(&self, payer: &TunnelsOf) -> bool {
        !self.leased && !lock(&self.days).contains_key(payer)
    }

    /// Begins to count, with what was used today before; who is counted already stays as he is.
    pub(super) fn learn(&self, payer: TunnelsOf, used: u64) {
        let state = State { number: day_of(Timestamp::now()), used, ..State::default() };
        lock(&self.days).entry(payer).or_insert_with(|| Arc::new(Day(Mutex::new(state))));
    }

    /// Whether a payer with this limit may have a new tunnel. Where days are leased, that may take a moment.
    pub(super) async fn left(&self, day: &Day, most: u64) -> Left {
        let deadline = Instant::now() + OPENING_PATIENCE;
        loop {
            let granted = self.granted.notified();
            let mut granted = std::pin::pin!(granted);
            // From here on no grant goes unheard.
            granted.as_mut().enable();
            {
                let mut state = lock(&day.0);
                let state = state.roll(Timestamp::now());
                state.most = most;
                if state.used >= most || (state.is_dry() && state.unused() == 0) {
                    return Left::Nothing;
                }
                if !self.leased || state.unused() > 0 {
                    return Left::Some;
                }
            }
            self.shortage.notify_one();
            if timeout_at(deadline, granted).await.is_err() {
                return Left::Unknown;
            }
        }
    }

    /// Takes note of bytes that have passed, and says whether more may.
    pub(super) fn charge(&self, day: &Day, most: u64, bytes: u64) -> Charge {
        let mut state = lock(&day.0);
        let state = state.roll(Timestamp::now());
        state.most = most;
        state.used = state.used.saturating_add(bytes);
        if state.used >= most {
            return Charge::Stop;
        }
        if !self.leased {
            return Charge::Go;
        }
        if state.asks() {
            self.shortage.notify_one();
        }
        if state.unused() > 0 {
            state.held_since = None;
            return Charge::Go;
        }
        let held_since = *state.held_since.get_or_insert_with(Instant::now);
        if state.is_dry() || held_since.elapsed() > TUNNEL_PATIENCE {
            return Charge::Stop;
        }
        Charge::Hold(HOLD)
    }

    /// Takes what is not used from those whom `wanted` names.
    fn give_back(&self, wanted: impl Fn(&TunnelsOf, &Arc<Day>, &State) -> bool) -> Vec<Return> {
        let now = day_of(Timestamp::now());
        let mut returns = Vec::new();
        for (payer, day) in lock(&self.days).iter() {
            let mut state = lock(&day.0);
            if state.number == now && wanted(payer, day, &state) {
                let amount = signed(state.give_back());
                returns.push(Return { rule: rule(payer), window_start: now * SECONDS * MICROS, amount });
            }
        }
        returns.retain(|back| back.amount > 0);
        returns
    }
}

impl Leasable for Days {
    fn wanted(&self) -> Vec<Wish> {
        let now = Timestamp::now();
        let mut wishes = Vec::new();
        for (payer, day) in lock(&self.days).iter() {
            let is_idle = Arc::strong_count(day) == 1;
            let mut state = lock(&day.0);
            let state = state.roll(now);
            let want = if state.is_short() && !is_idle { state.slice() } else { 0 };
            let owed = state.used.saturating_sub(state.granted);
            if want == 0 && owed == 0 {
                continue;
            }
            let window_start = state.number * SECONDS * MICROS;
            wishes.push(Wish {
                rule: rule(payer),
                scope: None,
                window_start,
                window_end: window_start + SECONDS * MICROS,
                since: window_start,
                reach: 0,
                cap: signed(state.most),
                least: signed(want.min(LEAST)),
                want: signed(want),
                owed: signed(owed),
                counts_held: false,
                lasting: true,
            });
        }
        wishes
    }

    fn grant(&self, share: &Share) -> bool {
        let days = lock(&self.days);
        let Some((_, day)) = days.iter().find(|(payer, _)| rule(payer) == share.rule) else { return false };
        let mut state = lock(&day.0);
        let state = state.roll(Timestamp::now());
        if state.number * SECONDS * MICROS != share.window_start {
            return false;
        }
        if share.amount > 0 {
            state.granted = state.granted.saturating_add(share.amount.unsigned_abs());
        }
        if state.unused() > 0 {
            (state.asked_at, state.short_since, state.dry_until) = (None, None, None);
        } else if share.leased > 0 && state.short_since.get_or_insert_with(Instant::now).elapsed() < SHORTAGE {
            // Others have heard of it, and may give something back.
            return true;
        } else {
            (state.short_since, state.dry_until) = (None, Some(Instant::now() + DRY));
        }
        self.granted.notify_waiters();
        true
    }

    fn take_back(&self, of: Option<&str>, from_waiting: bool) -> Vec<Return> {
        // These are not written off with their gateway, so there is no need to hurry.
        let Some(of) = of else { return Vec::new() };
        self.give_back(|payer, day, state| {
            let is_idle = Arc::strong_count(day) == 1;
            rule(payer) == of && (from_waiting || is_idle || state.unused() > state.slice() / 2)
        })
    }

    fn unused(&self) -> Vec<Return> {
        self.give_back(|_, day, _| Arc::strong_count(day) == 1)
    }

    fn leave(&self) -> Vec<Return> {
        self.give_back(|_, _, _| true)
    }

    fn shortage(&self) -> Pin<Box<dyn Future<Output = ()> + Send + '_>> {
        Box::pin(self.shortage.notified())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn payer() -> TunnelsOf {
        TunnelsOf::Key("k".to_owned())
    }

    fn share(wish: &Wish, amount: i64, leased: i64) -> Share {
        Share { rule: wish.rule.clone(), window_start: wish.window_start, amount, spent: 0, leased }
    }

    #[tokio::test]
    async fn a_day_has_so_many_bytes_and_the_next_as_many_again() {
        let days = Days::new(false);
        assert!(days.must_learn(&payer()));
        days.learn(payer(), 40);
        days.learn(payer(), 4000);
        let day = days.of(&payer());
        assert_eq!((days.charge(&day, 100, 59), days.left(&day, 100).await), (Charge::Go, Left::Some));
        assert_eq!((days.charge(&day, 100, 1), days.left(&day, 100).await), (Charge::Stop, Left::Nothing));
        let mut state = State { number: 3, used: 100, ..State::default() };
        let next: Timestamp = "1970-01-05T00:00:00Z".parse().unwrap();
        assert_eq!((state.roll(next).used, state.number), (0, 4));
        assert_eq!(midnight("1970-01-05T23:59:59Z".parse().unwrap()), next);
        assert_eq!(next_day(next), "1970-01-06 00:00 UTC");
    }

    #[tokio::test(start_paused = true)]
    async fn a_leased_day_spends_what_it_was_granted_and_books_what_it_overran() {
        let days = Days::new(true);
        let (day, most) = (days.of(&payer()), 10_000_000);
        let (left, ()) = tokio::join!(days.left(&day, most), async {
            days.shortage().await;
            let wish = days.wanted().remove(0);
            assert_eq!((wish.least, wish.want, wish.cap, wish.lasting), (65_536, 625_000, 10_000_000, true));
            assert!(days.grant(&share(&wish, 100_000, 0)));
        });
        assert_eq!(left, Left::Some);
        assert_eq!(days.charge(&day, most, 90_000), Charge::Go);
        assert_eq!(days.charge(&day, most, 30_000), Charge::Hold(HOLD), "nothing is left for the next byte");
        let wish = days.wanted().remove(0);
        assert_eq!((wish.owed, wish.least), (20_000, 65_536));
        assert!(days.grant(&share(&wish, 20_000 + 65_536, 0)));
        assert_eq!(days.charge(&day, most, 0), Charge::Go);
        assert_eq!(days.take_back(Some("another"), true), []);
        let back = days.take_back(Some(&wish.rule), true);
        assert_eq!(back[0].amount, 65_536);
        assert_eq!(days.charge(&day, most, 0), Charge::Hold(HOLD));
        for wait in [Duration::ZERO, SHORTAGE] {
            assert_eq!(days.charge(&day, most, 0), Charge::Hold(HOLD), "others may give something back");
            tokio::time::advance(wait).await;
            let wish = days.wanted().remove(0);
            assert!(days.grant(&share(&wish, 0, 5)));
        }
        assert_eq!(days.charge(&day, most, 0), Charge::Stop);
        assert_eq!((days.left(&day, most).await, days.wanted()), (Left::Nothing, vec![]));
    }

    #[test]
    fn who_has_no_tunnel_gives_back_what_he_did_not_use() {
        let days = Days::new(true);
        let day = days.of(&payer());
        assert_eq!(days.charge(&day, 1_000_000, 10), Charge::Hold(HOLD));
        let wish = days.wanted().remove(0);
        assert!(days.grant(&share(&wish, 65_546, 0)));
        assert_eq!(days.unused(), []);
        drop(day);
        assert_eq!((days.unused().remove(0).amount, days.unused()), (65_536, vec![]));
        assert!(!days.grant(&Share { window_start: 0, ..share(&wish, 5, 0) }), "of another day");
        assert!(days.leave().is_empty() && days.wanted().is_empty());
    }
}
