//! [`Reply`](crate::provider::Reply) to the client: streaming, back-pressure, cancel, and the one rule that nothing may weaken:
//! the last byte of an answer is not released before its row is durable.

mod body;

use std::future::Future;

use bytes::Bytes;

pub use crate::config::OnClientGone;
pub use body::RelayBody;

/// How an answer ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum End {
    /// All of it came.
    Complete,
    /// The provider's connection broke in the middle.
    UpstreamCut(String),
    /// The provider fell silent for too long.
    UpstreamSilent,
    /// The client went away before the end.
    ClientGone,
}

/// What to do with a piece of an answer.
#[derive(Debug)]
pub struct Piece {
    /// The bytes for the client: usually the very same, less an event that it did not ask for.
    pub forward: Bytes,
    /// This piece holds the event with which a client considers the answer complete: settle before it goes out.
    pub is_last: bool,
}

/// Watches an answer pass and writes its row at the end.
pub trait Tap: Send + Unpin + 'static {
    /// Resolves when the row is durable, or says why it cannot be.
    type Receipt: Future<Output = Result<(), Unrecorded>> + Send + Unpin;

    /// Sees a piece before the client does.
    fn see(&mut self, chunk: Bytes) -> Piece;
    /// What was held back when the provider's stream ended.
    fn rest(&mut self) -> Bytes;
    /// Whether only [`Piece::is_last`] or the end of the body may complete the answer. If not, every piece waits for the next
    /// one, so that the last one can be held until the row is durable. It can change once, with the first byte.
    fn marks_its_end(&self) -> bool;
    /// Hands the row over. Called exactly once; the row is written even when the receipt is dropped.
    fn settle(&mut self, end: End) -> Self::Receipt;
}

impl<T: Tap> Tap for Box<T> {
    type Receipt = T::Receipt;

    fn see(&mut self, chunk: Bytes) -> Piece {
        (**self).see(chunk)
    }

    fn rest(&mut self) -> Bytes {
        (**self).rest()
    }

    fn marks_its_end(&self) -> bool {
        (**self).marks_its_end()
    }

    fn settle(&mut self, end: End) -> Self::Receipt {
        (**self).settle(end)
    }
}

/// The row could not be written, so the answer must not be completed.
#[derive(Debug, Clone, thiserror::Error)]
#[error("the ledger cannot write, so this answer is cut: {0}")]
pub struct Unrecorded(pub String);
