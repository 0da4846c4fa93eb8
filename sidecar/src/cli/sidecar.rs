//! `fleetgate sidecar`

use std::io;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;

use clap::Args;
use tokio::signal::unix::{Signal, SignalKind, signal};

use super::whoami::HostArgs;
use super::{CliError, print};
use crate::forward::{Gateway, GatewayUrl};
use crate::front::{self, AccessArgs, Listeners};
use crate::keystore::KeyStore;
use crate::local::Sidecar;
use crate::{VERSION, identity, places};

#[derive(Debug, Args)]
pub(super) struct SidecarArgs {
    /// The gateway: http://host:port
    #[arg(long, env = "FLEETGATE_GATEWAY", value_name = "URL")]
    gateway: Option<GatewayUrl>,
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
    let url = args.gateway.ok_or(CliError::NoGateway)?;
    let mut signals = Signals::listen()?;
    let hosts_file: PathBuf = args.host.hosts_file()?;
    let identity = identity::find(args.host.label(), places::state_directory().as_deref()).await?;
    let listeners = args.access.listen(&args.listen, args.dangerously_listen_beyond_loopback).await?;
    if leads_to_us(&url, &listeners) {
        return Err(CliError::OwnAddress(url));
    }
    let keys = Arc::new(KeyStore::open(&hosts_file, &identity.label).await?);
    tracing::info!(version = VERSION, host = %keys.current().label, gateway = %url, "sidecar starts");

    let lines: String = listeners.addresses.iter().map(|address| format!("listening http://{address}\n")).collect();
    print(&format!("{lines}ready\n"))?;
    let sidecar = Arc::new(Sidecar { identity, keys: Arc::clone(&keys), gateway: Gateway::new(url) });
    front::serve(listeners, sidecar, signals.until_stop(&keys)).await;
    tracing::info!("sidecar ends");
    Ok(())
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
    async fn until_stop(&mut self, keys: &KeyStore) {
        loop {
            tokio::select! {
                _ = self.terminate.recv() => return,
                _ = self.interrupt.recv() => return,
                _ = self.hang_up.recv() => keys.reload_soon(),
            }
        }
    }
}
