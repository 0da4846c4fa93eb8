//! Gateways that share the database: who is there, who is gone, and what becomes of what the gone ones had leased.

use std::time::Duration;

use sqlx::types::Json;
use uuid::Uuid;

use super::keys::tell;
use super::lease::{LeaseError, Return, Share, take};
use super::listen::Change;
use super::{GatewayId, Postgres};

/// One process that speaks for a gateway. A later one of the same gateway takes its place.
#[derive(Debug, Clone)]
pub(in crate::ledger) struct Member {
    pub(super) gateway: GatewayId,
    pub(super) process: String,
    /// The last exchange of leases that this process knows to be committed.
    pub(super) turn: i64,
}

/// What others may know of a gateway.
#[derive(Debug, Clone)]
pub(in crate::ledger) struct Introduction<'a> {
    pub(in crate::ledger) name: &'a str,
    pub(in crate::ledger) address: &'a str,
}

/// A gateway whose leases were written off.
#[derive(Debug)]
pub(in crate::ledger) struct WrittenOff {
    pub(in crate::ledger) name: String,
    /// What its leases of money amounted to, in nano-dollars.
    pub(in crate::ledger) amount: i64,
}

const JOIN: &str = "INSERT INTO gateway (id, name, version, address, process, last_seen) VALUES ($1, $2, $3, $4, $5, now()) \
                    ON CONFLICT (id) DO UPDATE SET name = excluded.name, version = excluded.version, \
                    address = excluded.address, process = excluded.process, last_seen = now(), outcome = '[]' \
                    RETURNING turn";

impl Postgres {
    /// Enters this gateway, and returns what an earlier process of it had leased. Its journal must have been applied: what it spent
    /// is then in the sums.
    pub(in crate::ledger) async fn join(&self, introduction: &Introduction<'_>) -> Result<Member, sqlx::Error> {
        let process = Uuid::now_v7().to_string();
        let mut all = self.pool().await?.begin().await?;
        let turn = sqlx::query_scalar(JOIN)
            .bind(self.gateway.as_str())
            .bind(introduction.name)
            .bind(env!("CARGO_PKG_VERSION"))
            .bind(introduction.address)
            .bind(&process)
            .fetch_one(&mut *all)
            .await?;
        let rules: Vec<String> =
            sqlx::query_scalar("DELETE FROM lease WHERE gateway = $1 AND NOT lasting RETURNING rule")
                .bind(self.gateway.as_str())
                .fetch_all(&mut *all)
                .await?;
        for rule in rules {
            tell(&Change::Funds { rule }, &mut all).await?;
        }
        all.commit().await?;
        Ok(Member { gateway: self.gateway.clone(), process, turn })
    }

    /// Says that this gateway is there.
    pub(in crate::ledger) async fn heartbeat(&self, member: &Member) -> Result<(), LeaseError> {
        let sql = "UPDATE gateway SET last_seen = now() WHERE id = $1 AND process = $2";
        let beat = sqlx::query(sql).bind(member.gateway.as_str()).bind(&member.process);
        match beat.execute(self.pool().await?).await?.rows_affected() {
            0 => Err(LeaseError::Replaced),
            _ => Ok(()),
        }
    }

    /// Takes its leases from every gateway that was not heard of for so long while the server was there to hear it. What they spent
    /// and did not write down yet is then not in any sum: a cap may be exceeded by so much.
    pub(in crate::ledger) async fn write_off(&self, after: Duration) -> Result<Vec<WrittenOff>, sqlx::Error> {
        let mut all = self.pool().await?.begin().await?;
        let sql = "UPDATE gateway SET process = NULL WHERE process IS NOT NULL AND id <> $1 \
                   AND now() - greatest(last_seen, pg_postmaster_start_time()) > $2 * interval '1 second' RETURNING id, name";
        let gone: Vec<(String, String)> =
            sqlx::query_as(sql).bind(self.gateway.as_str()).bind(after.as_secs_f64()).fetch_all(&mut *all).await?;
        let mut written_off = Vec::new();
        for (id, name) in gone {
            let sql = "DELETE FROM lease WHERE gateway = $1 AND NOT lasting RETURNING rule, CASE WHEN scope IS NULL THEN 0 ELSE amount END";
            let leases: Vec<(String, i64)> = sqlx::query_as(sql).bind(id).fetch_all(&mut *all).await?;
            let amount = leases.iter().map(|(_, amount)| amount).sum();
            for (rule, _) in leases {
                tell(&Change::Funds { rule }, &mut all).await?;
            }
            written_off.push(WrittenOff { name, amount });
        }
        sqlx::query("DELETE FROM lease WHERE window_end < (extract(epoch FROM now()) - 3600) * 1000000")
            .execute(&mut *all)
            .await?;
        all.commit().await?;
        Ok(written_off)
    }

    /// Returns everything and leaves, of lasting leases what `returns` says. What this gateway spent must have been applied.
    pub(in crate::ledger) async fn leave(&self, member: &Member, returns: &[Return]) -> Result<(), sqlx::Error> {
        let mut all = self.pool().await?.begin().await?;
        let sql = "UPDATE gateway SET process = NULL WHERE id = $1 AND process = $2";
        let left = sqlx::query(sql).bind(member.gateway.as_str()).bind(&member.process).execute(&mut *all).await?;
        if left.rows_affected() == 1 {
            take(self.gateway.as_str(), returns, &mut all).await?;
            let rules: Vec<String> =
                sqlx::query_scalar("DELETE FROM lease WHERE gateway = $1 AND NOT lasting RETURNING rule")
                    .bind(member.gateway.as_str())
                    .fetch_all(&mut *all)
                    .await?;
            for rule in rules {
                tell(&Change::Funds { rule }, &mut all).await?;
            }
        }
        all.commit().await
    }

    /// What became of an exchange of which nobody heard whether it was committed: `None` when it was not.
    pub(in crate::ledger) async fn outcome(&self, member: &mut Member) -> Result<Option<Vec<Share>>, LeaseError> {
        let sql = "SELECT turn, outcome FROM gateway WHERE id = $1 AND process = $2";
        let found: Option<(i64, Json<Vec<Share>>)> = sqlx::query_as(sql)
            .bind(member.gateway.as_str())
            .bind(&member.process)
            .fetch_optional(self.pool().await?)
            .await?;
        let (turn, Json(shares)) = found.ok_or(LeaseError::Replaced)?;
        let was_committed = turn != member.turn;
        member.turn = turn;
        Ok(was_committed.then_some(shares))
    }
}
