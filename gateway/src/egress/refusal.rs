//! Why no tunnel was opened.

use fleetgate_wire::address::AddressClass;
use fleetgate_wire::authority::AuthorityError;

use super::Purpose;
use super::policy::Decision;

/// Why no tunnel was opened, and no plain request sent on.
#[derive(Debug, thiserror::Error)]
pub enum TunnelRefused {
    /// Something that is no `host:port`.
    #[error("{0}")]
    Authority(#[from] AuthorityError),
    /// `CONNECT` with a body. What stands behind its head is the tunnel's, and two programs could disagree where that begins.
    #[error("CONNECT takes no body: send neither content-length nor transfer-encoding")]
    Body,
    /// Not one of the ports that tunnels may lead to.
    #[error("{} may lead to port {allowed} only, not to {port}; {} opens others", ways(*purpose).0, ways(*purpose).1)]
    Port {
        /// What it is for.
        purpose: Purpose,
        /// What was asked for.
        port: u16,
        /// What is allowed.
        allowed: String,
    },
    /// The rules refuse the name.
    #[error("{}; an administrator can change that, fleetgate egress explain {destination} says more", decision.message(destination))]
    Policy {
        /// What was asked for.
        destination: String,
        /// What was decided.
        decision: Decision,
    },
    /// An address that the gateway must not be used to reach.
    #[error("{destination} is a {} address; tunnels lead to public addresses only (fleetgate.egress.dangerously_allow_networks opens others)", class.word())]
    Destination {
        /// What was asked for.
        destination: String,
        /// Its class.
        class: AddressClass,
    },
    /// A plain `http://` request where none is served.
    #[error(
        "plain http:// is not forwarded here, only tunnels (CONNECT) for https:// are; fleetgate.forward_proxy.plain_http: true \
         opens it. If this call was meant for the gateway itself, set NO_PROXY to its host"
    )]
    PlainHttpOff,
    /// An address in absolute form that is not served.
    #[error("{0:?} is not served; this port forwards http://host/path, and https:// through tunnels (CONNECT)")]
    Scheme(String),
    /// A body that two programs could see the end of in different places.
    #[error("{0}; send either content-length or transfer-encoding: chunked, once")]
    Framing(&'static str),
    /// The destination's answer is none.
    #[error("{destination} gave no answer that can be passed on: {cause}")]
    Answer {
        /// What was asked for.
        destination: String,
        /// What is wrong with it.
        cause: String,
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
    /// Another proxy on the way does not let it through.
    #[error("cannot reach {destination} through {proxy} (fleetgate.forward_proxy.upstream): {cause}")]
    NextProxy {
        /// The other proxy.
        proxy: String,
        /// What was asked for.
        destination: String,
        /// What it or the system says.
        cause: String,
    },
    /// As many tunnels as are allowed are open.
    #[error("all {0} tunnels are in use; fleetgate.egress.max_tunnels raises that")]
    TooMany(usize),
    /// The same for one key.
    #[error(
        "all {most} tunnels of {key} are in use; its max_tunnels, or fleetgate.egress.max_tunnels_per_key, raises that"
    )]
    TooManyOfKey {
        /// The key's name.
        key: String,
        /// How many it may have.
        most: usize,
    },
    /// A key or a host has used its bytes of today.
    #[error(
        "the tunnels of {whose} have used their {most} bytes of today; there are more from {until} on, or with a higher limit \
         (fleetgate.egress.bytes_per_day_per_key, bytes_per_day_per_host, a key's max_tunnel_bytes_per_day)"
    )]
    BytesSpent {
        /// The key's or the host's name.
        whose: String,
        /// How many there are in a day.
        most: u64,
        /// When the next day begins.
        until: String,
    },
    /// A limit in bytes whose sum nobody can tell.
    #[error("cannot tell how many bytes tunnels have used today: {0}")]
    Uncounted(String),
}

impl TunnelRefused {
    /// The machine-readable word for `x-fleetgate-reason`.
    #[must_use]
    pub fn reason(&self) -> String {
        match self {
            Self::Authority(_) => "bad_authority".to_owned(),
            Self::Body => "connect_with_body".to_owned(),
            Self::PlainHttpOff => "plain_http_off".to_owned(),
            Self::Scheme(_) => "bad_scheme".to_owned(),
            Self::Framing(_) => "bad_framing".to_owned(),
            Self::Answer { .. } => "bad_answer".to_owned(),
            Self::Port { .. } => "port_not_allowed".to_owned(),
            Self::Policy { decision, .. } => decision.reason.word().to_owned(),
            Self::Destination { class, .. } => format!("destination_{}", class.word().replace('-', "_")),
            Self::Myself(_) => "destination_self".to_owned(),
            Self::Resolve { .. } => "dns_failed".to_owned(),
            Self::Connect { .. } => "connect_failed".to_owned(),
            Self::NextProxy { .. } => "next_proxy_failed".to_owned(),
            Self::TooMany(_) => "too_many_tunnels".to_owned(),
            Self::TooManyOfKey { .. } => "too_many_tunnels_of_key".to_owned(),
            Self::BytesSpent { .. } => "byte_limit".to_owned(),
            Self::Uncounted(_) => "ledger_unavailable".to_owned(),
        }
    }
}

/// What a connection is called, and the setting with its ports.
fn ways(purpose: Purpose) -> (&'static str, &'static str) {
    match purpose {
        Purpose::Tunnel => ("tunnels", "fleetgate.egress.ports"),
        Purpose::PlainHttp => ("plain http:// requests", "fleetgate.forward_proxy.plain_http_ports"),
    }
}
