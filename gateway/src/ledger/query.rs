//! Reading rows back. Whatever is settled when a question comes is in its answer.

use fleetgate_wire::money::NanoDollars;
use fleetgate_wire::row::Row;
use fleetgate_wire::scope::{Scope, ScopeKind};
use jiff::Timestamp;

use super::{Ledger, LedgerError};

/// Which rows.
#[derive(Debug, Clone, Default)]
pub struct Filter {
    /// Of this host.
    pub host: Option<String>,
    /// Paid with the key of this name.
    pub key_alias: Option<String>,
    /// Paid with the key of this hash (or `master`).
    pub key_hash: Option<String>,
    /// Of this user.
    pub user: Option<String>,
    /// This row, by our identifier or the provider's.
    pub request_id: Option<String>,
    /// Not before.
    pub since: Option<Timestamp>,
    /// Before.
    pub until: Option<Timestamp>,
    /// At most so many, newest first.
    pub limit: u32,
}

/// What a key has spent so far.
#[derive(Debug, Clone, Copy, Default)]
pub struct KeySpend {
    /// Known cost in nano-dollars.
    pub cost_nanousd: i64,
    /// Its newest row.
    pub last_active: Option<Timestamp>,
}

/// What one key spent on one model for one user in one day.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DaySpend {
    /// The day in UTC, as `YYYY-MM-DD`.
    pub day: String,
    /// The key, by the hash in its rows.
    pub key_hash: String,
    /// The user.
    pub user: String,
    /// The model that answered.
    pub model: String,
    /// Known cost in nano-dollars.
    pub cost_nanousd: i64,
}

/// What a call cost, beside what was reserved for it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Bill {
    /// Who served it.
    pub deployment: Scope,
    /// The most that it could cost.
    pub reserved: NanoDollars,
    /// What it did cost.
    pub cost: NanoDollars,
    /// When it began.
    pub started_at: Timestamp,
}

/// What one scope spent on calls that began in one quarter of an hour.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct BucketSpend {
    /// Seconds since 1970 / 900.
    pub bucket: i64,
    /// Known cost.
    pub cost: NanoDollars,
    /// What was reserved for calls whose cost nobody knows.
    pub held: NanoDollars,
}

impl BucketSpend {
    /// What counts in a budget; with `counts_unknown`, what was reserved for calls of unknown cost does too.
    #[must_use]
    pub fn counted(&self, counts_unknown: bool) -> NanoDollars {
        if counts_unknown { self.cost + self.held } else { self.cost }
    }

    /// The same for all of them.
    #[must_use]
    pub fn total(buckets: &[Self], counts_unknown: bool) -> NanoDollars {
        buckets.iter().fold(NanoDollars::ZERO, |sum, one| sum + one.counted(counts_unknown))
    }
}

impl Ledger {
    /// What was spent on calls in each of the days, summed by the database: there may be millions of rows.
    ///
    /// # Errors
    /// When the database cannot be read.
    pub async fn spend_by_day(
        &self,
        since: Option<Timestamp>,
        until: Option<Timestamp>,
    ) -> Result<Vec<DaySpend>, LedgerError> {
        self.catch_up().await;
        self.store.spend_by_day(since, until).await.map_err(|error| self.unavailable(&error))
    }

    /// Rows, newest first.
    ///
    /// # Errors
    /// When the database cannot be read.
    pub async fn rows(&self, filter: &Filter) -> Result<Vec<Row>, LedgerError> {
        self.catch_up().await;
        self.store.rows(filter).await.map_err(|error| self.unavailable(&error))
    }

    /// What a key has spent, by the hash in its rows.
    ///
    /// # Errors
    /// When the database cannot be read.
    pub async fn spend_of(&self, key_hash: &str) -> Result<KeySpend, LedgerError> {
        self.catch_up().await;
        self.store.spend_of(key_hash).await.map_err(|error| self.unavailable(&error))
    }

    /// What the newest calls that had a budget cost, beside what was reserved for them.
    ///
    /// # Errors
    /// When the database cannot be read.
    pub async fn reserved_and_spent(&self) -> Result<Vec<Bill>, LedgerError> {
        let rows = self.store.reserved_and_spent().await.map_err(|error| self.unavailable(&error))?;
        let bill = |(deployment, reserved, cost, started_at): (String, i64, i64, i64)| Bill {
            deployment: Scope::new(ScopeKind::Deployment, deployment),
            reserved: NanoDollars(reserved),
            cost: NanoDollars(cost),
            started_at: Timestamp::from_microsecond(started_at).unwrap_or_default(),
        };
        Ok(rows.into_iter().map(bill).collect())
    }

    /// How many attempts a scope's calls made since then, and of how many tokens.
    ///
    /// # Errors
    /// When the database cannot be read.
    pub async fn used(&self, scope: &Scope, since: Timestamp) -> Result<(u64, u64), LedgerError> {
        self.catch_up().await;
        let used = self.store.used(&scope.to_string(), since).await;
        let (calls, tokens) = used.map_err(|error| self.unavailable(&error))?;
        Ok((u64::try_from(calls).unwrap_or(0), u64::try_from(tokens).unwrap_or(0)))
    }

    /// What a scope has spent on calls that began from `since` until `until`, by bucket, with the number of the last row that is
    /// counted in it (see [`Receipt::number`](super::Receipt::number)). Of the buckets that hold the two moments only the part between
    /// them counts.
    ///
    /// # Errors
    /// When the database cannot be read.
    pub async fn spent(
        &self,
        scope: &Scope,
        since: Timestamp,
        until: Option<Timestamp>,
    ) -> Result<(Vec<BucketSpend>, u64), LedgerError> {
        self.catch_up().await;
        let scope = scope.to_string();
        let spent = self.store.spent(&scope, since, until, || self.applier.applied());
        spent.await.map_err(|error| self.unavailable(&error))
    }
}

/// A row's tags, which the table has as a JSON list.
pub(super) fn tags(text: Option<&str>) -> Vec<String> {
    text.and_then(|text| serde_json::from_str(text).ok()).unwrap_or_default()
}
