//! What must hold whenever the gateway dies: every answer that a client finished reading has its row, every call that reached a
//! provider has one, and no row tells of a call that nobody made. The figures are printed.
//!
//! `FLEETGATE_CHAOS_KILLS` sets how often the gateway is killed (300).

#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a broken expectation is a failed test")]
#![allow(clippy::print_stdout, reason = "the figures are what a reader wants")]

use std::time::Duration;

use fleetgate_tests::gateway::Config;
use fleetgate_tests::load::{CHAT_MODEL, MESSAGES_MODEL, arrived};
use fleetgate_tests::upstream::Upstream;
use fleetgate_tests::upstream::openai::chat_request;
use fleetgate_tests::wait::Gate;
use fleetgate_tests::{Books, Faults, Gateway, Load, Postgres, Reply, Spent};
use http::StatusCode;
use serde_json::json;

const CLIENTS: usize = 8;

fn kills() -> usize {
    std::env::var("FLEETGATE_CHAOS_KILLS").ok().and_then(|text| text.parse().ok()).unwrap_or(300)
}

fn models(config: Config, upstream: &Upstream) -> Config {
    let config = config.deployment(CHAT_MODEL, "openai/gpt-4.1-mini", upstream, &json!({}));
    config.deployment(MESSAGES_MODEL, "anthropic/claude-sonnet-4-5", upstream, &json!({}))
}

/// Kills it again and again under load, and counts.
async fn kill_and_count(what: &str, build: impl FnOnce(Config) -> Config) -> Spent {
    let upstream = Upstream::start().await;
    let mut gw = Gateway::start(|c| build(models(c, &upstream))).await;
    let key = gw.key(&json!({"key_alias": "vk-chaos", "host": "mac", "max_budget": 1000})).await;
    let load = Load::start(gw.address(), &[&key], CLIENTS);
    let kills = kills();
    for _ in 0..kills {
        // A random moment is the point of it.
        tokio::time::sleep(Duration::from_millis(fastrand::u64(1..120))).await;
        gw.kill().await;
        gw.restart().await;
        load.revive();
    }
    let made = load.stop().await;
    gw.restart().await;

    let books = Books::of(&gw).await;
    let faults = books.faults(&made, &upstream);
    let interrupted = books.count("interrupted");
    println!(
        "{what}: {kills} kills, {} calls sent, {} reached the provider, {} answers read to the end, {} rows ({interrupted} interrupted); {faults}",
        made.sent.len(),
        arrived(&upstream).len(),
        made.finished.len(),
        books.0.len(),
    );
    assert_eq!(faults, Faults::NONE);
    assert!(made.finished.len() > kills, "there was no load: {} answers", made.finished.len());
    assert!(kills < 50 || interrupted > 0, "no kill met a call under way");
    let spent = Spent::of(&gw, &key).await;
    println!("{what}: {spent}");
    assert_eq!(spent.info, spent.rows, "the key's spend is the sum of its rows");
    spent
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn killed_at_random_the_gateway_on_sqlite_loses_no_row() {
    let spent = kill_and_count("SQLite", |c| c).await;
    assert_eq!(spent.budget, spent.rows + spent.held, "the budget counts its rows, and what nobody knows the cost of");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn killed_at_random_the_gateway_on_postgresql_loses_no_row() {
    let server = Postgres::start().await;
    let url = server.database("ledger").await;
    let spent = kill_and_count("PostgreSQL", |c| c.database(&url)).await;
    // What all gateways are granted together is the cap less these sums.
    let sums = "SELECT sum(cost_nanousd), sum(held_nanousd) FROM spend WHERE scope LIKE 'key:%'";
    assert_eq!(server.sql("ledger", sums).await, format!("{}|{}", spent.rows, spent.held));
}

/// A call whose end nobody saw: what it cost is unknown, what was reserved for it is not.
async fn interrupt_and_ask_again(database: Option<&str>, unknown_cost: &str) -> (Spent, StatusCode) {
    let upstream = Upstream::start().await;
    let mut gw = Gateway::start(|c| {
        let c = models(c, &upstream).set("fleetgate", "unknown_cost", json!(unknown_cost));
        database.map_or_else(|| c.clone(), |url| c.clone().database(url))
    })
    .await;
    // One call's worst case and no more: 60 tokens of output, and a prompt of a few words.
    let key = gw.key(&json!({"key_alias": format!("vk-{unknown_cost}"), "max_budget": 0.00012})).await;
    let mut body = chat_request(CHAT_MODEL);
    body["max_tokens"] = json!(60);
    let call = gw.post("/v1/chat/completions").bearer(&key).json(&body);
    upstream.reply(Reply::json(200, &json!({})).held_by(&Gate::new()));
    let waiting = tokio::spawn(call.clone().try_open());
    upstream.arrived(1).await;
    gw.kill().await;
    assert!(waiting.await.expect("no panic").is_err(), "the call died with the gateway");
    gw.restart().await;
    let row = gw.only_row().await;
    assert_eq!((row.status.as_str(), row.cost_nanousd), ("interrupted", None));
    let spent = Spent::of(&gw, &key).await;
    assert!(spent.held > 100_000, "half of the cap was reserved for it: {spent}");
    assert_eq!((spent.rows, spent.info), (0, 0), "what nobody knows is no known cost");
    let status = call.send().await.status;
    println!(
        "{} with unknown_cost {unknown_cost}: {spent}; the next call: {status}",
        database.map_or("SQLite", |_| "PostgreSQL")
    );
    (spent, status)
}

#[tokio::test]
async fn what_was_reserved_for_an_interrupted_call_counts_unless_it_is_released() {
    let server = Postgres::start().await;
    for (name, on_server) in [("file", false), ("server", true)] {
        for (unknown_cost, next) in [("reserve", StatusCode::PAYMENT_REQUIRED), ("release", StatusCode::OK)] {
            let url = server.database(&format!("{name}_{unknown_cost}")).await;
            let (spent, status) = interrupt_and_ask_again(on_server.then_some(&url), unknown_cost).await;
            assert_eq!(status, next, "{unknown_cost}, {name}");
            if !on_server {
                let counted = if unknown_cost == "reserve" { spent.held } else { 0 };
                assert_eq!(spent.budget, counted, "{unknown_cost}");
            }
        }
    }
}
