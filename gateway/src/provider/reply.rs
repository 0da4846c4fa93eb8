//! What a provider answered.

use std::collections::VecDeque;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::Bytes;
use http::{HeaderMap, header, response};
use hyper::body::{Body, Frame, Incoming, SizeHint};
use jiff::Timestamp;

use super::line::Line;

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
pub struct ReplyBody {
    /// What was looked at before anybody asked for it.
    front: VecDeque<Bytes>,
    /// How that look ended, where it failed.
    failure: Option<hyper::Error>,
    source: Source,
}

#[derive(Debug)]
enum Source {
    /// From the network, with the connection that it comes over.
    Upstream(Incoming, Option<Line>),
    /// Made here, in these pieces.
    Local(VecDeque<Bytes>),
}

type Polled = Poll<Option<Result<Frame<Bytes>, hyper::Error>>>;

impl ReplyBody {
    /// One that comes over this connection, which is free again when all of it was read.
    pub(super) fn upstream(body: Incoming, line: Line) -> Self {
        let is_empty = body.is_end_stream();
        let mut source = Source::Upstream(body, Some(line));
        if is_empty {
            source.give_back();
        }
        Self { front: VecDeque::new(), failure: None, source }
    }

    /// One of these pieces.
    pub(super) fn local(pieces: VecDeque<Bytes>) -> Self {
        Self { front: VecDeque::new(), failure: None, source: Source::Local(pieces) }
    }

    /// Looks at the whole body, of which whoever reads it after misses nothing. `None` when it is longer than `most`, or ends too
    /// early. May be given up at any time.
    pub async fn peek(&mut self, most: usize) -> Option<Bytes> {
        let mut seen: Vec<u8> = self.front.iter().flatten().copied().collect();
        while seen.len() <= most {
            match std::future::poll_fn(|cx| self.source.poll(cx)).await {
                None => return Some(seen.into()),
                Some(Ok(frame)) => {
                    if let Ok(piece) = frame.into_data() {
                        seen.extend_from_slice(&piece);
                        self.front.push_back(piece);
                    }
                }
                Some(Err(error)) => {
                    self.failure = Some(error);
                    return None;
                }
            }
        }
        None
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

    fn poll(&mut self, cx: &mut Context<'_>) -> Polled {
        match self {
            Self::Upstream(body, line) => {
                let polled = match line {
                    Some(line) => line.drive(cx, |cx| Pin::new(&mut *body).poll_frame(cx)),
                    None => Pin::new(&mut *body).poll_frame(cx),
                };
                let has_ended = match &polled {
                    Poll::Ready(None) => true,
                    // Nobody asks a body of known length for what comes after its last byte.
                    Poll::Ready(Some(Ok(_))) => body.is_end_stream(),
                    _ => false,
                };
                if has_ended {
                    self.give_back();
                }
                polled
            }
            Self::Local(pieces) => Poll::Ready(pieces.pop_front().map(|piece| Ok(Frame::data(piece)))),
        }
    }
}

impl Body for ReplyBody {
    type Data = Bytes;
    type Error = hyper::Error;

    fn poll_frame(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Polled {
        let body = self.get_mut();
        if let Some(piece) = body.front.pop_front() {
            return Poll::Ready(Some(Ok(Frame::data(piece))));
        }
        match body.failure.take() {
            Some(failure) => Poll::Ready(Some(Err(failure))),
            None => body.source.poll(cx),
        }
    }

    fn is_end_stream(&self) -> bool {
        self.front.is_empty()
            && self.failure.is_none()
            && match &self.source {
                Source::Upstream(body, _) => body.is_end_stream(),
                Source::Local(pieces) => pieces.is_empty(),
            }
    }

    fn size_hint(&self) -> SizeHint {
        let length = |pieces: &VecDeque<Bytes>| pieces.iter().map(|piece| piece.len() as u64).sum::<u64>();
        let front = length(&self.front);
        let mut hint = match &self.source {
            Source::Upstream(body, _) => body.size_hint(),
            Source::Local(pieces) => SizeHint::with_exact(length(pieces)),
        };
        if front > 0 {
            let upper = hint.upper();
            hint.set_lower(hint.lower() + front);
            if let Some(upper) = upper {
                hint.set_upper(upper + front);
            }
        }
        hint
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
