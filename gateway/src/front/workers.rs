//! The threads that serve connections. Each has a runtime of its own, and a connection stays where it began.
//!
//! One runtime over all cores would move the tasks of a call from core to core, wake one core from the other for each step, and
//! cost a third more of CPU time for a call; threads that share nothing but the ledger and the limits do not.

use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread::{self, JoinHandle};

use tokio::runtime::Builder;
use tokio::sync::mpsc::{UnboundedReceiver, UnboundedSender, unbounded_channel};

/// What a worker is told to begin, within its runtime.
type Job = Box<dyn FnOnce() + Send>;

/// The workers of one gateway. Dropped, they end at once and drop what they serve.
#[derive(Debug)]
pub struct Workers {
    all: Vec<Worker>,
}

#[derive(Debug)]
struct Worker {
    jobs: UnboundedSender<Job>,
    /// Its connections.
    busy: Arc<AtomicUsize>,
    thread: JoinHandle<()>,
}

/// A connection's place with a worker: as long as it lives, the worker counts as that much busier.
#[derive(Debug)]
pub(super) struct Place(Arc<AtomicUsize>);

impl Drop for Place {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}

impl Workers {
    /// Starts this many.
    ///
    /// # Errors
    /// When the system has no thread or no descriptor for one.
    pub fn start(count: usize) -> io::Result<Self> {
        Ok(Self { all: (0..count).map(Worker::start).collect::<io::Result<_>>()? })
    }

    /// How many there are.
    #[must_use]
    pub fn count(&self) -> usize {
        self.all.len()
    }

    /// Has the one with the fewest connections take one more: `begin` runs on its thread, with its number and the place, which
    /// the connection keeps until its end.
    pub(super) fn place(&self, begin: impl FnOnce(usize, Place) + Send + 'static) {
        let fewest = self.all.iter().enumerate().min_by_key(|(_, worker)| worker.busy.load(Ordering::Relaxed));
        let Some((number, worker)) = fewest else { return };
        worker.busy.fetch_add(1, Ordering::Relaxed);
        let place = Place(Arc::clone(&worker.busy));
        // A worker that is gone has dropped its connections too: this one ends like them.
        drop(worker.jobs.send(Box::new(move || begin(number, place))));
    }

    /// Drops what is still served, and waits for the threads' end. Blocks.
    pub fn stop(self) {
        let threads: Vec<_> = self.all.into_iter().map(|worker| worker.thread).collect();
        for thread in threads {
            // A panic has been reported where it happened.
            drop(thread.join());
        }
    }
}

impl Worker {
    fn start(number: usize) -> io::Result<Self> {
        let (jobs, received) = unbounded_channel();
        let runtime = Builder::new_current_thread().enable_all().build()?;
        let thread =
            thread::Builder::new().name(format!("worker-{number}")).spawn(move || runtime.block_on(work(received)))?;
        Ok(Self { jobs, busy: Arc::default(), thread })
    }
}

async fn work(mut jobs: UnboundedReceiver<Job>) {
    while let Some(job) = jobs.recv().await {
        job();
    }
}

#[cfg(test)]
mod tests {
    use std::sync::mpsc::channel;

    use super::*;

    #[test]
    fn a_new_connection_goes_where_the_fewest_are() {
        let workers = Workers::start(3).unwrap();
        let (tell, told) = channel();
        let place = || {
            let tell = tell.clone();
            workers.place(move |number, place| tell.send((number, place)).unwrap());
            told.recv().unwrap()
        };
        let first: Vec<_> = (0..3).map(|_| place()).collect();
        assert_eq!(first.iter().map(|(number, _)| *number).collect::<Vec<_>>(), [0, 1, 2]);
        drop(first.into_iter().nth(1));
        let mut numbers: Vec<_> = (0..3).map(|_| place()).collect();
        numbers.sort_by_key(|(number, _)| *number);
        assert_eq!(numbers.iter().map(|(number, _)| *number).collect::<Vec<_>>(), [0, 1, 2], "all had ended");
        workers.stop();
    }

    #[test]
    fn stopping_drops_what_is_still_served() {
        let workers = Workers::start(1).unwrap();
        let (kept, watched) = channel::<()>();
        workers.place(move |_, place| {
            drop(tokio::spawn(async move {
                std::future::pending::<()>().await;
                drop((place, kept));
            }));
        });
        workers.stop();
        assert!(watched.recv().is_err(), "the task outlived its worker");
    }
}
