//! The gateway program.

use std::process::ExitCode;

#[cfg(all(target_os = "linux", target_arch = "x86_64"))]
#[global_allocator]
static MEMORY: tikv_jemallocator::Jemalloc = tikv_jemallocator::Jemalloc;

fn main() -> ExitCode {
    fleetgate_gateway::cli::run().unwrap_or_else(|error| {
        eprintln!("fleetgate-gateway: {error:#}");
        ExitCode::FAILURE
    })
}
