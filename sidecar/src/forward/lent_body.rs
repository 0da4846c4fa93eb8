//! A request body that comes back when the gateway did not want it.
//!
//! Answering while the client still sends makes the kernel reset the connection, and the client may never see the answer. So a
//! body whose request failed is read to its end first, and for that it must survive the failed request.

use std::pin::Pin;
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::Bytes;
use http_body::{Body, Frame, SizeHint};
use http_body_util::BodyExt;
use tokio::time::timeout;

/// More than this is not read only to be thrown away.
const DRAIN_LIMIT: usize = 32 * 1024 * 1024;
const DRAIN_TIME: Duration = Duration::from_secs(1);

/// The body as it is handed to a connection.
#[derive(Debug)]
pub(super) struct LentBody<B> {
    body: Option<B>,
    is_whole: bool,
    lender: Lender<B>,
}

/// Where an unfinished body comes back to.
#[derive(Debug)]
pub(super) struct Lender<B>(Arc<Mutex<Option<Returned<B>>>>);

/// A body that came back.
#[derive(Debug)]
pub(super) struct Returned<B> {
    pub(super) body: B,
    /// Nothing of it was taken.
    pub(super) is_whole: bool,
}

impl<B> Clone for Lender<B> {
    fn clone(&self) -> Self {
        Self(Arc::clone(&self.0))
    }
}

impl<B> Lender<B> {
    pub(super) fn lend(body: B) -> (LentBody<B>, Self) {
        let lender = Self(Arc::new(Mutex::new(None)));
        (LentBody { body: Some(body), is_whole: true, lender: lender.clone() }, lender)
    }

    /// The body, if it is back.
    pub(super) fn returned(&self) -> Option<Returned<B>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).take()
    }
}

impl<B> Drop for LentBody<B> {
    fn drop(&mut self) {
        let returned = self.body.take().map(|body| Returned { body, is_whole: self.is_whole });
        *self.lender.0.lock().unwrap_or_else(PoisonError::into_inner) = returned;
    }
}

impl<B: Body<Data = Bytes> + Unpin> Body for LentBody<B> {
    type Data = Bytes;
    type Error = B::Error;

    fn poll_frame(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, B::Error>>> {
        let Some(body) = &mut self.body else { return Poll::Ready(None) };
        let polled = Pin::new(body).poll_frame(context);
        if polled.is_ready() {
            self.is_whole = false;
        }
        polled
    }

    fn is_end_stream(&self) -> bool {
        self.body.as_ref().is_none_or(B::is_end_stream)
    }

    fn size_hint(&self) -> SizeHint {
        self.body.as_ref().map_or_else(SizeHint::default, B::size_hint)
    }
}

/// Reads what the client still sends, within limits.
pub(crate) async fn drain<B: Body<Data = Bytes> + Unpin>(mut body: B) {
    let reading = async {
        let mut length = 0;
        while let Some(Ok(frame)) = body.frame().await {
            length += frame.data_ref().map_or(0, Bytes::len);
            if length > DRAIN_LIMIT {
                break;
            }
        }
    };
    // Whether it ended is all the same: the answer comes next.
    let _ = timeout(DRAIN_TIME, reading).await;
}
