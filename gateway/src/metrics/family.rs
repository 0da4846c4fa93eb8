//! Series by their labels, in a bounded number.

use std::borrow::Cow;
use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};

use arc_swap::ArcSwap;
use foldhash::quality::RandomState;

/// What stands for the values that there is no room for.
pub(super) const OTHER: &str = "other";
/// Values that come from strangers are cut: a label is a name, not a text.
const LONGEST_VALUE: usize = 128;

pub(super) type Values<const N: usize> = [Cow<'static, str>; N];
type Series<const N: usize, S> = HashMap<Arc<Values<N>>, Arc<S>, RandomState>;

/// Series by their labels. Found without a lock; a new one is added to a copy, which is rare and then never again.
#[derive(Debug)]
pub(super) struct Family<const N: usize, S> {
    pub(super) names: [&'static str; N],
    /// The places of labels that strangers choose: these are given up first.
    open: &'static [usize],
    limit: usize,
    series: ArcSwap<Series<N, S>>,
    adding: Mutex<()>,
}

impl<const N: usize, S> Family<N, S> {
    pub(super) fn new(names: [&'static str; N], open: &'static [usize], limit: usize) -> Self {
        Self { names, open, limit, series: ArcSwap::default(), adding: Mutex::default() }
    }

    /// The series of these labels. When there are too many, the one in which everything is `other` that strangers choose, and
    /// when there are too many of those as well, the one in which everything is.
    pub(super) fn get(&self, values: &[Cow<'_, str>; N], make: impl FnOnce(&Values<N>) -> S) -> Arc<S> {
        match find(&self.series.load(), values) {
            Some(series) => series,
            None => self.add(values, make),
        }
    }

    #[cold]
    fn add(&self, values: &[Cow<'_, str>; N], make: impl FnOnce(&Values<N>) -> S) -> Arc<S> {
        let _adding = self.adding.lock().unwrap_or_else(PoisonError::into_inner);
        let known = self.series.load_full();
        let mut owned = values.each_ref().map(|value| Cow::Owned(shorten(value).to_owned()));
        if known.len() >= self.limit && !known.contains_key(&owned) {
            self.open.iter().for_each(|place| owned[*place] = Cow::Borrowed(OTHER));
        }
        if known.len() >= self.limit * 2 && !known.contains_key(&owned) {
            owned = [const { Cow::Borrowed(OTHER) }; N];
        }
        if let Some(series) = known.get(&owned) {
            return Arc::clone(series);
        }
        let series = Arc::new(make(&owned));
        let mut more = Series::clone(&known);
        more.insert(Arc::new(owned), Arc::clone(&series));
        self.series.store(Arc::new(more));
        series
    }

    /// All series, in the order of their labels.
    pub(super) fn all(&self) -> Vec<(Arc<Values<N>>, Arc<S>)> {
        let mut all: Vec<_> =
            self.series.load().iter().map(|(values, series)| (Arc::clone(values), Arc::clone(series))).collect();
        all.sort_by(|(one, _), (other, _)| one.cmp(other));
        all
    }

    pub(super) fn len(&self) -> usize {
        self.series.load().len()
    }
}

/// Labels of any lifetime find those that live for ever: a map may be read as one of shorter-lived keys.
fn find<'a, const N: usize, S>(
    series: &HashMap<Arc<[Cow<'a, str>; N]>, Arc<S>, RandomState>,
    values: &[Cow<'a, str>; N],
) -> Option<Arc<S>> {
    series.get(values).cloned()
}

fn shorten(value: &str) -> &str {
    value.char_indices().nth(LONGEST_VALUE).map_or(value, |(end, _)| &value[..end])
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicU64, Ordering};

    use super::*;

    fn count(family: &Family<2, AtomicU64>, key: &str, workload: &str) {
        let values = [Cow::Borrowed(key), Cow::Borrowed(workload)];
        family.get(&values, |_| AtomicU64::default()).fetch_add(1, Ordering::Relaxed);
    }

    fn counts(family: &Family<2, AtomicU64>) -> Vec<(String, u64)> {
        let all = family.all().into_iter();
        all.map(|(values, series)| (values.join("/"), series.load(Ordering::Relaxed))).collect()
    }

    #[test]
    fn what_strangers_choose_is_given_up_before_what_the_administrator_names() {
        let family = Family::new(["key", "workload"], &[1], 2);
        for (key, workload) in
            [("a", "w1"), ("a", "w1"), ("a", "w2"), ("a", "w3"), ("b", "w4"), ("a", "w5"), ("c", "w")]
        {
            count(&family, key, workload);
        }
        // The first two have their series, then each key has one; a third key finds no room at all.
        let expected = [("a/other", 2), ("a/w1", 2), ("a/w2", 1), ("b/other", 1), ("other/other", 1)];
        assert_eq!(counts(&family), expected.map(|(values, count)| (values.to_owned(), count)));
        for key in 0..100 {
            count(&family, &key.to_string(), "w");
        }
        assert_eq!(family.len(), 5, "however many labels come, there are no more series");
        assert_eq!(counts(&family).iter().map(|(_, count)| count).sum::<u64>(), 107, "and each call is counted");
    }

    #[test]
    fn a_long_value_is_cut_at_a_character() {
        let family = Family::new(["key", "workload"], &[1], 2);
        count(&family, &"🦊".repeat(500), "w");
        count(&family, &"🦊".repeat(400), "w");
        assert_eq!(counts(&family), [(format!("{}/w", "🦊".repeat(LONGEST_VALUE)), 2)]);
    }
}
