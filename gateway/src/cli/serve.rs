//! `serve`: load, say what is odd, listen, and run until told to stop.

use std::io::{IsTerminal, Write};
use std::process::ExitCode;

use anyhow::Context;
use tokio::signal::unix::{SignalKind, signal};
use tracing_subscriber::EnvFilter;

use crate::boot::{boot, review};
use crate::config::{Finding, LoadError, Loaded, Overrides, Severity, load};
use crate::notify::Notifier;

/// A configuration that the gateway must not start with. Like a wrong flag: starting again changes nothing, and the service
/// unit knows.
const BAD_CONFIG: u8 = 2;

pub(super) fn run(overrides: &Overrides) -> anyhow::Result<ExitCode> {
    start_log();
    let Loaded { config, mut findings } = match load(overrides, std::env::vars_os()) {
        Ok(loaded) => loaded,
        Err(LoadError { findings, .. }) => {
            print(&findings)?;
            return Ok(ExitCode::from(BAD_CONFIG));
        }
    };
    findings.extend(review(&config));
    findings.sort_by_key(|finding| finding.severity);
    print(&findings)?;
    // For what goes on beside the calls, which have threads of their own (`front::Workers`).
    let mut runtime = tokio::runtime::Builder::new_multi_thread();
    let runtime = runtime.worker_threads(1).enable_all().build().context("cannot start the runtime")?;
    runtime.block_on(async {
        let warnings = findings.iter().filter(|finding| finding.severity == Severity::Warning).count();
        let notifier = Notifier::from_environment();
        let booted = boot(config, warnings, &notifier).await?;
        announce(booted.addresses())?;
        let addresses: Vec<_> = booted.addresses().map(|address| address.to_string()).collect();
        let stop = stop_signal()?;
        notifier.ready(&format!("serving at {}", addresses.join(", ")));
        let stop = async {
            stop.await;
            notifier.stopping();
        };
        booted.run(stop).await;
        Ok(ExitCode::SUCCESS)
    })
}

/// Findings are for people: plain lines on stderr, whatever the log looks like.
fn print(findings: &[Finding]) -> std::io::Result<()> {
    let mut out = std::io::stderr().lock();
    findings.iter().try_for_each(|finding| writeln!(out, "{finding}"))
}

/// One line per address, then `ready`: what a script waits for, and what tells it the port where 0 was asked for.
fn announce(addresses: impl Iterator<Item = std::net::SocketAddr>) -> std::io::Result<()> {
    let mut out = std::io::stdout().lock();
    for address in addresses {
        writeln!(out, "listening http://{address}")?;
    }
    writeln!(out, "ready")?;
    out.flush()
}

fn start_log() {
    let filter = EnvFilter::try_from_env("FLEETGATE_LOG").unwrap_or_else(|_| EnvFilter::new("info"));
    let log = tracing_subscriber::fmt().with_env_filter(filter).with_writer(std::io::stderr);
    if std::io::stderr().is_terminal() { log.init() } else { log.json().flatten_event(true).init() }
}

fn stop_signal() -> std::io::Result<impl Future<Output = ()>> {
    let (mut terminate, mut interrupt) = (signal(SignalKind::terminate())?, signal(SignalKind::interrupt())?);
    Ok(async move {
        tokio::select! {
            _ = terminate.recv() => {}
            _ = interrupt.recv() => {}
        }
        tracing::info!("stopping: no new connections, finishing what is under way");
    })
}
