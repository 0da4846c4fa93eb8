//! Virtual keys, teams, users, budgets, tags and customers at rest. Each change tells the other gateways in its own transaction.

use fleetgate_wire::virtual_key::KeyHash;
use serde::Serialize;
use sqlx::PgConnection;

use super::Postgres;
use super::listen::{CHANGE, Change};
use crate::auth::{EntityRecord, KeyRecord};
use crate::ledger::keys::KeyChange;

impl Postgres {
    pub(in crate::ledger) async fn keys(&self) -> Result<Vec<String>, sqlx::Error> {
        sqlx::query_scalar("SELECT record::text FROM virtual_key").fetch_all(self.pool().await?).await
    }

    pub(in crate::ledger) async fn entities(&self) -> Result<Vec<String>, sqlx::Error> {
        sqlx::query_scalar("SELECT record::text FROM entity").fetch_all(self.pool().await?).await
    }

    pub(in crate::ledger) async fn change_key(&self, change: &KeyChange) -> Result<(), sqlx::Error> {
        let mut all = self.pool().await?.begin().await?;
        match change {
            KeyChange::Insert(record) => insert(record, &mut all).await?,
            KeyChange::Update(record) => update(record, &mut all).await?,
            KeyChange::Delete(hashes) => delete(hashes, &mut all).await?,
            KeyChange::Replace { forget, keep } => {
                delete(forget, &mut all).await?;
                for record in keep {
                    update(record, &mut all).await?;
                }
            }
            KeyChange::Put { record, key } => {
                put(record, &mut all).await?;
                if let Some(key) = key {
                    insert(key, &mut all).await?;
                }
                tell(&Change::Entities, &mut all).await?;
            }
            KeyChange::DeleteEntities { kind, ids, keys } => {
                let forget = sqlx::query("DELETE FROM entity WHERE kind = $1 AND id = ANY($2)");
                forget.bind(kind.word()).bind(ids).execute(&mut *all).await?;
                delete(keys, &mut all).await?;
                tell(&Change::Entities, &mut all).await?;
            }
        }
        tell(&Change::Keys, &mut all).await?;
        all.commit().await
    }
}

pub(super) async fn insert(record: &KeyRecord, connection: &mut PgConnection) -> Result<(), sqlx::Error> {
    write_key("INSERT INTO virtual_key (hash, alias, record) VALUES ($1, $2, $3::jsonb)", record, connection).await
}

async fn update(record: &KeyRecord, connection: &mut PgConnection) -> Result<(), sqlx::Error> {
    let sql = "INSERT INTO virtual_key (hash, alias, record) VALUES ($1, $2, $3::jsonb) \
               ON CONFLICT (hash) DO UPDATE SET alias = excluded.alias, record = excluded.record";
    write_key(sql, record, connection).await
}

async fn write_key(sql: &'static str, record: &KeyRecord, connection: &mut PgConnection) -> Result<(), sqlx::Error> {
    let query = sqlx::query(sql).bind(record.token.to_string()).bind(record.unique_alias());
    query.bind(json(record)?).execute(connection).await.map(drop)
}

pub(super) async fn delete(hashes: &[KeyHash], connection: &mut PgConnection) -> Result<(), sqlx::Error> {
    let hashes: Vec<String> = hashes.iter().map(KeyHash::to_string).collect();
    sqlx::query("DELETE FROM virtual_key WHERE hash = ANY($1)").bind(hashes).execute(connection).await.map(drop)
}

async fn put(record: &EntityRecord, connection: &mut PgConnection) -> Result<(), sqlx::Error> {
    let sql = "INSERT INTO entity (kind, id, record) VALUES ($1, $2, $3::jsonb) \
               ON CONFLICT (kind, id) DO UPDATE SET record = excluded.record";
    let put = sqlx::query(sql).bind(record.kind.word()).bind(record.id.clone());
    put.bind(json(record)?).execute(connection).await.map(drop)
}

fn json(record: &impl Serialize) -> Result<String, sqlx::Error> {
    serde_json::to_string(record).map_err(|error| sqlx::Error::Encode(error.into()))
}

/// Tells every gateway, this one too, when the transaction commits.
pub(super) async fn tell(change: &Change, connection: &mut PgConnection) -> Result<(), sqlx::Error> {
    sqlx::query("SELECT pg_notify($1, $2)").bind(CHANGE).bind(change.to_string()).execute(connection).await.map(drop)
}
