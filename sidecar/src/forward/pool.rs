//! The idle connections to one gateway, newest first, and when one is too old to be trusted.

use std::net::{IpAddr, SocketAddr, UdpSocket};
use std::time::{Duration, Instant, SystemTime};

use hyper::client::conn::http1::SendRequest;

use super::api::Outgoing;

/// Well under the 120 seconds after which a gateway closes an idle connection.
const IDLE_LIMIT: Duration = Duration::from_secs(50);
/// More calls at once than a host makes; fewer would mean a new connection for each call of a burst.
const MAX_IDLE: usize = 256;
/// When the wall clock and the steady clock disagree by this much, the machine slept (or somebody set the clock, which costs
/// no more than a new connection).
const LEAP: Duration = Duration::from_secs(2);
/// Whoever paused for so long asks the kernel whether the way is still the same: five system calls, too many for each of a burst.
const SURE_FOR: Duration = Duration::from_millis(5);
/// The sweep does not wake up more often than this.
const SWEEP_PAUSE: Duration = Duration::from_secs(1);

/// One connection and where it leads.
#[derive(Debug)]
pub(super) struct Wire {
    pub(super) sender: SendRequest<Outgoing>,
    pub(super) local: IpAddr,
    pub(super) peer: SocketAddr,
    /// Of the pool at the time when it was dialled: a flush in between means that it does not come back.
    pub(super) generation: u64,
}

/// Idle connections.
#[derive(Debug, Default)]
pub(super) struct Pool {
    idle: Vec<(Wire, Moment)>,
    generation: u64,
    /// Somebody calls [`Pool::sweep`] from time to time.
    is_swept: bool,
}

impl Pool {
    /// What a connection that is dialled now belongs to.
    pub(super) fn generation(&self) -> u64 {
        self.generation
    }

    /// A connection that can take a request at once.
    pub(super) fn take(&mut self, now: Moment) -> Option<Wire> {
        let (_, newest) = self.idle.last()?;
        if !newest.is_fresh(now) {
            // Then none of the older ones is.
            self.flush();
            return None;
        }
        let (wire, since) = self.take_ready()?;
        if now.steady.saturating_duration_since(since.steady) > SURE_FOR && source_to(wire.peer) != Some(wire.local) {
            // Another network, or none: what was sent on the old connections would go nowhere.
            self.flush();
            return None;
        }
        Some(wire)
    }

    /// The newest that has finished its last exchange; the closed ones that are met on the way go.
    fn take_ready(&mut self) -> Option<(Wire, Moment)> {
        for index in (0..self.idle.len()).rev() {
            let sender = &self.idle[index].0.sender;
            if sender.is_closed() {
                self.idle.remove(index);
            } else if sender.is_ready() {
                return Some(self.idle.remove(index));
            }
        }
        None
    }

    /// Keeps a connection whose answer has been read. True when somebody must begin to sweep.
    pub(super) fn put(&mut self, wire: Wire, now: Moment) -> bool {
        if wire.generation != self.generation || wire.sender.is_closed() || self.idle.len() >= MAX_IDLE {
            return false;
        }
        self.idle.push((wire, now));
        !std::mem::replace(&mut self.is_swept, true)
    }

    /// Lets all connections go, and those that are in use as soon as they are done.
    pub(super) fn flush(&mut self) {
        self.generation += 1;
        self.idle.clear();
    }

    /// Lets go of what is closed or too old, and says when to look again; not at all once nothing is left.
    pub(super) fn sweep(&mut self, now: Moment) -> Option<Duration> {
        self.idle.retain(|(wire, since)| !wire.sender.is_closed() && since.is_fresh(now));
        self.is_swept = !self.idle.is_empty();
        let oldest = self.idle.iter().map(|(_, since)| since.steady).min()?;
        Some(IDLE_LIMIT.saturating_sub(now.steady.saturating_duration_since(oldest)).max(SWEEP_PAUSE))
    }

    /// How many there are that the gateway has not closed.
    pub(super) fn open(&self) -> usize {
        self.idle.iter().filter(|(wire, _)| !wire.sender.is_closed()).count()
    }
}

/// A time on two clocks: one stops while the machine sleeps, the other does not.
#[derive(Debug, Clone, Copy)]
pub(super) struct Moment {
    steady: Instant,
    wall: SystemTime,
}

impl Moment {
    pub(super) fn now() -> Self {
        Self { steady: Instant::now(), wall: SystemTime::now() }
    }

    /// Whether a connection that became idle at this moment may be used now.
    fn is_fresh(self, now: Self) -> bool {
        let steady = now.steady.saturating_duration_since(self.steady);
        let leap = match now.wall.duration_since(self.wall) {
            Ok(wall) => wall.abs_diff(steady),
            Err(backwards) => backwards.duration() + steady,
        };
        steady < IDLE_LIMIT && leap < LEAP
    }
}

/// The address from which the kernel would send to this one now. Connecting a UDP socket looks the route up and sends nothing.
fn source_to(peer: SocketAddr) -> Option<IpAddr> {
    let any: SocketAddr = if peer.is_ipv4() { ([0, 0, 0, 0], 0).into() } else { ([0u16; 8], 0).into() };
    let socket = UdpSocket::bind(any).ok()?;
    socket.connect(peer).ok()?;
    Some(socket.local_addr().ok()?.ip())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn after(since: Moment, steady: u64, wall: i64) -> Moment {
        let shift = Duration::from_secs(wall.unsigned_abs());
        let wall = if wall < 0 { since.wall - shift } else { since.wall + shift };
        Moment { steady: since.steady + Duration::from_secs(steady), wall }
    }

    #[test]
    fn a_connection_from_before_a_sleep_is_not_used_again() {
        let since = Moment::now();
        assert!(since.is_fresh(after(since, 0, 0)));
        assert!(since.is_fresh(after(since, 49, 49)));
        assert!(!since.is_fresh(after(since, 50, 50)), "idle for too long");
        assert!(!since.is_fresh(after(since, 1, 3600)), "the machine slept for an hour");
        assert!(!since.is_fresh(after(since, 1, 4)), "or for three seconds");
        assert!(!since.is_fresh(after(since, 1, -3600)), "the clock was set back: who knows");
        assert!(since.is_fresh(after(since, 2, 1)), "clocks are not that exact");
    }

    #[test]
    fn loopback_is_reached_from_loopback() {
        let peer = "127.0.0.1:9".parse().unwrap();
        assert_eq!(source_to(peer), Some("127.0.0.1".parse().unwrap()));
    }
}
