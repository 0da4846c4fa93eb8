//! Old rows by new prices.

use fleetgate_wire::money::NanoDollars;
use jiff::Timestamp;
use sqlx::Connection;

use super::Sqlite;
use super::apply::add_up;
use crate::ledger::past_call::{self, PastCall, Place};
use crate::ledger::reprice::{CORRECT, Correction, Repricing};
use crate::ledger::rollup::Rollup;

impl Sqlite {
    /// The next rows behind a place, in order.
    pub(in crate::ledger) async fn past_calls(
        &self,
        wanted: &Repricing,
        behind: &Place,
        most: usize,
    ) -> Result<Vec<(Place, Option<PastCall>)>, sqlx::Error> {
        let rows = past_call::list(wanted, behind, most).build().fetch_all(&self.readers).await?;
        rows.iter().map(past_call::read).collect()
    }

    /// Gives rows their new cost and the sums the difference, in one transaction. Gives back what took hold.
    pub(in crate::ledger) async fn correct(
        &self,
        corrections: Vec<Correction>,
        at: Timestamp,
    ) -> Result<Vec<Correction>, sqlx::Error> {
        let mut writer = self.writer.hold().await?;
        let mut transaction = writer.begin().await?;
        let (mut rollup, mut done) = (Rollup::default(), Vec::with_capacity(corrections.len()));
        for correction in corrections {
            let (old, new) = (&correction.call.cost, &correction.cost);
            let update = sqlx::query(CORRECT)
                .bind(new.amount.map(|NanoDollars(nanos)| nanos))
                .bind(new.source.word())
                .bind(new.price_name.as_deref())
                .bind(at.as_microsecond())
                .bind(&correction.call.place.id)
                .bind(old.amount.map(|NanoDollars(nanos)| nanos));
            if update.execute(&mut *transaction).await?.rows_affected() == 1 {
                correction.call.with_charged(|charged| rollup.change(charged, correction.difference()));
                done.push(correction);
            }
        }
        add_up(&rollup, &mut transaction).await?;
        transaction.commit().await?;
        writer.keep();
        Ok(done)
    }
}
