//! `fleetgate egress`

use clap::{Args, Subcommand};
use fleetgate_wire::egress::Explanation;

use super::table::Table;
use super::{AdminArgs, CliError, print};

#[derive(Debug, Args)]
pub(super) struct EgressArgs {
    #[command(subcommand)]
    command: EgressCommand,
}

#[derive(Debug, Subcommand)]
enum EgressCommand {
    /// Say what would become of a tunnel, and by which rule; nobody is connected to
    Explain(ExplainArgs),
}

#[derive(Debug, Args)]
struct ExplainArgs {
    /// The destination: api.example.com:443
    #[arg(value_name = "HOST:PORT")]
    to: String,
    #[command(flatten)]
    admin: AdminArgs,
    /// Who would ask: a key by its name; without it, the master key
    #[arg(long = "as", value_name = "KEY")]
    asker: Option<String>,
    /// The host that would ask, where the key is bound to none
    #[arg(long, value_name = "LABEL")]
    host: Option<String>,
    /// What would ask there
    #[arg(long, value_name = "NAME")]
    workload: Option<String>,
    /// One JSON object
    #[arg(long)]
    json: bool,
}

pub(super) async fn run(args: EgressArgs) -> Result<(), CliError> {
    let EgressCommand::Explain(args) = args.command;
    let admin = args.admin.open()?;
    let said = admin.explain(&args.to, args.asker.as_deref(), args.host.as_deref(), args.workload.as_deref()).await?;
    Ok(print(&if args.json { format!("{}\n", serde_json::json!(said)) } else { show(&said) })?)
}

fn show(said: &Explanation) -> String {
    let verdict = if said.allowed { "allowed" } else { "refused" };
    let mut table = Table::new(["destination", &said.to]);
    let or_none = |text: &Option<String>| text.clone().unwrap_or_else(|| "-".to_owned());
    let lines = [
        ("key", said.key_alias.clone()),
        ("host", or_none(&said.host)),
        ("workload", or_none(&said.workload)),
        ("verdict", format!("{verdict} ({})", said.reason)),
        ("why", said.message.clone()),
        ("rule", or_none(&said.rule)),
        ("mode", said.mode.clone()),
        ("next proxy", or_none(&said.next_proxy)),
    ];
    for (name, value) in lines {
        table.push([name.to_owned(), value]);
    }
    for one in &said.addresses {
        let verdict = if one.allowed { "would be dialled" } else { "never dialled" };
        table.push(["address".to_owned(), format!("{} ({}, {verdict})", one.address, one.class)]);
    }
    table.to_string()
}
