//! Several gateways on one PostgreSQL.

#![allow(clippy::print_stdout, reason = "the figures are what these tests are for")]

use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use fleetgate_tests::process::{Finished, Program};
use fleetgate_tests::upstream::openai::chat_request;
use fleetgate_tests::{Gateway, Postgres, Upstream, eventually};
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
    assert_eq!(status(&gw, fleetgate_tests::MASTER_KEY).await, StatusCode::OK);
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

/// How many calls of `callers` at once pass, through these gateways in turn.
async fn storm(gateways: &[&Gateway], key: &str, callers: usize, body: &serde_json::Value) -> usize {
    let calls = (0..callers).map(|number| gateways[number % gateways.len()].post(CHAT).bearer(key).json(body));
    let calls: tokio::task::JoinSet<_> = calls.map(|call| async move { call.send().await.status }).collect();
    calls.join_all().await.into_iter().filter(|status| *status == StatusCode::OK).count()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn three_gateways_keep_a_cent_together_against_a_thousand_callers() {
    let (server, upstream) = (Postgres::start().await, Arc::new(Upstream::start().await));
    let url = server.database("ledger").await;
    let mut gateways = Vec::new();
    for _ in 0..3 {
        gateways.push(gateway(&url, &upstream).await);
    }
    let key = gateways[0].key(&json!({"key_alias": "vk-cent", "max_budget": 0.01})).await;
    // Every gateway knows the key and its budget before the storm.
    for gw in &gateways {
        eventually("the key", async || {
            (gw.get("/v1/models").bearer(&key).send().await.status == StatusCode::OK).then_some(())
        })
        .await;
    }
    let mut body = chat_request("gpt-x");
    // No shorter than the 1,000 tokens that the provider will count: a prompt's worst case is known by its length.
    body["messages"][0]["content"] = json!("a ".repeat(500));
    body["max_tokens"] = json!(60);
    let [one, two, three] = gateways.as_slice() else { panic!("three gateways") };
    let passed = storm(&[one, two, three], &key, 1000, &body).await;
    let spent = eventually("all rows", async || {
        let sums = server.sql("ledger", "SELECT count(*), sum(cost_nanousd) FROM entry WHERE status = 'success'").await;
        let (rows, spent) = sums.split_once('|')?;
        (rows == passed.to_string()).then(|| spent.parse::<i64>().unwrap_or_default())
    })
    .await;
    println!("three gateways: {passed} of 1,000 calls passed, {spent} of 10,000,000 nano-dollars spent");
    assert!(spent <= 10_000_000, "{spent} nano-dollars");
    assert!(passed >= 20, "only {passed} of the {} that the cap can pay for", 10_000_000 / COST);
}
