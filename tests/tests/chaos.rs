//! What must hold whenever the gateway dies: every answer that a client finished reading has its row, every call that reached a
//! provider has one, and no row tells of a call that nobody made. The figures are printed.
//!
//! `FLEETGATE_CHAOS_KILLS` sets how often the gateway is killed (300).

#![allow(clippy::expect_used, reason = "a broken expectation is a failed test")]
#![allow(clippy::print_stdout, reason = "the figures are what these tests are for")]

use std::collections::{BTreeMap, HashMap, HashSet};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::Duration;

use fleetgate_tests::Gateway;
use fleetgate_tests::gateway::Config;
use fleetgate_tests::upstream::openai::{chat_request, stream_request};
use fleetgate_tests::upstream::{Upstream, anthropic};
use fleetgate_wire::row::Row;
use serde_json::{Value, json};
use tokio::sync::watch;
use tokio::task::JoinSet;

const CLIENTS: usize = 8;

fn kills() -> usize {
    std::env::var("FLEETGATE_CHAOS_KILLS").ok().and_then(|text| text.parse().ok()).unwrap_or(300)
}

/// What the clients did: calls by number.
#[derive(Debug, Default)]
struct Made {
    sent: HashSet<usize>,
    /// Read to the last byte, with the row's identifier that the answer named.
    finished: HashMap<usize, String>,
}

/// Clients that call on and on, each call with a number in its text and its tag, streaming and not, over two dialects. Where the
/// gateway is gone they wait for its next life.
async fn client(
    gw: Dialled,
    first: usize,
    lives: watch::Receiver<u32>,
    over: Arc<AtomicBool>,
    next: Arc<AtomicUsize>,
) -> Made {
    let mut made = Made::default();
    let mut lives = lives;
    let mut turn = first;
    while !over.load(Ordering::Acquire) {
        let number = next.fetch_add(1, Ordering::Relaxed);
        turn += 1;
        let (path, mut body) = match turn % 4 {
            0 => ("/v1/chat/completions", chat_request("gpt-x")),
            1 => ("/v1/chat/completions", stream_request("gpt-x")),
            2 => ("/v1/messages", anthropic::request("sonnet")),
            _ => ("/v1/messages", anthropic::stream_request("sonnet")),
        };
        body["messages"][0]["content"] = json!(format!("call {number}"));
        lives.mark_unchanged();
        made.sent.insert(number);
        let call = fleetgate_tests::Call::new(gw.address, http::Method::POST, path);
        let call = call.bearer(&gw.key).json(&body).header("x-litellm-tags", &format!("call-{number}"));
        let Ok(open) = call.try_open().await else {
            // Not before there is a gateway again.
            let _over = tokio::time::timeout(Duration::from_secs(10), lives.changed()).await;
            continue;
        };
        let answer = open.finish().await;
        if answer.whole && answer.status == 200 {
            made.finished.insert(number, answer.header("x-fleetgate-request-id").to_owned());
        }
    }
    made
}

#[derive(Clone)]
struct Dialled {
    address: std::net::SocketAddr,
    key: String,
}

/// The numbers of the calls that reached the provider.
fn arrived(upstream: &Upstream) -> HashSet<usize> {
    let number = |body: &Value| body["messages"][0]["content"].as_str()?.strip_prefix("call ")?.parse().ok();
    upstream.requests().iter().filter_map(|request| number(&request.json())).collect()
}

/// All rows, page by page.
async fn all_rows(gw: &Gateway) -> BTreeMap<String, Row> {
    let mut rows = BTreeMap::new();
    let mut until = String::new();
    loop {
        let page = gw.admin_get(&format!("/api/logs?limit=10000{until}")).await;
        let page: Vec<Row> = serde_json::from_value(page["rows"].clone()).expect("rows");
        let before = rows.len();
        // The last one's own microsecond may be cut by the page's end: it is asked for again.
        if let Some(last) = page.last() {
            let moment: jiff::Timestamp = last.started_at.parse().expect("a time");
            until = format!("&until={}", moment + Duration::from_micros(1));
        }
        rows.extend(page.into_iter().map(|row| (row.request_id.clone(), row)));
        if rows.len() == before {
            return rows;
        }
    }
}

fn number_of(row: &Row) -> usize {
    row.tags.iter().find_map(|tag| tag.strip_prefix("call-")?.parse().ok()).expect("each call has its tag")
}

async fn kill_and_count(what: &str, build: impl FnOnce(Config, &Upstream) -> Config) {
    let upstream = Upstream::start().await;
    let mut gw = Gateway::start(|c| {
        let c = c.deployment("gpt-x", "openai/gpt-4.1-mini", &upstream, &json!({}));
        build(c.deployment("sonnet", "anthropic/claude-sonnet-4-5", &upstream, &json!({})), &upstream)
    })
    .await;
    let key = gw.key(&json!({"key_alias": "vk-chaos", "host": "mac", "max_budget": 1000})).await;
    let dialled = Dialled { address: gw.address(), key };
    let (life, lives) = watch::channel(0);
    let (over, next) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicUsize::new(0)));
    let mut clients = JoinSet::new();
    for first in 0..CLIENTS {
        clients.spawn(client(dialled.clone(), first, lives.clone(), Arc::clone(&over), Arc::clone(&next)));
    }
    let kills = kills();
    for _ in 0..kills {
        // A random moment is the point of it.
        tokio::time::sleep(Duration::from_millis(fastrand::u64(1..120))).await;
        gw.kill().await;
        gw.restart().await;
        life.send_modify(|life| *life += 1);
    }
    over.store(true, Ordering::Release);
    let mut made = Made::default();
    for one in clients.join_all().await {
        made.sent.extend(one.sent);
        made.finished.extend(one.finished);
    }
    gw.restart().await;

    let rows = all_rows(&gw).await;
    let without_row =
        made.finished.values().filter(|id| rows.get(*id).is_none_or(|row| row.status != "success")).count();
    let told: HashSet<usize> = rows.values().map(number_of).collect();
    let never_made = told.difference(&made.sent).count();
    let reached = arrived(&upstream);
    let forgotten = reached.difference(&told).count();
    let interrupted = rows.values().filter(|row| row.status == "interrupted").count();
    let twice = rows.len() - told.len();
    println!(
        "{what}: {kills} kills, {} calls sent, {} reached the provider, {} answers read to the end, {} rows ({interrupted} interrupted); \
         answers without a row: {without_row}; calls without a row: {forgotten}; rows of calls never made: {never_made}; calls with two rows: {twice}",
        made.sent.len(),
        reached.len(),
        made.finished.len(),
        rows.len(),
    );
    assert_eq!((without_row, forgotten, never_made, twice), (0, 0, 0, 0));
    assert!(made.finished.len() > kills, "there was no load: {} answers", made.finished.len());
    assert!(kills < 50 || interrupted > 0, "no kill met a call under way");
    let sum: i64 = rows.values().filter_map(|row| row.cost_nanousd).sum();
    let spend = gw.admin_get(&format!("/key/info?key={}", dialled.key)).await["info"]["spend"].as_f64().unwrap_or(-1.0);
    #[allow(clippy::cast_precision_loss)]
    let rows_say = sum as f64 / 1e9;
    assert!((spend - rows_say).abs() < 1e-9, "the key's spend is {spend}, its rows add up to {rows_say}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn killed_at_random_the_gateway_on_sqlite_loses_no_row() {
    kill_and_count("SQLite", |c, _| c).await;
}
