//! What the dialects' requests and streams look like: pure functions over bytes and events, no I/O.

mod ask;
mod complaint;
mod fields;
mod sse;

pub use ask::{Ask, AskError};
pub use complaint::complaint;
pub use fields::{Edit, Fields, FieldsError, Spans};
pub use sse::{EventData, SseSplitter};
