//! The gateway program.

use std::process::ExitCode;

fn main() -> ExitCode {
    fleetgate_gateway::cli::run().unwrap_or_else(|error| {
        eprintln!("fleetgate-gateway: {error:#}");
        ExitCode::FAILURE
    })
}
