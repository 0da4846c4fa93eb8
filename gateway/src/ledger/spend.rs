//! Who spent how much: rows summed by the database, however many there are.

use fleetgate_wire::spend::{Group, Sums, UnpricedModel};
use jiff::Timestamp;

use super::dimension::Dimension;
use super::{Ledger, LedgerError};

/// Groups in one answer at most.
pub(super) const MOST_GROUPS: usize = 10_000;

/// Calls that began in `[since, until)`.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Span {
    /// Not before.
    pub since: Option<Timestamp>,
    /// Before.
    pub until: Option<Timestamp>,
}

/// Who spent how much.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Spend {
    /// Times in their order, all else by known cost, the most first.
    pub groups: Vec<Group>,
    /// Of all calls, whether or not their group is in the answer.
    pub total: Sums,
    /// There are more groups than these.
    pub left_off: bool,
}

impl Ledger {
    /// What calls used and cost, by these dimensions and in total.
    ///
    /// # Errors
    /// When the database cannot be read.
    pub async fn spend(&self, by: &[Dimension], span: Span) -> Result<Spend, LedgerError> {
        self.catch_up().await;
        let (mut groups, total) = self.store.spend(by, span).await.map_err(|error| self.unavailable(&error))?;
        let left_off = groups.len() > MOST_GROUPS;
        groups.truncate(MOST_GROUPS);
        Ok(Spend { groups, total, left_off })
    }

    /// The models with calls that nobody can price, those with the most calls first. What only the configuration knows (`entry`
    /// and `advice`) is left empty.
    ///
    /// # Errors
    /// When the database cannot be read.
    pub async fn unpriced(&self, span: Span) -> Result<Vec<UnpricedModel>, LedgerError> {
        self.catch_up().await;
        self.store.unpriced(span).await.map_err(|error| self.unavailable(&error))
    }
}
