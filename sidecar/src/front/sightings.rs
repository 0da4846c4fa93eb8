//! Programs that still hold a provider's own key: each is said once in the log.

use std::collections::HashSet;
use std::sync::{Mutex, PoisonError};

use fleetgate_wire::provider_key::ProviderKeySighting;

/// More than a machine has programs and keys. A program that invents keys must not fill our memory.
const MOST_REMEMBERED: usize = 1024;

/// What was said already.
#[derive(Debug, Default)]
pub(super) struct Sightings(Mutex<HashSet<(String, String)>>);

impl Sightings {
    /// Warns, unless the same key of the same workload was warned of before.
    pub(super) fn note(&self, sighting: &ProviderKeySighting, workload: &str) {
        let mut known = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if known.len() < MOST_REMEMBERED && known.insert((sighting.to_string(), workload.to_owned())) {
            tracing::warn!(
                %sighting, workload,
                "a program sends a provider's own key; this host's was used instead. Take the key out of that program's settings"
            );
        }
    }
}
