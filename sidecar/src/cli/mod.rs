//! What people type: one file for each subcommand.

mod doctor;
mod egress;
mod enroll;
mod invites;
mod key;
mod keys;
mod launchers;
mod logs;
mod modes;
mod reprice;
mod run;
mod shell;
mod sidecar;
mod spend;
mod status;
mod table;
mod wait;
mod whoami;

use std::io::{self, Write};
use std::path::PathBuf;
use std::process::ExitCode;

use clap::{Args, CommandFactory, Parser, Subcommand};
use fleetgate_manual::{CompletionsArgs, ManArgs};
use fleetgate_wire::SecretString;
use fleetgate_wire::invitation::InvitationTokenError;
use fleetgate_wire::virtual_key::VirtualKeyError;
use fleetgate_wire::workload::Workload;
use tracing::level_filters::LevelFilter;

use doctor::DoctorError;
use shell::ShellError;

use crate::admin::{Admin, AdminError};
use crate::forward::{GatewayUrl, GatewayUrlError};
use crate::front::ListenError;
use crate::identity::IdentityError;
use crate::keystore::{Enrolment, HostsFileError, KeyReadError, NoKey, PlaceError};
use crate::launch::ModesFileError;
use crate::places;
use crate::settings::SettingsError;
use run::RunError;

/// `fleetgate doctor` or `fleetgate shell` could not look at all, as with a wrong flag.
const EXIT_CANNOT_RUN: u8 = 2;
/// Somebody else has the port: nothing that a restart could mend.
const EXIT_PORT_TAKEN: u8 = 3;

/// Fleetgate on this machine.
#[derive(Debug, Parser)]
#[command(name = "fleetgate", version, about)]
pub struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Serve localhost:4000 with this host's key
    Sidecar(sidecar::SidecarArgs),
    /// Say which host this is, why, and where its key lies
    Whoami(whoami::WhoamiArgs),
    /// Wait until the sidecar has a key and reaches its gateway
    Wait(wait::WaitArgs),
    /// Get this machine its key, with an invitation
    Enroll(enroll::EnrollArgs),
    /// Start a program whose calls go through the sidecar
    Run(run::RunArgs),
    /// List the modes of `fleetgate run`
    Modes(modes::ModesArgs),
    /// Set, show, forget or replace this machine's own keys
    Key(key::KeyArgs),
    /// Find out why calls do not arrive
    Doctor(doctor::DoctorArgs),
    /// Show what the sidecar does, and what the gateway says of this host's key
    Status(status::StatusArgs),
    /// List launchers, and write their settings for programs that no shell starts
    Launchers(launchers::LaunchersArgs),
    /// Keep the launchers' block in the files that your shells read
    Shell(shell::ShellArgs),
    /// Make and list virtual keys, and invite machines
    Keys(keys::KeysArgs),
    /// Say where tunnels may lead
    Egress(egress::EgressArgs),
    /// Show rows of the ledger
    Logs(logs::LogsArgs),
    /// Show who spent how much, and price old calls anew
    Spend(spend::SpendArgs),
    /// Print completions for a shell; the installer puts them where the shell looks
    Completions(CompletionsArgs),
    /// Write the man pages
    #[command(hide = true)]
    Man(ManArgs),
}

/// The gateway and who may administer it.
#[derive(Debug, Args)]
struct AdminArgs {
    /// The gateway: http://host:port; of several, the first is asked
    #[arg(long, env = "FLEETGATE_GATEWAY", value_name = "URL", value_delimiter = ',')]
    gateway: Vec<GatewayUrl>,
    /// The admin credential; better in the environment, where `ps` does not show it
    #[arg(long, env = "FLEETGATE_ADMIN_KEY", hide_env_values = true, value_name = "KEY")]
    key: Option<SecretString>,
}

impl AdminArgs {
    fn open(self) -> Result<Admin, CliError> {
        let gateway = gateway_or_enrolled(self.gateway)?;
        Ok(Admin::new(gateway, self.key.ok_or(CliError::NoAdminKey)?))
    }
}

/// The gateway that was named, else the one at which this machine enrolled.
fn gateway_or_enrolled(named: Vec<GatewayUrl>) -> Result<GatewayUrl, CliError> {
    gateways_or_enrolled(named)?.into_iter().next().ok_or(CliError::NoGateway)
}

fn gateways_or_enrolled(named: Vec<GatewayUrl>) -> Result<Vec<GatewayUrl>, CliError> {
    if !named.is_empty() {
        return Ok(named);
    }
    let directory = places::config_directory().ok_or(CliError::NoGateway)?;
    let enrolled = Enrolment::read(&directory)?.gateway.ok_or(CliError::NoGateway)?;
    let url =
        enrolled.parse().map_err(|source| CliError::EnrolledGateway { file: Enrolment::path(&directory), source })?;
    Ok(vec![url])
}

/// Why a command failed, in one sentence.
#[derive(Debug, thiserror::Error)]
pub enum CliError {
    /// Nobody said where it is.
    #[error("no gateway: say --gateway http://HOST:4000, set FLEETGATE_GATEWAY, or enroll this machine")]
    NoGateway,
    /// Nobody said who asks.
    #[error("no admin credential: set FLEETGATE_ADMIN_KEY (or say --key)")]
    NoAdminKey,
    /// Neither systemd nor the environment names a home.
    #[error("no place for hosts.toml: say --hosts FILE or set FLEETGATE_HOSTS")]
    NoHostsFile,
    /// The sidecar would call itself.
    #[error("the gateway {0} is this sidecar's own address; FLEETGATE_GATEWAY must name the gateway's machine")]
    OwnAddress(GatewayUrl),
    /// Who this host is.
    #[error(transparent)]
    Identity(#[from] IdentityError),
    /// `hosts.toml`.
    #[error(transparent)]
    Hosts(#[from] HostsFileError),
    /// The listeners.
    #[error(transparent)]
    Listen(#[from] ListenError),
    /// The gateway's management API.
    #[error(transparent)]
    Admin(#[from] AdminError),
    /// `fleetgate wait` gave up.
    #[error("{url} is not ready after {seconds} s: {why}")]
    NotReady {
        /// The sidecar.
        url: GatewayUrl,
        /// How long it was waited for.
        seconds: u64,
        /// What the last attempt said.
        why: String,
    },
    /// `fleetgate doctor` found a problem and has told it.
    #[error("doctor: see the problem above")]
    Unwell,
    /// `fleetgate doctor` could not look.
    #[error(transparent)]
    Doctor(#[from] DoctorError),
    /// `fleetgate status` got no answer.
    #[error("the sidecar at {url} does not say how it is: {why}. Is it running? `fleetgate sidecar` starts it")]
    NoStatus {
        /// The sidecar.
        url: GatewayUrl,
        /// Why.
        why: String,
    },
    /// A file that a new key shall go to.
    #[error("{path}: {source}")]
    KeyFile {
        /// The file.
        path: String,
        /// The reason.
        source: io::Error,
    },
    /// What enrolment wrote down was changed since.
    #[error("{file}: {source}")]
    EnrolledGateway {
        /// The file.
        file: PathBuf,
        /// What is wrong.
        source: GatewayUrlError,
    },
    /// Nobody said which.
    #[error("no invitation: say --token -, and type it, or set FLEETGATE_TOKEN")]
    NoToken,
    /// It is none.
    #[error(transparent)]
    Token(#[from] InvitationTokenError),
    /// Neither systemd nor the environment names a home.
    #[error("no configuration directory: set HOME or CONFIGURATION_DIRECTORY")]
    NoDirectory,
    /// A place for a key.
    #[error("{0}")]
    Place(#[from] PlaceError),
    /// A key that cannot be read.
    #[error("{0}")]
    KeyRead(#[from] KeyReadError),
    /// There is none.
    #[error("{0}")]
    NoKey(#[from] NoKey),
    /// A workload without a key of its own.
    #[error("workload \"{0}\" has no key of its own here; give it one with: fleetgate key set --workload {0}")]
    NoWorkloadKey(Workload),
    /// What was typed is no key.
    #[error("{0}; nothing was changed")]
    NotAKey(#[from] VirtualKeyError),
    /// A new key could not be kept.
    #[error("the new key could not be stored ({why}); {after}")]
    NotStored {
        /// Why.
        why: String,
        /// What was done about it.
        after: String,
    },
    /// A new key is stored and its confirmation did not get through.
    #[error(
        "the new key is stored and works, but the gateway has not confirmed it: {why}. The old key, if there was one, stays good until you run: fleetgate key rotate"
    )]
    Unconfirmed {
        /// Why.
        why: AdminError,
    },
    /// A launcher's settings.
    #[error(transparent)]
    Settings(#[from] SettingsError),
    /// `fleetgate shell`.
    #[error(transparent)]
    Shell(#[from] ShellError),
    /// `fleetgate run` did not become the program.
    #[error(transparent)]
    Run(#[from] RunError),
    /// The person's own modes.
    #[error("{0}; until it is mended, modes are as shipped")]
    Modes(ModesFileError),
    /// A launcher that cannot be flipped onto this mode.
    #[error("mode {mode} is not for {launcher}; `fleetgate modes` says which launchers each mode is for")]
    NotForLauncher {
        /// The mode's name.
        mode: String,
        /// The launcher's name.
        launcher: &'static str,
    },
    /// The runtime, signals, standard output.
    #[error(transparent)]
    System(#[from] io::Error),
}

impl CliError {
    /// The process's exit code.
    #[must_use]
    pub fn exit_code(&self) -> ExitCode {
        match self {
            Self::Listen(ListenError::Taken { .. }) => ExitCode::from(EXIT_PORT_TAKEN),
            Self::Doctor(_) => ExitCode::from(EXIT_CANNOT_RUN),
            Self::Shell(error) if error.is_trouble() => ExitCode::from(EXIT_CANNOT_RUN),
            Self::Run(error) => error.exit_code(),
            _ => ExitCode::FAILURE,
        }
    }
}

/// Runs what was typed.
///
/// # Errors
/// When the command fails.
pub fn run(cli: Cli) -> Result<(), CliError> {
    // What needs no network needs no runtime, and a program is started within a few milliseconds by a process of one thread.
    let command = match cli.command {
        Command::Run(args) => return Ok(run::run(args)?),
        Command::Modes(args) => return modes::run(&args),
        Command::Shell(args) => return Ok(shell::run(&args)?),
        Command::Launchers(args) => {
            start_log();
            return launchers::run(args);
        }
        Command::Completions(args) => {
            return Ok(fleetgate_manual::print_completions(&Cli::command(), args, &mut io::stdout().lock())?);
        }
        Command::Man(args) => return Ok(fleetgate_manual::write_pages(Cli::command(), &args)?),
        command => command,
    };
    start_log();
    // One thread carries thousands of streams, and an idle sidecar stays small.
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let result = runtime.block_on(async {
        match command {
            Command::Sidecar(args) => sidecar::run(args).await,
            Command::Whoami(args) => whoami::run(args).await,
            Command::Wait(args) => wait::run(&args).await,
            Command::Enroll(args) => Box::pin(enroll::run(args)).await,
            Command::Key(args) => Box::pin(key::run(args)).await,
            Command::Status(args) => status::run(&args).await,
            Command::Doctor(args) => doctor::run(args).await,
            Command::Keys(args) => Box::pin(keys::run(args)).await,
            Command::Egress(args) => egress::run(args).await,
            Command::Logs(args) => logs::run(args).await,
            Command::Spend(args) => spend::run(args).await,
            // Done above.
            Command::Run(_)
            | Command::Modes(_)
            | Command::Shell(_)
            | Command::Launchers(_)
            | Command::Completions(_)
            | Command::Man(_) => Ok(()),
        }
    });
    // Whatever still runs (a tunnel past its time, a name look-up) must not hold up the end.
    runtime.shutdown_background();
    result
}

/// Logs go to standard error; `FLEETGATE_LOG` sets the level (`debug`, `info`, `warn`, `error`), `FLEETGATE_LOG_FORMAT=json` writes one
/// JSON object a line.
fn start_log() {
    let level = std::env::var("FLEETGATE_LOG").ok().and_then(|text| text.parse().ok()).unwrap_or(LevelFilter::INFO);
    let log =
        tracing_subscriber::fmt().with_max_level(level).with_target(false).with_ansi(false).with_writer(io::stderr);
    if std::env::var("FLEETGATE_LOG_FORMAT").is_ok_and(|format| format == "json") {
        log.json().flatten_event(true).init();
    } else {
        log.init();
    }
}

/// Prints to standard output. Whoever closed it early (`| head`) has seen enough.
fn print(text: &str) -> io::Result<()> {
    let mut out = io::stdout().lock();
    match out.write_all(text.as_bytes()).and_then(|()| out.flush()) {
        Err(error) if error.kind() == io::ErrorKind::BrokenPipe => Ok(()),
        result => result,
    }
}
