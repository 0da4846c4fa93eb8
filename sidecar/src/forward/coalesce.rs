//! Joins the frames of a burst, so that they cost one write instead of one each.
//!
//! The HTTP codec hands on every chunk as a frame of its own, and writes when nothing more is ready. A frame is held only while
//! the task that reads the other connection gets one turn: it is never held until something *arrives*.

use std::pin::Pin;
use std::task::{Context, Poll};

use bytes::{Bytes, BytesMut};
use http_body::{Body, Frame, SizeHint};

/// A joined frame is not made longer than this.
const LIMIT: usize = 64 * 1024;
/// How often "nothing more" is asked about before it is believed. hyper asks a body twice in one turn (`Dispatcher::poll_loop`
/// polls the write side again after a flush), so the second of these comes after the reading task had its turn.
const PATIENCE: u8 = 2;

/// A body whose ready frames are joined.
#[derive(Debug)]
pub struct Coalesce<B: Body> {
    inner: B,
    held: Held,
    /// What ended the burst: given out after the held bytes.
    next: Option<Result<Frame<Bytes>, B::Error>>,
    ended: bool,
    /// How often nothing was ready since the last frame.
    pauses: u8,
    /// Something was given out and may stand in hyper's buffer.
    unwritten: bool,
}

/// Most bursts are one frame, which then passes without being copied.
#[derive(Debug)]
enum Held {
    Nothing,
    One(Bytes),
    Joined(BytesMut),
}

impl Held {
    fn len(&self) -> usize {
        match self {
            Self::Nothing => 0,
            Self::One(bytes) => bytes.len(),
            Self::Joined(bytes) => bytes.len(),
        }
    }

    fn push(&mut self, more: Bytes) {
        *self = match std::mem::replace(self, Self::Nothing) {
            Self::Nothing => Self::One(more),
            Self::One(first) => {
                let mut joined = BytesMut::with_capacity((first.len() + more.len()).next_power_of_two().min(2 * LIMIT));
                joined.extend_from_slice(&first);
                joined.extend_from_slice(&more);
                Self::Joined(joined)
            }
            Self::Joined(mut joined) => {
                joined.extend_from_slice(&more);
                Self::Joined(joined)
            }
        }
    }

    fn take(&mut self) -> Option<Bytes> {
        match std::mem::replace(self, Self::Nothing) {
            Self::Nothing => None,
            Self::One(bytes) => Some(bytes),
            Self::Joined(bytes) => Some(bytes.freeze()),
        }
    }
}

impl<B: Body> Coalesce<B> {
    /// Wraps a body.
    pub fn new(inner: B) -> Self {
        Self { inner, held: Held::Nothing, next: None, ended: false, pauses: 0, unwritten: false }
    }
}

impl<B> Body for Coalesce<B>
where
    B: Body<Data = Bytes> + Unpin,
    B::Error: Unpin,
{
    type Data = Bytes;
    type Error = B::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Self::Error>>> {
        let this = &mut *self;
        while this.next.is_none() && !this.ended && this.held.len() < LIMIT {
            match Pin::new(&mut this.inner).poll_frame(context) {
                Poll::Ready(Some(Ok(frame))) => match frame.into_data() {
                    Ok(data) => {
                        this.held.push(data);
                        this.pauses = 0;
                    }
                    Err(other) => this.next = Some(Ok(other)),
                },
                Poll::Ready(Some(Err(error))) => this.next = Some(Err(error)),
                Poll::Ready(None) => this.ended = true,
                Poll::Pending if this.held.len() == 0 => return Poll::Pending,
                Poll::Pending if this.pauses == PATIENCE => break,
                Poll::Pending => {
                    // The frame just taken made room for one that may have been read already: its task runs before us.
                    this.pauses += 1;
                    context.waker().wake_by_ref();
                    return Poll::Pending;
                }
            }
        }
        this.pauses = 0;
        if let Some(data) = this.held.take() {
            this.unwritten = true;
            return Poll::Ready(Some(Ok(Frame::data(data))));
        }
        if this.unwritten && matches!(this.next, Some(Err(_))) {
            // hyper drops its buffer when a body fails: what came before a cut is written first.
            this.unwritten = false;
            context.waker().wake_by_ref();
            return Poll::Pending;
        }
        Poll::Ready(this.next.take())
    }

    fn is_end_stream(&self) -> bool {
        self.held.len() == 0 && self.next.is_none() && (self.ended || self.inner.is_end_stream())
    }

    fn size_hint(&self) -> SizeHint {
        let held = self.held.len() as u64;
        let inner = self.inner.size_hint();
        let mut hint = SizeHint::new();
        if let Some(upper) = inner.upper() {
            hint.set_upper(upper.saturating_add(held));
        }
        hint.set_lower(inner.lower().saturating_add(held));
        hint
    }
}

#[cfg(test)]
mod tests {
    use std::collections::VecDeque;
    use std::convert::Infallible;

    use http_body_util::BodyExt;

    use super::*;

    /// Gives out a script; `None` is a moment with nothing ready, after which the reading task is woken.
    struct Script(VecDeque<Option<&'static [u8]>>);

    impl Body for Script {
        type Data = Bytes;
        type Error = Infallible;

        fn poll_frame(
            mut self: Pin<&mut Self>,
            context: &mut Context<'_>,
        ) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
            match self.0.pop_front() {
                Some(Some(data)) => Poll::Ready(Some(Ok(Frame::data(Bytes::from_static(data))))),
                Some(None) => {
                    context.waker().wake_by_ref();
                    Poll::Pending
                }
                None => Poll::Ready(None),
            }
        }
    }

    async fn frames(script: &[Option<&'static [u8]>]) -> Vec<Bytes> {
        let mut body = Coalesce::new(Script(script.iter().copied().collect()));
        let mut seen = Vec::new();
        while let Some(frame) = body.frame().await {
            seen.push(frame.unwrap().into_data().unwrap());
        }
        assert!(body.is_end_stream());
        seen
    }

    #[tokio::test]
    async fn what_is_ready_travels_together_and_nothing_waits_for_more() {
        assert_eq!(frames(&[Some(b"a"), Some(b"b"), Some(b"c")]).await, ["abc"]);
        // A turn for the reading task joins; when it has nothing either, the frame goes.
        assert_eq!(frames(&[Some(b"a"), None, None, Some(b"b")]).await, ["ab"]);
        assert_eq!(frames(&[Some(b"a"), None, None, None, Some(b"b")]).await, ["a", "b"]);
        assert!(frames(&[None]).await.is_empty());
    }

    #[tokio::test]
    async fn a_joined_frame_stays_near_the_limit() {
        const PIECE: &[u8] = &[7; 40_000];
        let lengths: Vec<usize> = frames(&[Some(PIECE); 5]).await.iter().map(Bytes::len).collect();
        assert_eq!(lengths, [80_000, 80_000, 40_000]);
    }
}
