//! Where this program keeps its files.

use std::env;
use std::path::PathBuf;

use directories::ProjectDirs;

/// Where a service that runs for the whole machine has its files.
const SYSTEM_CONFIG: &str = "/etc/fleetgate";
const SYSTEM_STATE: &str = "/var/lib/fleetgate-sidecar";

/// `hosts.toml`, unless the command line names another.
#[must_use]
pub fn hosts_file() -> Option<PathBuf> {
    config_directory().map(|directory| directory.join("hosts.toml"))
}

/// Where `hosts.toml` and what enrolment left lie: systemd's directory wins over the system's for root, and the user's for others.
#[must_use]
pub fn config_directory() -> Option<PathBuf> {
    systemd_directory("CONFIGURATION_DIRECTORY")
        .or_else(|| is_root().then(|| SYSTEM_CONFIG.into()))
        .or_else(|| project_dirs().map(|dirs| dirs.config_dir().to_owned()))
}

/// Where the pinned host label lies.
#[must_use]
pub fn state_directory() -> Option<PathBuf> {
    systemd_directory("STATE_DIRECTORY").or_else(|| is_root().then(|| SYSTEM_STATE.into())).or_else(|| {
        let dirs = project_dirs()?;
        Some(dirs.state_dir().unwrap_or_else(|| dirs.data_local_dir()).to_owned())
    })
}

/// The socket of `tailscaled`, where it is at none of its usual places.
#[must_use]
pub fn tailscale_socket() -> Option<PathBuf> {
    env::var_os("FLEETGATE_TAILSCALE_SOCKET").filter(|path| !path.is_empty()).map(PathBuf::from)
}

fn is_root() -> bool {
    rustix::process::geteuid().is_root()
}

/// systemd may give several directories, separated by colons; the first is the service's own.
fn systemd_directory(variable: &str) -> Option<PathBuf> {
    let value = env::var_os(variable)?;
    env::split_paths(&value).find(|path| path.is_absolute())
}

fn project_dirs() -> Option<ProjectDirs> {
    ProjectDirs::from("dev", "fleetgate", "fleetgate")
}
