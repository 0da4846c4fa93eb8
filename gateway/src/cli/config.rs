//! `config check` and `config show`: what the configuration says, and what the running process really has.

mod running;
mod table;

use std::ffi::OsString;
use std::io::{self, Write};
use std::net::SocketAddr;
use std::path::PathBuf;

use fleetgate_wire::{ExposeSecret, SecretString};

use crate::config::{Config, Environment, Finding, LoadError, Loaded, Overrides, Severity, config_file, load};

use running::{Answer, ask};

/// The program's exit code when there are errors.
const FAILED: u8 = 1;

/// Prints every finding and a summary. Returns the exit code: 0, or 1 when the gateway would not start.
///
/// `more` looks at the configuration for what other rooms know; with `strict`, warnings count as errors.
///
/// # Errors
/// When the output cannot be written.
pub fn check(
    overrides: &Overrides,
    environment: impl IntoIterator<Item = (OsString, OsString)>,
    strict: bool,
    more: impl FnOnce(&Config) -> Vec<Finding>,
    out: &mut dyn Write,
) -> io::Result<u8> {
    let (config, mut findings, file) = load_or_draft(overrides, environment);
    findings.extend(more(&config));
    if strict {
        for finding in findings.iter_mut().filter(|finding| finding.severity == Severity::Warning) {
            finding.severity = Severity::Error;
        }
    }
    findings.sort_by_key(|finding| finding.severity);
    for finding in &findings {
        writeln!(out, "{finding}")?;
    }
    let count = |severity| findings.iter().filter(|finding| finding.severity == severity).count();
    let errors = count(Severity::Error);
    let name = file.map_or_else(|| "no configuration file".to_owned(), |file| file.display().to_string());
    let (models, warnings) = (counted(config.deployments.len(), "model"), counted(count(Severity::Warning), "warning"));
    writeln!(out, "{name}: {models}, {}, {warnings}", counted(errors, "error"))?;
    Ok(if errors == 0 { 0 } else { FAILED })
}

fn counted(number: usize, noun: &str) -> String {
    if number == 1 { format!("1 {noun}") } else { format!("{number} {noun}s") }
}

/// Loads, and goes on with the draft when there are errors.
fn load_or_draft(
    overrides: &Overrides,
    environment: impl IntoIterator<Item = (OsString, OsString)>,
) -> (Config, Vec<Finding>, Option<PathBuf>) {
    let variables: Vec<_> = environment.into_iter().collect();
    let file = config_file(overrides, &Environment::from_process(variables.iter().cloned())).map(|(file, _)| file);
    match load(overrides, variables) {
        Ok(Loaded { config, findings }) => (config, findings, file),
        Err(LoadError { findings, draft }) => (*draft, findings, file),
    }
}

/// How `config show` prints.
#[derive(Debug, Clone, Default)]
pub struct Show {
    /// Print where each value came from.
    pub origin: bool,
    /// Print JSON.
    pub json: bool,
    /// The administrator's key; else `FLEETGATE_ADMIN_KEY`, else the master key of the configuration.
    pub key: Option<SecretString>,
}

/// Prints the settings of the process that runs at the configured address, each with a mark where the file says something else
/// by now; without a process, what would be loaded. Returns the exit code.
///
/// # Errors
/// When the output cannot be written.
pub async fn show(
    overrides: &Overrides,
    environment: impl IntoIterator<Item = (OsString, OsString)>,
    show: &Show,
    out: &mut dyn Write,
    notes: &mut dyn Write,
) -> io::Result<u8> {
    let (config, findings, _) = load_or_draft(overrides, environment);
    let key =
        show.key.as_ref().or_else(|| config.environment.get("FLEETGATE_ADMIN_KEY")).or(config.master_key.as_ref());
    let address = config.listen.first().copied();
    let answer = match address {
        Some(address) => ask(reachable(address), key.map(ExposeSecret::expose_secret)).await,
        None => Answer::Refused,
    };
    let listen = address.map_or_else(|| "any address".to_owned(), |address| address.to_string());
    let loaded = table::rows_of(&config.settings);
    if let Answer::Running(running) = answer {
        writeln!(
            notes,
            "These are the values of the running process {} at {listen}, version {}, since {}.",
            running.pid, running.version, running.started_at
        )?;
        table::print(&table::compare(running.settings, &loaded), show, out)?;
        return Ok(0);
    }
    let why = match answer {
        Answer::Running(_) | Answer::Refused => format!("No process runs at {listen}"),
        Answer::Denied(status) => {
            format!("A process at {listen} does not tell ({status}); give an administrator's --key")
        }
        Answer::Failed(error) => format!("The process at {listen} cannot be asked ({error})"),
    };
    writeln!(notes, "{why}. This is what would be loaded now.")?;
    let errors: Vec<_> = findings.iter().filter(|finding| finding.severity == Severity::Error).collect();
    for error in &errors {
        writeln!(notes, "{error}")?;
    }
    table::print(&loaded, show, out)?;
    Ok(if errors.is_empty() { 0 } else { FAILED })
}

/// Where to reach a process that listens everywhere.
fn reachable(address: SocketAddr) -> SocketAddr {
    let ip = match address {
        SocketAddr::V4(v4) if v4.ip().is_unspecified() => std::net::Ipv4Addr::LOCALHOST.into(),
        SocketAddr::V6(v6) if v6.ip().is_unspecified() => std::net::Ipv6Addr::LOCALHOST.into(),
        other => other.ip(),
    };
    SocketAddr::new(ip, address.port())
}
