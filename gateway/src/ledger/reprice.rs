//! Old rows by today's prices. The first figure stays beside the new one, and the sums follow in the same transaction.

use fleetgate_wire::money::NanoDollars;
use fleetgate_wire::spend::Repriced;
use jiff::Timestamp;

use super::past_call::{PastCall, Place};
use super::rollup::Sum;
use super::spend::Span;
use super::{Ledger, LedgerError};
use crate::price::Cost;

/// Rows in one transaction at most: new rows wait for it.
const BATCH: usize = 200;

/// The first figure stays for ever. A row whose cost is not what it was when it was read has been priced by somebody else.
pub(super) const CORRECT: &str = "UPDATE entry SET \
                       cost_before_nanousd = CASE WHEN repriced_at IS NULL THEN cost_nanousd ELSE cost_before_nanousd END, \
                       cost_nanousd = $1, price_source = $2, price_name = $3, repriced_at = $4 \
                       WHERE id = $5 AND cost_nanousd IS NOT DISTINCT FROM $6";

/// Which rows shall be priced anew.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Repricing {
    /// Calls that began in it.
    pub span: Span,
    /// Calls of this model, by the caller's name or the provider's.
    pub model: Option<String>,
    /// Only say what would change.
    pub dry_run: bool,
}

/// A row's new cost.
#[derive(Debug)]
pub(super) struct Correction {
    pub(super) call: PastCall,
    pub(super) cost: Cost,
}

impl Correction {
    /// What the sums change by. What was held for a call without a price is free when it has one.
    pub(super) fn difference(&self) -> Sum {
        let sum = |cost: &Cost| Sum::of_call(cost.amount.map(|NanoDollars(nanos)| nanos), self.call.reserved_nanousd);
        sum(&self.cost).less(sum(&self.call.cost))
    }
}

impl Ledger {
    /// Prices old calls anew, in batches between which new rows are written. `changed` is called with each batch that changed
    /// anything: whoever has read sums must read them again. Done twice, or by two at once, it changes everything once.
    ///
    /// # Errors
    /// When the database cannot be read or written. What was changed until then stays.
    pub async fn reprice(
        &self,
        wanted: &Repricing,
        price: impl Fn(&PastCall) -> Cost,
        changed: impl Fn(),
    ) -> Result<Repriced, LedgerError> {
        self.catch_up().await;
        // While rows cannot be written, nothing else is tried.
        if let Some(cause) = self.trouble() {
            return Err(self.unavailable(&cause));
        }
        let now = Timestamp::now();
        // Calls from now on have today's prices anyway, and would never end.
        let until = wanted.span.until.map_or(now, |until| until.min(now));
        let wanted = Repricing { span: Span { until: Some(until), ..wanted.span }, ..wanted.clone() };
        let mut behind = Place::beginning();
        let mut total = Repriced { dry_run: wanted.dry_run, ..Repriced::default() };
        loop {
            let read = self.store.past_calls(&wanted, &behind, BATCH).await;
            let read = read.map_err(|error| self.unavailable(&error))?;
            let Some((last, _)) = read.last() else { return Ok(total) };
            behind = last.clone();
            let mut corrections = Vec::new();
            for call in read.into_iter().filter_map(|(_, call)| call) {
                let cost = price(&call);
                total.rows += 1;
                total.unpriced += u64::from(cost.amount.is_none());
                if cost.amount != call.cost.amount {
                    corrections.push(Correction { call, cost });
                }
            }
            if !wanted.dry_run && !corrections.is_empty() {
                let corrected = self.store.correct(corrections, now).await;
                corrections = corrected.map_err(|error| self.unavailable(&error))?;
                changed();
            }
            for correction in &corrections {
                total.changed += 1;
                total.newly_priced += u64::from(correction.call.cost.amount.is_none());
                total.before_nanousd = total.before_nanousd.saturating_add(nanos(&correction.call.cost));
                total.after_nanousd = total.after_nanousd.saturating_add(nanos(&correction.cost));
            }
        }
    }
}

/// The known cost; nothing is known of an unpriced call.
fn nanos(cost: &Cost) -> i64 {
    cost.amount.map_or(0, |NanoDollars(nanos)| nanos)
}
