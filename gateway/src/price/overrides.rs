//! The prices of `model_list` entries, read once per entry.

use std::collections::BTreeMap;
use std::sync::Arc;

use arc_swap::ArcSwap;
use foldhash::HashMap;

use super::catalogue::holds_from_threshold;
use super::rates::{Rates, listed};
use crate::config::Deployment;

/// Rates by deployment.
#[derive(Debug, Default)]
pub(super) struct Overrides(ArcSwap<HashMap<Arc<str>, Arc<Read>>>);

#[derive(Debug)]
struct Read {
    from: BTreeMap<String, f64>,
    rates: Option<Arc<Rates>>,
}

impl Overrides {
    /// An entry's own rates, and its id; `None` when it has no prices.
    pub(super) fn of(&self, deployment: &Deployment, provider: &str) -> Option<(Arc<str>, Arc<Rates>)> {
        if deployment.prices.is_empty() {
            return None;
        }
        let known = self.0.load();
        // An entry may be changed while the gateway runs, and keep its id.
        let current = known.get_key_value(deployment.id.as_str()).filter(|(_, read)| read.from == deployment.prices);
        if let Some((id, read)) = current {
            return Some((Arc::clone(id), Arc::clone(read.rates.as_ref()?)));
        }
        let list: Vec<_> = deployment.prices.iter().filter_map(|(name, price)| listed(name, *price)).collect();
        let rates = Rates::from_list(&list, holds_from_threshold(Some(provider)));
        let read = Arc::new(Read { from: deployment.prices.clone(), rates: rates.map(Arc::new) });
        let id: Arc<str> = deployment.id.as_str().into();
        self.0.rcu(|known| {
            let mut known = HashMap::clone(known);
            known.insert(Arc::clone(&id), Arc::clone(&read));
            known
        });
        Some((id, Arc::clone(read.rates.as_ref()?)))
    }
}
