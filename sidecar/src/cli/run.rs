//! `fleetgate run`: becomes a program whose calls go through the sidecar.

use std::collections::BTreeMap;
use std::convert::Infallible;
use std::env;
use std::ffi::OsString;
use std::io;
use std::os::unix::process::CommandExt;
use std::path::PathBuf;
use std::process::ExitCode;

use clap::Args;

use super::print;
use crate::launch::{self, LaunchError, Launcher, Mode, ModeName, Modes, Places, Request};

/// As a shell says it: the program is there, and is none.
const EXIT_NOT_EXECUTABLE: u8 = 126;
/// As a shell says it: there is no such program.
const EXIT_NOT_FOUND: u8 = 127;
/// What was asked for cannot be.
const EXIT_USAGE: u8 = 2;

#[derive(Debug, Args)]
pub(super) struct RunArgs {
    /// The mode: which model of the gateway to ask for (see `fleetgate modes`); without one, the program's own models
    #[arg(long, value_name = "MODE")]
    mode: Option<ModeName>,
    /// Lead other https traffic of the program through the sidecar as well (HTTPS_PROXY)
    #[arg(long)]
    proxy: bool,
    /// Treat the program as this launcher: claude, codex, gemini, opencode, aider, qwen
    #[arg(long, value_name = "LAUNCHER")]
    launcher: Option<Launcher>,
    /// Show what would be set, unset and run, and do nothing
    #[arg(long)]
    print: bool,
    /// The program and its arguments
    #[arg(required = true, trailing_var_arg = true, allow_hyphen_values = true, value_name = "CMD")]
    command: Vec<OsString>,
}

/// Why `fleetgate run` did not become the program.
#[derive(Debug, thiserror::Error)]
pub enum RunError {
    /// No mode has this name, or it is hidden.
    #[error("no mode is named {name}; there are {known}. Write your own into {file}")]
    UnknownMode {
        /// What was asked for.
        name: ModeName,
        /// Those that there are.
        known: String,
        /// The person's own file.
        file: String,
    },
    /// It is not started.
    #[error(transparent)]
    Launch(#[from] LaunchError),
    /// The operating system does not start it.
    #[error("{}: {source}", .program.display())]
    Exec {
        /// The program.
        program: PathBuf,
        /// The reason.
        source: io::Error,
    },
    /// Standard output.
    #[error(transparent)]
    Output(#[from] io::Error),
}

impl RunError {
    /// The process's exit code: what a shell would say of the program, 2 for what cannot be asked.
    pub(super) fn exit_code(&self) -> ExitCode {
        match self {
            Self::UnknownMode { .. } | Self::Launch(_) => ExitCode::from(EXIT_USAGE),
            Self::Exec { source, .. } if source.kind() == io::ErrorKind::NotFound => ExitCode::from(EXIT_NOT_FOUND),
            Self::Exec { .. } => ExitCode::from(EXIT_NOT_EXECUTABLE),
            Self::Output(_) => ExitCode::FAILURE,
        }
    }
}

/// The person's own modes: `FLEETGATE_MODES`, else in the configuration directory of XDG, on macOS too: the shells look there.
pub(super) fn own_modes() -> Option<PathBuf> {
    let named = |variable: &str| env::var_os(variable).filter(|path| !path.is_empty()).map(PathBuf::from);
    let below = |directory: PathBuf| directory.join("fleetgate/modes.toml");
    named("FLEETGATE_MODES")
        .or_else(|| named("XDG_CONFIG_HOME").map(below))
        .or_else(|| env::home_dir().map(|home| below(home.join(".config"))))
}

pub(super) fn run(args: RunArgs) -> Result<(), RunError> {
    let modes = Modes::load(own_modes());
    let mode = args.mode.map(|name| find(&modes, name)).transpose()?;
    if let Some(problem) = &modes.problem {
        // The shipped modes still work, and a person in the middle of work is told rather than stopped.
        eprintln!("fleetgate: {problem}");
        eprintln!("fleetgate: this file is left aside until it is mended: modes are as shipped");
    }
    let caller: BTreeMap<OsString, OsString> = env::vars_os().collect();
    // clap does not let the list be empty.
    let (program, arguments) =
        args.command.split_first().ok_or_else(|| io::Error::from(io::ErrorKind::InvalidInput))?;
    let request = Request {
        mode,
        without_mode: modes.without_mode(),
        launcher: args.launcher,
        command: program,
        arguments,
        proxy: args.proxy,
        caller: &caller,
        places: Places { home: env::home_dir(), directory: env::current_dir().ok(), system: PathBuf::from("/") },
    };
    let child = launch::prepare(&request)?;
    for note in &child.notes {
        eprintln!("fleetgate: {note}");
    }
    if args.print {
        return Ok(print(&child.describe(&caller))?);
    }
    become_it(&child).map(|never| match never {})
}

pub(super) fn find(modes: &Modes, name: ModeName) -> Result<&Mode, RunError> {
    modes.get(&name).ok_or_else(|| {
        if let Some(problem) = &modes.problem {
            eprintln!("fleetgate: {problem}");
        }
        let known: Vec<&str> = modes.all().filter(|mode| mode.is_enabled()).map(|mode| mode.name.as_str()).collect();
        let file =
            modes.own_file.as_ref().map_or("a file that FLEETGATE_MODES names".into(), |f| f.display().to_string());
        RunError::UnknownMode { name, known: known.join(", "), file }
    })
}

/// Terminal, signals, process group and parent stay what they are: it is the same process.
fn become_it(child: &launch::Child) -> Result<Infallible, RunError> {
    let source = child.command().exec();
    Err(RunError::Exec { program: PathBuf::from(&child.program), source })
}
