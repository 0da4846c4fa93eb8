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
/// Rows in one statement. Fixed sizes, so that the prepared statements are few.
const STATEMENT_SIZES: [usize; 3] = [64, 8, 1];
/// How long to wait before a failed write is tried again.
const RETRY: Duration = Duration::from_millis(500);

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
    pub fn record(self, entry: Entry) -> Receipt {
        let (done, receipt) = oneshot::channel();
        // The writer outlives every slot; were it gone, the receipt says so.
        let _closed = self.queue.send(Job::Row((Box::new(entry), done, self.place)));
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
            write_until_done(&mut connection, rows, &trouble, &path).await;
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

/// Writes a group; when that fails, tells those who wait (their answers must not end), then tries again until it succeeds:
/// the calls were made, so their rows must not be lost.
async fn write_until_done(
    connection: &mut SqliteConnection,
    rows: Vec<Waiting>,
    trouble: &ArcSwapOption<String>,
    path: &Path,
) {
    let (mut entries, mut waiting, mut places) = (Vec::new(), Vec::new(), Vec::new());
    for (entry, done, place) in rows {
        entries.push(entry);
        waiting.push(done);
        places.push(place);
    }
    while let Err(error) = write(connection, &entries).await {
        let cause = error.to_string();
        tracing::error!(path = %path.display(), rows = entries.len(), error = %cause, "the ledger cannot write; no new calls until it can");
        trouble.store(Some(Arc::new(cause.clone())));
        for done in waiting.drain(..) {
            let _gone = done.send(Err(Unrecorded(cause.clone())));
        }
        tokio::time::sleep(RETRY).await;
    }
    if trouble.swap(None).is_some() {
        tracing::info!(path = %path.display(), "the ledger writes again");
    }
    for done in waiting {
        let _gone = done.send(Ok(()));
    }
}

async fn write(connection: &mut SqliteConnection, entries: &[Box<Entry>]) -> Result<(), sqlx::Error> {
    if entries.len() == 1 {
        return insert_in_pieces(connection, entries).await;
    }
    let mut transaction = connection.begin().await?;
    insert_in_pieces(&mut transaction, entries).await?;
    transaction.commit().await
}

async fn insert_in_pieces(connection: &mut SqliteConnection, entries: &[Box<Entry>]) -> Result<(), sqlx::Error> {
    let mut rest = entries;
    for (size, statement) in STATEMENT_SIZES.into_iter().zip(INSERTS.iter()) {
        while let Some((now, later)) = rest.split_at_checked(size) {
            insert(connection, statement, now).await?;
            rest = later;
        }
    }
    Ok(())
}

/// The statement for each of [`STATEMENT_SIZES`], put together once.
static INSERTS: LazyLock<[String; STATEMENT_SIZES.len()]> = LazyLock::new(|| STATEMENT_SIZES.map(insert_statement));

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

async fn insert(
    connection: &mut SqliteConnection,
    statement: &'static str,
    entries: &[Box<Entry>],
) -> Result<(), sqlx::Error> {
    let mut query = sqlx::query(statement);
    for entry in entries {
        query = bind(query, entry);
    }
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
