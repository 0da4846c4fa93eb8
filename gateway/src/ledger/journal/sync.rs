//! Waiting for the disk, for rows that must survive the loss of power. One thread asks the disk; all who came meanwhile share its
//! next answer.

use std::fs::File;
use std::future::Future;
use std::io;
use std::path::Path;
use std::pin::Pin;
use std::sync::{Arc, mpsc};
use std::task::{Context, Poll};

use tokio::sync::oneshot;

use super::segment::Segment;

type Waiting = (Arc<Segment>, oneshot::Sender<Result<(), String>>);

/// Asks the disk.
#[derive(Debug)]
pub(super) struct Syncer {
    waiting: mpsc::Sender<Waiting>,
}

/// Resolves when the disk has what was written.
#[derive(Debug)]
pub(in crate::ledger) struct Synced(Option<oneshot::Receiver<Result<(), String>>>);

impl Syncer {
    pub(super) fn start(folder: &Path) -> io::Result<Self> {
        let (waiting, jobs) = mpsc::channel();
        let folder = File::open(folder)?;
        std::thread::Builder::new().name("journal-sync".to_owned()).spawn(move || run(&jobs, &folder))?;
        Ok(Self { waiting })
    }

    pub(super) fn sync(&self, segment: &Arc<Segment>) -> Synced {
        let (done, synced) = oneshot::channel();
        // Were the thread gone, the receiver would say so.
        let _gone = self.waiting.send((Arc::clone(segment), done));
        Synced(Some(synced))
    }
}

impl Synced {
    /// Where the operating system's word is enough.
    pub(super) fn at_once() -> Self {
        Self(None)
    }
}

impl Future for Synced {
    type Output = Result<(), String>;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        match &mut self.0 {
            None => Poll::Ready(Ok(())),
            Some(synced) => {
                let gone = |_| Err("the thread that syncs the journal has ended".to_owned());
                Pin::new(synced).poll(cx).map(|result| result.unwrap_or_else(gone))
            }
        }
    }
}

fn run(jobs: &mpsc::Receiver<Waiting>, folder: &File) {
    let mut newest = 0;
    while let Ok(first) = jobs.recv() {
        let group: Vec<Waiting> = std::iter::once(first).chain(jobs.try_iter()).collect();
        let mut segments: Vec<&Arc<Segment>> = group.iter().map(|(segment, _)| segment).collect();
        segments.dedup_by(|one, other| Arc::ptr_eq(one, other));
        let mut result = segments.iter().try_for_each(|segment| segment.sync());
        let last = segments.iter().map(|segment| segment.id).max().unwrap_or(newest);
        if last > newest && result.is_ok() {
            // A new file is on the disk only when its name is.
            result = folder.sync_all();
            newest = last;
        }
        let result = result.map_err(|error| error.to_string());
        for (_, done) in group {
            let _gone = done.send(result.clone());
        }
    }
}
