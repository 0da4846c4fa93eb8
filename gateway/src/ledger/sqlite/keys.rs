//! Virtual keys, teams, users, budgets, tags and customers at rest.

use fleetgate_wire::virtual_key::KeyHash;
use serde::Serialize;
use sqlx::sqlite::SqliteConnection;
use sqlx::{Connection, Sqlite as Driver};

use super::Sqlite;
use crate::auth::{EntityKind, EntityRecord, KeyRecord};
use crate::ledger::keys::KeyChange;

impl Sqlite {
    pub(in crate::ledger) async fn keys(&self) -> Result<Vec<String>, sqlx::Error> {
        sqlx::query_scalar("SELECT record FROM virtual_key").fetch_all(&self.readers).await
    }

    pub(in crate::ledger) async fn entities(&self) -> Result<Vec<String>, sqlx::Error> {
        sqlx::query_scalar("SELECT record FROM entity").fetch_all(&self.readers).await
    }

    pub(in crate::ledger) async fn change_key(&self, change: &KeyChange) -> Result<(), sqlx::Error> {
        let mut writer = self.writer.hold().await?;
        let mut all = writer.begin().await?;
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
            }
            KeyChange::DeleteEntities { kind, ids, keys } => {
                delete_entities(*kind, ids, &mut all).await?;
                delete(keys, &mut all).await?;
            }
        }
        all.commit().await?;
        writer.keep();
        Ok(())
    }
}

pub(super) async fn insert(record: &KeyRecord, connection: &mut SqliteConnection) -> Result<(), sqlx::Error> {
    write_key("INSERT INTO virtual_key (hash, alias, record) VALUES (?, ?, ?)", record, connection).await
}

async fn update(record: &KeyRecord, connection: &mut SqliteConnection) -> Result<(), sqlx::Error> {
    let sql = "INSERT INTO virtual_key (hash, alias, record) VALUES (?, ?, ?) \
               ON CONFLICT (hash) DO UPDATE SET alias = excluded.alias, record = excluded.record";
    write_key(sql, record, connection).await
}

async fn write_key(
    sql: &'static str,
    record: &KeyRecord,
    connection: &mut SqliteConnection,
) -> Result<(), sqlx::Error> {
    let query = sqlx::query::<Driver>(sql).bind(record.token.to_string()).bind(record.unique_alias());
    query.bind(json(record)?).execute(connection).await.map(drop)
}

pub(super) async fn delete(hashes: &[KeyHash], connection: &mut SqliteConnection) -> Result<(), sqlx::Error> {
    for hash in hashes {
        let delete = sqlx::query("DELETE FROM virtual_key WHERE hash = ?").bind(hash.to_string());
        delete.execute(&mut *connection).await?;
    }
    Ok(())
}

async fn put(record: &EntityRecord, connection: &mut SqliteConnection) -> Result<(), sqlx::Error> {
    let sql = "INSERT INTO entity (kind, id, record) VALUES (?, ?, ?) \
               ON CONFLICT (kind, id) DO UPDATE SET record = excluded.record";
    let put = sqlx::query::<Driver>(sql).bind(record.kind.word()).bind(&record.id).bind(json(record)?);
    put.execute(connection).await.map(drop)
}

async fn delete_entities(
    kind: EntityKind,
    ids: &[String],
    connection: &mut SqliteConnection,
) -> Result<(), sqlx::Error> {
    for id in ids {
        let delete = sqlx::query::<Driver>("DELETE FROM entity WHERE kind = ? AND id = ?").bind(kind.word()).bind(id);
        delete.execute(&mut *connection).await?;
    }
    Ok(())
}

fn json(record: &impl Serialize) -> Result<String, sqlx::Error> {
    serde_json::to_string(record).map_err(|error| sqlx::Error::Encode(error.into()))
}
