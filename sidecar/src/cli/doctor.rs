//! `fleetgate doctor`

use std::time::Duration;

use clap::Args;
use fleetgate_wire::SecretString;

use super::whoami::HostArgs;
use super::{CliError, gateway_or_enrolled, print};
use crate::doctor::{self, Report, Subject, Surroundings, WatchError};
use crate::forward::{GatewayUrl, GatewayUrlError};

/// Where gateways listen unless somebody says otherwise.
const DEFAULT_PORT: u16 = 4000;

#[derive(Debug, Args)]
pub(super) struct DoctorArgs {
    /// The gateway: http://host:port; of several between commas the first; without it, the running sidecar's, or the one at which this machine enrolled
    // Not read as an address yet: a wrong one is a finding.
    #[arg(long, env = "FLEETGATE_GATEWAY", value_name = "URL")]
    gateway: Option<String>,
    /// The sidecar
    #[arg(long, value_name = "URL", default_value = "http://127.0.0.1:4000")]
    sidecar: GatewayUrl,
    #[command(flatten)]
    host: HostArgs,
    /// Examine the gateway of this machine instead
    #[arg(long)]
    on_gateway: bool,
    /// On the gateway's machine: watch for so many seconds what arrives at its port (as root: also what a firewall drops)
    #[arg(long, value_name = "SECONDS", num_args = 0..=1, default_missing_value = "30", conflicts_with = "on_gateway")]
    listen: Option<u64>,
    /// Ask this address, whose answer holds the caller's address, with and without the proxy: which does it see?
    #[arg(long, value_name = "URL", conflicts_with_all = ["on_gateway", "listen"])]
    egress: Option<String>,
    /// With --on-gateway: the administrator's key; better in the environment, where `ps` does not show it
    #[arg(long, env = "FLEETGATE_ADMIN_KEY", hide_env_values = true, value_name = "KEY")]
    key: Option<SecretString>,
    /// As one JSON object
    #[arg(long)]
    json: bool,
}

/// Why nothing could be examined.
#[derive(Debug, thiserror::Error)]
pub enum DoctorError {
    /// The address to watch or to ask is none.
    #[error("--gateway: {0}")]
    Gateway(#[from] GatewayUrlError),
    /// There is nothing to watch with.
    #[error(transparent)]
    Watch(#[from] WatchError),
}

pub(super) async fn run(args: DoctorArgs) -> Result<(), CliError> {
    let surroundings = Surroundings::of_this_process();
    let report = if let Some(seconds) = args.listen {
        let gateway = address(args.gateway.as_deref())?;
        let port = gateway.and_then(|url| url.authority().rsplit_once(':')?.1.parse().ok()).unwrap_or(DEFAULT_PORT);
        let time = Duration::from_secs(seconds);
        let announce = |all: bool| {
            let what = if all { "attempts to connect" } else { "connections" };
            eprintln!("watching {what} to port {port} for {seconds} s");
        };
        doctor::watch(port, time, &surroundings, announce).await.map_err(DoctorError::from)?
    } else if args.on_gateway {
        let gateway = address(args.gateway.as_deref())?;
        doctor::examine_gateway(gateway.as_ref(), args.key.as_ref(), &surroundings).await
    } else {
        let subject = Subject {
            gateway: args.gateway,
            enrolled: gateway_or_enrolled(Vec::new()).ok().map(|url| url.to_string()),
            sidecar: args.sidecar,
            label: args.host.label().map(str::to_owned),
            hosts_file: args.host.hosts_file().ok(),
            surroundings,
        };
        match args.egress {
            Some(url) => doctor::examine_egress(&subject, &url).await,
            None => doctor::examine(&subject).await,
        }
    };
    finish(&report, args.json)
}

fn address(text: Option<&str>) -> Result<Option<GatewayUrl>, DoctorError> {
    let first = text.and_then(|text| text.split(',').next()).map(str::trim);
    Ok(first.filter(|text| !text.is_empty()).map(str::parse).transpose()?)
}

fn finish(report: &Report, as_json: bool) -> Result<(), CliError> {
    print(&if as_json { report.to_json() + "\n" } else { report.to_text() })?;
    if report.has_problem() { Err(CliError::Unwell) } else { Ok(()) }
}
