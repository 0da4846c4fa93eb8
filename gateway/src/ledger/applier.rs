//! The journal's rows to the database, in order and in batches, behind the callers' backs. While the database is away the journal
//! grows; nothing is dropped, and nothing but one batch is in memory.

use std::sync::Arc;
use std::time::Duration;

use arc_swap::ArcSwapOption;
use tokio::sync::{Notify, watch};
use tokio::task::JoinHandle;

use super::journal::{Batch, Journal, Segment};
use super::store::{ApplyError, Store};

/// How long rows gather before they are written together, unless somebody wants to read them.
const GATHER: Duration = Duration::from_millis(50);
/// How often one who waits for rows looks whether there is trouble.
const LOOK_AGAIN: Duration = Duration::from_millis(20);
/// How long to wait before a failed batch is tried again.
const RETRY: Duration = Duration::from_millis(500);
/// Bytes of the journal in one batch at most, and so what is held in memory.
const BATCH: usize = 512 << 10;

/// What the rest of the ledger holds of the applier.
#[derive(Debug)]
pub(super) struct Applier {
    shared: Arc<Shared>,
    task: tokio::sync::Mutex<Option<JoinHandle<()>>>,
}

#[derive(Debug)]
struct Shared {
    journal: Arc<Journal>,
    store: Store,
    /// Settled frames that reached the database.
    applied: watch::Sender<u64>,
    trouble: ArcSwapOption<String>,
    /// Somebody waits for the rows.
    urgent: Notify,
    closing: watch::Sender<bool>,
}

impl Applier {
    pub(super) fn start(journal: Arc<Journal>, store: Store) -> Self {
        let shared = Arc::new(Shared {
            journal,
            store,
            applied: watch::Sender::new(0),
            trouble: ArcSwapOption::empty(),
            urgent: Notify::new(),
            closing: watch::Sender::new(false),
        });
        let task = tokio::spawn(run(Arc::clone(&shared)));
        Self { shared, task: tokio::sync::Mutex::new(Some(task)) }
    }

    /// Why rows do not reach the database, if they do not.
    pub(super) fn trouble(&self) -> Option<String> {
        self.shared.trouble.load().as_deref().cloned()
    }

    /// Settled rows that reached the database.
    pub(super) fn applied(&self) -> u64 {
        *self.shared.applied.borrow()
    }

    /// Waits until all rows that are settled now are in the database. While it is in trouble, says so at once.
    pub(super) async fn catch_up(&self) -> Result<(), String> {
        let wanted = self.shared.journal.settled();
        let mut applied = self.shared.applied.subscribe();
        while *applied.borrow_and_update() < wanted {
            if let Some(trouble) = self.trouble() {
                return Err(trouble);
            }
            self.shared.urgent.notify_one();
            tokio::select! {
                _ = applied.changed() => {}
                () = tokio::time::sleep(LOOK_AGAIN) => {}
            }
        }
        Ok(())
    }

    /// Applies what is there if that is possible, and ends. What is not applied stays in the journal.
    pub(super) async fn close(&self) {
        self.shared.closing.send_replace(true);
        self.shared.urgent.notify_one();
        if let Some(task) = self.task.lock().await.take() {
            let _ended = task.await;
        }
    }
}

async fn run(shared: Arc<Shared>) {
    let mut place = Place { segment: None, offset: 0 };
    let mut closing = shared.closing.subscribe();
    loop {
        // Looked at before the rows are: then what is found is all there will be.
        let is_last = *closing.borrow_and_update();
        let healthy = match shared.apply_all(&mut place).await {
            Ok(()) => {
                if shared.trouble.swap(None).is_some() {
                    tracing::info!(database = %shared.store, "the ledger writes again");
                }
                true
            }
            Err(cause) => {
                if shared.trouble.swap(Some(Arc::new(cause.clone()))).is_none() {
                    tracing::error!(database = %shared.store, %cause, "rows cannot reach the database; the journal keeps them");
                }
                false
            }
        };
        if is_last {
            if healthy {
                shared.journal.tidy();
            }
            return;
        }
        shared.pause(healthy, &mut closing).await;
    }
}

/// How far the journal is applied.
struct Place {
    segment: Option<Arc<Segment>>,
    offset: usize,
}

impl Shared {
    /// Waits for rows, then a little for more of them.
    async fn pause(&self, healthy: bool, closing: &mut watch::Receiver<bool>) {
        let more = async {
            if healthy {
                self.journal.written.notified().await;
            }
            tokio::time::sleep(if healthy { GATHER } else { RETRY }).await;
        };
        tokio::select! {
            () = more => {}
            () = self.urgent.notified() => {}
            _ = closing.changed() => {}
        }
    }

    async fn apply_all(&self, place: &mut Place) -> Result<(), String> {
        let retried = self.journal.retry();
        // Even if it failed: what is applied makes room in the journal.
        let applied = self.apply_rest(place).await;
        retried.map_err(|error| format!("the journal: {error}"))?;
        applied
    }

    async fn apply_rest(&self, place: &mut Place) -> Result<(), String> {
        loop {
            let segment = match &place.segment {
                Some(segment) => Arc::clone(segment),
                None => match self.journal.front() {
                    Some(segment) => segment,
                    None => return Ok(()),
                },
            };
            // Sealed before it is read: then what is read is all there will be.
            let was_sealed = segment.is_sealed();
            let bytes = segment.read(place.offset, BATCH).map_err(|error| unreadable(&segment, &error))?;
            place.segment = Some(Arc::clone(&segment));
            let read = bytes.len();
            let taken = self.apply(&segment, bytes).await?;
            place.offset += taken;
            if taken == read && read < BATCH && !was_sealed {
                // What came meanwhile gathers first: a transaction costs much for few rows.
                return Ok(());
            }
            if taken > 0 {
                continue;
            }
            if read > 0 {
                return Err(unreadable(&segment, &"a record is damaged"));
            }
            *place = Place { segment: None, offset: 0 };
            self.journal.front_applied();
        }
    }

    /// Applies the whole frames in these bytes, and says how many bytes they had.
    async fn apply(&self, segment: &Segment, bytes: Vec<u8>) -> Result<usize, String> {
        let batch = Batch::cut(bytes).map_err(|error| unreadable(segment, &error))?;
        let (size, count) = (batch.size(), batch.len() as u64);
        if count == 0 {
            return Ok(size);
        }
        let applied = self.applied.clone();
        // The number moves with the commit, so that whoever holds the database sees both or neither.
        let done = move || applied.send_modify(|applied| *applied += count);
        match self.store.apply(batch, done).await {
            Ok(()) => Ok(size),
            Err(ApplyError::Unreadable(error)) => Err(unreadable(segment, &error)),
            Err(error) => Err(error.to_string()),
        }
    }
}

fn unreadable(segment: &Segment, cause: &dyn std::fmt::Display) -> String {
    format!("{}: {cause}", segment.path().display())
}
