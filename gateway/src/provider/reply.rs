//! What a provider answered.

use std::collections::VecDeque;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::Bytes;
use http::{HeaderMap, header, response};
use hyper::body::{Body, Frame, Incoming, SizeHint};
use jiff::Timestamp;

use super::pool::Line;

/// An answer whose body is still coming.
#[derive(Debug)]
pub struct Reply {
    /// Status and headers.
    pub head: response::Parts,
    /// The body.
    pub body: ReplyBody,
}

/// How long a provider wants to be left alone: `retry-after` in seconds, or until a date.
#[must_use]
pub fn retry_after(headers: &HeaderMap) -> Option<Duration> {
    let text = headers.get(header::RETRY_AFTER)?.to_str().ok()?.trim();
    if let Ok(seconds) = text.parse::<f64>() {
        return Duration::try_from_secs_f64(seconds).ok();
    }
    let at = jiff::fmt::rfc2822::parse(text).ok()?.timestamp();
    Duration::try_from(at.duration_since(Timestamp::now())).ok()
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_pause_is_said_in_seconds_or_by_a_date() {
        let said = |text: &str| retry_after(&[(header::RETRY_AFTER, text.parse().unwrap())].into_iter().collect());
        assert_eq!(said("7"), Some(Duration::from_secs(7)));
        assert_eq!(said(" 0.5"), Some(Duration::from_millis(500)));
        for nonsense in ["soon", "-1", "inf", "NaN", "Sun, 06 Nov 1994 08:49:37 GMT"] {
            assert_eq!(said(nonsense), None, "{nonsense}");
        }
        assert!(said("Fri, 31 Dec 2100 23:59:59 GMT").is_some_and(|wait| wait > Duration::from_secs(1_000_000)));
    }
}
