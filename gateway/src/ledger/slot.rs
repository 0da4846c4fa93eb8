//! A call's place in the ledger: taken before the call goes out, given up with its row.

use std::future::Future;
use std::pin::Pin;
use std::task::{Context, Poll};

use super::entry::Entry;
use super::journal::{Opened, Synced};
use crate::relay::Unrecorded;

/// A call that is written down as opened. It must be ended with [`Slot::record`].
#[derive(Debug)]
pub struct Slot(pub(super) Opened);

/// Resolves when a row is durable. Dropping it does not unwrite the row.
#[derive(Debug)]
pub struct Receipt {
    state: Result<Synced, Unrecorded>,
    number: u64,
}

impl Slot {
    /// Writes the row down. It is written, now or as soon as that is possible, whether or not anybody waits for the receipt.
    pub fn record(self, entry: &Entry) -> Receipt {
        let (written, number) = entry.with_record(|record| self.0.end(record));
        Receipt { state: written.map_err(|error| Unrecorded(error.to_string())), number }
    }
}

impl Receipt {
    /// The row's place in the order in which rows reach the database.
    #[must_use]
    pub fn number(&self) -> u64 {
        self.number
    }
}

impl Future for Receipt {
    type Output = Result<(), Unrecorded>;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        match &mut self.state {
            Ok(synced) => Pin::new(synced).poll(cx).map(|result| result.map_err(Unrecorded)),
            Err(unrecorded) => Poll::Ready(Err(unrecorded.clone())),
        }
    }
}
