//! The command line: one file a subcommand.

mod backup;
pub mod config;
mod import;
mod migrate;
mod restore;
mod serve;
mod setup;

use std::path::PathBuf;
use std::process::ExitCode;

use clap::{Args, CommandFactory, Parser, Subcommand};
use fleetgate_manual::{CompletionsArgs, ManArgs};
use fleetgate_wire::SecretString;

use crate::boot;
use crate::config::Overrides;

/// One box for a fleet's AI traffic: it holds the provider keys, charges every call to its host and workload, and lets other
/// HTTPS out through its one address.
#[derive(Debug, Parser)]
#[command(name = "fleetgate-gateway", version)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Serve the APIs and tunnels.
    Serve(Source),
    /// Write a first configuration with a fresh master key, find the mesh, and say what comes next. Overwrites nothing.
    Setup {
        /// Where config.yaml is written [default: /etc/fleetgate as root, else the user's configuration directory]
        #[arg(long, value_name = "DIR")]
        dir: Option<PathBuf>,
    },
    /// Copy a whole ledger into another database: from SQLite to PostgreSQL, or back. Stop the gateways that use an SQLite file
    /// first. What is there already stays, so it can be done again.
    Migrate {
        /// The ledger to read: sqlite:PATH or postgres://…
        #[arg(long, value_name = "URL")]
        from: String,
        /// The ledger to add to
        #[arg(long, value_name = "URL")]
        to: String,
    },
    /// Write everything that the gateway keeps into one file. It may run meanwhile.
    Backup {
        /// The file to write, or the folder for one that is named by the time [default: this folder]
        #[arg(long, value_name = "FILE|DIR")]
        to: Option<PathBuf>,
        /// The configuration too, with its includes and the environment files beside it: they hold secrets
        #[arg(long)]
        with_config: bool,
        #[command(flatten)]
        places: Places,
    },
    /// Put a backup in the place of a ledger. The gateway must not run.
    Restore {
        /// The backup
        #[arg(value_name = "FILE")]
        file: PathBuf,
        /// Set aside what is there already
        #[arg(long)]
        force: bool,
        /// Only read the backup to its end and say what is in it
        #[arg(long, conflicts_with_all = ["force", "config_to"])]
        check: bool,
        /// Where the backup's configuration files are written; they stay in the backup otherwise
        #[arg(long, value_name = "DIR")]
        config_to: Option<PathBuf>,
        #[command(flatten)]
        places: Places,
    },
    /// Turn another program's settings into ours: YAML on standard output, what became of each line on standard error.
    #[command(subcommand)]
    Import(ImportCommand),
    /// Look at the configuration.
    #[command(subcommand)]
    Config(ConfigCommand),
    /// Print completions for a shell; the installer puts them where the shell looks.
    Completions(CompletionsArgs),
    /// Write the man pages.
    #[command(hide = true)]
    Man(ManArgs),
}

#[derive(Debug, Subcommand)]
enum ImportCommand {
    /// tinyproxy's, with the filter that they name.
    Tinyproxy {
        /// Its file
        #[arg(value_name = "FILE", default_value = "/etc/tinyproxy/tinyproxy.conf")]
        file: PathBuf,
    },
}

#[derive(Debug, Subcommand)]
enum ConfigCommand {
    /// Name every problem of a configuration, with file and line. Exit code 1 if the gateway would not start with it.
    Check {
        /// Count warnings as errors.
        #[arg(long)]
        strict: bool,
        #[command(flatten)]
        source: Source,
    },
    /// Show each setting of the running gateway; without one, what would be loaded.
    Show {
        /// Show where each value came from.
        #[arg(long)]
        origin: bool,
        /// Print JSON.
        #[arg(long)]
        json: bool,
        /// The master key of the running gateway (default: FLEETGATE_ADMIN_KEY, then the configuration's).
        #[arg(long)]
        key: Option<String>,
        #[command(flatten)]
        source: Source,
    },
}

/// Where the gateway's ledger is, as for `serve`.
#[derive(Debug, Args)]
struct Places {
    /// The gateway's configuration [env: FLEETGATE_CONFIG]
    #[arg(long, short = 'c', value_name = "FILE")]
    config: Option<PathBuf>,
    /// The ledger, `sqlite:PATH` or `postgres://…` [env: FLEETGATE_DATABASE]
    #[arg(long, value_name = "URL")]
    database: Option<String>,
}

impl From<Places> for Overrides {
    fn from(places: Places) -> Self {
        Self { config: places.config, database: places.database, ..Self::default() }
    }
}

/// Where the configuration comes from. Each flag has a twin in the environment.
#[derive(Debug, Args)]
struct Source {
    /// LiteLLM's config.yaml, with our `fleetgate:` section [env: FLEETGATE_CONFIG]
    #[arg(long, short = 'c', value_name = "FILE")]
    config: Option<PathBuf>,
    /// The same, without the flag
    #[arg(value_name = "FILE", conflicts_with = "config")]
    file: Option<PathBuf>,
    /// Address and port to listen on, or mesh[:PORT] to find this machine's in the mesh; may be repeated [env: FLEETGATE_LISTEN] [default: 127.0.0.1:4000]
    #[arg(long, value_name = "ADDR:PORT")]
    listen: Vec<String>,
    /// LiteLLM's way to name the address [env: HOST]
    #[arg(long, value_name = "ADDR")]
    host: Option<String>,
    /// LiteLLM's way to name the port [env: PORT]
    #[arg(long)]
    port: Option<u16>,
    /// The ledger, `sqlite:PATH` or `postgres://…` [env: FLEETGATE_DATABASE]
    #[arg(long, value_name = "URL")]
    database: Option<String>,
    /// Listen on public or wildcard addresses too: anyone who can reach them can try keys
    #[arg(long)]
    dangerously_listen_publicly: bool,
}

impl From<Source> for Overrides {
    fn from(source: Source) -> Self {
        Self {
            config: source.config.or(source.file),
            listen: source.listen,
            host: source.host,
            port: source.port,
            database: source.database,
            dangerously_listen_publicly: source.dangerously_listen_publicly,
        }
    }
}

/// Runs the command line.
///
/// # Errors
/// With what a person has to know and do.
pub fn run() -> anyhow::Result<ExitCode> {
    let mut out = std::io::stdout().lock();
    match Cli::parse().command {
        Command::Serve(source) => {
            drop(out);
            serve::run(&source.into())
        }
        Command::Setup { dir } => {
            setup::run(dir.as_deref(), &mut out)?;
            Ok(ExitCode::SUCCESS)
        }
        Command::Migrate { from, to } => {
            migrate::run(&from, &to, &mut out, &mut std::io::stderr().lock())?;
            Ok(ExitCode::SUCCESS)
        }
        Command::Backup { to, with_config, places } => {
            backup::run(&places.into(), to.as_deref(), with_config, &mut out)?;
            Ok(ExitCode::SUCCESS)
        }
        Command::Restore { file, check: true, .. } => {
            restore::check(&file, &mut out)?;
            Ok(ExitCode::SUCCESS)
        }
        Command::Restore { file, force, config_to, places, .. } => {
            restore::run(&file, &places.into(), config_to.as_deref(), force, &mut out)?;
            Ok(ExitCode::SUCCESS)
        }
        Command::Import(ImportCommand::Tinyproxy { file }) => {
            import::tinyproxy(&file, &mut out, &mut std::io::stderr().lock())?;
            Ok(ExitCode::SUCCESS)
        }
        Command::Completions(args) => {
            fleetgate_manual::print_completions(&Cli::command(), args, &mut out)?;
            Ok(ExitCode::SUCCESS)
        }
        Command::Man(args) => {
            fleetgate_manual::write_pages(Cli::command(), &args)?;
            Ok(ExitCode::SUCCESS)
        }
        Command::Config(ConfigCommand::Check { strict, source }) => {
            let code = config::check(&source.into(), std::env::vars_os(), strict, boot::review, &mut out)?;
            Ok(ExitCode::from(code))
        }
        Command::Config(ConfigCommand::Show { origin, json, key, source }) => {
            let show = config::Show { origin, json, key: key.map(SecretString::from) };
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
            let mut notes = std::io::stderr().lock();
            let overrides = source.into();
            let showing = config::show(&overrides, std::env::vars_os(), &show, &mut out, &mut notes);
            Ok(ExitCode::from(runtime.block_on(showing)?))
        }
    }
}
