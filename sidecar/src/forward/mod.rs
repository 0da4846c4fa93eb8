//! Carries calls and tunnels to the gateway.

mod answer_body;
mod api;
mod ask;
mod coalesce;
mod dial;
mod endpoint;
mod failure;
mod gateway;
mod lent_body;
mod line;
mod pool;
mod tunnel;
mod url;

use hyper::body::Incoming;

pub use answer_body::AnswerBody;
pub use api::Unforwarded;
pub use ask::{Answer, ask};
pub use coalesce::Coalesce;
pub use dial::DialError;
pub use endpoint::Alive;
pub use failure::Failure;
pub use gateway::{Gateway, GatewayState};
pub(crate) use lent_body::drain;
pub(crate) use tunnel::join;
pub use tunnel::{OpenTunnel, TunnelAnswer};
pub use url::{GatewayUrl, GatewayUrlError};

/// A body on its way through: what is ready travels together.
pub type RelayedBody = Coalesce<Incoming>;
