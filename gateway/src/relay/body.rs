//! The body that passes a provider's answer on, piece by piece, and ends it only when its row is durable.

use std::collections::VecDeque;
use std::fmt;
use std::pin::Pin;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use hyper::body::{Body, Frame};
use tokio::time::{Instant, Sleep};

use super::{End, OnClientGone, Tap, Unrecorded};

/// Pieces that are ready together are joined up to this size: one write instead of many.
const JOIN_LIMIT: usize = 64 * 1024;

/// Why an answer is cut short on purpose.
#[derive(Debug, thiserror::Error)]
pub enum RelayError {
    /// The provider's connection broke.
    #[error("the provider's answer was cut: {0}")]
    Upstream(String),
    /// The row could not be written.
    #[error(transparent)]
    Unrecorded(#[from] Unrecorded),
}

/// A body that relays another and settles its row.
///
/// Dropped in mid-answer, its client went away: the provider's answer is dropped as well, or read to its end, as the operator wants.
pub struct RelayBody<B, T>
where
    B: Body<Data = Bytes> + Send + Unpin + 'static,
    B::Error: fmt::Display,
    T: Tap,
{
    /// There until the body is dropped.
    relaying: Option<Relaying<B, T>>,
    on_client_gone: OnClientGone,
}

/// An answer on its way.
struct Relaying<B, T: Tap> {
    inner: B,
    tap: T,
    state: State<T::Receipt>,
    /// Held until the next piece shows that it was not the last, or the row is durable.
    held: Option<Bytes>,
    /// What came right behind joined pieces and was not data.
    next: Option<Upstream>,
    silence: Silence,
}

#[derive(Debug)]
enum State<R> {
    /// Pieces are coming.
    Flowing,
    /// The row is being written; `held` waits.
    Settling { receipt: R, then: Then },
    /// The row is durable and what comes after the last event passes as it is.
    Settled,
    /// The answer ends with this error, after a pause: the server throws away what it has not written yet when a body fails at
    /// once, and the client has a right to all that came before the cut.
    Cutting(RelayError),
    /// The answer ends with this error now.
    Failing(RelayError),
    /// Nothing more comes.
    Ended,
}

#[derive(Debug)]
enum Then {
    GoOn,
    End,
    Fail(RelayError),
}

impl<B, T> RelayBody<B, T>
where
    B: Body<Data = Bytes> + Send + Unpin + 'static,
    B::Error: fmt::Display,
    T: Tap,
{
    /// Relays `inner`; a silence longer than `patience` counts as a cut.
    pub fn new(inner: B, tap: T, patience: Duration, on_client_gone: OnClientGone) -> Self {
        let silence = Silence::new(patience);
        let relaying = Relaying { inner, tap, state: State::Flowing, held: None, next: None, silence };
        Self { relaying: Some(relaying), on_client_gone }
    }
}

impl<B, T> Body for RelayBody<B, T>
where
    B: Body<Data = Bytes> + Send + Unpin + 'static,
    B::Error: fmt::Display,
    T: Tap,
{
    type Data = Bytes;
    type Error = RelayError;

    fn poll_frame(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, RelayError>>> {
        match &mut self.get_mut().relaying {
            Some(relaying) => relaying.poll(cx),
            None => Poll::Ready(None),
        }
    }
}

/// (While the row is being written or after, it is written.)
impl<B, T> Drop for RelayBody<B, T>
where
    B: Body<Data = Bytes> + Send + Unpin + 'static,
    B::Error: fmt::Display,
    T: Tap,
{
    fn drop(&mut self) {
        let is_flowing = |relaying: &mut Relaying<B, T>| matches!(relaying.state, State::Flowing);
        let Some(mut relaying) = self.relaying.take_if(is_flowing) else { return };
        let runtime = tokio::runtime::Handle::try_current();
        match (self.on_client_gone, runtime) {
            (OnClientGone::Finish { within }, Ok(runtime)) => drop(runtime.spawn(relaying.read_to_end(within))),
            _ => drop(relaying.tap.settle(End::ClientGone)),
        }
    }
}

impl<B, T> Relaying<B, T>
where
    B: Body<Data = Bytes> + Unpin,
    B::Error: fmt::Display,
    T: Tap,
{
    /// Reads on although nobody listens any more: the provider charges for the whole answer anyhow, and so the row can say what it
    /// cost.
    async fn read_to_end(mut self, within: Duration) {
        let reading = async {
            while let Upstream::Data(data) = std::future::poll_fn(|cx| self.poll_upstream(cx)).await {
                self.tap.see(data);
            }
            self.tap.rest();
        };
        let _too_long = tokio::time::timeout(within, reading).await;
        // The row is written whether or not its receipt is waited for.
        drop(self.tap.settle(End::ClientGone));
    }

    /// The next piece from the provider, joined with those that are ready as well.
    fn poll_upstream(&mut self, cx: &mut Context<'_>) -> Poll<Upstream> {
        if let Some(next) = self.next.take() {
            return Poll::Ready(next);
        }
        let mut pieces = VecDeque::new();
        let mut size = 0;
        while size < JOIN_LIMIT {
            let end = match Pin::new(&mut self.inner).poll_frame(cx) {
                Poll::Ready(Some(Ok(frame))) => {
                    self.silence.broken();
                    if let Ok(data) = frame.into_data() {
                        size += data.len();
                        pieces.push_back(data);
                    }
                    continue;
                }
                Poll::Ready(None) => Upstream::End,
                Poll::Ready(Some(Err(error))) => Upstream::Broken(error.to_string()),
                Poll::Pending if size > 0 => break,
                Poll::Pending => return self.silence.poll_too_long(cx).map(|()| Upstream::Silent),
            };
            if size == 0 {
                return Poll::Ready(end);
            }
            self.next = Some(end);
            break;
        }
        Poll::Ready(Upstream::Data(join(pieces, size)))
    }

    fn settle(&mut self, end: End, then: Then) {
        let receipt = self.tap.settle(end);
        self.state = State::Settling { receipt, then };
    }

    /// A piece came: what goes out now, if anything.
    fn pass(&mut self, data: Bytes) -> Option<Bytes> {
        let piece = self.tap.see(data);
        if piece.is_last {
            self.hold(piece.forward);
            self.settle(End::Complete, Then::GoOn);
            return None;
        }
        if self.tap.marks_its_end() {
            self.hold(piece.forward);
            return self.held.take();
        }
        self.held.replace(piece.forward)
    }

    /// Puts a piece behind what is held already.
    fn hold(&mut self, piece: Bytes) {
        self.held = Some(match self.held.take() {
            Some(held) if !held.is_empty() => join(VecDeque::from([held, piece]), 0),
            _ => piece,
        });
    }

    /// The provider's body ended: what is left is held until the row is durable.
    fn close(&mut self, end: End, then: Then) {
        let rest = self.tap.rest();
        if !rest.is_empty() {
            self.hold(rest);
        }
        self.settle(end, then);
    }
}

#[derive(Debug)]
enum Upstream {
    Data(Bytes),
    End,
    Broken(String),
    Silent,
}

fn join(mut pieces: VecDeque<Bytes>, size: usize) -> Bytes {
    if pieces.len() == 1 {
        return pieces.pop_front().unwrap_or_default();
    }
    let mut joined = BytesMut::with_capacity(size);
    for piece in pieces {
        joined.extend_from_slice(&piece);
    }
    joined.freeze()
}

impl<B, T> Relaying<B, T>
where
    B: Body<Data = Bytes> + Unpin,
    B::Error: fmt::Display,
    T: Tap,
{
    fn poll(&mut self, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, RelayError>>> {
        loop {
            match &mut self.state {
                State::Flowing => match ready!(self.poll_upstream(cx)) {
                    Upstream::Data(data) => match self.pass(data) {
                        Some(out) if !out.is_empty() => return Poll::Ready(Some(Ok(Frame::data(out)))),
                        // Held back, or an event that the client did not ask for.
                        _ => {}
                    },
                    Upstream::End => self.close(End::Complete, Then::End),
                    Upstream::Broken(cause) => {
                        self.close(End::UpstreamCut(cause.clone()), Then::Fail(RelayError::Upstream(cause)));
                    }
                    Upstream::Silent => {
                        self.close(
                            End::UpstreamSilent,
                            Then::Fail(RelayError::Upstream("nothing came for too long".into())),
                        );
                    }
                },
                State::Settling { receipt, then } => {
                    let written = ready!(Pin::new(receipt).poll(cx));
                    let then = std::mem::replace(then, Then::End);
                    if let Err(unrecorded) = written {
                        self.held = None;
                        self.state = State::Cutting(unrecorded.into());
                        continue;
                    }
                    self.state = match then {
                        Then::GoOn => State::Settled,
                        Then::End => State::Ended,
                        Then::Fail(error) => State::Cutting(error),
                    };
                    if let Some(held) = self.held.take().filter(|held| !held.is_empty()) {
                        return Poll::Ready(Some(Ok(Frame::data(held))));
                    }
                }
                State::Settled => {
                    self.state = match ready!(self.poll_upstream(cx)) {
                        Upstream::Data(data) => return Poll::Ready(Some(Ok(Frame::data(data)))),
                        Upstream::End | Upstream::Silent => State::Ended,
                        Upstream::Broken(cause) => State::Cutting(RelayError::Upstream(cause)),
                    };
                }
                State::Cutting(_) => {
                    if let State::Cutting(error) = std::mem::replace(&mut self.state, State::Ended) {
                        self.state = State::Failing(error);
                    }
                    cx.waker().wake_by_ref();
                    return Poll::Pending;
                }
                State::Failing(_) => {
                    if let State::Failing(error) = std::mem::replace(&mut self.state, State::Ended) {
                        return Poll::Ready(Some(Err(error)));
                    }
                }
                State::Ended => return Poll::Ready(None),
            }
        }
    }
}

/// Notices when nothing came for too long, at the price of one timer that is moved only when it fires.
#[derive(Debug)]
struct Silence {
    patience: Duration,
    last: Instant,
    timer: Option<Pin<Box<Sleep>>>,
}

impl Silence {
    fn new(patience: Duration) -> Self {
        Self { patience, last: Instant::now(), timer: None }
    }

    fn broken(&mut self) {
        self.last = Instant::now();
    }

    fn poll_too_long(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        let timer = self.timer.get_or_insert_with(|| Box::pin(tokio::time::sleep_until(self.last + self.patience)));
        loop {
            ready!(timer.as_mut().poll(cx));
            let deadline = self.last + self.patience;
            if deadline <= Instant::now() {
                return Poll::Ready(());
            }
            timer.as_mut().reset(deadline);
        }
    }
}

#[cfg(test)]
mod tests;
