//! How many tunnels each key has at once.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// The tunnels of each key.
#[derive(Debug, Clone, Default)]
pub(super) struct KeyPlaces {
    open: Arc<Mutex<HashMap<String, usize>>>,
}

/// One tunnel's place; given back when it is dropped.
#[derive(Debug)]
pub(super) struct KeyPlace {
    key: String,
    places: KeyPlaces,
}

impl KeyPlaces {
    /// Takes a place, where fewer than `most` are taken.
    pub(super) fn take(&self, key: String, most: Option<usize>) -> Option<KeyPlace> {
        let mut open = self.lock();
        let count = open.get(&key).copied().unwrap_or(0);
        if most.is_some_and(|most| count >= most) {
            return None;
        }
        open.insert(key.clone(), count + 1);
        drop(open);
        Some(KeyPlace { key, places: self.clone() })
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<String, usize>> {
        // Nothing panics half-way through a change.
        self.open.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for KeyPlace {
    fn drop(&mut self) {
        let mut open = self.places.lock();
        match open.get_mut(&self.key) {
            Some(count) if *count > 1 => *count -= 1,
            _ => drop(open.remove(&self.key)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_has_its_own_places_and_gets_them_back() {
        let places = KeyPlaces::default();
        let take = |key: &str, most| places.take(key.to_owned(), most);
        let first = take("a", Some(2)).unwrap();
        let second = take("a", Some(2)).unwrap();
        assert!(take("a", Some(2)).is_none());
        assert!(take("a", None).is_some() && take("b", Some(1)).is_some());
        drop(first);
        drop(take("a", Some(2)).unwrap());
        drop(second);
        assert!(take("a", Some(0)).is_none());
        assert!(places.lock().is_empty(), "keys without a tunnel are forgotten");
    }
}
