//! What was used in the last 60 s, to the slot.

use std::collections::VecDeque;

use jiff::Timestamp;

/// LiteLLM's window, in seconds.
pub(super) const WINDOW: i64 = 60;

/// The length of a slot in seconds; it divides [`WINDOW`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Grain(i64);

impl Grain {
    /// Where a gateway counts for itself: what was used counts for 60 to 61 s.
    pub(super) const OWN: Self = Self(1);
    /// Where gateways share a limit, one grant serves that long, and what was used counts for 60 to 65 s.
    pub(super) const LEASED: Self = Self(5);

    pub(super) fn slot(self, at: Timestamp) -> i64 {
        at.as_second().div_euclid(self.0)
    }

    pub(super) fn start(self, slot: i64) -> i64 {
        slot.saturating_mul(self.0)
    }

    pub(super) fn slot_of_start(self, start: i64) -> i64 {
        start.div_euclid(self.0)
    }

    /// How many slots back something still counts. Two moments less than 60 s apart are never further apart than this, so what
    /// is counted covers every 60 s that end now.
    fn reach(self) -> i64 {
        WINDOW / self.0
    }

    /// The second from which on a slot no longer counts.
    pub(super) fn expiry(self, slot: i64) -> i64 {
        self.start(slot.saturating_add(self.reach() + 1))
    }
}

/// One slot.
#[derive(Debug, Clone, Copy, Default)]
struct Slot {
    number: i64,
    used: u64,
    granted: u64,
}

/// The slots that still count, oldest first; none when nothing was used or granted for a while.
#[derive(Debug, Default)]
pub(super) struct Window {
    slots: VecDeque<Slot>,
}

impl Window {
    /// Forgets what no longer counts, and what a clock that was set back has left in the future.
    pub(super) fn expire(&mut self, grain: Grain, now: i64) {
        self.slots.retain(|slot| slot.number >= now - grain.reach() && slot.number <= now);
    }

    /// Forgets all slots but this one.
    pub(super) fn keep_only(&mut self, number: i64) {
        self.slots.retain(|slot| slot.number == number);
    }

    pub(super) fn is_empty(&self) -> bool {
        self.slots.is_empty()
    }

    pub(super) fn used(&self) -> u64 {
        self.slots.iter().fold(0, |sum, slot| sum.saturating_add(slot.used))
    }

    pub(super) fn used_in(&self, number: i64) -> u64 {
        self.find(number).map_or(0, |slot| slot.used)
    }

    pub(super) fn add(&mut self, number: i64, amount: u64) {
        if amount > 0 {
            let slot = self.slot(number);
            slot.used = slot.used.saturating_add(amount);
        }
    }

    /// Takes back what was counted too much. A slot that no longer counts has nothing to give.
    pub(super) fn give_back(&mut self, number: i64, amount: u64) {
        if let Some(slot) = self.slots.iter_mut().find(|slot| slot.number == number) {
            slot.used = slot.used.saturating_sub(amount);
        }
    }

    pub(super) fn grant(&mut self, number: i64, amount: u64) {
        let slot = self.slot(number);
        slot.granted = slot.granted.saturating_add(amount);
    }

    /// Granted and not used.
    pub(super) fn free(&self, number: i64) -> u64 {
        self.find(number).map_or(0, |slot| slot.granted.saturating_sub(slot.used))
    }

    /// Used and not granted.
    pub(super) fn owed(&self, number: i64) -> u64 {
        self.find(number).map_or(0, |slot| slot.used.saturating_sub(slot.granted))
    }

    pub(super) fn take_back(&mut self, number: i64, most: u64) -> u64 {
        let taken = self.free(number).min(most);
        if taken > 0 {
            self.slot(number).granted -= taken;
        }
        taken
    }

    /// Slots before this one with free grants.
    pub(super) fn unused_before(&self, number: i64) -> impl Iterator<Item = (i64, u64)> + '_ {
        let unused = move |slot: &Slot| (slot.number, slot.granted.saturating_sub(slot.used));
        self.slots.iter().filter(move |slot| slot.number < number).map(unused).filter(|(_, free)| *free > 0)
    }

    /// The slot after whose end `need` fits below `cap`; `None` when it never will.
    pub(super) fn opens_after(&self, need: u64, cap: u64) -> Option<i64> {
        let room = cap.checked_sub(need)?;
        let mut used = self.used();
        let mut opening = |slot: &&Slot| {
            used = used.saturating_sub(slot.used);
            used <= room
        };
        self.slots.iter().find(|slot| opening(slot)).map(|slot| slot.number)
    }

    /// The last slot in which anything was used.
    pub(super) fn last_used(&self) -> Option<i64> {
        self.slots.iter().rev().find(|slot| slot.used > 0).map(|slot| slot.number)
    }

    fn find(&self, number: i64) -> Option<&Slot> {
        self.slots.iter().find(|slot| slot.number == number)
    }

    fn slot(&mut self, number: i64) -> &mut Slot {
        let at = self.slots.partition_point(|slot| slot.number < number);
        if self.slots.get(at).is_none_or(|slot| slot.number != number) {
            self.slots.insert(at, Slot { number, ..Slot::default() });
        }
        &mut self.slots[at]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_used_counts_for_60_seconds_and_the_rest_of_its_slot() {
        let mut window = Window::default();
        window.add(100, 3);
        window.expire(Grain::OWN, 160);
        assert_eq!(window.used(), 3);
        assert_eq!(Grain::OWN.expiry(100), 161);
        window.expire(Grain::OWN, 161);
        assert!(window.is_empty());
        assert_eq!(Grain::LEASED.expiry(Grain::LEASED.slot_of_start(100)), 165);
    }

    #[test]
    fn room_opens_with_the_slot_that_makes_it() {
        let mut window = Window::default();
        for (slot, used) in [(10, 2), (20, 3), (30, 5)] {
            window.add(slot, used);
        }
        assert_eq!(window.opens_after(1, 10), Some(10));
        assert_eq!(window.opens_after(3, 10), Some(20));
        assert_eq!(window.opens_after(10, 10), Some(30));
        assert_eq!(window.opens_after(11, 10), None);
    }

    #[test]
    fn a_clock_set_back_leaves_nothing_in_the_future() {
        let mut window = Window::default();
        window.add(1_000_000, 3);
        window.expire(Grain::OWN, 100);
        assert!(window.is_empty());
    }

    #[test]
    fn only_what_is_granted_and_unused_is_taken_back() {
        let mut window = Window::default();
        window.grant(7, 10);
        window.add(7, 4);
        assert_eq!((window.take_back(7, 5), window.take_back(7, 5), window.take_back(8, 5)), (5, 1, 0));
        window.add(7, 3);
        assert_eq!((window.free(7), window.owed(7)), (0, 3));
    }
}
