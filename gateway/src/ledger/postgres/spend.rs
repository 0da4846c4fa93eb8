//! Rows summed up, and old rows by new prices.

use fleetgate_wire::egress::{EgressGroup, EgressSums};
use fleetgate_wire::money::NanoDollars;
use fleetgate_wire::seen::{Sighting, Straggler};
use fleetgate_wire::spend::{Group, Sums, UnpricedModel};
use jiff::Timestamp;

use super::Postgres;
use super::apply::add_up;
use crate::ledger::dimension::Dimension;
use crate::ledger::egress::TunnelsOf;
use crate::ledger::past_call::{self, PastCall, Place};
use crate::ledger::reprice::{CORRECT, Correction, Repricing};
use crate::ledger::rollup::Rollup;
use crate::ledger::spend::Span;
use crate::ledger::sums::{self, SqlDialect};
use crate::ledger::{egress, sighting, straggler};

const DIALECT: SqlDialect = SqlDialect {
    hour: "to_char(timestamp 'epoch' + started_at * interval '1 microsecond', 'YYYY-MM-DD\"T\"HH24')",
    day: "to_char(timestamp 'epoch' + started_at * interval '1 microsecond', 'YYYY-MM-DD')",
    month: "to_char(timestamp 'epoch' + started_at * interval '1 microsecond', 'YYYY-MM')",
    each_tag: " LEFT JOIN LATERAL jsonb_array_elements_text(entry.tags::jsonb) AS tagged(tag) ON true",
    tag: "tagged.tag",
};

impl Postgres {
    /// The groups' sums and the sums of all.
    pub(in crate::ledger) async fn spend(
        &self,
        by: &[Dimension],
        span: Span,
    ) -> Result<(Vec<Group>, Sums), sqlx::Error> {
        let mut snapshot = self.pool().await?.begin().await?;
        sqlx::query("SET TRANSACTION ISOLATION LEVEL REPEATABLE READ").execute(&mut *snapshot).await?;
        let total = sums::sum_up(&[], span, &DIALECT).build().fetch_one(&mut *snapshot).await?;
        let total = sums::read_sums(&total, 0)?;
        if by.is_empty() {
            return Ok((Vec::new(), total));
        }
        let rows = sums::sum_up(by, span, &DIALECT).build().fetch_all(&mut *snapshot).await?;
        Ok((rows.iter().map(|row| sums::read_group(row, by)).collect::<Result<_, _>>()?, total))
    }

    /// What went through tunnels, in groups and in all.
    pub(in crate::ledger) async fn egress(&self, span: Span) -> Result<(Vec<EgressGroup>, EgressSums), sqlx::Error> {
        let mut snapshot = self.pool().await?.begin().await?;
        sqlx::query("SET TRANSACTION ISOLATION LEVEL REPEATABLE READ").execute(&mut *snapshot).await?;
        let total = egress::sum_up(false, span).build().fetch_one(&mut *snapshot).await?;
        let rows = egress::sum_up(true, span).build().fetch_all(&mut *snapshot).await?;
        Ok((rows.iter().map(egress::read_group).collect::<Result<_, _>>()?, egress::read_sums(&total, 0)?))
    }

    /// Bytes of somebody's tunnels.
    pub(in crate::ledger) async fn tunnel_bytes(&self, of: &TunnelsOf, since: Timestamp) -> Result<i64, sqlx::Error> {
        egress::sum_of(of, since).build_query_scalar().fetch_one(self.pool().await?).await
    }

    pub(in crate::ledger) async fn stragglers(&self, span: Span) -> Result<Vec<Straggler>, sqlx::Error> {
        let rows = straggler::list(span).build().fetch_all(self.pool().await?).await?;
        rows.iter().map(straggler::read).collect()
    }

    pub(in crate::ledger) async fn sightings(&self) -> Result<Vec<Sighting>, sqlx::Error> {
        let rows = sqlx::query(sighting::LIST).fetch_all(self.pool().await?).await?;
        rows.iter().map(sighting::read).collect()
    }

    pub(in crate::ledger) async fn unpriced(&self, span: Span) -> Result<Vec<UnpricedModel>, sqlx::Error> {
        let rows = sums::list_unpriced(span).build().fetch_all(self.pool().await?).await?;
        rows.iter().map(sums::read_unpriced).collect()
    }

    /// The next rows behind a place, in order.
    pub(in crate::ledger) async fn past_calls(
        &self,
        wanted: &Repricing,
        behind: &Place,
        most: usize,
    ) -> Result<Vec<(Place, Option<PastCall>)>, sqlx::Error> {
        let rows = past_call::list(wanted, behind, most).build().fetch_all(self.pool().await?).await?;
        rows.iter().map(past_call::read).collect()
    }

    /// Gives rows their new cost and the sums the difference, in one transaction. Gives back what took hold. Leases stay as they
    /// are: what was granted was within the cap by the prices of its time.
    pub(in crate::ledger) async fn correct(
        &self,
        corrections: Vec<Correction>,
        at: Timestamp,
    ) -> Result<Vec<Correction>, sqlx::Error> {
        let mut transaction = self.pool().await?.begin().await?;
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
        Ok(done)
    }
}
