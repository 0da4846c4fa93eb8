//! [`Plan`](crate::route::Plan) to [`Reply`]: URL, headers and quirks of each provider. A table first, code only where a table
//! cannot say it.

mod client;
mod edits;
mod line;
mod mock;
mod pool;
mod reply;
mod request;
mod resolve;
mod spec;
mod url;

pub use client::{Client, ClientError};
pub(crate) use edits::entrys_limit;
pub use mock::answer as answer_mock;
pub use reply::{Reply, ReplyBody, retry_after};
pub use request::{Outgoing, RequestError, shape};
pub use resolve::{ResolveError, Upstream};

#[cfg(test)]
mod tests;
