//! [`Permit`](crate::admit::Permit) to a tunnel: resolve once, classify, dial that very address, relay, count.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use fleetgate_wire::address::{AddressClass, PublicAddr};
use fleetgate_wire::authority::{Authority, AuthorityError, Host};
use fleetgate_wire::tunnel::{TunnelLimits, TunnelReport, relay_until};
use hyper::upgrade::OnUpgrade;
use hyper_util::rt::TokioIo;
use tokio::net::TcpStream;
use tokio::sync::{OwnedSemaphorePermit, Semaphore, watch};

use crate::config::EgressSettings;

const RESOLVE_TIMEOUT: Duration = Duration::from_secs(5);
const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);
/// A name with many dead addresses must not hold a client for minutes.
const MAX_ADDRESSES: usize = 4;

/// Why no tunnel was opened.
#[derive(Debug, thiserror::Error)]
pub enum TunnelRefused {
    /// `CONNECT` with something that is no `host:port`.
    #[error("CONNECT: {0}")]
    Authority(#[from] AuthorityError),
    /// Not one of the ports that tunnels may lead to.
    #[error("tunnels may lead to port {allowed} only, not to {port}; fleetgate.egress.ports opens others")]
    Port {
        /// What was asked for.
        port: u16,
        /// What is allowed.
        allowed: String,
    },
    /// An address that the gateway must not be used to reach.
    #[error("{destination} is a {} address; tunnels lead to public addresses only (fleetgate.egress.dangerously_allow_networks opens others)", class.word())]
    Destination {
        /// What was asked for.
        destination: String,
        /// Its class.
        class: AddressClass,
    },
    /// The gateway itself.
    #[error("{0} is this gateway itself")]
    Myself(String),
    /// No such name, or no answer.
    #[error("cannot resolve {host}: {cause}")]
    Resolve {
        /// The name.
        host: String,
        /// What the resolver says.
        cause: String,
    },
    /// Nobody answers there.
    #[error("cannot connect to {destination}: {cause}")]
    Connect {
        /// What was asked for.
        destination: String,
        /// What the system says.
        cause: String,
    },
    /// As many tunnels as are allowed are open.
    #[error("all {0} tunnels are in use; fleetgate.egress.max_tunnels raises that")]
    TooMany(usize),
}

impl TunnelRefused {
    /// The machine-readable word for `x-fleetgate-reason`.
    #[must_use]
    pub fn reason(&self) -> String {
        match self {
            Self::Authority(_) => "bad_authority".to_owned(),
            Self::Port { .. } => "port_not_allowed".to_owned(),
            Self::Destination { class, .. } => format!("destination_{}", class.word().replace('-', "_")),
            Self::Myself(_) => "destination_self".to_owned(),
            Self::Resolve { .. } => "dns_failed".to_owned(),
            Self::Connect { .. } => "connect_failed".to_owned(),
            Self::TooMany(_) => "too_many_tunnels".to_owned(),
        }
    }
}

/// Opens tunnels and knows how many there are.
#[derive(Debug)]
pub struct Dialer {
    settings: EgressSettings,
    listening: Vec<SocketAddr>,
    places: Arc<Semaphore>,
    stopping: watch::Sender<()>,
}

/// A tunnel whose row is not handed over yet.
#[derive(Debug)]
pub struct Hold {
    _receiver: watch::Receiver<()>,
}

/// A destination that answered, before the client was told.
#[derive(Debug)]
pub struct Opened {
    stream: TcpStream,
    limits: TunnelLimits,
    stop: watch::Receiver<()>,
    _place: OwnedSemaphorePermit,
}

impl Dialer {
    /// A dialer under these settings that never dials `listening`.
    #[must_use]
    pub fn new(settings: EgressSettings, listening: Vec<SocketAddr>) -> Self {
        let places = Arc::new(Semaphore::new(settings.max_tunnels));
        Self { settings, listening, places, stopping: watch::Sender::new(()) }
    }

    /// Connects to where a `CONNECT` wants to go.
    ///
    /// # Errors
    /// When it must not go there, or nobody answers.
    pub async fn open(&self, authority: &str) -> Result<Opened, TunnelRefused> {
        let authority = Authority::parse(authority)?;
        if !self.settings.ports.contains(&authority.port()) {
            let ports: Vec<String> = self.settings.ports.iter().map(u16::to_string).collect();
            return Err(TunnelRefused::Port { port: authority.port(), allowed: ports.join(", ") });
        }
        let place = Arc::clone(&self.places).try_acquire_owned();
        let place = place.map_err(|_| TunnelRefused::TooMany(self.settings.max_tunnels))?;
        let addresses = self.classify(&authority, resolve(&authority).await?)?;
        let stream = dial(&authority, &addresses).await?;
        // Streams of small records inside must not wait for acknowledgements.
        let _harmless = stream.set_nodelay(true);
        let limits = TunnelLimits { idle: self.settings.idle, ..TunnelLimits::default() };
        Ok(Opened { stream, limits, stop: self.stopping.subscribe(), _place: place })
    }

    /// Keeps [`Dialer::stop`] waiting until it is dropped.
    #[must_use]
    pub fn hold(&self) -> Hold {
        Hold { _receiver: self.stopping.subscribe() }
    }

    /// Ends all tunnels and waits until their rows are handed over.
    pub async fn stop(&self) {
        self.stopping.send_replace(());
        self.stopping.closed().await;
    }

    fn classify(&self, authority: &Authority, addresses: Vec<SocketAddr>) -> Result<Vec<PublicAddr>, TunnelRefused> {
        if addresses.iter().any(|address| self.is_mine(*address)) {
            return Err(TunnelRefused::Myself(authority.to_string()));
        }
        let mut refused = None;
        let mut allowed = Vec::new();
        for address in addresses {
            match PublicAddr::classify(address, &self.settings.opened) {
                Ok(address) => allowed.push(address),
                Err(class) => drop(refused.get_or_insert(class)),
            }
        }
        match refused {
            Some(class) if allowed.is_empty() => {
                Err(TunnelRefused::Destination { destination: authority.to_string(), class })
            }
            _ => Ok(allowed),
        }
    }

    fn is_mine(&self, address: SocketAddr) -> bool {
        let same_port = |mine: &&SocketAddr| mine.port() == address.port();
        self.listening
            .iter()
            .filter(same_port)
            .any(|mine| mine.ip() == address.ip().to_canonical() || mine.ip().is_unspecified())
    }
}

impl Opened {
    /// Relays between the client, once hyper hands its connection over, and the destination.
    pub async fn relay(mut self, client: OnUpgrade) -> Option<TunnelReport> {
        let upgraded = client.await.ok()?;
        let parts = upgraded.downcast::<TokioIo<TcpStream>>().ok()?;
        let stop = async { drop(self.stop.changed().await) };
        let report = relay_until(parts.io.into_inner(), parts.read_buf, self.stream, self.limits, stop).await;
        Some(report)
    }
}

async fn resolve(authority: &Authority) -> Result<Vec<SocketAddr>, TunnelRefused> {
    let port = authority.port();
    let name = match authority.host() {
        Host::Address(address) => return Ok(vec![SocketAddr::new(*address, port)]),
        Host::Name(name) => name,
    };
    let failed = |cause: String| TunnelRefused::Resolve { host: name.clone(), cause };
    let looked_up = tokio::time::timeout(RESOLVE_TIMEOUT, tokio::net::lookup_host((name.as_str(), port))).await;
    let found = looked_up.map_err(|_| failed("the resolver did not answer within 5 s".into()))?;
    let addresses: Vec<SocketAddr> =
        found.map_err(|error| failed(error.to_string()))?.take(MAX_ADDRESSES * 4).collect();
    if addresses.is_empty() { Err(failed("the name has no address".into())) } else { Ok(addresses) }
}

async fn dial(authority: &Authority, addresses: &[PublicAddr]) -> Result<TcpStream, TunnelRefused> {
    let mut cause = String::from("the name has no address");
    for address in addresses.iter().take(MAX_ADDRESSES) {
        match tokio::time::timeout(CONNECT_TIMEOUT, TcpStream::connect(address.get())).await {
            Ok(Ok(stream)) => return Ok(stream),
            Ok(Err(error)) => cause = error.to_string(),
            Err(_) => cause = format!("no answer within {} s", CONNECT_TIMEOUT.as_secs()),
        }
    }
    Err(TunnelRefused::Connect { destination: authority.to_string(), cause })
}
