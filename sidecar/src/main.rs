//! `fleetgate`: the sidecar and everything a person types.

use std::process::ExitCode;

use clap::Parser;
use fleetgate_sidecar::cli::{Cli, run};

fn main() -> ExitCode {
    match run(Cli::parse()) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("fleetgate: {error}");
            error.exit_code()
        }
    }
}
