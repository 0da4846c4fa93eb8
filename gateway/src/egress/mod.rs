//! [`Permit`](crate::admit::Permit) to a tunnel: may it lead there, resolve once, classify, dial that very address, relay, count.

mod account;
mod day;
mod dial;
mod exchange;
mod explain;
mod network;
mod next_proxy;
mod places;
mod policy;
mod refusal;
mod resolve;
mod stream;

use std::io::Cursor;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use fleetgate_wire::address::{AddressClass, PublicAddr};
use fleetgate_wire::authority::{Authority, AuthorityError, Host};
use fleetgate_wire::tunnel::{Account, End, TunnelEnd, TunnelLimits, TunnelReport, relay_tcp, relay_until};
use hyper::upgrade::{OnUpgrade, Upgraded};
use hyper_util::rt::TokioIo;
use jiff::Timestamp;
use socket2::{SockRef, TcpKeepalive};
use tokio::io::AsyncReadExt;
use tokio::net::TcpStream;
use tokio::sync::{OwnedSemaphorePermit, Semaphore, watch};

pub use network::{Network, System};
pub use policy::{Asker, Decision, Policy, Reason};
pub use refusal::TunnelRefused;

use crate::auth::{Caller, CallerKey};
use crate::config::{EgressSettings, ForwardProxySettings, NextProxy};
use crate::front::StreamCut;
use crate::ledger::{Leasable, Ledger, TunnelsOf};
use account::Accounts;
use day::Left;
use next_proxy::{NextProxies, Target, Through};
use places::{KeyPlace, KeyPlaces};
use stream::Stream;

/// A key's own limit of tunnels at once, among its fields.
pub const MAX_TUNNELS: &str = "max_tunnels";
/// A key's own pace, all its tunnels and both ways together, among its fields.
pub const MAX_BYTES_PER_SECOND: &str = "max_tunnel_bytes_per_second";
/// A key's own bytes in a day, among its fields.
pub const MAX_BYTES_PER_DAY: &str = "max_tunnel_bytes_per_day";
/// The fields of a key that limit its tunnels.
pub const KEY_LIMITS: [&str; 3] = [MAX_TUNNELS, MAX_BYTES_PER_SECOND, MAX_BYTES_PER_DAY];

/// What a connection to a destination is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Purpose {
    /// A tunnel.
    Tunnel,
    /// One plain `http://` request.
    PlainHttp,
}

/// A peer that is gone without a word is noticed after some minutes of silence, and a NAT on the way keeps its entry.
const KEEPALIVE: Duration = Duration::from_secs(30);

/// Opens tunnels and knows how many there are.
#[derive(Debug)]
pub struct Dialer {
    network: Arc<dyn Network>,
    settings: EgressSettings,
    /// Where plain `http://` may lead; `None` where it is not served.
    http_ports: Option<Vec<u16>>,
    policy: Policy,
    next: NextProxies,
    listening: Vec<SocketAddr>,
    places: Arc<Semaphore>,
    key_places: KeyPlaces,
    accounts: Accounts,
    stopping: watch::Sender<()>,
}

/// A tunnel whose row is not handed over yet.
#[derive(Debug)]
pub struct Hold {
    receiver: watch::Receiver<()>,
}

impl Hold {
    /// Resolves when tunnels that are left have to end.
    pub async fn stopped(&self) {
        // An error says that there is no dialer any more.
        drop(self.receiver.clone().changed().await);
    }
}

/// A destination that answered, before the client was told.
#[derive(Debug)]
pub struct Opened {
    stream: TcpStream,
    /// What it said already.
    early: Bytes,
    address: Option<SocketAddr>,
    decision: Decision,
    limits: TunnelLimits,
    stop: watch::Receiver<()>,
    _place: OwnedSemaphorePermit,
    _key_place: KeyPlace,
}

impl Dialer {
    /// A dialer in this network under these settings that never dials `listening`. With `leased`, a day's bytes are shared with other gateways.
    #[must_use]
    pub fn new(
        network: Arc<dyn Network>,
        settings: EgressSettings,
        proxy: &ForwardProxySettings,
        leased: bool,
        listening: Vec<SocketAddr>,
    ) -> Self {
        let http_ports = proxy.plain_http.then(|| proxy.plain_http_ports.clone());
        let places = Arc::new(Semaphore::new(settings.max_tunnels.min(Semaphore::MAX_PERMITS)));
        let policy = Policy::new(settings.mode, settings.rules.clone());
        let next = NextProxies::new(proxy.upstream.clone());
        let (key_places, accounts, stopping) = (KeyPlaces::default(), Accounts::new(leased), watch::Sender::new(()));
        Self { network, settings, http_ports, policy, next, listening, places, key_places, accounts, stopping }
    }

    /// Connects a caller to where his request wants to go.
    ///
    /// # Errors
    /// When it must not go there, or nobody answers.
    pub async fn open(
        &self,
        authority: &Authority,
        purpose: Purpose,
        caller: &Caller,
        ledger: &Ledger,
    ) -> Result<Opened, TunnelRefused> {
        let decision = self.judge(authority, purpose, &Asker::of(caller))?;
        let place = Arc::clone(&self.places).try_acquire_owned();
        let place = place.map_err(|_| TunnelRefused::TooMany(self.settings.max_tunnels))?;
        let most = own_limit(caller, MAX_TUNNELS).map(|most| usize::try_from(most).unwrap_or(usize::MAX));
        let most = most.or(self.settings.max_tunnels_per_key);
        let key_place = self.key_places.take(caller.key.hash_text(), most).ok_or_else(|| {
            TunnelRefused::TooManyOfKey { key: caller.key.alias().to_owned(), most: most.unwrap_or_default() }
        })?;
        let account = self.account(caller, ledger).await?;
        let Through { stream, early, address } = match self.next.of(authority.host()) {
            Some(next) => self.through(next, authority).await?,
            None => self.direct(authority).await?,
        };
        let limits = TunnelLimits {
            idle: self.settings.idle,
            half_closed_idle: self.settings.half_closed_idle.min(self.settings.idle),
            life: self.settings.max_lifetime,
            account,
        };
        let stop = self.stopping.subscribe();
        Ok(Opened { stream, early, address, decision, limits, stop, _place: place, _key_place: key_place })
    }

    async fn resolve(&self, authority: &Authority) -> Result<Vec<SocketAddr>, TunnelRefused> {
        resolve::resolve(&*self.network, authority).await
    }

    async fn direct(&self, authority: &Authority) -> Result<Through, TunnelRefused> {
        let addresses = self.classify(authority, self.resolve(authority).await?)?;
        let dialled = dial::dial(&*self.network, &addresses).await;
        let (stream, address) =
            dialled.map_err(|cause| TunnelRefused::Connect { destination: authority.to_string(), cause })?;
        attend(&stream);
        Ok(Through { stream, early: Bytes::new(), address: Some(address) })
    }

    /// The destination is judged as on the direct way, and the proxy is given an address of those, unless it is trusted with names.
    async fn through(&self, next: &NextProxy, authority: &Authority) -> Result<Through, TunnelRefused> {
        let failed = |cause: String| TunnelRefused::NextProxy {
            proxy: next.to_string(),
            destination: authority.to_string(),
            cause,
        };
        let target = match authority.host() {
            Host::Name(_) if next.resolves => Target::Authority(authority.clone()),
            _ => {
                let addresses = self.classify(authority, self.resolve(authority).await?)?;
                Target::Addresses(addresses.into_iter().map(PublicAddr::get).collect())
            }
        };
        let proxy = self.resolve(&next.address).await.map_err(|refused| failed(refused.to_string()))?;
        if proxy.iter().any(|address| self.is_mine(*address)) {
            return Err(failed("it is this gateway itself".to_owned()));
        }
        next_proxy::connect(next, &proxy, target).await.map_err(failed)
    }

    /// The days whose bytes are shared with other gateways.
    #[must_use]
    pub fn leasable(&self) -> Arc<dyn Leasable> {
        Arc::clone(&self.accounts.days) as Arc<dyn Leasable>
    }

    /// Keeps [`Dialer::stop`] waiting until it is dropped.
    #[must_use]
    pub fn hold(&self) -> Hold {
        Hold { receiver: self.stopping.subscribe() }
    }

    /// Resolves when no tunnel is left whose row is not handed over.
    pub async fn quiet(&self) {
        self.stopping.closed().await;
    }

    /// Lets tunnels go on for a while, ends those that are left, and waits until their rows are handed over.
    pub async fn stop(&self) {
        if tokio::time::timeout(self.settings.drain, self.quiet()).await.is_err() {
            self.stopping.send_replace(());
            self.quiet().await;
        }
    }

    /// Whom the tunnel's bytes are charged to. Who has none left today gets no tunnel.
    async fn account(&self, caller: &Caller, ledger: &Ledger) -> Result<Option<Arc<dyn Account>>, TunnelRefused> {
        let key = caller.key.hash_text();
        let pace = own_limit(caller, MAX_BYTES_PER_SECOND).or(self.settings.bytes_per_second_per_key);
        let of_key = own_limit(caller, MAX_BYTES_PER_DAY).or(self.settings.bytes_per_day_per_key);
        let of_host = self.settings.bytes_per_day_per_host;
        let limits = [
            (TunnelsOf::Key(key.clone()), caller.key.alias().to_owned(), of_key),
            (TunnelsOf::Host(caller.host.to_string()), caller.host.to_string(), of_host),
        ];
        let days = &self.accounts.days;
        let mut payers = Vec::new();
        for (of, whose, most) in limits.into_iter().filter_map(|(of, whose, most)| Some((of, whose, most?))) {
            let now = Timestamp::now();
            if days.must_learn(&of) {
                let used = ledger.tunnel_bytes(&of, day::midnight(now)).await;
                let used = used.map_err(|error| TunnelRefused::Uncounted(error.to_string()))?;
                days.learn(of.clone(), used);
            }
            let day = days.of(&of);
            match days.left(&day, most).await {
                Left::Some => payers.push((day, most)),
                Left::Nothing => {
                    return Err(TunnelRefused::BytesSpent { whose, most, until: day::next_day(now) });
                }
                Left::Unknown => {
                    let cause =
                        format!("no part of the bytes of {whose} was granted to this gateway; is the database away?");
                    return Err(TunnelRefused::Uncounted(cause));
                }
            }
        }
        Ok(self.accounts.open(&key, pace, payers))
    }

    /// What can be said before anybody is asked for the name.
    fn judge(&self, authority: &Authority, purpose: Purpose, asker: &Asker<'_>) -> Result<Decision, TunnelRefused> {
        let ports = match purpose {
            Purpose::Tunnel => &self.settings.ports,
            Purpose::PlainHttp => self.http_ports.as_ref().ok_or(TunnelRefused::PlainHttpOff)?,
        };
        if !ports.contains(&authority.port()) {
            let allowed = ports.iter().map(u16::to_string).collect::<Vec<_>>().join(", ");
            return Err(TunnelRefused::Port { port: authority.port(), allowed, purpose });
        }
        let mut decision = self.policy.decide(asker, authority.host());
        if decision.is_refusal() {
            return Err(TunnelRefused::Policy { destination: authority.to_string(), decision });
        }
        decision.next_proxy = self.next.of(authority.host()).map(|next| next.to_string());
        Ok(decision)
    }

    fn classify(&self, authority: &Authority, addresses: Vec<SocketAddr>) -> Result<Vec<PublicAddr>, TunnelRefused> {
        if addresses.iter().any(|address| self.is_mine(*address)) {
            return Err(TunnelRefused::Myself(authority.to_string()));
        }
        let mut refused = None;
        let mut allowed = Vec::new();
        for address in addresses {
            match self.class(address) {
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

    fn class(&self, address: SocketAddr) -> Result<PublicAddr, AddressClass> {
        PublicAddr::classify(address, &self.settings.opened)
    }

    /// Whether somebody would reach this gateway. The unspecified address leads to this machine as well.
    fn is_mine(&self, address: SocketAddr) -> bool {
        let ip: IpAddr = address.ip().to_canonical();
        let same_port = |mine: &&SocketAddr| mine.port() == address.port();
        self.listening
            .iter()
            .filter(same_port)
            .any(|mine| mine.ip().to_canonical() == ip || mine.ip().is_unspecified() || ip.is_unspecified())
    }
}

/// The destination of `http://AUTHORITY/…`, whose port may be left out.
///
/// # Errors
/// As [`Authority::parse`] has them; a user's name before the host is one of them.
pub fn plain_authority(text: &str) -> Result<Authority, AuthorityError> {
    let has_port = text.rsplit(']').next().unwrap_or(text).contains(':');
    if has_port { Authority::parse(text) } else { Authority::parse(&format!("{text}:80")) }
}

/// What the key itself says of its tunnels.
fn own_limit(caller: &Caller, field: &str) -> Option<u64> {
    let CallerKey::Virtual(record) = &caller.key else { return None };
    record.other.get(field)?.as_u64()
}

impl Opened {
    /// The address that was dialled; `None` where another proxy was given a name.
    #[must_use]
    pub fn address(&self) -> Option<SocketAddr> {
        self.address
    }

    /// What the rules say of the destination.
    #[must_use]
    pub fn decision(&self) -> &Decision {
        &self.decision
    }

    /// Relays between the client, once hyper hands its connection over, and the destination.
    /// `cut` resets the client's stream where it is one of HTTP/2.
    pub async fn relay_upgraded(self: Box<Self>, client: OnUpgrade, cut: Option<StreamCut>) -> Option<TunnelReport> {
        let upgraded = client.await.ok()?;
        match upgraded.downcast::<TokioIo<TcpStream>>() {
            Ok(parts) => Some(self.relay(parts.io.into_inner(), parts.read_buf).await),
            Err(stream) => Some(Box::pin(self.relay_stream(stream, cut)).await),
        }
    }

    /// Relays between a client, whose early bytes go first, and the destination.
    ///
    /// Taken apart before the relay begins, and that in a box of its own: a future keeps room for all that it ever held, and a
    /// tunnel is silent for most of its life.
    pub fn relay(self, client: TcpStream, early: Bytes) -> impl Future<Output = TunnelReport> + Send {
        attend(&client);
        let Self { stream, early: said, limits, mut stop, _place: place, _key_place: key_place, .. } = self;
        let stop = async move { drop(stop.changed().await) };
        let client = End { stream: client, early };
        let destination = End { stream, early: said };
        let relay = Box::pin(relay_tcp(client, destination, limits, stop));
        async move {
            let report = relay.await;
            drop((place, key_place));
            report
        }
    }

    /// Relays between a stream of HTTP/2, which is no socket, and the destination.
    async fn relay_stream(self, client: Upgraded, cut: Option<StreamCut>) -> TunnelReport {
        let Self { mut stream, early: said, limits, mut stop, _place: place, _key_place: key_place, .. } = self;
        let stop = async move { drop(stop.changed().await) };
        let mut client = Stream::new(client);
        let report = {
            let (reads, writes) = stream.split();
            let destination = tokio::io::join(Cursor::new(said).chain(reads), writes);
            relay_until(&mut client, Bytes::new(), destination, limits, stop).await
        };
        if let TunnelEnd::Broken(_) = report.end {
            let _it_may_be_gone = stream.set_zero_linger();
            // While the stream is held: dropped, it would end as if all had come.
            cut.inspect(StreamCut::cut);
        }
        drop((place, key_place));
        report
    }
}

/// Small records inside must not wait for acknowledgements, and dead peers must be noticed.
fn attend(stream: &TcpStream) {
    let _harmless = stream.set_nodelay(true);
    let keepalive = TcpKeepalive::new().with_time(KEEPALIVE).with_interval(KEEPALIVE);
    let _harmless = SockRef::from(stream).set_tcp_keepalive(&keepalive);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_tunnel_that_stands_needs_little_room_beside_its_relay() {
        fn size<A, B, C, F>(_: impl Fn(A, B, C) -> F) -> usize {
            size_of::<F>()
        }
        assert!(size(Opened::relay) <= 128);
        assert!(size(Opened::relay_upgraded) <= 320);
    }

    #[test]
    fn a_plain_destination_may_leave_out_port_80_and_nothing_else() {
        for (text, authority) in [
            ("Example.com.", "example.com:80"),
            ("example.com:8080", "example.com:8080"),
            ("1.2.3.4", "1.2.3.4:80"),
            ("[2001:DB8::1]", "[2001:db8::1]:80"),
            ("[2001:db8::1]:8080", "[2001:db8::1]:8080"),
        ] {
            assert_eq!(plain_authority(text).unwrap().to_string(), authority);
        }
        for text in ["", ":", "host:", "::1", "[::1", "user@host", "user:secret@host:80", "a:1:2", "127.1", "host:080"]
        {
            assert!(plain_authority(text).is_err(), "{text:?}");
        }
    }
}
