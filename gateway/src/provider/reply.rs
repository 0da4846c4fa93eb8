//! What a provider answered.

use std::collections::VecDeque;
use std::pin::Pin;
use std::task::{Context, Poll};

use bytes::Bytes;
use http::response;
use hyper::body::{Body, Frame, Incoming, SizeHint};

use super::pool::Line;

/// An answer whose body is still coming.
#[derive(Debug)]
pub struct Reply {
    /// Status and headers.
    pub head: response::Parts,
    /// The body.
    pub body: ReplyBody,
}

/// A body from the network, or one made here.
#[derive(Debug)]
pub struct ReplyBody(Source);

#[derive(Debug)]
enum Source {
    /// From the network, with the connection that it comes over.
    Upstream(Incoming, Option<Line>),
    /// Made here, in these pieces.
    Local(VecDeque<Bytes>),
}

impl ReplyBody {
    /// One that comes over this connection, which is free again when all of it was read.
    pub(super) fn upstream(body: Incoming, line: Line) -> Self {
        let is_empty = body.is_end_stream();
        let mut source = Source::Upstream(body, Some(line));
        if is_empty {
            source.give_back();
        }
        Self(source)
    }

    /// One of these pieces.
    pub(super) fn local(pieces: VecDeque<Bytes>) -> Self {
        Self(Source::Local(pieces))
    }
}

impl Source {
    fn give_back(&mut self) {
        if let Self::Upstream(_, line) = self
            && let Some(line) = line.take()
        {
            line.give_back();
        }
    }
}

impl Body for ReplyBody {
    type Data = Bytes;
    type Error = hyper::Error;

    fn poll_frame(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, hyper::Error>>> {
        let source = &mut self.get_mut().0;
        match source {
            Source::Upstream(body, _) => {
                let polled = Pin::new(&mut *body).poll_frame(cx);
                let has_ended = match &polled {
                    Poll::Ready(None) => true,
                    // Nobody asks a body of known length for what comes after its last byte.
                    Poll::Ready(Some(Ok(_))) => body.is_end_stream(),
                    _ => false,
                };
                if has_ended {
                    source.give_back();
                }
                polled
            }
            Source::Local(pieces) => Poll::Ready(pieces.pop_front().map(|piece| Ok(Frame::data(piece)))),
        }
    }

    fn is_end_stream(&self) -> bool {
        match &self.0 {
            Source::Upstream(body, _) => body.is_end_stream(),
            Source::Local(pieces) => pieces.is_empty(),
        }
    }

    fn size_hint(&self) -> SizeHint {
        match &self.0 {
            Source::Upstream(body, _) => body.size_hint(),
            Source::Local(pieces) => SizeHint::with_exact(pieces.iter().map(|piece| piece.len() as u64).sum()),
        }
    }
}
