//! Virtual keys at rest.

use fleetgate_wire::virtual_key::KeyHash;
use sqlx::Connection;
use sqlx::sqlite::SqliteConnection;

use super::Sqlite;
use crate::auth::KeyRecord;
use crate::ledger::KeyChange;

impl Sqlite {
    pub(in crate::ledger) async fn keys(&self) -> Result<Vec<String>, sqlx::Error> {
        sqlx::query_scalar("SELECT record FROM virtual_key").fetch_all(&self.readers).await
    }

    pub(in crate::ledger) async fn change_key(&self, change: &KeyChange) -> Result<(), sqlx::Error> {
        let mut writer = self.writer.lock().await;
        match change {
            KeyChange::Insert(record) => {
                let sql = "INSERT INTO virtual_key (hash, alias, record) VALUES (?, ?, ?)";
                put(sql, record, &mut writer).await
            }
            KeyChange::Update(record) => {
                let sql = "INSERT INTO virtual_key (hash, alias, record) VALUES (?, ?, ?) \
                           ON CONFLICT (hash) DO UPDATE SET alias = excluded.alias, record = excluded.record";
                put(sql, record, &mut writer).await
            }
            KeyChange::Delete(hashes) => delete(hashes, &mut writer).await,
        }
    }
}

async fn put(sql: &'static str, record: &KeyRecord, connection: &mut SqliteConnection) -> Result<(), sqlx::Error> {
    let json = serde_json::to_string(record).map_err(|error| sqlx::Error::Encode(error.into()))?;
    let query = sqlx::query(sql).bind(record.token.to_string()).bind(&record.key_alias).bind(json);
    query.execute(connection).await.map(drop)
}

async fn delete(hashes: &[KeyHash], connection: &mut SqliteConnection) -> Result<(), sqlx::Error> {
    let mut all = connection.begin().await?;
    for hash in hashes {
        sqlx::query("DELETE FROM virtual_key WHERE hash = ?").bind(hash.to_string()).execute(&mut *all).await?;
    }
    all.commit().await
}
