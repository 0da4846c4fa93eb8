//! Takes requests: listeners, who may talk to us, which way a request goes, and how it all ends.

mod guard;
mod in_flight;
mod listen;
mod port_owner;
mod serve;
mod service;
mod target;

pub use listen::{ListenError, Listeners, bind};
pub use port_owner::PortOwner;
pub use serve::serve;
