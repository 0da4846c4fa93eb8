//! The one writer: takes what is queued, writes it in one transaction, then tells everybody who waits.
//!
//! While one group is being committed the next one gathers, so the group grows with the load and a lone call waits for nobody.

use std::future::Future;
use std::path::Path;
use std::pin::Pin;
use std::sync::{Arc, LazyLock};
use std::task::{Context, Poll};
use std::time::Duration;

use arc_swap::ArcSwapOption;
use fleetgate_wire::usage::Usage;
use sqlx::query::Query;
use sqlx::sqlite::{SqliteArguments, SqliteConnection};
use sqlx::{Connection, Sqlite};
use tokio::sync::{Mutex, OwnedSemaphorePermit, Semaphore, mpsc, oneshot};
use tokio::task::JoinHandle;

use super::entry::Entry;
use super::keys::KeyChange;
use crate::relay::Unrecorded;

/// Rows that may wait or be under way at once. One is under 2 KB.
const QUEUE: usize = 16 * 1024;
const GROUP: usize = 512;
const GATHER_TURNS: usize = 8;
/// Rows in one statement at most. Every number of rows up to it has a prepared statement of its own, so that a usual group is one
/// statement and needs no transaction around it: each statement costs two changes of thread.
const MOST_ROWS: usize = 32;
/// How long to wait before a failed write is tried again.
const RETRY: Duration = Duration::from_millis(500);
/// How often that is done once the process ends: it must end.
const LAST_TRIES: u32 = 10;

/// The queue's end that the rest of the gateway holds.
#[derive(Debug)]
pub(super) struct Writer {
    queue: mpsc::UnboundedSender<Job>,
    /// What bounds the queue: a row has its place before its call goes out.
    places: Arc<Semaphore>,
    trouble: Arc<ArcSwapOption<String>>,
    task: Mutex<Option<JoinHandle<()>>>,
}

/// A place in the queue for one row.
#[derive(Debug)]
pub struct Slot {
    queue: mpsc::UnboundedSender<Job>,
    place: OwnedSemaphorePermit,
}

/// Resolves when a row is durable. Dropping it does not unwrite the row.
#[derive(Debug)]
pub struct Receipt(oneshot::Receiver<Result<(), Unrecorded>>);

/// A row, who waits for it, and its place in the queue.
type Waiting = (Box<Entry>, oneshot::Sender<Result<(), Unrecorded>>, OwnedSemaphorePermit);

pub(super) enum Job {
    Row(Waiting),
    Key(Box<KeyChange>, oneshot::Sender<Result<(), sqlx::Error>>),
    Close,
}

impl Slot {
    /// Hands the row over. It is written whether or not anybody waits for the receipt.
    #[must_use]
    pub fn record(self, entry: impl Into<Box<Entry>>) -> Receipt {
        let (done, receipt) = oneshot::channel();
        // The writer outlives every slot; were it gone, the receipt says so.
        let _closed = self.queue.send(Job::Row((entry.into(), done, self.place)));
        Receipt(receipt)
    }
}

impl Future for Receipt {
    type Output = Result<(), Unrecorded>;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let closed = |_| Err(Unrecorded("the ledger is closed".into()));
        Pin::new(&mut self.0).poll(cx).map(|result| result.unwrap_or_else(closed))
    }
}

impl Writer {
    pub(super) fn start(connection: SqliteConnection, path: Arc<Path>) -> Self {
        let (queue, jobs) = mpsc::unbounded_channel();
        let trouble = Arc::new(ArcSwapOption::empty());
        let places = Arc::new(Semaphore::new(QUEUE));
        let task = tokio::spawn(run(connection, jobs, Arc::clone(&places), Arc::clone(&trouble), path));
        Self { queue, places, trouble, task: Mutex::new(Some(task)) }
    }

    pub(super) async fn reserve(&self) -> Result<Slot, String> {
        if let Some(trouble) = self.trouble() {
            return Err(trouble);
        }
        let place = Arc::clone(&self.places).acquire_owned().await.map_err(|error| error.to_string())?;
        // The wait for a place may have been long.
        if let Some(trouble) = self.trouble() {
            return Err(trouble);
        }
        Ok(Slot { queue: self.queue.clone(), place })
    }

    pub(super) async fn change_key(&self, change: KeyChange) -> Result<(), sqlx::Error> {
        let (done, result) = oneshot::channel();
        let _closed = self.queue.send(Job::Key(Box::new(change), done));
        result.await.unwrap_or(Err(sqlx::Error::WorkerCrashed))
    }

    pub(super) fn trouble(&self) -> Option<String> {
        self.trouble.load().as_deref().cloned()
    }

    pub(super) async fn close(&self) {
        let _closed = self.queue.send(Job::Close);
        if let Some(task) = self.task.lock().await.take() {
            let _ended = task.await;
        }
    }
}

async fn run(
    mut connection: SqliteConnection,
    mut jobs: mpsc::UnboundedReceiver<Job>,
    places: Arc<Semaphore>,
    trouble: Arc<ArcSwapOption<String>>,
    path: Arc<Path>,
) {
    let mut group = Vec::with_capacity(GROUP);
    let mut open = true;
    while open && jobs.recv_many(&mut group, GROUP).await > 0 {
        gather(&mut jobs, &mut group, &places).await;
        let mut rows = Vec::with_capacity(group.len());
        for job in group.drain(..) {
            match job {
                Job::Row(row) => rows.push(row),
                Job::Key(change, done) => drop(done.send(change.apply(&mut connection).await)),
                Job::Close => open = false,
            }
        }
        if !rows.is_empty() {
            let group = Group::new(rows, open);
            open = group.write(&mut connection, &mut jobs, &trouble, &path).await;
        }
    }
    let _best_effort = connection.close().await;
}

/// Lets calls that are about to end join the group: a commit costs two changes of thread, whether it holds one row or many. A
/// few turns of the scheduler, never a wait: a lone call's row is not held up.
async fn gather(jobs: &mut mpsc::UnboundedReceiver<Job>, group: &mut Vec<Job>, places: &Semaphore) {
    for _ in 0..GATHER_TURNS {
        let under_way = QUEUE - places.available_permits();
        if group.len() * 2 > under_way || group.len() >= GROUP {
            return;
        }
        tokio::task::yield_now().await;
        while let Ok(job) = jobs.try_recv() {
            group.push(job);
        }
    }
}

/// Rows that are written together.
struct Group {
    #[expect(clippy::vec_box, reason = "they come boxed; unboxing would copy each of them")]
    entries: Vec<Box<Entry>>,
    waiting: Vec<oneshot::Sender<Result<(), Unrecorded>>>,
    places: Vec<OwnedSemaphorePermit>,
    /// Nobody has asked for the end yet.
    open: bool,
}

impl Group {
    fn new(rows: Vec<Waiting>, open: bool) -> Self {
        let mut group = Self { entries: Vec::new(), waiting: Vec::new(), places: Vec::new(), open };
        rows.into_iter().for_each(|row| group.add(row));
        group
    }

    fn add(&mut self, (entry, done, place): Waiting) {
        self.entries.push(entry);
        self.waiting.push(done);
        self.places.push(place);
    }

    /// Writes the group; when that fails, tells those who wait (their answers must not end), then tries again until it succeeds:
    /// the calls were made, so their rows must not be lost. Gives back whether the ledger stays open.
    async fn write(
        mut self,
        connection: &mut SqliteConnection,
        jobs: &mut mpsc::UnboundedReceiver<Job>,
        trouble: &ArcSwapOption<String>,
        path: &Path,
    ) -> bool {
        let mut last_tries = LAST_TRIES;
        while let Err(error) = write(connection, &self.entries).await {
            let cause = error.to_string();
            trouble.store(Some(Arc::new(cause.clone())));
            self.take_in(jobs);
            tracing::error!(path = %path.display(), rows = self.entries.len(), error = %cause, "the ledger cannot write; no new calls until it can");
            for done in self.waiting.drain(..) {
                let _gone = done.send(Err(Unrecorded(cause.clone())));
            }
            if !self.open {
                last_tries -= 1;
                if last_tries == 0 {
                    self.give_up();
                    return false;
                }
            }
            tokio::time::sleep(RETRY).await;
        }
        if trouble.swap(None).is_some() {
            tracing::info!(path = %path.display(), "the ledger writes again");
        }
        for done in self.waiting {
            let _gone = done.send(Ok(()));
        }
        self.open
    }

    /// Whoever comes during the trouble hears of it at once instead of waiting for its end.
    fn take_in(&mut self, jobs: &mut mpsc::UnboundedReceiver<Job>) {
        while let Ok(job) = jobs.try_recv() {
            match job {
                Job::Row(row) => self.add(row),
                Job::Key(_, done) => drop(done.send(Err(sqlx::Error::WorkerCrashed))),
                Job::Close => self.open = false,
            }
        }
    }

    /// The log is the last place where these rows can be kept.
    fn give_up(&self) {
        for entry in &self.entries {
            tracing::error!(?entry, "this row could not be written before the end");
        }
    }
}

async fn write(connection: &mut SqliteConnection, entries: &[Box<Entry>]) -> Result<(), sqlx::Error> {
    if entries.len() <= MOST_ROWS {
        return insert(connection, entries).await;
    }
    let mut transaction = connection.begin().await?;
    for piece in entries.chunks(MOST_ROWS) {
        insert(&mut transaction, piece).await?;
    }
    transaction.commit().await
}

/// The statements for 1 to [`MOST_ROWS`] rows, put together once.
static INSERTS: LazyLock<Vec<String>> = LazyLock::new(|| (1..=MOST_ROWS).map(insert_statement).collect());

const COLUMNS: [&str; 32] = [
    "id",
    "kind",
    "host",
    "host_source",
    "workload",
    "key_alias",
    "key_hash",
    "user_id",
    "endpoint",
    "model_requested",
    "model",
    "provider",
    "deployment_id",
    "status",
    "http_status",
    "error",
    "input_tokens",
    "cache_read_tokens",
    "cache_write_tokens",
    "output_tokens",
    "reasoning_tokens",
    "cost_nanousd",
    "usage_source",
    "price_source",
    "started_at",
    "first_byte_at",
    "ended_at",
    "user_agent",
    "upstream_id",
    "destination",
    "bytes_up",
    "bytes_down",
];

fn insert_statement(rows: usize) -> String {
    let places = format!("({})", vec!["?"; COLUMNS.len()].join(", "));
    // A row that was written but not confirmed is written again after a failure: its identifier makes that harmless.
    format!(
        "INSERT INTO entry ({}) VALUES {} ON CONFLICT (id) DO NOTHING",
        COLUMNS.join(", "),
        vec![places; rows].join(", ")
    )
}

async fn insert(connection: &mut SqliteConnection, entries: &[Box<Entry>]) -> Result<(), sqlx::Error> {
    // Groups are not empty and pieces not longer than MOST_ROWS, so the statement is there.
    let statement = INSERTS[entries.len() - 1].as_str();
    let query = entries.iter().fold(sqlx::query(statement), |query, entry| bind(query, entry));
    query.execute(connection).await.map(drop)
}

/// One row's values, in the order of [`COLUMNS`].
fn bind<'q>(query: Query<'q, Sqlite, SqliteArguments>, entry: &'q Entry) -> Query<'q, Sqlite, SqliteArguments> {
    let count = |pick: fn(&Usage) -> u64| entry.usage.as_ref().map(|usage| signed(pick(usage)));
    query
        .bind(entry.id.to_string())
        .bind(entry.kind.word())
        .bind(entry.caller.host.to_string())
        .bind(entry.caller.host.source())
        .bind(entry.caller.workload.as_str())
        .bind(entry.caller.key.alias())
        .bind(entry.caller.key.hash_text())
        .bind(entry.caller.key.user())
        .bind(entry.endpoint)
        .bind(&entry.model_requested)
        .bind(&entry.model)
        .bind(&entry.provider)
        .bind(&entry.deployment_id)
        .bind(entry.status.word())
        .bind(entry.http_status)
        .bind(&entry.error)
        .bind(count(|usage| usage.input))
        .bind(count(|usage| usage.cache_read))
        .bind(count(Usage::cache_write))
        .bind(count(|usage| usage.output))
        .bind(count(|usage| usage.reasoning))
        .bind(entry.cost_nanousd())
        .bind(entry.usage_source())
        .bind(entry.cost.source.word())
        .bind(entry.started_at.as_microsecond())
        .bind(entry.first_byte_at.map(jiff::Timestamp::as_microsecond))
        .bind(entry.ended_at.as_microsecond())
        .bind(&entry.user_agent)
        .bind(&entry.upstream_id)
        .bind(&entry.destination)
        .bind(entry.bytes.map(|(up, _)| signed(up)))
        .bind(entry.bytes.map(|(_, down)| signed(down)))
}

/// SQLite's integers are signed; no count comes near the limit.
fn signed(count: u64) -> i64 {
    i64::try_from(count).unwrap_or(i64::MAX)
}
