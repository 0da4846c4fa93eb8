//! `fleetgate sidecar`

use std::io;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use clap::Args;
use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::time::{sleep, timeout};

use super::whoami::HostArgs;
use super::{CliError, gateways_or_enrolled, print};
use crate::forward::{Gateway, GatewayUrl};
use crate::front::{self, AccessArgs, Listeners};
use crate::keystore::{HostKeys, KeyStore};
use crate::local::Sidecar;
use crate::metrics::Metrics;
use crate::notify::Notifier;
use crate::{VERSION, descriptors, identity, places};

/// The service manager is told within this time that the keys were read again, whatever came of it. A keyring has two seconds.
const RELOAD_LIMIT: Duration = Duration::from_secs(3);
const RELOAD_LOOK: Duration = Duration::from_millis(20);

#[derive(Debug, Args)]
pub(super) struct SidecarArgs {
    /// The gateway: http://host:port. Several, separated by commas: the first that takes connections is used
    #[arg(long, env = "FLEETGATE_GATEWAY", value_name = "URL", value_delimiter = ',')]
    gateway: Vec<GatewayUrl>,
    /// How many seconds a call waits for a gateway that went away, which is often a restart. After that, calls are refused at once
    #[arg(long, env = "FLEETGATE_GATEWAY_PATIENCE", value_name = "SECONDS", default_value = "2.5", value_parser = seconds)]
    gateway_patience: Duration,
    /// How many seconds calls and tunnels may go on after SIGTERM; a second SIGTERM ends them at once
    #[arg(long, env = "FLEETGATE_DRAIN", value_name = "SECONDS", default_value = "10", value_parser = seconds)]
    drain: Duration,
    /// Where to listen; may be repeated (in the environment: separated by commas)
    #[arg(long, env = "FLEETGATE_LISTEN", value_name = "ADDR:PORT", value_delimiter = ',',
          default_values = ["127.0.0.1:4000", "[::1]:4000"])]
    listen: Vec<SocketAddr>,
    /// Allow addresses that other machines reach: all of them can then spend with this host's key
    #[arg(long)]
    dangerously_listen_beyond_loopback: bool,
    #[command(flatten)]
    access: AccessArgs,
    #[command(flatten)]
    host: HostArgs,
}

pub(super) async fn run(args: SidecarArgs) -> Result<(), CliError> {
    let gateways = gateways_or_enrolled(args.gateway)?;
    let signals = Signals::listen()?;
    descriptors::raise_limit();
    let hosts_file: PathBuf = args.host.hosts_file()?;
    let identity = identity::find(args.host.label(), places::state_directory().as_deref()).await?;
    identity.log_notes();
    let listeners = args.access.listen(&args.listen, args.dangerously_listen_beyond_loopback).await?;
    if let Some(url) = gateways.iter().find(|url| leads_to_us(url, &listeners)) {
        return Err(CliError::OwnAddress(url.clone()));
    }
    let keys = Arc::new(KeyStore::open(&hosts_file, &identity.label).await?);
    let names: Vec<String> = gateways.iter().map(ToString::to_string).collect();
    tracing::info!(version = VERSION, host = %keys.current().label, gateway = %names.join(","), "sidecar starts");

    let lines: String = listeners.addresses.iter().map(|address| format!("listening http://{address}\n")).collect();
    print(&format!("{lines}ready\n"))?;
    let notifier = Notifier::from_environment();
    let status = format!("calls of {} go to {}", keys.current().label, names.join(", "));
    notifier.ready(&status);
    let metrics = Arc::new(Metrics::default());
    let gateway = Gateway::new(&gateways, args.gateway_patience, Arc::clone(&metrics));
    let sidecar = Arc::new(Sidecar { identity, keys: Arc::clone(&keys), gateway, metrics });
    let stop = async {
        let signals = signals.until_stop(&keys, &notifier, &status).await;
        tracing::info!("sidecar stops: no new connections, finishing what is under way");
        notifier.stopping();
        signals
    };
    let cut = |signals: Signals| signals.until_cut(args.drain);
    tokio::select! {
        () = front::serve(listeners, sidecar, stop, cut) => {}
        () = notifier.keep_alive() => {}
    }
    tracing::info!("sidecar ends");
    Ok(())
}

/// A number of seconds, also a part of one.
fn seconds(text: &str) -> Result<Duration, String> {
    let text = text.strip_suffix('s').unwrap_or(text);
    let number: f64 = text.parse().map_err(|_| format!("{text:?} is no number of seconds"))?;
    Duration::try_from_secs_f64(number).map_err(|error| error.to_string())
}

fn leads_to_us(url: &GatewayUrl, listeners: &Listeners) -> bool {
    let authority = url.authority();
    let literal =
        authority.strip_prefix("localhost:").map_or_else(|| authority.to_owned(), |p| format!("127.0.0.1:{p}"));
    literal.parse().is_ok_and(|address: SocketAddr| listeners.addresses.contains(&address))
}

/// Asked for before anything else, so that a signal during the start does not kill without a word.
struct Signals {
    terminate: Signal,
    interrupt: Signal,
    hang_up: Signal,
}

impl Signals {
    fn listen() -> io::Result<Self> {
        Ok(Self {
            terminate: signal(SignalKind::terminate())?,
            interrupt: signal(SignalKind::interrupt())?,
            hang_up: signal(SignalKind::hangup())?,
        })
    }

    /// Until somebody wants the end; SIGHUP reads the keys again.
    async fn until_stop(mut self, keys: &KeyStore, notifier: &Notifier, status: &str) -> Self {
        loop {
            tokio::select! {
                _ = self.terminate.recv() => return self,
                _ = self.interrupt.recv() => return self,
                _ = self.hang_up.recv() => {}
            }
            notifier.reloading();
            let before = keys.current();
            keys.reload_soon();
            let _ = timeout(RELOAD_LIMIT, replaced(keys, &before)).await;
            notifier.ready(status);
        }
    }

    /// What is left then is cut: after the time for it, or when somebody asks for the end once more.
    async fn until_cut(mut self, drain: Duration) {
        tokio::select! {
            () = sleep(drain) => {}
            _ = self.terminate.recv() => tracing::warn!("told to end a second time"),
            _ = self.interrupt.recv() => tracing::warn!("told to end a second time"),
        }
    }
}

/// Until the keys are others than these. A file that cannot be read leaves them as they are, hence [`RELOAD_LIMIT`].
async fn replaced(keys: &KeyStore, before: &Arc<HostKeys>) {
    while Arc::ptr_eq(&keys.current(), before) {
        sleep(RELOAD_LOOK).await;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn seconds_may_be_written_with_their_unit_and_in_parts() {
        for (text, milliseconds) in [("5", 5000), ("5s", 5000), ("0.5", 500), ("0", 0)] {
            assert_eq!(seconds(text), Ok(Duration::from_millis(milliseconds)));
        }
        for text in ["", "s", "-1", "5m", "NaN", "1e300"] {
            assert!(seconds(text).is_err(), "{text}");
        }
    }
}
