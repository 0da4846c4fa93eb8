//! A client's stream of HTTP/2, of which hyper says that it ended when in truth it was reset.

use std::io;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use hyper::upgrade::Upgraded;
use hyper_util::rt::TokioIo;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

/// Reads and writes as hyper does, and tells a reset from an end: hyper reads `RST_STREAM` with `CANCEL` as the end of what comes,
/// while what it writes to is closed by it, with a reason.
///
/// The other way hyper has no word for it: see [`StreamCut`](crate::front::StreamCut).
pub(super) struct Stream {
    inner: TokioIo<Upgraded>,
    has_ended: bool,
}

impl Stream {
    pub(super) fn new(client: Upgraded) -> Self {
        Self { inner: TokioIo::new(client), has_ended: false }
    }
}

impl AsyncRead for Stream {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buffer: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        if self.has_ended {
            ready!(Pin::new(&mut self.inner).poll_flush(cx))
                .map_err(|reset| io::Error::new(io::ErrorKind::ConnectionReset, reset))?;
            return Poll::Ready(Ok(()));
        }
        let before = buffer.filled().len();
        ready!(Pin::new(&mut self.inner).poll_read(cx, buffer))?;
        self.has_ended = buffer.filled().len() == before && buffer.remaining() > 0;
        if self.has_ended {
            // hyper's task that writes has been woken by the same frame; behind it, its word is there.
            cx.waker().wake_by_ref();
            return Poll::Pending;
        }
        Poll::Ready(Ok(()))
    }
}

impl AsyncWrite for Stream {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.inner).poll_write(cx, bytes)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.inner).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.inner).poll_shutdown(cx)
    }
}
