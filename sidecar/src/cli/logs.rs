//! `fleetgate logs`

use clap::Args;
use fleetgate_wire::money::NanoDollars;
use fleetgate_wire::row::Row;

use super::table::Table;
use super::{AdminArgs, CliError, print};
use crate::admin::{AdminError, LogFilter};

#[derive(Debug, Args)]
pub(super) struct LogsArgs {
    #[command(flatten)]
    admin: AdminArgs,
    /// One JSON row a line
    #[arg(long)]
    json: bool,
    /// At most so many rows, newest first
    #[arg(long, default_value_t = 50)]
    limit: u32,
    /// Only this host's
    #[arg(long, value_name = "LABEL")]
    host: Option<String>,
    /// Only what this key paid
    #[arg(long, value_name = "NAME")]
    key_alias: Option<String>,
    /// Only this one
    #[arg(long, value_name = "ID")]
    request_id: Option<String>,
}

pub(super) async fn run(args: LogsArgs) -> Result<(), CliError> {
    let filter =
        LogFilter { limit: args.limit, host: args.host, key_alias: args.key_alias, request_id: args.request_id };
    let logs = args.admin.open()?.logs(&filter).await?;
    if args.json {
        return Ok(print(&logs.rows.iter().map(|row| format!("{row}\n")).collect::<String>())?);
    }
    let mut table = Table::new(["time", "host", "workload", "key", "model", "in", "out", "cost", "status", "marks"]);
    for row in &logs.rows {
        let row: Row = serde_json::from_str(row.get()).map_err(|error| AdminError::Unreadable(error.to_string()))?;
        table.push(line(row));
    }
    Ok(print(&table.to_string())?)
}

fn line(row: Row) -> [String; 10] {
    let tokens = |count: Option<u64>| count.map_or_else(|| "-".to_owned(), |count| count.to_string());
    let model = match row.destination {
        Some(destination) => destination,
        None if row.model.is_empty() => row.model_requested,
        None => row.model,
    };
    let cost = match row.cost_nanousd {
        Some(nanos) => NanoDollars(nanos).to_string(),
        None if row.kind == "tunnel" => "-".to_owned(),
        None => "unpriced".to_owned(),
    };
    let marks: Vec<_> = row.marks.iter().map(|mark| mark.word()).collect();
    // Seconds are enough for people; --json has the whole time.
    let time = row.started_at.get(..19).unwrap_or(&row.started_at).replace('T', " ");
    [
        time,
        row.host,
        row.workload,
        row.key_alias,
        model,
        tokens(row.input_tokens),
        tokens(row.output_tokens),
        cost,
        row.status,
        marks.join(","),
    ]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_unknown_price_is_said_and_never_zero() {
        let row = Row {
            kind: "call".into(),
            started_at: "2026-11-22T20:01:02.000123Z".into(),
            model_requested: "gpt".into(),
            input_tokens: Some(0),
            ..Row::default()
        };
        let line = line(row.clone());
        assert_eq!((line[0].as_str(), line[4].as_str()), ("2026-11-22 20:01:02", "gpt"));
        assert_eq!((line[5].as_str(), line[6].as_str(), line[7].as_str()), ("0", "-", "unpriced"));
        assert_eq!(super::line(Row { cost_nanousd: Some(400_000), ..row })[7], "$0.0004");
    }
}
