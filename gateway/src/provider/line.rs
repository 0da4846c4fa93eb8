//! A connection to a provider in use: driven by the call that uses it, not by a task of its own. Such a task would be woken for each
//! request and wake the call for each answer, which costs more than to read and write them.

use std::future::{Future, poll_fn};
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::sync::atomic::{AtomicU8, Ordering};
use std::task::{Context, Poll, Wake, Waker};

use bytes::Bytes;
use futures_util::task::AtomicWaker;
use http::{Request, Response};
use http_body_util::Full;
use hyper::body::Incoming;
use hyper::client::conn::http1::{Connection, SendRequest};
use hyper_rustls::MaybeHttpsStream;
use hyper_util::rt::TokioIo;
use tokio::net::TcpStream;

use super::pool::{OriginId, Pool};

type Stream = MaybeHttpsStream<TokioIo<TcpStream>>;

/// How often a connection and who waits for it are asked in turn until the rest is left to the next wake-up. Two or three are
/// usual. A resource of tokio's that has given a task enough for now wakes it each time it is asked: without an end this would
/// never return.
const MOST_TURNS: usize = 8;

/// A connection.
pub(super) struct Wire {
    sender: SendRequest<Full<Bytes>>,
    /// `None` once it has ended. How it ended is told to whoever waits for an answer.
    connection: Option<Connection<Stream, Full<Bytes>>>,
    bell: Arc<Bell>,
    /// Rings the bell.
    waker: Waker,
}

/// A connection in use. It goes back to its pool when its answer has been read; dropped earlier, it is closed.
#[derive(Debug)]
pub(super) struct Line {
    wire: Box<Wire>,
    origin: OriginId,
    pool: Pool,
    pub(super) is_reused: bool,
}

impl Wire {
    pub(super) fn new(sender: SendRequest<Full<Bytes>>, connection: Connection<Stream, Full<Bytes>>) -> Self {
        let bell = Arc::new(Bell::default());
        Self { sender, connection: Some(connection), waker: Waker::from(Arc::clone(&bell)), bell }
    }

    /// Whether it can take a request at once, by what was last seen of it.
    pub(super) fn is_ready(&self) -> bool {
        self.connection.is_some() && self.sender.is_ready()
    }

    /// Whether its provider still holds it open. Only for one that nobody uses: whoever uses it is not woken by it after this.
    pub(super) fn is_open(&mut self) -> bool {
        advance(&mut self.connection, &mut Context::from_waker(Waker::noop()));
        self.is_ready()
    }

    /// Drives the connection as long as that brings what is wanted of it nearer.
    fn drive<T>(&mut self, cx: &Context<'_>, mut wanted: impl FnMut(&mut Context<'_>) -> Poll<T>) -> Poll<T> {
        let Self { connection, bell, waker, .. } = self;
        bell.outer.register(cx.waker());
        let inner = &mut Context::from_waker(waker);
        for _ in 0..MOST_TURNS {
            bell.listen();
            if let Poll::Ready(value) = wanted(inner) {
                bell.leave();
                return Poll::Ready(value);
            }
            advance(connection, inner);
            if !bell.leave() {
                return Poll::Pending;
            }
        }
        cx.waker().wake_by_ref();
        Poll::Pending
    }
}

fn advance(place: &mut Option<Connection<Stream, Full<Bytes>>>, cx: &mut Context<'_>) {
    if let Some(connection) = place
        && Pin::new(connection).poll(cx).is_ready()
    {
        *place = None;
    }
}

impl std::fmt::Debug for Wire {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Wire").field("sender", &self.sender).finish_non_exhaustive()
    }
}

impl Line {
    pub(super) fn new(wire: Box<Wire>, origin: OriginId, pool: Pool, is_reused: bool) -> Self {
        Self { wire, origin, pool, is_reused }
    }

    /// Sends a request and waits for its answer's head. The error gives the request back where nothing of it was sent.
    pub(super) async fn send(
        &mut self,
        request: Request<Full<Bytes>>,
    ) -> Result<Response<Incoming>, (hyper::Error, Option<Request<Full<Bytes>>>)> {
        let mut answer = pin!(self.wire.sender.try_send_request(request));
        let answered = poll_fn(|cx| self.wire.drive(cx, |cx| answer.as_mut().poll(cx))).await;
        answered.map_err(|mut error| {
            let unsent = error.take_message();
            (error.into_error(), unsent)
        })
    }

    /// Asks for something that comes over this connection, and drives it meanwhile.
    pub(super) fn drive<T>(&mut self, cx: &Context<'_>, wanted: impl FnMut(&mut Context<'_>) -> Poll<T>) -> Poll<T> {
        self.wire.drive(cx, wanted)
    }

    /// Its answer has been read to the end.
    pub(super) fn give_back(self) {
        let Self { mut wire, origin, pool, .. } = self;
        // Whoever is still remembered here has ended, or has other things to wait for.
        drop(wire.bell.outer.take());
        if wire.is_ready() || wire.is_open() {
            pool.put(origin, wire);
        }
    }
}

/// Who is woken by a connection: while it is being driven, the one who drives it looks for himself.
#[derive(Debug, Default)]
struct Bell {
    state: AtomicU8,
    outer: AtomicWaker,
}

/// Nobody listens: a ring goes to the task.
const AWAY: u8 = 0;
/// Somebody listens, and hears a ring before he leaves.
const LISTENING: u8 = 1;
/// It rang while somebody listened.
const RUNG: u8 = 2;

impl Bell {
    fn listen(&self) {
        self.state.store(LISTENING, Ordering::Release);
    }

    /// Says whether it rang since.
    fn leave(&self) -> bool {
        self.state.swap(AWAY, Ordering::AcqRel) == RUNG
    }
}

impl Wake for Bell {
    fn wake(self: Arc<Self>) {
        self.wake_by_ref();
    }

    fn wake_by_ref(self: &Arc<Self>) {
        let heard = self.state.compare_exchange(LISTENING, RUNG, Ordering::AcqRel, Ordering::Acquire);
        if heard == Err(AWAY) {
            self.outer.wake();
        }
    }
}
