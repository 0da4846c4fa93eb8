//! Sockets that systemd has bound for us (`sd_listen_fds(3)`): the port stays taken, and callers wait, while we start anew.

use std::env;
use std::io;
use std::net::SocketAddr;
use std::path::PathBuf;

use listenfd::ListenFd;
use tokio::net::{TcpListener, UnixListener};

use super::local_socket::LocalSocket;

/// A socket that was handed over.
#[derive(Debug)]
pub(super) enum Inherited {
    Tcp(TcpListener, SocketAddr),
    Local(LocalSocket),
}

/// What systemd handed over is nothing to listen on.
#[derive(Debug, thiserror::Error)]
#[error(
    "socket {number} ({name}) from systemd: {source}. The .socket unit needs ListenStream= with an address or a path"
)]
pub struct ActivationError {
    number: usize,
    name: String,
    source: io::Error,
}

/// The sockets that were handed to this process; none where it was started otherwise.
pub(super) fn inherited() -> Result<Vec<Inherited>, ActivationError> {
    // A parent's variables are not for us.
    if env::var("LISTEN_PID").ok().and_then(|pid| pid.parse().ok()) != Some(std::process::id()) {
        return Ok(Vec::new());
    }
    let names = env::var("LISTEN_FDNAMES").unwrap_or_default();
    let mut names = names.split(':').filter(|name| !name.is_empty());
    let mut handed = ListenFd::from_env();
    let mut sockets = Vec::new();
    for number in 0..handed.len() {
        let name = names.next().unwrap_or("unnamed").to_owned();
        let taken =
            take(&mut handed, number).map_err(|source| ActivationError { number, name: name.clone(), source })?;
        match &taken {
            Inherited::Tcp(_, address) => tracing::info!(name, "systemd hands over {address}"),
            Inherited::Local(socket) => tracing::info!(name, "systemd hands over {}", socket.path().display()),
        }
        sockets.push(taken);
    }
    Ok(sockets)
}

fn take(handed: &mut ListenFd, number: usize) -> io::Result<Inherited> {
    let none = || io::Error::other("it was taken before");
    // Trying does not use a socket of the other kind up.
    if let Ok(socket) = handed.take_unix_listener(number) {
        let socket = socket.ok_or_else(none)?;
        socket.set_nonblocking(true)?;
        let address = socket.local_addr()?;
        let path = address.as_pathname().map_or_else(|| PathBuf::from("(without a path)"), PathBuf::from);
        return Ok(Inherited::Local(LocalSocket::inherited(UnixListener::from_std(socket)?, path)));
    }
    let socket = handed.take_tcp_listener(number)?.ok_or_else(none)?;
    socket.set_nonblocking(true)?;
    let address = socket.local_addr()?;
    Ok(Inherited::Tcp(TcpListener::from_std(socket)?, address))
}
