//! What the operator says about who may talk to us, and where else we listen.

use std::net::SocketAddr;
use std::path::PathBuf;

use clap::Args;
use http::uri::Authority;

use super::access::Access;
use super::activation::inherited;
use super::listen::{ListenError, Listeners};
use super::local_socket::LocalSocket;
use super::token::{LocalToken, TokenError};
use crate::places;
use crate::workload::{AllowedUsers, Callers};

const TOKEN_FILE: &str = "local.token";

/// Who may talk to the sidecar.
#[derive(Debug, Args)]
pub struct AccessArgs {
    /// Let another user of this machine use the sidecar: a name, a number, or * for all; may be repeated (in the environment:
    /// separated by commas). The sidecar's own user and root always may
    #[arg(long = "allow-user", env = "FLEETGATE_ALLOW_USERS", value_name = "USER", value_delimiter = ',')]
    allow_users: Vec<String>,
    /// Answer another name than localhost in the Host header; may be repeated (in the environment: separated by commas)
    #[arg(long = "allow-host", env = "FLEETGATE_ALLOW_HOSTS", value_name = "NAME", value_delimiter = ',')]
    allow_hosts: Vec<String>,
    /// Require the local token, which callers send as their API key
    #[arg(long, env = "FLEETGATE_REQUIRE_TOKEN")]
    require_token: bool,
    /// Where the local token lies; it is made when there is none [default: local.token in the state directory]
    #[arg(long, env = "FLEETGATE_TOKEN_FILE", value_name = "FILE")]
    token_file: Option<PathBuf>,
    /// Listen on a Unix socket too
    #[arg(long, env = "FLEETGATE_LISTEN_UNIX", value_name = "PATH")]
    listen_unix: Option<PathBuf>,
}

impl AccessArgs {
    /// Takes over systemd's sockets, or binds these addresses where there are none; and the Unix socket.
    ///
    /// # Errors
    /// When an address is not allowed, taken or refused, or a setting names what does not exist.
    pub async fn listen(self, addresses: &[SocketAddr], beyond_loopback: bool) -> Result<Listeners, ListenError> {
        let allowed = AllowedUsers::only_own().and(&self.allow_users).await?;
        let is_private = allowed.is_private();
        let callers = Callers::new(allowed);
        callers.watch_mesh();
        if cfg!(not(target_os = "linux")) {
            tracing::warn!(
                "this system does not say whose a TCP connection is: every user of this machine may use the sidecar"
            );
        }
        let token = self.require_token.then(|| self.token()).transpose()?;
        let hosts =
            self.allow_hosts.into_iter().filter(|name| !name.is_empty()).map(host_name).collect::<Result<_, _>>()?;
        let mut listeners = Listeners::without_any(Access { callers, token, hosts });
        let handed = inherited()?;
        if handed.is_empty() {
            listeners.bind(addresses, beyond_loopback)?;
        } else {
            listeners.inherit(handed, beyond_loopback)?;
        }
        if let Some(path) = &self.listen_unix {
            listeners.add_local(LocalSocket::bind(path, is_private).await?);
        }
        listeners.or_nowhere()
    }

    fn token(&self) -> Result<LocalToken, TokenError> {
        let usual = || places::state_directory().map(|directory| directory.join(TOKEN_FILE));
        let path = self.token_file.clone().or_else(usual).ok_or(TokenError::Nowhere)?;
        LocalToken::open(&path)
    }
}

fn host_name(text: String) -> Result<String, ListenError> {
    match text.parse::<Authority>() {
        Ok(authority) if authority.host() == text => Ok(text),
        _ => Err(ListenError::HostName(text)),
    }
}
