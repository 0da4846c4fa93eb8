//! A gateway with a ledger of a million rows, beside one with none, in the same run: how soon it is ready, what it holds in memory,
//! and how long it takes to say who spent what.
//!
//! `cargo bench -p fleetgate-tests --bench ledger`. Rows: `FLEETGATE_BENCH_ROWS` (1,000,000); seconds under load:
//! `FLEETGATE_BENCH_SECONDS` (5); starts: `FLEETGATE_BENCH_ROUNDS` (5); programs: `FLEETGATE_BIN_DIR`, else they are built.

#![allow(clippy::expect_used, clippy::print_stdout, reason = "a benchmark prints, and stops at the first surprise")]
#![allow(clippy::cast_precision_loss, reason = "figures for people")]

#[path = "../relay/http1.rs"]
#[allow(dead_code, reason = "the provider reads requests by it")]
mod http1;
#[path = "../relay/load.rs"]
#[allow(dead_code, reason = "the other benchmark prints all figures")]
mod load;
#[path = "../relay/provider.rs"]
#[allow(dead_code, reason = "the other benchmark counts its events")]
mod provider;
mod rows;

use std::env;
use std::process::Command;
use std::time::{Duration, Instant};

use fleetgate_tests::Gateway;
use fleetgate_tests::binaries::workspace;
use fleetgate_tests::process::{allow_descriptors, memory_kb};
use serde_json::{Value, json};
use tokio::runtime::Builder;

/// Callers at once.
const CLIENTS: usize = 256;
const HOSTS: usize = 20;
/// What is asked of the ledger: nothing grouped, the fleet's usual questions, and one that must read every row.
const QUESTIONS: [&str; 4] =
    ["/api/spend?by=host&since=1d", "/api/spend?by=host", "/api/spend?by=day,workload", "/api/spend/unpriced"];

fn main() {
    if env::var_os("FLEETGATE_BIN_DIR").is_none() {
        let mut build = Command::new(env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
        build.args(["build", "--release", "--locked", "--workspace"]).current_dir(workspace());
        assert!(build.status().expect("cargo runs").success(), "the build failed");
    }
    allow_descriptors(4096);
    let provider = provider::start();
    Builder::new_current_thread().enable_all().build().expect("a runtime").block_on(measure(provider));
}

async fn measure(provider: std::net::SocketAddr) {
    let rows = number("FLEETGATE_BENCH_ROWS", 1_000_000);
    let time = Duration::from_secs(number("FLEETGATE_BENCH_SECONDS", 5) as u64);
    let rounds = number("FLEETGATE_BENCH_ROUNDS", 5).max(1);
    let params = json!({
        "model": "openai/gpt-4.1-mini", "api_base": format!("http://{provider}/v1"), "api_key": "provider-key",
    });
    let entry = json!({"model_name": "gpt-x", "litellm_params": params});
    let budgets = json!([
        {"scope": "host:*", "max_budget": 1e6, "budget_duration": "1d"},
        {"scope": "global:all", "max_budget": 1e6, "budget_duration": "30d"},
        {"scope": "workload:*", "max_budget": 1e6, "budget_duration": "24h", "rolling": true},
    ]);
    let start = || Gateway::start(|c| c.entry(entry.clone()).set("fleetgate", "budgets", budgets.clone()));
    let (mut empty, mut full) = (start().await, start().await);
    let mut keys = Vec::new();
    for host in 0..HOSTS {
        let fields = json!({"key_alias": format!("vk-{host}"), "host": format!("host-{host}"), "max_budget": 1e6});
        empty.key(&fields).await;
        keys.push(full.key(&fields).await);
    }
    // One real row of each host, which are then multiplied.
    for key in &keys {
        full.post("/v1/chat/completions").bearer(key).json(&chat()).send().await.expect(200);
    }
    assert_eq!(full.rows().await.len(), HOSTS);
    full.terminate().await;
    rows::multiply(&full.dir().join("ledger.db"), rows);
    full.start_again().await;
    let total = full.admin_get("/api/spend").await;
    println!("{} rows of {HOSTS} hosts over {} days; medians of {rounds}\n", total["total"]["calls"], rows::DAYS);

    println!("{:44}{:>12}{:>16}{:>10}", "", "no rows", "with the rows", "goal");
    for question in QUESTIONS {
        print_line(
            &format!("GET {question}, ms"),
            ask(&empty, question, rounds).await,
            ask(&full, question, rounds).await,
            "",
        );
    }
    let (first, second) = (ready(&mut empty, rounds).await, ready(&mut full, rounds).await);
    print_line("start to ready, ms", first, second, "100");
    let (first, second) = (idle_mb(&empty), idle_mb(&full));
    print_line("resident memory, idle, MB", first, second, "30");
    let key = empty.key(&json!({"key_alias": "load", "host": "load", "max_budget": 1e6})).await;
    let first = load::run(
        empty.address(),
        &[empty.pid()],
        &load::request(empty.address(), &key, false),
        load::Pace::Clients(CLIENTS),
        time,
    )
    .await;
    let key = full.key(&json!({"key_alias": "load", "host": "load", "max_budget": 1e6})).await;
    let second = load::run(
        full.address(),
        &[full.pid()],
        &load::request(full.address(), &key, false),
        load::Pace::Clients(CLIENTS),
        time,
    )
    .await;
    print_line(&format!("resident memory, {CLIENTS} callers, MB"), first.rss_mb, second.rss_mb, "60");
    print_line("CPU of a call, µs", first.cpu_ms * 1000.0, second.cpu_ms * 1000.0, "");
}

fn number(name: &str, default: usize) -> usize {
    env::var(name).ok().and_then(|text| text.parse().ok()).unwrap_or(default)
}

fn chat() -> Value {
    json!({"model": "gpt-x", "messages": [{"role": "user", "content": "say hi"}]})
}

fn print_line(what: &str, empty: f64, full: f64, goal: &str) {
    println!("{what:44}{empty:>12.1}{full:>16.1}{goal:>10}");
}

fn idle_mb(gateway: &Gateway) -> f64 {
    memory_kb(gateway.pid(), "VmRSS") as f64 / 1024.0
}

/// Milliseconds from the process's start to its word that it is ready.
async fn ready(gateway: &mut Gateway, rounds: usize) -> f64 {
    let mut times = Vec::new();
    for _ in 0..rounds {
        gateway.terminate().await;
        let began = Instant::now();
        gateway.start_again().await;
        times.push(began.elapsed());
    }
    median(times)
}

/// Milliseconds to an answer.
async fn ask(gateway: &Gateway, path: &str, rounds: usize) -> f64 {
    let mut times = Vec::new();
    for _ in 0..rounds {
        let began = Instant::now();
        gateway.admin_get(path).await;
        times.push(began.elapsed());
    }
    median(times)
}

fn median(mut times: Vec<Duration>) -> f64 {
    times.sort_unstable();
    times[times.len() / 2].as_secs_f64() * 1000.0
}
