//! `migrate`: a whole ledger from SQLite to PostgreSQL, or back.

use std::io::Write;

use anyhow::{Context, bail};

use crate::config::Database;
use crate::ledger::transfer;

/// Copies everything from one database into the other and says how much it was.
///
/// # Errors
/// When an address is none, or one of the databases cannot be used.
pub(super) fn run(from: &str, to: &str, out: &mut impl Write, notes: &mut impl Write) -> anyhow::Result<()> {
    let from = Database::parse(from).context("--from")?;
    let to = Database::parse(to).context("--to")?;
    if from == to {
        bail!("--from and --to are the same database; name two");
    }
    if let Database::Sqlite(file) = &from
        && !file.exists()
    {
        bail!("--from: there is no file {}", file.display());
    }
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let progress = |done: &crate::ledger::Transferred| {
        // What cannot be shown is no reason to stop.
        let _unseen = writeln!(notes, "{} rows", done.rows.copied + done.rows.known);
    };
    let done = runtime.block_on(transfer(&from, &to, progress))?;
    writeln!(out, "from {from} to {to}")?;
    writeln!(out, "rows:     {}", done.rows)?;
    writeln!(out, "keys:     {}", done.keys)?;
    writeln!(out, "entities: {}", done.entities)?;
    Ok(())
}
