//! Carries calls and tunnels to the gateway.

mod api;
mod ask;
mod coalesce;
mod dial;
mod failure;
mod gateway;
mod lent_body;
mod tunnel;

use hyper::body::Incoming;

pub use api::Unforwarded;
pub use ask::{Answer, ask};
pub use coalesce::Coalesce;
pub use dial::DialError;
pub use failure::Failure;
pub use gateway::{Gateway, GatewayUrl, GatewayUrlError};
pub(crate) use lent_body::drain;
pub use tunnel::TunnelAnswer;
pub(crate) use tunnel::join;

/// A body on its way through: what is ready travels together.
pub type RelayedBody = Coalesce<Incoming>;
