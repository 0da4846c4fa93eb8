//! `fleetgate spend reprice`

use clap::Args;
use fleetgate_wire::money::NanoDollars;
use fleetgate_wire::spend::Repriced;

use super::{AdminArgs, CliError, print};
use crate::admin::Reprice;

#[derive(Debug, Args)]
pub(super) struct RepriceArgs {
    #[command(flatten)]
    admin: AdminArgs,
    /// Calls that began then or later: 30d, 2026-11-01
    #[arg(long, value_name = "WHEN")]
    since: Option<String>,
    /// Calls that began before; a date's whole day is within
    #[arg(long, value_name = "WHEN")]
    until: Option<String>,
    /// Only calls of this model, by the caller's name or the provider's
    #[arg(long, value_name = "NAME")]
    model: Option<String>,
    /// Only say what would change
    #[arg(long)]
    dry_run: bool,
    /// One JSON object
    #[arg(long)]
    json: bool,
}

pub(super) async fn run(args: RepriceArgs) -> Result<(), CliError> {
    let RepriceArgs { admin, since, until, model, dry_run, json } = args;
    let repriced = admin.open()?.reprice(&Reprice { since, until, model, dry_run }).await?;
    Ok(print(&if json { format!("{}\n", serde_json::json!(repriced)) } else { tell(&repriced) })?)
}

fn tell(repriced: &Repriced) -> String {
    let Repriced { rows, changed, newly_priced, unpriced, .. } = repriced;
    let (before, after) = (NanoDollars(repriced.before_nanousd), NanoDollars(repriced.after_nanousd));
    let verb = if repriced.dry_run { "would change" } else { "changed" };
    let mut text = format!("{changed} of {rows} calls {verb}: {before} before, {after} now");
    if *newly_priced > 0 {
        text += &format!("; {newly_priced} of them had no price before");
    }
    text.push('\n');
    if *unpriced > 0 {
        text += &format!("{unpriced} still have no price: fleetgate spend --unpriced says what to do\n");
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_person_reads_how_much_changed_and_what_did_not() {
        let repriced =
            Repriced { rows: 9, changed: 2, before_nanousd: 5_000_000, after_nanousd: 1, ..Repriced::default() };
        assert_eq!(tell(&repriced), "2 of 9 calls changed: $0.005 before, $0.000000001 now\n");
        let text = tell(&Repriced { dry_run: true, newly_priced: 1, unpriced: 3, ..repriced });
        assert!(text.contains("2 of 9 calls would change") && text.contains("1 of them had no price"), "{text}");
        assert!(text.contains("3 still have no price: fleetgate spend --unpriced"), "{text}");
    }
}
