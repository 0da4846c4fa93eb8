//! The tasks of a connection of HTTP/2, and how a tunnel's stream is reset.
//!
//! hyper gives a tunnel something that reads and writes, and that can only end. But what writes to the stream is a task that hyper
//! leaves to the connection's executor, which is ours, and the library below resets a stream whose holders are all gone before its
//! end: with `CANCEL`, since nobody can say `CONNECT_ERROR` (RFC 9113 §8.5) there.

use std::sync::Arc;

use tokio::sync::Notify;

tokio::task_local! {
    static OF_THIS_TASK: StreamCut;
}

/// Ends a tunnel's stream by a reset. Among the extensions of each `CONNECT` that came by HTTP/2.
#[derive(Debug, Clone, Default)]
pub struct StreamCut(Arc<Notify>);

impl StreamCut {
    /// Resets the stream as soon as hyper's end of the tunnel is dropped too. What has not been sent by then is not sent any more.
    ///
    /// It comes before that drop, which is taken for the end of what is to be sent.
    pub fn cut(&self) {
        self.0.notify_one();
    }

    /// That of the stream whose task this is.
    pub(super) fn current() -> Option<Self> {
        OF_THIS_TASK.try_with(Clone::clone).ok()
    }
}

/// Starts a task for each stream, and for what writes to a tunnel.
#[derive(Debug, Clone, Copy)]
pub(super) struct Streams;

impl<F> hyper::rt::Executor<F> for Streams
where
    F: Future<Output = ()> + Send + 'static,
{
    fn execute(&self, future: F) {
        match StreamCut::current() {
            // Begun by a stream's own task: it writes to that stream's tunnel.
            Some(cut) => drop(tokio::spawn(async move {
                tokio::select! {
                    // It must not come to its turn again: it would end the stream.
                    biased;
                    () = cut.0.notified() => {}
                    () = future => {}
                }
            })),
            None => drop(tokio::spawn(OF_THIS_TASK.scope(StreamCut::default(), future))),
        }
    }
}
