//! Whole rows out of the table and into it, for a move to another database.

use std::collections::HashSet;
use std::sync::LazyLock;

use sqlx::postgres::{PgArguments, PgRow};
use sqlx::{Arguments, AssertSqlSafe, Row};

use super::Postgres;
use super::apply::add_up;
use super::keys::tell;
use super::listen::Change;
use crate::ledger::rollup::Rollup;
use crate::ledger::transfer::{COLUMNS, Cell, Kind, Line, Stored};

static SELECT: LazyLock<String> = LazyLock::new(|| {
    let column = |(name, kind): &(&str, Kind)| match kind {
        Kind::Text => (*name).to_owned(),
        Kind::Number => format!("{name}::bigint AS {name}"),
    };
    let columns = COLUMNS.iter().map(column).collect::<Vec<_>>().join(", ");
    format!("SELECT {columns} FROM entry WHERE id > $1 ORDER BY id LIMIT $2")
});

static INSERT: LazyLock<String> = LazyLock::new(|| {
    let names = COLUMNS.map(|(name, _)| name).join(", ");
    let array = |(index, (_, kind)): (usize, &(&str, Kind))| match kind {
        Kind::Text => format!("${}::text[]", index + 1),
        Kind::Number => format!("${}::bigint[]", index + 1),
    };
    let arrays = COLUMNS.iter().enumerate().map(array).collect::<Vec<_>>().join(", ");
    format!("INSERT INTO entry ({names}) SELECT * FROM unnest({arrays}) ON CONFLICT (id) DO NOTHING RETURNING id")
});

impl Postgres {
    pub(in crate::ledger) async fn lines(&self, after: &str, most: i64) -> Result<Vec<Line>, sqlx::Error> {
        // Both parts of the statement are constants.
        let select = sqlx::query(AssertSqlSafe(SELECT.as_str())).bind(after.to_owned()).bind(most);
        let rows = select.fetch_all(self.pool().await?).await?;
        rows.iter().map(|row: &PgRow| Line::read(|name| row.try_get(name), |name| row.try_get(name))).collect()
    }

    /// Adds rows and their sums, and says how many were not there before.
    pub(in crate::ledger) async fn add_lines(&self, lines: &[Line]) -> Result<u64, sqlx::Error> {
        let mut arguments = PgArguments::default();
        for (place, (_, kind)) in COLUMNS.iter().enumerate() {
            let cells = lines.iter().map(|line| &line.0[place]);
            let added = match kind {
                Kind::Text => arguments.add(cells.map(Cell::text).collect::<Vec<Option<String>>>()),
                Kind::Number => arguments.add(cells.map(Cell::number).collect::<Vec<Option<i64>>>()),
            };
            added.map_err(sqlx::Error::Encode)?;
        }
        let mut all = self.pool().await?.begin().await?;
        let insert = sqlx::query_scalar_with(AssertSqlSafe(INSERT.as_str()), arguments);
        let new: HashSet<String> = insert.fetch_all(&mut *all).await?.into_iter().collect();
        let mut rollup = Rollup::default();
        for line in lines.iter().filter(|line| new.contains(line.id())) {
            line.with_record(|record| rollup.add(record));
        }
        add_up(&rollup, &mut all).await?;
        all.commit().await?;
        Ok(new.len() as u64)
    }

    /// Every key and entity.
    pub(in crate::ledger) async fn stored(&self) -> Result<Vec<Stored>, sqlx::Error> {
        let pool = self.pool().await?;
        let keys: Vec<(String, Option<String>, String)> =
            sqlx::query_as("SELECT hash, alias, record::text FROM virtual_key").fetch_all(pool).await?;
        let entities: Vec<(String, String, String)> =
            sqlx::query_as("SELECT kind, id, record::text FROM entity").fetch_all(pool).await?;
        let keys = keys.into_iter().map(|(hash, alias, record)| Stored::Key { hash, alias, record });
        Ok(keys.chain(entities.into_iter().map(|(kind, id, record)| Stored::Entity { kind, id, record })).collect())
    }

    /// Keeps a key or an entity unless it, or another key of its name, is there.
    pub(in crate::ledger) async fn keep(&self, thing: &Stored) -> Result<bool, sqlx::Error> {
        let mut all = self.pool().await?.begin().await?;
        let (change, insert) = match thing {
            Stored::Key { hash, alias, record } => {
                let sql =
                    "INSERT INTO virtual_key (hash, alias, record) VALUES ($1, $2, $3::jsonb) ON CONFLICT DO NOTHING";
                (Change::Keys, sqlx::query(sql).bind(hash.clone()).bind(alias.clone()).bind(record.clone()))
            }
            Stored::Entity { kind, id, record } => {
                let sql = "INSERT INTO entity (kind, id, record) VALUES ($1, $2, $3::jsonb) ON CONFLICT DO NOTHING";
                (Change::Entities, sqlx::query(sql).bind(kind.clone()).bind(id.clone()).bind(record.clone()))
            }
        };
        let is_new = insert.execute(&mut *all).await?.rows_affected() == 1;
        if is_new {
            tell(&change, &mut all).await?;
        }
        all.commit().await?;
        Ok(is_new)
    }
}
