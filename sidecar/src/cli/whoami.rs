//! `fleetgate whoami`

use std::fmt::Write;
use std::path::PathBuf;

use clap::Args;

use super::{CliError, gateway_or_enrolled, print};
use crate::forward::GatewayUrl;
use crate::keystore::HostKeys;
use crate::local::{Verdict, WhoAmI};
use crate::{identity, places};

/// Which host this is and where its keys are named.
#[derive(Debug, Args)]
pub(super) struct HostArgs {
    /// The file that says where keys lie
    #[arg(long, env = "FLEETGATE_HOSTS", value_name = "FILE")]
    hosts: Option<PathBuf>,
    /// This host's label, instead of looking for it
    #[arg(long, env = "FLEETGATE_HOST", value_name = "LABEL")]
    host: Option<String>,
}

impl HostArgs {
    pub(super) fn hosts_file(&self) -> Result<PathBuf, CliError> {
        self.hosts.clone().or_else(places::hosts_file).ok_or(CliError::NoHostsFile)
    }

    /// An empty variable of a service file says nothing.
    pub(super) fn label(&self) -> Option<&str> {
        self.host.as_deref().filter(|label| !label.is_empty())
    }
}

#[derive(Debug, Args)]
pub(super) struct WhoamiArgs {
    #[command(flatten)]
    host: HostArgs,
    /// The gateway, only shown
    #[arg(long, env = "FLEETGATE_GATEWAY", value_name = "URL", value_delimiter = ',')]
    gateway: Vec<GatewayUrl>,
    /// As one JSON object
    #[arg(long)]
    json: bool,
}

pub(super) async fn run(args: WhoamiArgs) -> Result<(), CliError> {
    let hosts_file = args.host.hosts_file()?;
    let identity = identity::find(args.host.label(), places::state_directory().as_deref()).await?;
    let keys = HostKeys::load(&hosts_file, &identity.label).await?;
    let gateway = gateway_or_enrolled(args.gateway).ok();
    let whoami = WhoAmI::describe(&identity, &keys, &hosts_file, gateway.as_ref());
    let text = if args.json { whoami.to_json() + "\n" } else { for_people(&whoami) };
    Ok(print(&text)?)
}

fn for_people(whoami: &WhoAmI) -> String {
    let mut text = format!("host     {}\n", whoami.host);
    let mut line = |name: &str, value: &str| {
        // Writing into a string cannot fail.
        let _ = writeln!(text, "{name:<8} {value}");
    };
    for candidate in &whoami.candidates {
        let label = candidate.label.as_deref().unwrap_or_default();
        let found = match candidate.verdict {
            Verdict::Wins => format!("{label} (wins as the first usable one: {})", whoami.because),
            Verdict::ComesLater => format!("{label} (comes later)"),
            Verdict::Unusable => candidate.problem.clone().unwrap_or_default(),
        };
        line("", &format!("{}: {found}", candidate.source.words()));
    }
    for note in &whoami.notes {
        line("note", note);
    }
    line("hosts", &whoami.hosts_file);
    line("matched", &whoami.matched);
    let key = whoami.key.as_ref().map_or_else(
        || "none".to_owned(),
        |key| match &key.problem {
            Some(problem) => format!("{} missing: {problem}", key.reference),
            None => format!("{} {}", key.reference, key.state),
        },
    );
    line("key", &key);
    for own in &whoami.workloads {
        let state = own.key.problem.as_deref().map_or("found".to_owned(), |problem| format!("missing: {problem}"));
        line("workload", &format!("{}: {} {state}", own.workload, own.key.reference));
    }
    line("gateway", whoami.gateway.as_deref().unwrap_or("none: set FLEETGATE_GATEWAY"));
    text
}
