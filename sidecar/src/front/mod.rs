//! Takes requests: listeners, who may talk to us, which way a request goes, and how it all ends.

mod guard;
mod in_flight;
mod listen;
mod serve;
mod service;
mod target;

pub use listen::{ListenError, Listeners, bind};
pub use serve::serve;
