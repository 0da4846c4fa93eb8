//! A response body that follows a script.

use std::collections::VecDeque;
use std::fmt;
use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::task::{Context, Poll};

use bytes::Bytes;
use hyper::body::{Body, Frame, SizeHint};
use tokio::sync::watch;

use super::reply::{Ending, Reply, Step};

/// Sends its steps one by one. Dropped before the last one, it says that the reader has gone.
pub(super) struct ScriptBody {
    steps: VecDeque<Step>,
    waiting: Option<Pin<Box<dyn Future<Output = ()> + Send>>>,
    ending: Ending,
    sized: bool,
    flushed: bool,
    finished: bool,
    sent: Arc<AtomicUsize>,
    abandoned: watch::Sender<usize>,
}

impl ScriptBody {
    pub(super) fn new(reply: Reply, sent: Arc<AtomicUsize>, abandoned: watch::Sender<usize>) -> Self {
        let Reply { steps, ending, sized, .. } = reply;
        Self { steps: steps.into(), waiting: None, ending, sized, flushed: false, finished: false, sent, abandoned }
    }
}

impl fmt::Debug for ScriptBody {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ScriptBody").field("steps", &self.steps.len()).field("ending", &self.ending).finish()
    }
}

impl Body for ScriptBody {
    type Data = Bytes;
    type Error = io::Error;

    fn poll_frame(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<io::Result<Frame<Bytes>>>> {
        loop {
            if let Some(waiting) = &mut self.waiting {
                std::task::ready!(waiting.as_mut().poll(cx));
                self.waiting = None;
            }
            match self.steps.pop_front() {
                Some(Step::Send(data)) => {
                    self.sent.fetch_add(1, Ordering::Relaxed);
                    // Behind an announced length hyper asks for nothing more.
                    self.finished = self.sized && self.steps.is_empty();
                    return Poll::Ready(Some(Ok(Frame::data(data))));
                }
                Some(Step::Wait(gate)) => self.waiting = Some(Box::pin(async move { gate.opened().await })),
                None if self.ending == Ending::Whole => {
                    self.finished = true;
                    return Poll::Ready(None);
                }
                // hyper drops what it has buffered when a body fails: let it write that first.
                None if !self.flushed => {
                    self.flushed = true;
                    cx.waker().wake_by_ref();
                    return Poll::Pending;
                }
                None => {
                    self.finished = true;
                    return Poll::Ready(Some(Err(io::Error::other("the script cuts the answer here"))));
                }
            }
        }
    }

    fn is_end_stream(&self) -> bool {
        self.finished
    }

    fn size_hint(&self) -> SizeHint {
        if !self.sized {
            return SizeHint::default();
        }
        let sent = |step: &Step| if let Step::Send(data) = step { data.len() as u64 } else { 0 };
        SizeHint::with_exact(self.steps.iter().map(sent).sum())
    }
}

impl Drop for ScriptBody {
    fn drop(&mut self) {
        if !self.finished {
            self.abandoned.send_modify(|n| *n += 1);
        }
    }
}
