//! `fleetgate spend`

use clap::{Args, Subcommand};
use fleetgate_wire::egress::EgressSums;
use fleetgate_wire::money::NanoDollars;
use fleetgate_wire::seen::Straggler;
use fleetgate_wire::spend::{Group, Sums, UnpricedModel};
use serde::de::DeserializeOwned;
use serde_json::value::RawValue;

use super::reprice::{self, RepriceArgs};
use super::table::Table;
use super::{AdminArgs, CliError, print};
use crate::admin::{AdminError, Egress, Spend, Times};

#[derive(Debug, Args)]
#[command(args_conflicts_with_subcommands = true)]
pub(super) struct SpendArgs {
    #[command(subcommand)]
    command: Option<SpendCommand>,
    #[command(flatten)]
    admin: AdminArgs,
    /// What to group by; may be repeated. host, workload, key, user, team, customer, tag, model, model_requested, provider,
    /// deployment, endpoint, status, price_source, hour, day or month
    #[arg(long, value_name = "WHAT", value_delimiter = ',',
          default_values = ["host", "workload", "key", "model", "provider"])]
    by: Vec<String>,
    /// Calls that began then or later: 7d, 2026-11-01, 2026-11-01T12:00:00Z
    #[arg(long, value_name = "WHEN")]
    since: Option<String>,
    /// Calls that began before; a date's whole day is within
    #[arg(long, value_name = "WHEN")]
    until: Option<String>,
    /// The models that have no price, and what to do about each
    #[arg(long, conflicts_with = "by")]
    unpriced: bool,
    /// The hosts that still live on the fallback key or the master key
    #[arg(long, conflicts_with_all = ["by", "unpriced"])]
    stragglers: bool,
    /// What went through tunnels, by host and destination
    #[arg(long, conflicts_with_all = ["by", "unpriced", "stragglers"])]
    egress: bool,
    /// One JSON object a line
    #[arg(long)]
    json: bool,
}

#[derive(Debug, Subcommand)]
enum SpendCommand {
    /// Price old calls by today's prices; what a provider reported stays
    Reprice(RepriceArgs),
}

pub(super) async fn run(args: SpendArgs) -> Result<(), CliError> {
    if let Some(SpendCommand::Reprice(args)) = args.command {
        return reprice::run(args).await;
    }
    let (admin, times) = (args.admin.open()?, Times { since: args.since, until: args.until });
    let text = if args.unpriced {
        let models = admin.unpriced(&times).await?;
        if args.json { lines(models.iter().map(|model| serde_json::json!(model))) } else { list(&models) }
    } else if args.egress {
        let egress = admin.egress(&times).await?;
        if args.json { lines(egress.groups.iter().map(|group| serde_json::json!(group))) } else { list_egress(&egress) }
    } else if args.stragglers {
        let hosts = admin.stragglers(&times).await?;
        if args.json { lines(hosts.iter().map(|host| serde_json::json!(host))) } else { list_stragglers(&hosts) }
    } else {
        let spend = admin.spend(&args.by, &times).await?;
        if args.json { lines(spend.groups) } else { show(&args.by, &spend)? }
    };
    Ok(print(&text)?)
}

fn lines(objects: impl IntoIterator<Item = impl ToString>) -> String {
    objects.into_iter().map(|object| object.to_string() + "\n").collect()
}

/// A line for each group, a total, and what the known cost does not hold.
fn show(by: &[String], spend: &Spend) -> Result<String, AdminError> {
    let columns: Vec<&str> = by.iter().map(|word| column(word)).collect();
    let mut table = Table::new(columns.iter().copied().chain(["calls", "in", "cached", "out", "cost", "unknown"]));
    for group in &spend.groups {
        let group: Group = read(group)?;
        let cells = columns.iter().map(|name| group.columns.get(*name).and_then(|cell| cell.as_str()).unwrap_or("-"));
        table.push(cells.map(str::to_owned).chain(figures(&group.sums)));
    }
    let total: Sums = read(&spend.total)?;
    let label = (0..columns.len()).map(|place| if place == 0 { "total".to_owned() } else { String::new() });
    table.push(label.chain(figures(&total)));
    let mut text = format!("{table}{}", explain(&total));
    if spend.left_off {
        text += "There are more groups than these, and the total holds them: say --since, or group by less\n";
    }
    Ok(text)
}

/// The column of an answer that people want to see: of a key its name, not its hash.
fn column(by: &str) -> &str {
    match by {
        "key" => "key_alias",
        "deployment" => "deployment_id",
        _ => by,
    }
}

fn read<A: DeserializeOwned>(object: &RawValue) -> Result<A, AdminError> {
    serde_json::from_str(object.get()).map_err(|error| AdminError::Unreadable(error.to_string()))
}

fn figures(sums: &Sums) -> [String; 6] {
    let unknown = sums.unpriced_calls + sums.uncounted_calls + sums.interrupted_calls;
    [
        sums.calls.to_string(),
        sums.input_tokens.to_string(),
        sums.cache_read_tokens.to_string(),
        sums.output_tokens.to_string(),
        NanoDollars(sums.cost_nanousd).to_string(),
        if unknown == 0 { "-".to_owned() } else { unknown.to_string() },
    ]
}

/// What is not known stands apart, each kind with what can be done about it.
fn explain(total: &Sums) -> String {
    let reserved = NanoDollars(total.interrupted_reserved_nanousd);
    let interrupted = format!("the gateway's end cut them off; not in the cost, at most {reserved}");
    let kinds = [
        (total.unpriced_calls, "unpriced", "not in the cost; fleetgate spend --unpriced says what to do"),
        (total.uncounted_calls, "uncounted", "they ended before anybody counted their tokens; not in the cost"),
        (total.interrupted_calls, "interrupted", interrupted.as_str()),
        (total.estimated_calls, "estimated", "in the cost, by estimated tokens"),
    ];
    let there_are = kinds.into_iter().filter(|(count, ..)| *count > 0);
    there_are.map(|(count, kind, meaning)| format!("{kind} calls: {count} ({meaning})\n")).collect()
}

fn list(models: &[UnpricedModel]) -> String {
    if models.is_empty() {
        return "Every call whose tokens are known has a price\n".to_owned();
    }
    let mut table =
        Table::new(["provider", "model", "asked for", "entry", "calls", "in", "out", "newest", "what to do"]);
    for model in models.iter().cloned() {
        table.push([
            model.provider,
            model.model,
            model.model_requested,
            model.entry.unwrap_or_else(|| "-".to_owned()),
            model.calls.to_string(),
            model.input_tokens.to_string(),
            model.output_tokens.to_string(),
            seconds(&model.newest),
            model.advice,
        ]);
    }
    table.to_string()
}

fn list_stragglers(hosts: &[Straggler]) -> String {
    if hosts.is_empty() {
        return "Every call was paid by a key of its host's own\n".to_owned();
    }
    let mut table = Table::new(["host", "in the mesh", "pays with", "key", "calls", "last seen", "what to do"]);
    for host in hosts {
        let remedy = match host.reason.as_str() {
            "fallback_key" => "give it a key of its own, and a [[host]] that matches it",
            _ => "the master key is for administration: use a virtual key there",
        };
        table.push([
            host.host.clone(),
            host.host_seen.clone().unwrap_or_else(|| "-".to_owned()),
            host.reason.replace('_', " "),
            host.key_alias.clone(),
            host.calls.to_string(),
            seconds(&host.last_seen),
            remedy.to_owned(),
        ]);
    }
    table.to_string()
}

fn list_egress(egress: &Egress) -> String {
    let mut table =
        Table::new(["host", "destination", "address", "tunnels", "refused", "bytes up", "bytes down", "cost"]);
    let figures = |sums: &EgressSums| {
        let counts = [sums.tunnels, sums.refused, sums.bytes_up, sums.bytes_down].map(|n| n.to_string());
        counts.into_iter().chain([NanoDollars(sums.cost_nanousd).to_string()])
    };
    for group in &egress.groups {
        let address = match (&group.address, group.addresses) {
            (Some(address), 1) => address.clone(),
            (_, 0) | (None, _) => "-".to_owned(),
            (_, several) => format!("{several} addresses"),
        };
        let names = [group.host.clone(), group.destination.clone(), address];
        table.push(names.into_iter().chain(figures(&group.sums)));
    }
    table.push(["total".to_owned(), String::new(), String::new()].into_iter().chain(figures(&egress.total)));
    let more = "There are more groups than these, and the total holds them: say --since\n";
    format!("{table}{}", if egress.left_off { more } else { "" })
}

/// Seconds are enough for people; --json has the whole time.
fn seconds(time: &str) -> String {
    time.get(..19).unwrap_or(time).replace('T', " ")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn raw(text: &str) -> Box<RawValue> {
        RawValue::from_string(text.to_owned()).unwrap()
    }

    #[test]
    fn what_is_not_known_stands_apart_from_the_cost() {
        let total = r#"{"calls": 9, "input_tokens": 70, "cost_nanousd": 5000000, "unpriced_calls": 2, "interrupted_calls": 1,
                        "interrupted_reserved_nanousd": 700, "estimated_calls": 3}"#;
        let group = r#"{"key_alias": "vk-mac", "key_hash": "00ff", "team": null, "calls": 9, "cost_nanousd": 5000000}"#;
        let spend = Spend { groups: vec![raw(group)], total: raw(total), left_off: false };
        let text = show(&["team".to_owned(), "key".to_owned()], &spend).unwrap();
        let lines: Vec<&str> = text.lines().collect();
        let words = |line: usize| lines[line].split_whitespace().collect::<Vec<_>>().join(" ");
        assert_eq!(words(0), "team key_alias calls in cached out cost unknown");
        assert_eq!(words(1), "- vk-mac 9 0 0 0 $0.005 -");
        assert_eq!(words(2), "total 9 70 0 0 $0.005 3");
        assert!(lines[3].starts_with("unpriced calls: 2 (") && lines[4].ends_with("at most $0.0000007)"), "{text}");
        assert_eq!(lines[5], "estimated calls: 3 (in the cost, by estimated tokens)");
        assert_eq!(lines.len(), 6);
    }
}
