//! How long a tunnel has been silent.

use std::sync::Mutex;

use tokio::time::Instant;

use super::TunnelLimits;

/// When something last moved, on either way.
pub(super) struct ActivityClock {
    state: Mutex<Activity>,
}

#[derive(Clone, Copy)]
struct Activity {
    last: Instant,
    half_closed: bool,
}

impl ActivityClock {
    pub(super) fn start() -> Self {
        Self { state: Mutex::new(Activity { last: Instant::now(), half_closed: false }) }
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

    /// Resolves once nothing has moved for as long as the limits allow.
    pub(super) async fn silence(&self, limits: &TunnelLimits) {
        loop {
            let activity = self.update(|_| ());
            let allowed = if activity.half_closed { limits.half_closed_idle } else { limits.idle };
            let deadline = activity.last + allowed;
            if deadline <= Instant::now() {
                return;
            }
            // Wakes at least this often, so that a half-close during a long wait shortens it.
            let next_look = Instant::now() + limits.half_closed_idle;
            tokio::time::sleep_until(deadline.min(next_look)).await;
        }
    }
}
