//! Rows to sums: what each scope spent in each quarter of an hour. Budgets start from these sums, so that nobody adds up a million
//! rows.

use std::fmt::Write;

use foldhash::{HashMap, HashMapExt};

use super::record::Record;
use super::sighting::{Place, Seen, Sightings};

/// Seconds in a bucket. All the world's time zones are whole quarters of an hour away from UTC, so days and months of any of them
/// begin with a bucket.
pub(super) const BUCKET_SECONDS: i64 = 900;
/// The same in microseconds.
pub(super) const BUCKET: i64 = BUCKET_SECONDS * 1_000_000;

/// What was spent in one bucket.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct Sum {
    pub(super) cost_nanousd: i64,
    /// What was reserved for calls whose cost nobody knows.
    pub(super) held_nanousd: i64,
    pub(super) calls: i64,
}

impl Sum {
    /// One call: its cost, or what is held for it while that is not known.
    pub(super) fn of_call(cost_nanousd: Option<i64>, reserved_nanousd: Option<i64>) -> Self {
        match cost_nanousd {
            Some(cost_nanousd) => Self { cost_nanousd, held_nanousd: 0, calls: 1 },
            None => Self { cost_nanousd: 0, held_nanousd: reserved_nanousd.unwrap_or(0), calls: 1 },
        }
    }

    fn add(&mut self, more: Self) {
        self.cost_nanousd = self.cost_nanousd.saturating_add(more.cost_nanousd);
        self.held_nanousd = self.held_nanousd.saturating_add(more.held_nanousd);
        self.calls += more.calls;
    }

    /// What must be added to `other` to make it this.
    pub(super) fn less(self, other: Self) -> Self {
        Self {
            cost_nanousd: self.cost_nanousd.saturating_sub(other.cost_nanousd),
            held_nanousd: self.held_nanousd.saturating_sub(other.held_nanousd),
            calls: self.calls - other.calls,
        }
    }
}

/// Sums by scope and bucket.
#[derive(Debug, Default)]
pub(super) struct Rollup {
    sums: HashMap<(String, i64), Sum>,
    sightings: Sightings,
    scope: String,
}

/// Whom a call is charged to, and when: what its scopes are made of.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(super) struct Charged<'a> {
    pub(super) key_hash: &'a str,
    pub(super) host: &'a str,
    pub(super) workload: &'a str,
    pub(super) model_requested: &'a str,
    pub(super) provider: &'a str,
    pub(super) deployment_id: &'a str,
    pub(super) user_id: Option<&'a str>,
    pub(super) team_id: Option<&'a str>,
    pub(super) customer: Option<&'a str>,
    pub(super) tags: &'a [&'a str],
    /// Microseconds since 1970.
    pub(super) started_at: i64,
}

/// What a row adds to sums. A tunnel is no call, and counts where its bytes have a price.
fn sum_of(record: &Record<'_>) -> Option<Sum> {
    let sum = Sum::of_call(record.cost_nanousd, record.reserved_nanousd);
    match record.kind {
        "call" => Some(sum),
        _ if sum.cost_nanousd > 0 => Some(Sum { calls: 0, ..sum }),
        _ => None,
    }
}

impl Rollup {
    /// Adds a row to the sums of all scopes that it counts in, and to the sightings.
    pub(super) fn add(&mut self, record: &Record<'_>) {
        self.sightings.add(record);
        if let Some(sum) = sum_of(record) {
            self.change(&record.charged(), sum);
        }
    }

    /// Adds many rows. Most of those that end together are charged alike, and then their scopes are named only once.
    pub(super) fn add_all<'r>(&mut self, records: impl Iterator<Item = &'r Record<'r>>) {
        let mut alike: HashMap<Charged<'r>, Sum> = HashMap::new();
        for record in records {
            self.sightings.add(record);
            let Some(more) = sum_of(record) else { continue };
            let charged = record.charged();
            let started_at = charged.started_at.div_euclid(BUCKET) * BUCKET;
            alike.entry(Charged { started_at, ..charged }).or_default().add(more);
        }
        for (charged, sum) in alike {
            self.change(&charged, sum);
        }
    }

    /// Changes the sums of all scopes that a call counts in.
    pub(super) fn change(&mut self, charged: &Charged<'_>, more: Sum) {
        let bucket = charged.started_at.div_euclid(BUCKET);
        let mut scope = std::mem::take(&mut self.scope);
        each_scope(charged, &mut scope, |scope| {
            // Looked up by a borrowed pair there would be no copy for a scope that is there already; HashMap has no such look-up.
            self.sums.entry((scope.to_owned(), bucket)).or_default().add(more);
        });
        self.scope = scope;
    }

    /// What was seen of providers' keys.
    pub(super) fn sightings(&self) -> impl Iterator<Item = (Place<'_>, Seen)> {
        self.sightings.iter()
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = (&str, i64, Sum)> {
        self.sums.iter().map(|((scope, bucket), sum)| (scope.as_str(), *bucket, *sum))
    }
}

/// Names each scope that a call counts in. `buffer` is where their names are written.
pub(super) fn each_scope(charged: &Charged<'_>, buffer: &mut String, mut see: impl FnMut(&str)) {
    let one = [
        ("global", "all"),
        ("key", charged.key_hash),
        ("host", charged.host),
        ("workload", charged.workload),
        ("model", charged.model_requested),
        ("provider", charged.provider),
        ("deployment", charged.deployment_id),
    ];
    let optional = [("user", charged.user_id), ("team", charged.team_id), ("customer", charged.customer)];
    let optional = optional.into_iter().filter_map(|(kind, id)| Some((kind, id?)));
    let tags = charged.tags.iter().map(|tag| ("tag", *tag));
    for (kind, id) in one.into_iter().chain(optional).chain(tags) {
        buffer.clear();
        // Writing to a String cannot fail.
        let _ = write!(buffer, "{kind}:{id}");
        see(buffer);
    }
    buffer.clear();
    let _ = write!(buffer, "key_model:{}/{}", charged.key_hash, charged.model_requested);
    see(buffer);
}
