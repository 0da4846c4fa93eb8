//! `restore`: a backup to the places of a gateway that does not run.

use std::io::Write;
use std::path::Path;

use anyhow::Context;

use super::backup::{configuration, describe};
use crate::config::{Database, Overrides};
use crate::ledger::{Restored, inspect, restore};

/// Restores a backup, and says what was done and what comes next.
///
/// # Errors
/// When the backup is damaged or newer, a gateway runs, or there is a ledger already and `force` is not said.
pub(super) fn run(
    file: &Path,
    overrides: &Overrides,
    config_to: Option<&Path>,
    force: bool,
    out: &mut impl Write,
) -> anyhow::Result<()> {
    let at = || file.display().to_string();
    let (config, _) = configuration(overrides)?;
    let done = restore(file, &config.database, &config.state_directory, config_to, force).with_context(at)?;
    let Restored { manifest, set_aside, config: written } = done;
    match &config.database {
        Database::Sqlite(path) => writeln!(out, "{} is restored to {}.", at(), path.display())?,
        Database::Postgres(url) => {
            writeln!(out, "{} is restored to {}.", at(), config.state_directory.display())?;
            writeln!(out, "The rows themselves come from pg_restore to {url}; do that before the gateway starts.")?;
        }
    }
    describe(&manifest, out)?;
    if let Some(aside) = set_aside {
        writeln!(out, "What was there before is in {}; delete it when all is well.", aside.display())?;
    }
    for file in written {
        writeln!(out, "wrote {}", file.display())?;
    }
    if manifest.ledger.is_none() {
        writeln!(out, "The gateway that this was taken from must not start again: this one has its identity now.")?;
    }
    writeln!(out, "Next: start the gateway, for example with 'systemctl start fleetgate-gateway'.")?;
    Ok(())
}

/// Reads a backup to its end, says what is in it, and changes nothing.
///
/// # Errors
/// When it is damaged or newer.
pub(super) fn check(file: &Path, out: &mut impl Write) -> anyhow::Result<()> {
    let manifest = inspect(file).with_context(|| file.display().to_string())?;
    writeln!(out, "{} is whole, written by version {}.", file.display(), manifest.version)?;
    describe(&manifest, out)?;
    Ok(())
}
