//! The body of a gateway's answer on its way to the client.

use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use bytes::Bytes;
use http_body::{Body, Frame, SizeHint};
use hyper::body::Incoming;

use super::RelayedBody;
use super::line::Line;
use crate::metrics::{Entered, Metrics};

/// What the gateway answers, as it comes. Its connection is free for the next call when all of it was read; dropped earlier, the
/// connection is closed, and so the call ends at the gateway too.
#[derive(Debug)]
pub struct AnswerBody {
    inner: RelayedBody,
    line: Option<Line>,
    metrics: Arc<Metrics>,
    _call: Option<Entered>,
}

impl AnswerBody {
    pub(super) fn new(body: Incoming, line: Option<Line>, metrics: Arc<Metrics>, call: Option<Entered>) -> Self {
        Self { inner: RelayedBody::new(body), line, metrics, _call: call }
    }

    fn give_back(&mut self) {
        if let Some(line) = self.line.take() {
            line.give_back();
        }
    }
}

impl Body for AnswerBody {
    type Data = Bytes;
    type Error = hyper::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, hyper::Error>>> {
        let polled = Pin::new(&mut self.inner).poll_frame(context);
        match &polled {
            Poll::Ready(Some(Ok(frame))) => {
                self.metrics.call_bytes_down.add(frame.data_ref().map_or(0, Bytes::len) as u64);
                if frame.is_trailers() {
                    // Nothing comes after them, and nobody asks.
                    self.give_back();
                }
            }
            Poll::Ready(None) => self.give_back(),
            _ => {}
        }
        polled
    }

    fn is_end_stream(&self) -> bool {
        self.inner.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.inner.size_hint()
    }
}

impl Drop for AnswerBody {
    fn drop(&mut self) {
        // A server that knows the length does not ask for what comes after the last byte.
        if self.inner.is_end_stream() {
            self.give_back();
        }
    }
}
