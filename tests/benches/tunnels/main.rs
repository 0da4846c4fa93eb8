//! What a tunnel costs, beside a bare relay by splice(2), tinyproxy, and haproxy in TCP mode. The first and the last know no
//! `CONNECT`, so they are limits rather than peers.
//!
//! `cargo bench -p fleetgate-tests --bench tunnels`, with `tinyproxy` and `haproxy` of Debian's packages; one that is missing is left
//! out. Rounds: `FLEETGATE_BENCH_ROUNDS` (11, since a bulk cell varies by a fifth); seconds of the set-up's cell:
//! `FLEETGATE_BENCH_SECONDS` (1); GB of a bulk cell: `FLEETGATE_BENCH_GB` (3); idle tunnels: `FLEETGATE_BENCH_IDLE` (1000);
//! programs: `FLEETGATE_BIN_DIR`, else they are built. Only the ratios within one run count.

#![allow(clippy::expect_used, clippy::print_stdout, reason = "a benchmark prints, and stops at the first surprise")]
#![allow(clippy::cast_precision_loss, reason = "figures for people")]

mod load;
mod server;
mod target;

use std::env;
use std::process::Command;
use std::time::Duration;

use fleetgate_tests::binaries::workspace;
use fleetgate_tests::process::allow_descriptors;
use target::{FLOOR, OURS, TINYPROXY};
use tokio::runtime::Builder;

/// Clients at once while tunnels are set up.
const CLIENTS: usize = 16;

fn main() {
    if env::var_os("FLEETGATE_BIN_DIR").is_none() {
        let mut build = Command::new(env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
        build.args(["build", "--release", "--locked", "-p", "fleetgate-gateway"]).current_dir(workspace());
        assert!(build.status().expect("cargo runs").success(), "the build failed");
    }
    let server = server::start();
    Builder::new_current_thread().enable_all().build().expect("a runtime").block_on(async {
        let number =
            |name: &str, default: f64| env::var(name).ok().and_then(|text| text.parse::<f64>().ok()).unwrap_or(default);
        let rounds = number("FLEETGATE_BENCH_ROUNDS", 11.0).max(1.0).round() as usize;
        let time = Duration::from_secs_f64(number("FLEETGATE_BENCH_SECONDS", 1.0));
        let bytes = (number("FLEETGATE_BENCH_GB", 3.0) * 1e9).round() as u64;
        let idle = number("FLEETGATE_BENCH_IDLE", 1000.0).round() as usize;
        allow_descriptors(2 * idle + 200);
        let targets = target::all(server, idle).await;
        println!("{rounds} rounds; medians; in brackets the ratio to the first line of the same run\n");

        let mut cells = Vec::new();
        for target in &targets {
            cells.push((target, vec![Vec::new(); 5]));
        }
        for _ in 0..rounds {
            for (target, figures) in &mut cells {
                let (rate, cpu) = load::set_up(target, CLIENTS, time).await;
                let down = load::bulk(target, server::DOWN, bytes).await;
                let up = load::bulk(target, server::UP, bytes).await;
                let memory = load::idle(target, idle).await;
                for (figures, figure) in figures.iter_mut().zip([rate, cpu, down, up, memory]) {
                    figures.push(figure);
                }
            }
        }
        let medians: Vec<(&'static str, Vec<f64>)> = cells
            .iter()
            .map(|(target, figures)| (target.name(), figures.iter().map(|rounds| median(rounds)).collect()))
            .collect();
        print_table(&medians);
        println!("\n{CLIENTS} at once; {idle} idle tunnels");
        print_goals(&medians);
    });
}

fn print_table(medians: &[(&str, Vec<f64>)]) {
    println!(
        "{:<14}{:>18}{:>20}{:>20}{:>20}{:>20}",
        "", "set up per s", "CPU ms each", "down CPU s/GB", "up CPU s/GB", "KB per idle"
    );
    for (name, own) in medians {
        let cell =
            |place: usize, digits: usize| format!("{:.digits$} ({:.2}×)", own[place], own[place] / medians[0].1[place]);
        println!(
            "{name:<14}{:>18}{:>20}{:>20}{:>20}{:>20}",
            cell(0, 0),
            cell(1, 4),
            cell(2, 3),
            cell(3, 3),
            cell(4, 1)
        );
    }
}

/// What is wanted of the gateway, and what it is.
fn print_goals(medians: &[(&str, Vec<f64>)]) {
    let of = |wanted: &str| medians.iter().find(|(name, _)| *name == wanted).map(|(_, figures)| figures);
    let (Some(floor), Some(own)) = (of(FLOOR), of(OURS)) else { return };
    println!("CPU for a GB, to the floor's: down {:.2}, up {:.2} (at most 1.10)", own[2] / floor[2], own[3] / floor[3]);
    if let Some(tinyproxy) = of(TINYPROXY) {
        println!("CPU to set up, to tinyproxy's: {:.2} (at most 0.75)", own[1] / tinyproxy[1]);
    }
    println!("KB for an idle tunnel: {:.1} (at most 5)", own[4]);
}

fn median(rounds: &[f64]) -> f64 {
    let mut values = rounds.to_vec();
    values.sort_by(f64::total_cmp);
    values[values.len() / 2]
}
