//! Several gateways on one PostgreSQL. What they spend together is counted in `caps.rs`.
//!
//! `FLEETGATE_CHAOS_AWAY_SECONDS` sets for how long the database is stopped under load (60).

#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a broken expectation is a failed test")]
#![allow(clippy::print_stdout, reason = "the figures are what a reader wants")]

use std::path::Path;
use std::time::{Duration, Instant};

use fleetgate_tests::load::{CHAT_MODEL, MESSAGES_MODEL, arrived};
use fleetgate_tests::process::{Finished, Program, memory_kb};
use fleetgate_tests::upstream::openai::chat_request;
use fleetgate_tests::{Books, Faults, Gateway, Load, MASTER_KEY, Postgres, Spent, Upstream, eventually};
use http::StatusCode;
use serde_json::json;

const CHAT: &str = "/v1/chat/completions";
/// 1,000 input tokens of which 200 are cached, and 50 output tokens of gpt-4.1-mini.
const COST: i64 = 420_000;

async fn gateway(url: &str, upstream: &Upstream) -> Gateway {
    Gateway::start(|c| c.deployment("gpt-x", "openai/gpt-4.1-mini", upstream, &json!({})).database(url)).await
}

async fn status(gw: &Gateway, key: &str) -> StatusCode {
    gw.post(CHAT).bearer(key).json(&chat_request("gpt-x")).send().await.status
}

/// How long it took until a gateway answered a key so.
async fn until(gw: &Gateway, key: &str, wanted: StatusCode) -> Duration {
    let start = Instant::now();
    eventually("the change", async || (status(gw, key).await == wanted).then_some(())).await;
    start.elapsed()
}

#[tokio::test]
async fn a_key_that_one_gateway_makes_blocks_or_deletes_is_so_on_the_other_at_once() {
    let (server, upstream) = (Postgres::start().await, Upstream::start().await);
    let url = server.database("ledger").await;
    let (one, two) = (gateway(&url, &upstream).await, gateway(&url, &upstream).await);
    let key = one.key(&json!({"key_alias": "vk-mac", "host": "mac"})).await;
    let made = until(&two, &key, StatusCode::OK).await;
    two.admin_post("/key/block", &json!({"key": key})).await;
    let blocked = until(&one, &key, StatusCode::UNAUTHORIZED).await;
    one.admin_post("/key/unblock", &json!({"key": key})).await;
    let unblocked = until(&two, &key, StatusCode::OK).await;
    two.admin_post("/key/delete", &json!({"keys": [key]})).await;
    let deleted = until(&one, &key, StatusCode::UNAUTHORIZED).await;
    println!(
        "known on the other gateway: made {made:?}, blocked {blocked:?}, unblocked {unblocked:?}, deleted {deleted:?}"
    );
    assert!([made, blocked, unblocked, deleted].iter().all(|wait| *wait < Duration::from_secs(1)));
}

#[tokio::test]
async fn the_rows_of_all_gateways_are_in_one_ledger() {
    let (server, upstream) = (Postgres::start().await, Upstream::start().await);
    let url = server.database("ledger").await;
    let (one, two) = (gateway(&url, &upstream).await, gateway(&url, &upstream).await);
    let key = one.key(&json!({"key_alias": "vk-mac", "host": "mac"})).await;
    until(&two, &key, StatusCode::OK).await;
    for _ in 0..3 {
        assert_eq!(status(&one, &key).await, StatusCode::OK);
    }
    eventually("four rows", async || {
        (one.rows().await.iter().filter(|row| row.status == "success").count() == 4).then_some(())
    })
    .await;
    let info = one.admin_get(&format!("/key/info?key={key}")).await;
    assert_eq!(info["info"]["spend"], json!(4.0 * 0.00042));
    let gateways = "SELECT count(DISTINCT gateway) FROM entry WHERE cost_nanousd = ";
    assert_eq!(server.sql("ledger", &format!("{gateways}{COST}")).await, "2");
    let views = "SELECT count(*), round(sum(spend)::numeric, 6) FROM \"LiteLLM_SpendLogs\"";
    assert_eq!(server.sql("ledger", views).await, "4|0.001680");
}

#[tokio::test]
async fn while_the_database_is_away_nothing_is_refused_and_nothing_lost() {
    let (mut server, upstream) = (Postgres::start().await, Upstream::start().await);
    let url = server.database("ledger").await;
    let mut gw = gateway(&url, &upstream).await;
    let key = gw.key(&json!({"key_alias": "vk-mac", "host": "mac"})).await;
    assert_eq!(status(&gw, &key).await, StatusCode::OK);
    server.crash().await;
    for _ in 0..50 {
        assert_eq!(status(&gw, &key).await, StatusCode::OK);
    }
    let ready = eventually("it is noticed", async || {
        let ready = gw.get("/health/readiness").send().await;
        (ready.json()["db"] == "disconnected").then_some(ready)
    })
    .await;
    assert_eq!(ready.status, StatusCode::OK, "it takes calls, and says what is wrong: {}", ready.text());
    server.restart().await;
    eventually("all rows", async || (server.sql("ledger", "SELECT count(*) FROM entry").await == "51").then_some(()))
        .await;
    // Killed while the database is away: the journal outlives the process.
    server.stop().await;
    for _ in 0..20 {
        assert_eq!(status(&gw, &key).await, StatusCode::OK);
    }
    gw.restart().await;
    assert_eq!(status(&gw, &key).await, StatusCode::OK, "the keys are remembered beside the journal");
    assert_eq!(status(&gw, MASTER_KEY).await, StatusCode::OK);
    server.restart().await;
    until(&gw, &key, StatusCode::OK).await;
    eventually("all rows", async || {
        (gw.rows().await.iter().filter(|row| row.status == "success").count() == 74).then_some(())
    })
    .await;
}

async fn migrate(dir: &Path, from: &str, to: &str) -> Finished {
    Program::new("fleetgate-gateway", dir).args(["migrate", "--from", from, "--to", to]).run().await
}

#[tokio::test]
async fn a_ledger_moves_to_postgresql_and_back_and_twice_changes_nothing() {
    let (server, upstream) = (Postgres::start().await, Upstream::start().await);
    let url = server.database("ledger").await;
    let model = json!({});
    let mut gw = Gateway::start(|c| c.deployment("gpt-x", "openai/gpt-4.1-mini", &upstream, &model)).await;
    gw.admin_post("/team/new", &json!({"team_id": "t", "team_alias": "team"})).await;
    let key = gw.key(&json!({"key_alias": "vk-mac", "host": "mac", "team_id": "t", "max_budget": 5.0})).await;
    for _ in 0..5 {
        assert_eq!(status(&gw, &key).await, StatusCode::OK);
    }
    let rows = gw.rows().await;
    let file = format!("sqlite:{}", gw.dir().join("ledger.db").display());
    let refused = migrate(gw.dir(), &file, &url).await;
    assert!(!refused.status.success() && refused.said().contains("journal"), "a gateway uses it: {}", refused.said());
    gw.kill().await;

    let there = migrate(gw.dir(), &file, &url).await;
    for line in ["rows:     5 copied, 0 there already", "keys:     1 copied", "entities: 1 copied"] {
        assert!(there.stdout.contains(line), "{line}: {}", there.said());
    }
    let again = migrate(gw.dir(), &file, &url).await;
    assert!(again.stdout.contains("rows:     0 copied, 5 there already"), "{}", again.said());
    let sums = "SELECT sum(cost_nanousd), sum(calls) FROM spend WHERE scope IN ('team:t', 'global:all')";
    assert_eq!(server.sql("ledger", sums).await, format!("{}|10", 10 * COST));
    let shared = gateway(&url, &upstream).await;
    assert_eq!(shared.rows().await, rows);
    assert_eq!(status(&shared, &key).await, StatusCode::OK, "the key came along");
    eventually("its row", async || (shared.rows().await.len() == 6).then_some(())).await;

    let back = format!("sqlite:{}", gw.dir().join("back.db").display());
    let moved = migrate(gw.dir(), &url, &back).await;
    assert!(moved.stdout.contains("rows:     6 copied, 0 there already"), "{}", moved.said());
    let home = gateway(&back, &upstream).await;
    assert_eq!(home.rows().await, shared.rows().await);
    let spend = home.admin_get(&format!("/key/info?key={key}")).await["info"]["spend"].clone();
    assert_eq!(spend, json!(6.0 * 0.00042));
}

/// More than this a gateway may not grow while rows wait in the journal: they wait on the disk.
const MOST_GROWTH_KB: u64 = 8 << 10;
/// And not more than this when it writes them all: large batches are in memory then, one at a time.
const MOST_GROWTH_WRITING_KB: u64 = 32 << 10;

fn seconds_away() -> u64 {
    std::env::var("FLEETGATE_CHAOS_AWAY_SECONDS").ok().and_then(|text| text.parse().ok()).unwrap_or(60)
}

async fn all_rows_arrive(gw: &Gateway) {
    let mut waiting = u64::MAX;
    loop {
        // A minute's rows may take longer than one step of patience, as long as they become fewer.
        let left = eventually("rows reach the database", async || {
            let details = gw.get("/health/readiness/details").bearer(MASTER_KEY).send().await.json();
            let left = details["spool_depth"].as_u64().expect("the spool has a depth");
            (details["db"] == "connected" && (left == 0 || left < waiting)).then_some(left)
        })
        .await;
        if left == 0 {
            return;
        }
        waiting = left;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_minute_without_the_database_refuses_no_call_and_loses_no_row() {
    let (mut server, upstream) = (Postgres::start().await, Upstream::start().await);
    let url = server.database("ledger").await;
    let gw = Gateway::start(|c| {
        let c = c.deployment(CHAT_MODEL, "openai/gpt-4.1-mini", &upstream, &json!({}));
        c.deployment(MESSAGES_MODEL, "anthropic/claude-sonnet-4-5", &upstream, &json!({})).database(&url)
    })
    .await;
    let free = gw.key(&json!({"key_alias": "vk-free", "host": "mac"})).await;
    // What the gateway has leased of it must last: a sixteenth of the cap at least.
    let budgeted = gw.key(&json!({"key_alias": "vk-budget", "host": "mac", "max_budget": 5000})).await;
    let load = Load::start(gw.address(), &[&free, &budgeted], 4);
    // Warm: every connection, statement and buffer is there.
    eventually("calls are answered", async || (load.finished() > 2000).then_some(())).await;
    let away = Duration::from_secs(seconds_away());
    let before = (memory_kb(gw.pid(), "VmRSS"), load.finished());
    server.stop().await;
    let mut most = before.0;
    let start = Instant::now();
    while start.elapsed() < away {
        tokio::time::sleep(Duration::from_millis(200)).await;
        most = most.max(memory_kb(gw.pid(), "VmRSS"));
    }
    let meanwhile = load.finished() - before.1;
    server.restart().await;
    let made = load.stop().await;
    all_rows_arrive(&gw).await;
    let after = memory_kb(gw.pid(), "VmRSS");
    let books = Books::of(&gw).await;
    let faults = books.faults(&made, &upstream);
    let spent = Spent::of(&gw, &budgeted).await;
    println!(
        "PostgreSQL away for {away:?}: {} calls sent, {meanwhile} answered meanwhile, {} reached the provider, {} refused, {} broken, {} rows; {faults}",
        made.sent.len(),
        arrived(&upstream).len(),
        made.refusals(),
        made.broken,
        books.0.len(),
    );
    println!("memory: {} kB before, {most} kB at most meanwhile, {after} kB after; {spent}", before.0);
    assert_eq!((made.refusals(), made.broken), (0, 0), "{:?}", made.refused);
    assert_eq!(faults, Faults::NONE);
    assert!(meanwhile > 0, "there was no load");
    assert!(most < before.0 + MOST_GROWTH_KB, "{} kB, then {most}", before.0);
    assert!(after < before.0 + MOST_GROWTH_WRITING_KB, "{} kB, then {after}", before.0);
    assert_eq!((spent.info, spent.budget), (spent.rows, spent.rows), "key, budget and rows agree");
}
