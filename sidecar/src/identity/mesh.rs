//! What the mesh calls this machine.

use std::path::{Path, PathBuf};
use std::time::Duration;

use fleetgate_wire::host::HostLabel;
use fleetgate_wire::mesh::{self, SOCKETS};
use serde::Deserialize;
use tokio::process::Command;
use tokio::time::timeout;

use crate::places;

/// Where NetBird's daemon listens. It speaks gRPC there; its command line asks for us.
const NETBIRD_SOCKET: &str = "/var/run/netbird.sock";

/// Asks `tailscaled`.
pub(super) async fn tailscale(limit: Duration) -> Result<HostLabel, String> {
    let sockets = places::tailscale_socket().map_or_else(|| SOCKETS.map(PathBuf::from).to_vec(), |named| vec![named]);
    match timeout(limit, ask_tailscaled(&sockets)).await {
        Ok(found) => found,
        Err(_) => Err(format!("tailscaled did not answer within {} ms", limit.as_millis())),
    }
}

async fn ask_tailscaled(sockets: &[PathBuf]) -> Result<HostLabel, String> {
    for socket in sockets {
        match mesh::own_name(socket).await {
            Ok(Some(name)) => return Ok(name),
            Ok(None) => return Err("tailscaled runs and is not logged in".to_owned()),
            Err(error) if error.is_absence() => {}
            Err(error) => return Err(error.to_string()),
        }
    }
    Err("no tailscaled on this machine".to_owned())
}

#[derive(Deserialize)]
struct NetbirdStatus {
    #[serde(default)]
    fqdn: String,
}

/// Asks NetBird, where its daemon runs.
pub(super) async fn netbird(limit: Duration) -> Result<HostLabel, String> {
    if !Path::new(NETBIRD_SOCKET).exists() {
        return Err("no NetBird on this machine".to_owned());
    }
    let mut status = Command::new("netbird");
    status.args(["status", "--json"]).kill_on_drop(true);
    match timeout(limit, status.output()).await {
        Err(_) => Err(format!("netbird did not answer within {} ms", limit.as_millis())),
        Ok(Err(error)) => Err(format!("netbird: {error}")),
        Ok(Ok(output)) => name_in(&output.stdout),
    }
}

fn name_in(status: &[u8]) -> Result<HostLabel, String> {
    let status: NetbirdStatus = serde_json::from_slice(status).map_err(|_| "netbird says nothing readable")?;
    if status.fqdn.is_empty() {
        return Err("NetBird runs and is not logged in".to_owned());
    }
    HostLabel::parse(&status.fqdn).map_err(|error| error.to_string())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn netbirds_status_names_this_machine_once_it_is_logged_in() {
        let connected =
            br#"{"daemonStatus": "Connected", "netbirdIp": "100.92.0.1/16", "fqdn": "MyBox.netbird.cloud"}"#;
        assert_eq!(name_in(connected).unwrap().as_str(), "mybox");
        assert!(name_in(br#"{"daemonStatus": "NeedsLogin", "fqdn": ""}"#).unwrap_err().contains("not logged in"));
        assert!(name_in(b"Daemon status: NeedsLogin").is_err());
    }

    #[tokio::test]
    async fn a_machine_without_a_mesh_says_so() {
        let nowhere = [PathBuf::from("/nowhere/a.sock"), PathBuf::from("/nowhere/b.sock")];
        assert_eq!(ask_tailscaled(&nowhere).await.unwrap_err(), "no tailscaled on this machine");
    }

    #[tokio::test]
    async fn a_daemon_that_hangs_holds_nothing_up() {
        let directory = tempfile::tempdir().unwrap();
        let socket = directory.path().join("tailscaled.sock");
        // Takes connections, for the kernel does, and never says a word.
        let _silent = tokio::net::UnixListener::bind(&socket).unwrap();
        let asked = timeout(Duration::from_millis(10), ask_tailscaled(&[socket])).await;
        assert!(asked.is_err());
    }
}
