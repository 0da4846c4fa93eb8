//! What a service manager is told (systemd's `sd_notify`): one datagram for each event, to the socket that it named.

use std::env;
use std::io;
use std::os::unix::net::UnixDatagram;
use std::process;
use std::time::Duration;

use tokio::time::{MissedTickBehavior, interval};

/// The way to the service manager, if there is one.
#[derive(Debug, Default)]
pub struct Notifier {
    socket: Option<UnixDatagram>,
    watchdog: Option<Duration>,
}

impl Notifier {
    /// Reads `NOTIFY_SOCKET`, `WATCHDOG_USEC` and `WATCHDOG_PID`.
    #[must_use]
    pub fn from_environment() -> Self {
        let Some(place) = env::var_os("NOTIFY_SOCKET") else { return Self::default() };
        let socket = match open(&place) {
            Ok(socket) => socket,
            Err(error) => {
                tracing::warn!("cannot reach the service manager at NOTIFY_SOCKET: {error}");
                return Self::default();
            }
        };
        let read = |name| env::var(name).ok();
        let watchdog = watchdog(read("WATCHDOG_USEC").as_deref(), read("WATCHDOG_PID").as_deref(), process::id());
        Self { socket: Some(socket), watchdog }
    }

    /// It listens. Also said at the end of a reload.
    pub fn ready(&self, status: &str) {
        self.send(&format!("READY=1\nSTATUS={status}"));
    }

    /// It reads its keys again.
    pub fn reloading(&self) {
        self.send("RELOADING=1\nSTATUS=reading hosts.toml and the keys again");
    }

    /// It finishes what is under way.
    pub fn stopping(&self) {
        self.send("STOPPING=1\nSTATUS=finishing calls and tunnels");
    }

    /// Says regularly that the program lives. It runs among all other tasks of the one thread: when that hangs, this falls silent, and
    /// the service manager starts the program anew. Never returns.
    pub async fn keep_alive(&self) {
        let Some(limit) = self.watchdog else { return std::future::pending().await };
        // Half the time is what systemd advises.
        let mut ticks = interval(limit / 2);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            ticks.tick().await;
            self.send("WATCHDOG=1");
        }
    }

    fn send(&self, message: &str) {
        if let Some(socket) = &self.socket
            && let Err(error) = socket.send(message.as_bytes())
        {
            tracing::debug!("the service manager was not told {message:?}: {error}");
        }
    }
}

fn open(place: &std::ffi::OsStr) -> io::Result<UnixDatagram> {
    let socket = UnixDatagram::unbound()?;
    // A service manager that hangs must not hang us.
    socket.set_nonblocking(true)?;
    #[cfg(target_os = "linux")]
    if let Some(name) = std::os::unix::ffi::OsStrExt::as_bytes(place).strip_prefix(b"@") {
        use std::os::linux::net::SocketAddrExt;
        socket.connect_addr(&std::os::unix::net::SocketAddr::from_abstract_name(name)?)?;
        return Ok(socket);
    }
    socket.connect(place)?;
    Ok(socket)
}

/// The time within which the service manager wants to hear from us; `WATCHDOG_PID` says for whom it is meant.
fn watchdog(microseconds: Option<&str>, pid: Option<&str>, own: u32) -> Option<Duration> {
    if pid.is_some_and(|pid| pid.parse() != Ok(own)) {
        return None;
    }
    microseconds?.parse().ok().filter(|limit| *limit > 0).map(Duration::from_micros)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_watchdog_is_for_this_process_or_for_nobody() {
        assert_eq!(watchdog(Some("3000000"), None, 7), Some(Duration::from_secs(3)));
        assert_eq!(watchdog(Some("3000000"), Some("7"), 7), Some(Duration::from_secs(3)));
        assert_eq!(watchdog(Some("3000000"), Some("8"), 7), None, "the parent's");
        for none in [Some("0"), Some(""), Some("-1"), Some("soon"), None] {
            assert_eq!(watchdog(none, None, 7), None, "{none:?}");
        }
    }
}
