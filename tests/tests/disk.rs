//! A disk that is full or read-only, a database that is locked or damaged: nothing is spent that cannot be written down, nothing
//! that was delivered is lost, and the gateway says what is wrong. The figures are printed.

#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a broken expectation is a failed test")]
#![allow(clippy::print_stdout, reason = "the figures are what a reader wants")]

use std::fs;
use std::path::Path;
use std::process::Stdio;
use std::time::Duration;

use fleetgate_tests::gateway::Config;
use fleetgate_tests::load::{CHAT_MODEL, MESSAGES_MODEL, arrived};
use fleetgate_tests::upstream::Upstream;
use fleetgate_tests::wait::soon;
use fleetgate_tests::{Answer, Books, Faults, Gateway, Load, MASTER_KEY, Postgres, SmallDisk, Spent, eventually};
use serde_json::json;
use tokio::io::{AsyncBufReadExt, AsyncWriteExt, BufReader};
use tokio::process::Command;

const CLIENTS: usize = 4;

fn models(config: Config, upstream: &Upstream) -> Config {
    let config = config.deployment(CHAT_MODEL, "openai/gpt-4.1-mini", upstream, &json!({}));
    config.deployment(MESSAGES_MODEL, "anthropic/claude-sonnet-4-5", upstream, &json!({}))
}

fn file(folder: &Path) -> String {
    format!("sqlite:{}", folder.join("ledger.db").display())
}

async fn readiness(gw: &Gateway, wanted: u16) -> Answer {
    eventually("readiness changes", async || {
        let ready = gw.get("/health/readiness").send().await;
        (ready.status == wanted).then_some(ready)
    })
    .await
}

async fn more_finished(load: &Load) {
    let so_far = load.finished();
    eventually("calls are answered", async || (load.finished() >= so_far + 50).then_some(())).await;
}

/// Calls on and on while something is wrong with the ledger for a while, and counts. `harm` begins it, `heal` ends it.
async fn under_load(what: &str, gw: &Gateway, upstream: &Upstream, harm: impl AsyncFnOnce(), heal: impl AsyncFnOnce()) {
    let key = gw.key(&json!({"key_alias": "vk-load", "max_budget": 100})).await;
    let load = Load::start(gw.address(), &[&key], CLIENTS);
    more_finished(&load).await;
    harm().await;
    let unready = readiness(gw, 503).await;
    let before = arrived(upstream).len();
    // Long enough to see that they stay refused, and that none goes out.
    tokio::time::sleep(Duration::from_secs(2)).await;
    let after = arrived(upstream).len();
    heal().await;
    readiness(gw, 200).await;
    more_finished(&load).await;
    let made = load.stop().await;
    let books = Books::of(gw).await;
    let faults = books.faults(&made, upstream);
    let spent = Spent::of(gw, &key).await;
    println!(
        "{what}: {} calls sent, {} answers read to the end, {} refused, {} broken, {} rows; {faults}; {spent}",
        made.sent.len(),
        made.finished.len(),
        made.refusals(),
        made.broken,
        books.0.len(),
    );
    println!("{what}: readiness says {}", unready.text());
    assert_eq!(faults, Faults::NONE);
    assert_eq!(made.broken, 0, "whoever is refused gets an answer");
    assert!(after - before <= CLIENTS, "{} calls went out while nothing could be written down", after - before);
    assert_eq!((spent.info, spent.budget), (spent.rows, spent.rows + spent.held), "counter, sum and rows agree");
    let reason = unready.json()["reason"].as_str().unwrap_or_default().to_owned();
    assert!(reason.starts_with("the ledger cannot write: "), "{reason}");
    for ((status, kind), (count, last)) in &made.refused {
        println!("{what}: {count} times {status} {kind}: {}", last.text());
        assert_eq!((*status, kind.as_str()), (503, "ledger_unavailable"), "{}", last.text());
        assert!(last.text().contains("look at the disk's free space and the f"), "{}", last.text());
    }
    assert!(made.refusals() > 0, "nobody was refused");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_full_disk_stops_calls_and_loses_none() {
    let Some(disk) = SmallDisk::mount(24) else { return };
    let upstream = Upstream::start().await;
    let mut gw = Gateway::start(|c| models(c, &upstream).database(&file(disk.path()))).await;
    under_load("a full disk", &gw, &upstream, async || disk.fill(), async || disk.free()).await;
    let rows = Books::of(&gw).await.0.len();
    gw.restart().await;
    assert_eq!(Books::of(&gw).await.0.len(), rows, "they are there after a restart");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn killed_on_a_full_disk_it_has_all_rows_once_there_is_room() {
    let Some(disk) = SmallDisk::mount(24) else { return };
    let upstream = Upstream::start().await;
    let mut gw = Gateway::start(|c| models(c, &upstream).database(&file(disk.path()))).await;
    let key = gw.key(&json!({"key_alias": "vk-load", "max_budget": 100})).await;
    let load = Load::start(gw.address(), &[&key], CLIENTS);
    more_finished(&load).await;
    disk.fill();
    readiness(&gw, 503).await;
    gw.kill().await;
    let made = load.stop().await;
    let refused = Gateway::refuses(|c| models(c, &upstream).database(&file(disk.path()))).await;
    println!("a start on a full disk: {}: {}", refused.status, refused.said().trim());
    disk.free();
    gw.restart().await;
    let books = Books::of(&gw).await;
    let faults = books.faults(&made, &upstream);
    println!(
        "killed on a full disk: {} answers read to the end, {} rows; {faults}",
        made.finished.len(),
        books.0.len()
    );
    assert_eq!(faults, Faults::NONE);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_full_disk_under_the_journal_of_a_ledger_on_postgresql_loses_no_row() {
    let Some(disk) = SmallDisk::mount(24) else { return };
    let (mut server, upstream) = (Postgres::start().await, Upstream::start().await);
    let url = server.database("ledger").await;
    let state = disk.path().display().to_string();
    let gw = Gateway::start(|c| models(c, &upstream).database(&url).env("FLEETGATE_STATE_DIRECTORY", &state)).await;
    let key = gw.key(&json!({"key_alias": "vk-load"})).await;
    let load = Load::start(gw.address(), &[&key], CLIENTS);
    more_finished(&load).await;
    // The journal is all there is, and it cannot grow.
    server.stop().await;
    disk.fill();
    let unready = readiness(&gw, 503).await;
    // A call that ends gives back what room it did not need, and with luck another finds enough: not each is refused.
    eventually("calls are refused", async || (load.refused() > 0).then_some(())).await;
    disk.free();
    readiness(&gw, 200).await;
    more_finished(&load).await;
    let made = load.stop().await;
    server.restart().await;
    eventually("all rows are in the database", async || {
        let details = gw.get("/health/readiness/details").bearer(MASTER_KEY).send().await.json();
        (details["db"] == "connected" && details["spool_depth"] == 0).then_some(())
    })
    .await;
    let books = Books::of(&gw).await;
    let faults = books.faults(&made, &upstream);
    println!(
        "PostgreSQL away and its journal's disk full: {} answers read to the end, {} refused, {} rows; {faults}",
        made.finished.len(),
        made.refusals(),
        books.0.len()
    );
    let kinds: Vec<_> = made.refused.iter().collect();
    let [((503, reason), (_, refused))] = kinds[..] else { panic!("refused for other reasons too: {kinds:?}") };
    println!("readiness says {}; a call is told {}", unready.text(), refused.text());
    assert_eq!(faults, Faults::NONE);
    assert_eq!(reason, "ledger_unavailable");
    assert!(refused.text().contains("No space left on device"), "{}", refused.text());
    assert!(unready.text().contains("No space left on device"), "{}", unready.text());
}

#[tokio::test]
async fn a_gateway_does_not_start_on_a_read_only_disk_and_says_why() {
    let Some(disk) = SmallDisk::mount(24) else { return };
    let upstream = Upstream::start().await;
    let mut gw = Gateway::start(|c| models(c, &upstream).database(&file(disk.path()))).await;
    gw.kill().await;
    disk.set_read_only(true);
    let refused = Gateway::refuses(|c| models(c, &upstream).database(&file(disk.path()))).await;
    println!("a read-only disk: {}: {}", refused.status, refused.said().trim());
    assert!(!refused.status.success());
    let said = refused.said();
    assert!(said.contains("Read-only file system") && said.contains("ledger.db"), "{said}");
    disk.set_read_only(false);
    gw.restart().await;
    readiness(&gw, 200).await;
}

/// Python's SQLite, at the gateway's file: it runs statements, says so, and runs others when it is told.
struct Intruder {
    child: tokio::process::Child,
}

impl Intruder {
    async fn begin(gw: &Gateway, begin: &str, end: &str) -> Self {
        let script = format!(
            "import sqlite3, sys\nc = sqlite3.connect(sys.argv[1], isolation_level=None, timeout=20)\n\
             for s in {begin}: c.execute(s)\nprint('done', flush=True)\nsys.stdin.readline()\nfor s in {end}: c.execute(s)\n"
        );
        let mut python = Command::new("python3");
        python.arg("-c").arg(script).arg(gw.dir().join("ledger.db"));
        let mut child =
            python.stdin(Stdio::piped()).stdout(Stdio::piped()).kill_on_drop(true).spawn().expect("python3 runs");
        let mut said = BufReader::new(child.stdout.take().expect("stdout is piped")).lines();
        let line = soon("Python is done", said.next_line()).await.expect("text");
        assert_eq!(line.as_deref(), Some("done"));
        Self { child }
    }

    async fn end(mut self) {
        let mut stdin = self.child.stdin.take().expect("stdin is piped");
        stdin.write_all(b"\n").await.expect("Python reads");
        assert!(soon("Python ends", self.child.wait()).await.expect("it can be waited for").success());
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_database_that_another_process_locks_stops_calls_and_loses_none() {
    let upstream = Upstream::start().await;
    let gw = Gateway::start(|c| models(c, &upstream)).await;
    let held = tokio::sync::Mutex::new(None);
    let lock = async || *held.lock().await = Some(Intruder::begin(&gw, "['BEGIN EXCLUSIVE']", "['COMMIT']").await);
    let unlock = async || held.lock().await.take().expect("it is locked").end().await;
    under_load("a locked database", &gw, &upstream, lock, unlock).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_database_that_is_damaged_at_run_time_stops_calls_and_loses_none() {
    let upstream = Upstream::start().await;
    let gw = Gateway::start(|c| models(c, &upstream)).await;
    let held = tokio::sync::Mutex::new(None);
    // The table of rows then begins at a page that is none of its own.
    let page = |page: &str| {
        format!(
            "['PRAGMA writable_schema = ON', \"UPDATE sqlite_master SET rootpage = {page} WHERE name = 'entry'\", \
             'PRAGMA schema_version = ' + str(c.execute('PRAGMA schema_version').fetchone()[0] + 1)]"
        )
    };
    let damage = async || {
        *held.lock().await = Some(Intruder::begin(&gw, &page("rootpage + 100000"), &page("rootpage - 100000")).await);
    };
    let repair = async || held.lock().await.take().expect("it is damaged").end().await;
    under_load("a damaged database", &gw, &upstream, damage, repair).await;
}

#[tokio::test]
async fn a_gateway_does_not_start_on_a_damaged_database_and_says_why() {
    let upstream = Upstream::start().await;
    let mut gw = Gateway::start(|c| models(c, &upstream)).await;
    // All of it into the file.
    Intruder::begin(&gw, "['PRAGMA wal_checkpoint(TRUNCATE)']", "[]").await.end().await;
    gw.kill().await;
    let ledger = gw.dir().join("ledger.db");
    let whole = fs::read(&ledger).expect("the ledger is there");
    let wal = gw.dir().join("ledger.db-wal");
    let garbled: Vec<u8> = whole.iter().map(|byte| byte ^ 0xa5).collect();
    let tail_gone = whole[..5000].to_vec();
    for (what, bytes) in [("no database at all", garbled), ("cut off", tail_gone)] {
        fs::write(&ledger, bytes).expect("the folder is writable");
        drop(fs::remove_file(&wal));
        let refused = Gateway::refuses(|c| models(c, &upstream).database(&file(gw.dir()))).await;
        println!("a ledger that is {what}: {}: {}", refused.status, refused.said().trim());
        assert!(!refused.status.success(), "{what}");
        assert!(refused.said().contains("ledger.db"), "{}", refused.said());
    }
}
