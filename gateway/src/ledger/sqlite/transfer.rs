//! Whole rows out of the table and into it, for a move to another database.

use std::sync::LazyLock;

use sqlx::sqlite::SqliteRow;
use sqlx::{Connection, Row};

use super::Sqlite;
use super::apply::add_up;
use crate::ledger::rollup::Rollup;
use crate::ledger::transfer::{COLUMNS, Cell, Line, Stored};

static INSERT: LazyLock<String> = LazyLock::new(|| {
    let names = COLUMNS.map(|(name, _)| name).join(", ");
    let places = ["?"; COLUMNS.len()].join(", ");
    format!("INSERT INTO entry ({names}) VALUES ({places}) ON CONFLICT (id) DO NOTHING")
});

impl Sqlite {
    pub(in crate::ledger) async fn lines(&self, after: &str, most: i64) -> Result<Vec<Line>, sqlx::Error> {
        let select = sqlx::query("SELECT * FROM entry WHERE id > ? ORDER BY id LIMIT ?").bind(after).bind(most);
        let rows = select.fetch_all(&self.readers).await?;
        rows.iter().map(|row: &SqliteRow| Line::read(|name| row.try_get(name), |name| row.try_get(name))).collect()
    }

    /// Adds rows and their sums, and says how many were not there before.
    pub(in crate::ledger) async fn add_lines(&self, lines: &[Line]) -> Result<u64, sqlx::Error> {
        let mut writer = self.writer.hold().await?;
        let mut all = writer.begin().await?;
        let (mut rollup, mut new) = (Rollup::default(), 0);
        for line in lines {
            let insert = line.0.iter().fold(sqlx::query(INSERT.as_str()), |query, cell| match cell {
                Cell::Text(text) => query.bind(text),
                Cell::Number(number) => query.bind(number),
            });
            if insert.execute(&mut *all).await?.rows_affected() == 1 {
                line.with_record(|record| rollup.add(record));
                new += 1;
            }
        }
        add_up(&rollup, &mut all).await?;
        all.commit().await?;
        writer.keep();
        Ok(new)
    }

    /// Every key and entity.
    pub(in crate::ledger) async fn stored(&self) -> Result<Vec<Stored>, sqlx::Error> {
        let keys: Vec<(String, Option<String>, String)> =
            sqlx::query_as("SELECT hash, alias, record FROM virtual_key").fetch_all(&self.readers).await?;
        let entities: Vec<(String, String, String)> =
            sqlx::query_as("SELECT kind, id, record FROM entity").fetch_all(&self.readers).await?;
        let keys = keys.into_iter().map(|(hash, alias, record)| Stored::Key { hash, alias, record });
        Ok(keys.chain(entities.into_iter().map(|(kind, id, record)| Stored::Entity { kind, id, record })).collect())
    }

    /// Keeps a key or an entity unless it, or another key of its name, is there.
    pub(in crate::ledger) async fn keep(&self, thing: &Stored) -> Result<bool, sqlx::Error> {
        let mut writer = self.writer.hold().await?;
        let insert = match thing {
            Stored::Key { hash, alias, record } => {
                let sql = "INSERT INTO virtual_key (hash, alias, record) VALUES (?, ?, ?) ON CONFLICT DO NOTHING";
                sqlx::query(sql).bind(hash).bind(alias).bind(record)
            }
            Stored::Entity { kind, id, record } => {
                let sql = "INSERT INTO entity (kind, id, record) VALUES (?, ?, ?) ON CONFLICT DO NOTHING";
                sqlx::query(sql).bind(kind).bind(id).bind(record)
            }
        };
        let is_new = insert.execute(&mut *writer).await?.rows_affected() == 1;
        writer.keep();
        Ok(is_new)
    }
}
