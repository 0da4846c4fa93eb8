//! What a service manager is told (systemd's `sd_notify`): one datagram for each event, to the socket that it named.

use std::ffi::OsStr;
use std::io;
use std::os::unix::net::UnixDatagram;
use std::time::Duration;

/// How much longer than it waits itself a start may take before the service manager gives up.
const MARGIN: Duration = Duration::from_secs(30);

/// The way to the service manager, if there is one.
#[derive(Debug, Default)]
pub(crate) struct Notifier(Option<UnixDatagram>);

impl Notifier {
    /// Reads `NOTIFY_SOCKET`.
    pub(crate) fn from_environment() -> Self {
        let Some(place) = std::env::var_os("NOTIFY_SOCKET") else { return Self::default() };
        match open(&place) {
            Ok(socket) => Self(Some(socket)),
            Err(error) => {
                tracing::warn!(%error, "cannot reach the service manager at NOTIFY_SOCKET");
                Self::default()
            }
        }
    }

    /// The start waits for something, for so long at most.
    pub(crate) fn waiting(&self, why: &str, left: Duration) {
        let extended = (left + MARGIN).as_micros();
        self.send(&format!("STATUS=waiting: {}\nEXTEND_TIMEOUT_USEC={extended}", why.replace('\n', " ")));
    }

    /// It serves.
    pub(crate) fn ready(&self, status: &str) {
        self.send(&format!("READY=1\nSTATUS={status}"));
    }

    /// It finishes what is under way.
    pub(crate) fn stopping(&self) {
        self.send("STOPPING=1\nSTATUS=finishing calls and tunnels");
    }

    fn send(&self, message: &str) {
        if let Some(socket) = &self.0
            && let Err(error) = socket.send(message.as_bytes())
        {
            tracing::debug!(%error, message, "the service manager was not told");
        }
    }
}

fn open(place: &OsStr) -> io::Result<UnixDatagram> {
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
