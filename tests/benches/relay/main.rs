//! What gateway and sidecar cost, beside a bare pass-through proxy in the same run on the same machine.
//!
//! `cargo bench -p fleetgate-tests --bench relay`. Seconds per cell: `FLEETGATE_BENCH_SECONDS` (2); rounds:
//! `FLEETGATE_BENCH_ROUNDS` (3); programs: `FLEETGATE_BIN_DIR`, else they are built. `FLEETGATE_BENCH_TARGETS` (names, separated by
//! commas) and `FLEETGATE_BENCH_CLIENTS` (numbers of clients, or the rate) leave out the others. Absolute figures change from run to run; the ratios to the
//! floor within one run are what counts.

#![allow(clippy::expect_used, clippy::print_stdout, reason = "a benchmark prints, and stops at the first surprise")]
#![allow(clippy::cast_precision_loss, reason = "figures for people")]

mod http1;
mod load;
mod provider;

use std::env;
use std::net::SocketAddr;
use std::process::Command;
use std::time::Duration;

use fleetgate_tests::binaries::workspace;
use fleetgate_tests::process::Program;
use fleetgate_tests::{Gateway, Sidecar};
use load::{Figures, Pace};
use serde_json::json;
use tempfile::TempDir;
use tokio::runtime::Builder;

/// How requests come, and whether they ask for streams.
const CELLS: [(Pace, bool); 5] = [
    (Pace::Clients(1), false),
    (Pace::Clients(16), false),
    (Pace::Clients(64), false),
    (Pace::Clients(8), true),
    (Pace::Rate(4000), false),
];

struct Target {
    name: &'static str,
    address: SocketAddr,
    pids: Vec<u32>,
}

fn main() {
    if env::var_os("FLEETGATE_BIN_DIR").is_none() {
        let mut build = Command::new(env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
        build.args(["build", "--release", "--locked", "--workspace"]).current_dir(workspace());
        assert!(build.status().expect("cargo runs").success(), "the build failed");
    }
    let provider = provider::start();
    Builder::new_current_thread().enable_all().build().expect("a runtime").block_on(measure(provider));
}

async fn measure(provider: SocketAddr) {
    let number =
        |name: &str, default: f64| env::var(name).ok().and_then(|text| text.parse::<f64>().ok()).unwrap_or(default);
    let time = Duration::from_secs_f64(number("FLEETGATE_BENCH_SECONDS", 2.0));
    let rounds = number("FLEETGATE_BENCH_ROUNDS", 3.0).max(1.0).round() as usize;

    let dir = TempDir::new().expect("a temporary directory");
    let floor = Program::new("fleetgate-floor", dir.path()).args([provider.to_string()]);
    let floor = floor.serve(&dir.path().join("floor.log")).await;
    let recording = [provider.to_string(), dir.path().join("records").display().to_string()];
    let recording = Program::new("fleetgate-floor", dir.path()).args(recording);
    let recording = recording.serve(&dir.path().join("floor-wal.log")).await;
    let params = json!({
        "model": "openai/gpt-4.1-mini", "api_base": format!("http://{provider}/v1"), "api_key": "provider-key",
    });
    let entry = json!({"model_name": "gpt-x", "litellm_params": params});
    let gateway = Gateway::start(|c| c.entry(entry.clone())).await;
    // The same with a budget to be held, with a rate as well, and with rows that survive the loss of power.
    let budgeted = Gateway::start(|c| c.entry(entry.clone())).await;
    let power = Gateway::start(|c| c.entry(entry.clone()).set("fleetgate", "durability", json!("power"))).await;
    let limited = Gateway::start(|c| c.entry(entry)).await;
    let text = "sk-key-of-the-benchmark-0123456789";
    let key = json!({"key": text, "key_alias": "bench", "host": "bench"});
    let budget = json!({"key": text, "key_alias": "bench", "host": "bench", "max_budget": 1e6});
    let limits =
        json!({"key": text, "key_alias": "bench", "host": "bench", "max_budget": 1e6, "rpm_limit": 1_000_000_000});
    for (gateway, key) in [(&gateway, &key), (&power, &key), (&budgeted, &budget), (&limited, &limits)] {
        gateway.key(key).await;
    }
    let key = text.to_owned();
    let alone = Sidecar::for_host("bench").gateway_url(&format!("http://{provider}")).key(&key).start().await;
    let before = Sidecar::for_host("bench").gateway(&gateway).key(&key).start().await;
    let mut targets = vec![
        Target { name: "floor", address: floor.address(), pids: vec![floor.pid()] },
        Target { name: "floor-wal", address: recording.address(), pids: vec![recording.pid()] },
        Target { name: "gateway", address: gateway.address(), pids: vec![gateway.pid()] },
        Target { name: "gateway+budget", address: budgeted.address(), pids: vec![budgeted.pid()] },
        Target { name: "gateway+limits", address: limited.address(), pids: vec![limited.pid()] },
        Target { name: "gateway+power", address: power.address(), pids: vec![power.pid()] },
        Target { name: "sidecar", address: alone.address(), pids: vec![alone.pid()] },
        Target { name: "sidecar+gateway", address: before.address(), pids: vec![before.pid(), gateway.pid()] },
    ];

    if let Some(wanted) = list("FLEETGATE_BENCH_TARGETS") {
        targets.retain(|target| target.name == "floor" || wanted.iter().any(|name| name == target.name));
    }
    let cells = list("FLEETGATE_BENCH_CLIENTS");
    let is_wanted = |pace: Pace| {
        let number = match pace {
            Pace::Clients(clients) => clients.to_string(),
            Pace::Rate(rate) => rate.to_string(),
        };
        cells.as_ref().is_none_or(|cells| cells.contains(&number))
    };

    println!("{rounds} rounds of {time:?} a cell; medians; in brackets the ratio to the floor of the same run\n");
    for (pace, stream) in CELLS.into_iter().filter(|(pace, _)| is_wanted(*pace)) {
        let mut figures = vec![Vec::new(); targets.len()];
        for _ in 0..rounds {
            for (target, figures) in targets.iter().zip(&mut figures) {
                let request = load::request(target.address, &key, stream);
                figures.push(load::run(target.address, &target.pids, &request, pace, time).await);
            }
        }
        let medians: Vec<Figures> = figures.iter().map(|rounds| median(rounds)).collect();
        print_table(pace, stream, &targets, &medians);
    }
}

fn list(variable: &str) -> Option<Vec<String>> {
    Some(env::var(variable).ok()?.split(',').map(|word| word.trim().to_owned()).collect())
}

fn median(rounds: &[Figures]) -> Figures {
    let of = |figure: fn(&Figures) -> f64| {
        let mut values: Vec<f64> = rounds.iter().map(figure).collect();
        values.sort_by(f64::total_cmp);
        values[values.len() / 2]
    };
    Figures {
        p50_ms: of(|f| f.p50_ms),
        p99_ms: of(|f| f.p99_ms),
        rps: of(|f| f.rps),
        cpu_ms: of(|f| f.cpu_ms),
        rss_mb: of(|f| f.rss_mb),
    }
}

fn print_table(pace: Pace, stream: bool, targets: &[Target], medians: &[Figures]) {
    let what = if stream {
        format!("streams of {} events at full speed", provider::CHUNKS)
    } else {
        "one small chat completion".to_owned()
    };
    match pace {
        Pace::Clients(clients) => println!("{what}, {clients} at once"),
        Pace::Rate(rate) => println!("{what}, {rate} a second"),
    }
    println!("{:<16}{:>18}{:>18}{:>19}{:>19}{:>9}", "", "p50 ms", "p99 ms", "RPS", "CPU ms/req", "RSS MB");
    let floor = medians[0];
    for (target, own) in targets.iter().zip(medians) {
        let cell = |value: f64, floor: f64, digits: usize| format!("{value:.digits$} ({:.2}×)", value / floor);
        println!(
            "{:<16}{:>18}{:>18}{:>19}{:>19}{:>9.1}",
            target.name,
            cell(own.p50_ms, floor.p50_ms, 3),
            cell(own.p99_ms, floor.p99_ms, 3),
            cell(own.rps, floor.rps, 0),
            cell(own.cpu_ms, floor.cpu_ms, 4),
            own.rss_mb,
        );
    }
    println!();
}
