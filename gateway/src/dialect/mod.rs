//! What the dialects' requests and streams look like: pure functions over bytes and events, no I/O.

mod ask;
mod fields;
mod sse;

pub use ask::{Ask, AskError};
pub use fields::{Edit, Fields, FieldsError, Spans};
pub use sse::{EventData, SseSplitter};
