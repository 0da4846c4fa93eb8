//! Bytes to [`Intake`]: what arrived, from whom, and which dialect its path speaks. Nothing is known of the caller yet.

mod body;
mod connection;
mod interface;
mod listen;
mod mesh;
mod socks;
mod streams;
mod workers;

use std::net::SocketAddr;

use fleetgate_wire::endpoint::{Dialect, Endpoint, dialect_of_path};
use http::{Method, Request, request};
use hyper::body::Incoming;
use jiff::Timestamp;

pub use body::{BodyError, discard, read};
pub use connection::{Socks, serve_one};
pub use interface::{MeshPlace, NoMesh, find_mesh};
pub use listen::{Answer, AnswerBody, ListenError, Listener, serve};
pub use mesh::{MeshListenError, MeshListeners, MeshStatus};
pub use socks::{SocksClient, SocksError, SocksReply, accept_socks, read_methods, read_password, read_request};
pub use streams::StreamCut;
pub use workers::Workers;

/// On which port a request came.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Door {
    /// The API's, which serves tunnels as well.
    Api,
    /// The forward proxy's, which serves nothing else.
    Proxy,
}

/// A request, sorted by what it wants.
#[derive(Debug)]
pub enum Arrival {
    /// A call of a model API.
    Call(Intake),
    /// `CONNECT host:port`.
    Tunnel(TunnelIntake),
    /// `GET http://elsewhere/…`: what a program sends to a proxy for plain HTTP.
    AbsoluteForm(PlainIntake),
    /// Everything else: management, health, lists of models.
    Other(Request<Incoming>),
}

/// A call of a model API whose body has not been read yet.
#[derive(Debug)]
pub struct Intake {
    /// Which API.
    pub endpoint: Endpoint,
    /// Method, path, query and headers.
    pub head: request::Parts,
    /// The body, unread.
    pub body: Incoming,
    /// The other end of the connection.
    pub peer: SocketAddr,
    /// When it arrived.
    pub started_at: Timestamp,
}

/// A request for a tunnel.
#[derive(Debug)]
pub struct TunnelIntake {
    /// The whole request: the upgrade hangs on it.
    pub request: Request<Incoming>,
    /// `host:port` as written.
    pub authority: String,
    /// The other end of the connection.
    pub peer: SocketAddr,
    /// When it arrived.
    pub started_at: Timestamp,
}

/// A request for a plain `http://` address of another machine.
#[derive(Debug)]
pub struct PlainIntake {
    /// The whole request, its body unread.
    pub request: Request<Incoming>,
    /// The other end of the connection.
    pub peer: SocketAddr,
    /// When it arrived.
    pub started_at: Timestamp,
}

impl Arrival {
    /// Sorts a request by its form (RFC 9112 §3.2) and path.
    #[must_use]
    pub fn sort(request: Request<Incoming>, peer: SocketAddr) -> Self {
        let started_at = Timestamp::now();
        if request.method() == Method::CONNECT {
            let authority = request.uri().authority().map(ToString::to_string).unwrap_or_default();
            return Self::Tunnel(TunnelIntake { request, authority, peer, started_at });
        }
        if request.uri().scheme().is_some() {
            return Self::AbsoluteForm(PlainIntake { request, peer, started_at });
        }
        match Endpoint::of_path(request.uri().path()) {
            Some(endpoint) => {
                let (head, body) = request.into_parts();
                Self::Call(Intake { endpoint, head, body, peer, started_at })
            }
            None => Self::Other(request),
        }
    }

    /// The dialect in which a refusal is best understood.
    #[must_use]
    pub fn dialect(&self) -> Dialect {
        match self {
            Self::Call(intake) => intake.endpoint.dialect(),
            Self::Tunnel(_) | Self::AbsoluteForm(_) => Dialect::OpenAi,
            Self::Other(request) => dialect_of_path(request.uri().path()),
        }
    }
}
