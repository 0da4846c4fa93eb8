//! Rows summed up.

use fleetgate_wire::egress::{EgressGroup, EgressSums};
use fleetgate_wire::seen::{Sighting, Straggler};
use fleetgate_wire::spend::{Group, Sums, UnpricedModel};
use jiff::Timestamp;

use super::Sqlite;
use crate::ledger::dimension::Dimension;
use crate::ledger::egress::TunnelsOf;
use crate::ledger::spend::Span;
use crate::ledger::sums::{self, SqlDialect};
use crate::ledger::{egress, sighting, straggler};

const DIALECT: SqlDialect = SqlDialect {
    hour: "strftime('%Y-%m-%dT%H', started_at / 1000000, 'unixepoch')",
    day: "strftime('%Y-%m-%d', started_at / 1000000, 'unixepoch')",
    month: "strftime('%Y-%m', started_at / 1000000, 'unixepoch')",
    each_tag: " LEFT JOIN json_each(entry.tags) AS tagged ON true",
    tag: "tagged.value",
};

impl Sqlite {
    /// The groups' sums and the sums of all, of the same rows.
    pub(in crate::ledger) async fn spend(
        &self,
        by: &[Dimension],
        span: Span,
    ) -> Result<(Vec<Group>, Sums), sqlx::Error> {
        let mut snapshot = self.readers.begin().await?;
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
        let mut snapshot = self.readers.begin().await?;
        let total = egress::sum_up(false, span).build().fetch_one(&mut *snapshot).await?;
        let rows = egress::sum_up(true, span).build().fetch_all(&mut *snapshot).await?;
        Ok((rows.iter().map(egress::read_group).collect::<Result<_, _>>()?, egress::read_sums(&total, 0)?))
    }

    /// Bytes of somebody's tunnels.
    pub(in crate::ledger) async fn tunnel_bytes(&self, of: &TunnelsOf, since: Timestamp) -> Result<i64, sqlx::Error> {
        egress::sum_of(of, since).build_query_scalar().fetch_one(&self.readers).await
    }

    pub(in crate::ledger) async fn stragglers(&self, span: Span) -> Result<Vec<Straggler>, sqlx::Error> {
        let rows = straggler::list(span).build().fetch_all(&self.readers).await?;
        rows.iter().map(straggler::read).collect()
    }

    pub(in crate::ledger) async fn sightings(&self) -> Result<Vec<Sighting>, sqlx::Error> {
        let rows = sqlx::query(sighting::LIST).fetch_all(&self.readers).await?;
        rows.iter().map(sighting::read).collect()
    }

    pub(in crate::ledger) async fn unpriced(&self, span: Span) -> Result<Vec<UnpricedModel>, sqlx::Error> {
        let rows = sums::list_unpriced(span).build().fetch_all(&self.readers).await?;
        rows.iter().map(sums::read_unpriced).collect()
    }
}
