//! Takes requests: listeners, who may talk to us, which way a request goes, and how it all ends.

mod access;
mod activation;
mod guard;
mod in_flight;
mod listen;
mod local_socket;
mod serve;
mod service;
mod settings;
mod sightings;
mod target;
mod token;

pub use activation::ActivationError;
pub use listen::{ListenError, Listeners, bind};
pub use local_socket::LocalSocketError;
pub use serve::serve;
pub use settings::AccessArgs;
pub use token::TokenError;
