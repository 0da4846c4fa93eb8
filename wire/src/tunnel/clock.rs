//! How long a tunnel has been silent, and how long it has lived.

use std::sync::Mutex;

use tokio::time::Instant;

use super::{TunnelEnd, TunnelLimits};

/// When something last moved, on either way.
pub(super) struct ActivityClock {
    began: Instant,
    state: Mutex<Activity>,
}

#[derive(Clone, Copy)]
struct Activity {
    last: Instant,
    half_closed: bool,
}

impl ActivityClock {
    pub(super) fn start() -> Self {
        let began = Instant::now();
        Self { began, state: Mutex::new(Activity { last: began, half_closed: false }) }
    }

    fn update(&self, change: impl FnOnce(&mut Activity)) -> Activity {
        // A poisoned lock is harmless here: the state is two plain values.
        let mut state = self.state.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        change(&mut state);
        *state
    }

    pub(super) fn touch(&self) {
        self.update(|activity| activity.last = Instant::now());
    }

    pub(super) fn half_close(&self) {
        self.update(|activity| activity.half_closed = true);
    }

    /// Resolves once nothing has moved for as long as the limits allow, or the tunnel has lived for so long. One timer for both:
    /// each has its price in every tunnel.
    pub(super) async fn ended(&self, limits: &TunnelLimits) -> TunnelEnd {
        let expires = limits.life.and_then(|life| self.began.checked_add(life));
        loop {
            let activity = self.update(|_| ());
            let allowed = if activity.half_closed { limits.half_closed_idle } else { limits.idle };
            let (now, deadline) = (Instant::now(), activity.last + allowed);
            if expires.is_some_and(|expires| expires <= now) {
                return TunnelEnd::Expired;
            }
            if deadline <= now {
                return TunnelEnd::Idle;
            }
            // Wakes at least this often, so that a half-close during a long wait shortens it.
            let next_look = now + limits.half_closed_idle;
            let until = expires.map_or(deadline, |expires| expires.min(deadline));
            tokio::time::sleep_until(until.min(next_look)).await;
        }
    }
}
