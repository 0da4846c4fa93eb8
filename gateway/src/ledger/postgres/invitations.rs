//! Invitations at rest.

use fleetgate_wire::virtual_key::KeyHash;

use super::Postgres;
use super::keys::{delete, insert, tell};
use super::listen::Change;
use crate::ledger::invitations::{Invitation, Redemption, StoredInvitation};

impl Postgres {
    pub(in crate::ledger) async fn add_invitation(
        &self,
        hash: &KeyHash,
        invitation: &Invitation,
        record: &str,
        ended_before: i64,
    ) -> Result<(), sqlx::Error> {
        let mut all = self.pool().await?.begin().await?;
        let old = "DELETE FROM enrolment WHERE invitation IN (SELECT id FROM invitation WHERE expires_at < $1)";
        sqlx::query(old).bind(ended_before).execute(&mut *all).await?;
        let old = sqlx::query("DELETE FROM invitation WHERE expires_at < $1").bind(ended_before);
        old.execute(&mut *all).await?;
        let sql = "INSERT INTO invitation (id, hash, uses_left, expires_at, record) VALUES ($1, $2, $3, $4, $5::jsonb)";
        let insert = sqlx::query(sql).bind(&invitation.id).bind(hash.to_string()).bind(i64::from(invitation.uses));
        let insert = insert.bind(invitation.expires_at.as_microsecond()).bind(record);
        insert.execute(&mut *all).await?;
        all.commit().await
    }

    pub(in crate::ledger) async fn invitations(&self) -> Result<Vec<StoredInvitation>, sqlx::Error> {
        let sql = "SELECT id, record::text, uses_left FROM invitation";
        let rows: Vec<(String, String, i64)> = sqlx::query_as(sql).fetch_all(self.pool().await?).await?;
        let mut found = Vec::new();
        for (id, record, uses_left) in rows {
            found.push(StoredInvitation { record, uses_left, enrolled: self.enrolled(&id).await? });
        }
        Ok(found)
    }

    pub(in crate::ledger) async fn find_invitation(
        &self,
        hash: &KeyHash,
    ) -> Result<Option<StoredInvitation>, sqlx::Error> {
        let sql = "SELECT id, record::text, uses_left FROM invitation WHERE hash = $1";
        let row = sqlx::query_as(sql).bind(hash.to_string()).fetch_optional(self.pool().await?).await?;
        let Some((id, record, uses_left)): Option<(String, String, i64)> = row else { return Ok(None) };
        Ok(Some(StoredInvitation { record, uses_left, enrolled: self.enrolled(&id).await? }))
    }

    async fn enrolled(&self, id: &str) -> Result<Vec<(String, i64)>, sqlx::Error> {
        let sql = "SELECT host, at FROM enrolment WHERE invitation = $1 ORDER BY at, host";
        sqlx::query_as(sql).bind(id).fetch_all(self.pool().await?).await
    }

    pub(in crate::ledger) async fn remove_invitation(&self, id: &str) -> Result<bool, sqlx::Error> {
        let mut all = self.pool().await?.begin().await?;
        sqlx::query("DELETE FROM enrolment WHERE invitation = $1").bind(id).execute(&mut *all).await?;
        let removed = sqlx::query("DELETE FROM invitation WHERE id = $1").bind(id).execute(&mut *all).await?;
        all.commit().await?;
        Ok(removed.rows_affected() == 1)
    }

    pub(in crate::ledger) async fn redeem(&self, redemption: &Redemption) -> Result<bool, sqlx::Error> {
        let mut all = self.pool().await?.begin().await?;
        let at = redemption.at.as_microsecond();
        // The row stays locked to the end of the transaction: who comes at the same time sees what is left.
        let sql = "UPDATE invitation SET uses_left = uses_left - 1 WHERE id = $1 AND uses_left > 0 AND expires_at > $2";
        let used = sqlx::query(sql).bind(&redemption.id).bind(at).execute(&mut *all).await?.rows_affected();
        let sql = "INSERT INTO enrolment (invitation, host, key_hash, at) VALUES ($1, $2, $3, $4) \
                   ON CONFLICT (invitation, host) DO NOTHING";
        let first = sqlx::query(sql).bind(&redemption.id).bind(redemption.host.as_str());
        let first = first.bind(redemption.key.token.to_string()).bind(at).execute(&mut *all).await?.rows_affected();
        if used + first < 2 {
            all.rollback().await?;
            return Ok(false);
        }
        delete(&redemption.forget, &mut all).await?;
        insert(&redemption.key, &mut all).await?;
        tell(&Change::Keys, &mut all).await?;
        all.commit().await?;
        Ok(true)
    }
}
