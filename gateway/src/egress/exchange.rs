//! One plain `http://` request over a connection whose bytes are counted, paid for and watched, as a tunnel's are.

use std::future::Future;
use std::io;
use std::pin::{Pin, pin};
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll, ready};

use fleetgate_wire::tunnel::{Charge, TunnelEnd, TunnelLimits, TunnelReport};
use hyper::body::Incoming;
use hyper::client::conn::http1::{Builder, Connection, SendRequest};
use hyper_util::rt::TokioIo;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;
use tokio::sync::{OwnedSemaphorePermit, watch};
use tokio::time::{Instant, Sleep, sleep_until};

use super::Opened;
use super::places::KeyPlace;

/// Heads of answers; as long as those of requests may be.
const MAX_HEAD_BYTES: usize = 64 * 1024;

/// What went through a connection, and when.
#[derive(Debug)]
struct Meter {
    up: AtomicU64,
    down: AtomicU64,
    moved: Mutex<Instant>,
    limits: TunnelLimits,
}

impl Meter {
    fn touch(&self) {
        *self.moved.lock().unwrap_or_else(PoisonError::into_inner) = Instant::now();
    }

    /// Resolves once nothing has moved, or all has lived, for as long as is allowed.
    async fn ended(&self) -> TunnelEnd {
        let expires = self.limits.life.and_then(|life| Instant::now().checked_add(life));
        loop {
            let silent_until = *self.moved.lock().unwrap_or_else(PoisonError::into_inner) + self.limits.idle;
            let now = Instant::now();
            if expires.is_some_and(|expires| expires <= now) {
                return TunnelEnd::Expired;
            }
            if silent_until <= now {
                return TunnelEnd::Idle;
            }
            sleep_until(expires.map_or(silent_until, |expires| expires.min(silent_until))).await;
        }
    }
}

/// A connection that counts. Whoever pays may slow it down or end it.
struct Metered {
    stream: TcpStream,
    meter: Arc<Meter>,
    rest: Option<Pin<Box<Sleep>>>,
    /// Whether the account is to be asked again after that.
    asks: bool,
    is_spent: Arc<watch::Sender<bool>>,
}

impl Metered {
    /// Until what has passed is paid for. Reader and writer are one task, so one waker does for both.
    fn poll_rested(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        while let Some(rest) = &mut self.rest {
            // To be held up is not to be silent.
            self.meter.touch();
            ready!(rest.as_mut().poll(cx));
            self.rest = None;
            if std::mem::take(&mut self.asks) {
                self.charge(0)?;
            }
        }
        Poll::Ready(Ok(()))
    }

    fn passed(&mut self, bytes: usize, count: impl FnOnce(&Meter) -> &AtomicU64) -> io::Result<()> {
        if bytes == 0 {
            return Ok(());
        }
        count(&self.meter).fetch_add(bytes as u64, Relaxed);
        self.meter.touch();
        self.charge(bytes as u64)
    }

    fn charge(&mut self, bytes: u64) -> io::Result<()> {
        match self.meter.limits.account.as_ref().map(|account| account.charge(bytes)) {
            Some(Charge::Wait(time)) => self.rest = Some(Box::pin(tokio::time::sleep(time))),
            Some(Charge::Hold(time)) => (self.rest, self.asks) = (Some(Box::pin(tokio::time::sleep(time))), true),
            Some(Charge::Stop) => {
                self.is_spent.send_replace(true);
                return Err(io::ErrorKind::QuotaExceeded.into());
            }
            Some(Charge::Go) | None => {}
        }
        Ok(())
    }
}

impl AsyncRead for Metered {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buffer: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        ready!(self.poll_rested(cx))?;
        let before = buffer.filled().len();
        ready!(Pin::new(&mut self.stream).poll_read(cx, buffer))?;
        let bytes = buffer.filled().len() - before;
        Poll::Ready(self.passed(bytes, |meter| &meter.down))
    }
}

impl AsyncWrite for Metered {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        ready!(self.poll_rested(cx))?;
        let written = ready!(Pin::new(&mut self.stream).poll_write(cx, bytes))?;
        Poll::Ready(self.passed(written, |meter| &meter.up).map(|()| written))
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(cx)
    }
}

/// The connection of one exchange. It has to be run for anything to move.
pub(crate) struct Exchange {
    connection: Connection<TokioIo<Metered>, Incoming>,
    meter: Arc<Meter>,
    spent: watch::Receiver<bool>,
    stop: watch::Receiver<()>,
    _place: OwnedSemaphorePermit,
    _key_place: KeyPlace,
}

impl Opened {
    /// Speaks HTTP with the destination: what sends the one request, and the connection.
    ///
    /// # Errors
    /// When it speaks before it is asked; with what HTTP's library says.
    pub(crate) async fn exchange(self) -> Result<(SendRequest<Incoming>, Exchange), String> {
        let Self { stream, early, limits, stop, _place, _key_place, .. } = self;
        if !early.is_empty() {
            return Err("it spoke before it was asked".to_owned());
        }
        let meter = Meter { up: AtomicU64::new(0), down: AtomicU64::new(0), moved: Mutex::new(Instant::now()), limits };
        let meter = Arc::new(meter);
        let (is_spent, spent) = watch::channel(false);
        let metered =
            Metered { stream, meter: Arc::clone(&meter), rest: None, asks: false, is_spent: Arc::new(is_spent) };
        let handshake = Builder::new().max_buf_size(MAX_HEAD_BYTES).handshake(TokioIo::new(metered)).await;
        let (sender, connection) = handshake.map_err(|error| error.to_string())?;
        Ok((sender, Exchange { connection, meter, spent, stop, _place, _key_place }))
    }
}

impl Exchange {
    /// Moves what there is to move until `gone`: the client has its answer, or has left. Nobody who still reads is cut off
    /// because the destination is done.
    pub(crate) async fn run(self, gone: impl Future<Output = ()>) -> TunnelReport {
        let Self { connection, meter, spent, mut stop, _place, _key_place } = self;
        let mut connection = pin!(connection);
        let exchange = async {
            let mut gone = pin!(gone);
            let broken = tokio::select! {
                result = connection.as_mut() => result.is_err(),
                () = gone.as_mut() => return TunnelEnd::Closed,
            };
            gone.await;
            if broken { TunnelEnd::Broken(io::ErrorKind::ConnectionAborted) } else { TunnelEnd::Closed }
        };
        let end = tokio::select! {
            end = exchange => end,
            end = meter.ended() => end,
            _stopped = stop.changed() => TunnelEnd::Stopped,
        };
        let end = if *spent.borrow() { TunnelEnd::Spent } else { end };
        TunnelReport { up: meter.up.load(Relaxed), down: meter.down.load(Relaxed), end }
    }
}
