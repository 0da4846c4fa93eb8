//! `fleetgate keys invite|invites|uninvite`

use clap::Args;
use fleetgate_wire::ExposeSecret;
use fleetgate_wire::host::HostLabel;
use serde::Deserialize;
use serde_json::{Map, Value, json};

use super::table::Table;
use super::{AdminArgs, CliError, print};
use crate::admin::{InvitationInfo, NewInvitation};

#[derive(Debug, Args)]
pub(super) struct InviteArgs {
    #[command(flatten)]
    admin: AdminArgs,
    /// The machines that may come, each once; also those that have a key, which is replaced
    #[arg(long, value_name = "LABEL", value_parser = HostLabel::parse, num_args = 1..)]
    host: Vec<HostLabel>,
    /// So many machines, whatever their names, that have no key yet (default: 1)
    #[arg(long, value_name = "N", conflicts_with = "host")]
    hosts: Option<u32>,
    /// How long the invitation is good
    #[arg(long, value_name = "TIME", default_value = "24h")]
    expires: String,
    /// The name of each key; {host} stands for the machine (default: vk-{host})
    #[arg(long, value_name = "PATTERN")]
    alias: Option<String>,
    /// Dollars that each key may spend
    #[arg(long, value_name = "DOLLARS")]
    budget: Option<f64>,
    /// How often that starts anew
    #[arg(long, value_name = "TIME", requires = "budget")]
    budget_duration: Option<String>,
    /// The models that it may call (default: all)
    #[arg(long, value_name = "A,B", value_delimiter = ',')]
    models: Vec<String>,
    /// Calls in a minute
    #[arg(long, value_name = "N")]
    rpm: Option<u64>,
    /// Tokens in a minute
    #[arg(long, value_name = "N")]
    tpm: Option<u64>,
    /// The team that each key belongs to
    #[arg(long, value_name = "ID")]
    team: Option<String>,
}

#[derive(Debug, Args)]
pub(super) struct InvitesArgs {
    #[command(flatten)]
    admin: AdminArgs,
    /// One JSON object a line
    #[arg(long)]
    json: bool,
}

#[derive(Debug, Args)]
pub(super) struct UninviteArgs {
    #[command(flatten)]
    admin: AdminArgs,
    /// The invitation, as `fleetgate keys invites` lists it
    #[arg(value_name = "ID")]
    id: String,
}

pub(super) async fn invite(args: InviteArgs) -> Result<(), CliError> {
    let admin = args.admin.open()?;
    let models = (!args.models.is_empty()).then_some(args.models);
    let fields = [
        ("max_budget", json!(args.budget)),
        ("budget_duration", json!(args.budget_duration)),
        ("models", json!(models)),
        ("rpm_limit", json!(args.rpm)),
        ("tpm_limit", json!(args.tpm)),
        ("team_id", json!(args.team)),
    ];
    let given = fields.into_iter().filter(|(_, value)| !value.is_null());
    let template: Map<String, Value> = given.map(|(name, value)| (name.to_owned(), value)).collect();
    let (hosts, uses) = (args.host, args.hosts);
    let new = NewInvitation { hosts, uses, expires_in: args.expires, key_alias: args.alias, template };
    let invited = admin.invite(&new).await?;
    tracing::info!(
        "invitation {} for {} machine(s), good until {}; on each of them run: fleetgate enroll {} --token -",
        invited.id,
        invited.uses,
        invited.expires_at,
        admin.gateway()
    );
    Ok(print(&format!("{}\n", invited.token.expose_secret()))?)
}

pub(super) async fn list(args: InvitesArgs) -> Result<(), CliError> {
    let invitations = args.admin.open()?.invitations().await?;
    if args.json {
        return Ok(print(&invitations.iter().map(|invitation| format!("{invitation}\n")).collect::<String>())?);
    }
    let mut table = Table::new(["id", "status", "for", "left", "until", "enrolled"]);
    for invitation in &invitations {
        let info = InvitationInfo::deserialize(invitation).unwrap_or_default();
        let meant = if info.hosts.is_empty() { "any".to_owned() } else { info.hosts.join(",") };
        let enrolled: Vec<String> = info.enrolled.into_iter().map(|one| one.host).collect();
        let enrolled = if enrolled.is_empty() { "-".to_owned() } else { enrolled.join(",") };
        let left = format!("{}/{}", info.uses_left, info.uses);
        table.push([info.id, info.status, meant, left, info.expires_at, enrolled]);
    }
    Ok(print(&table.to_string())?)
}

pub(super) async fn withdraw(args: UninviteArgs) -> Result<(), CliError> {
    args.admin.open()?.withdraw_invitation(&args.id).await?;
    Ok(print(&format!("invitation {} is withdrawn; keys that it gave stay\n", args.id))?)
}
