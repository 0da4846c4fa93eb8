//! Rows to sums: what each scope spent in each quarter of an hour. Budgets start from these sums, so that nobody adds up a million
//! rows.

use std::collections::HashMap;
use std::fmt::Write;

use super::record::Record;

/// Seconds in a bucket. All the world's time zones are whole quarters of an hour away from UTC, so days and months of any of them
/// begin with a bucket.
pub(super) const BUCKET_SECONDS: i64 = 900;

/// What was spent in one bucket.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct Sum {
    pub(super) cost_nanousd: i64,
    /// What was reserved for calls whose cost nobody knows.
    pub(super) held_nanousd: i64,
    pub(super) calls: i64,
}

/// Sums by scope and bucket.
#[derive(Debug, Default)]
pub(super) struct Rollup {
    sums: HashMap<(String, i64), Sum>,
    scope: String,
}

impl Rollup {
    /// Adds a row to the sums of all scopes that it counts in.
    pub(super) fn add(&mut self, record: &Record<'_>) {
        if record.kind != "call" {
            return;
        }
        let bucket = record.started_at.div_euclid(BUCKET_SECONDS * 1_000_000);
        let (cost, held) = cost_and_held(record);
        let mut scope = std::mem::take(&mut self.scope);
        each_scope(record, &mut scope, |scope| self.count(scope, bucket, cost, held));
        self.scope = scope;
    }

    fn count(&mut self, scope: &str, bucket: i64, cost: i64, held: i64) {
        // Looked up by a borrowed pair there would be no copy for a scope that is there already; HashMap has no such look-up.
        let sum = self.sums.entry((scope.to_owned(), bucket)).or_default();
        sum.cost_nanousd = sum.cost_nanousd.saturating_add(cost);
        sum.held_nanousd = sum.held_nanousd.saturating_add(held);
        sum.calls += 1;
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = (&str, i64, Sum)> {
        self.sums.iter().map(|((scope, bucket), sum)| (scope.as_str(), *bucket, *sum))
    }
}

/// What a call is known to have cost, and what was reserved for it if nobody knows.
pub(super) fn cost_and_held(record: &Record<'_>) -> (i64, i64) {
    match record.cost_nanousd {
        Some(cost) => (cost, 0),
        None => (0, record.reserved_nanousd.unwrap_or(0)),
    }
}

/// Names each scope that a call counts in. `buffer` is where their names are written.
pub(super) fn each_scope(record: &Record<'_>, buffer: &mut String, mut see: impl FnMut(&str)) {
    if record.kind != "call" {
        return;
    }
    let one = [
        ("global", "all"),
        ("key", record.key_hash),
        ("host", record.host),
        ("workload", record.workload),
        ("model", record.model_requested),
        ("provider", record.provider),
        ("deployment", record.deployment_id),
    ];
    let optional = [("user", record.user_id), ("team", record.team_id), ("customer", record.customer)];
    let optional = optional.into_iter().filter_map(|(kind, id)| Some((kind, id?)));
    let tags = record.tags.iter().map(|tag| ("tag", *tag));
    for (kind, id) in one.into_iter().chain(optional).chain(tags) {
        buffer.clear();
        // Writing to a String cannot fail.
        let _ = write!(buffer, "{kind}:{id}");
        see(buffer);
    }
    buffer.clear();
    let _ = write!(buffer, "key_model:{}/{}", record.key_hash, record.model_requested);
    see(buffer);
}
