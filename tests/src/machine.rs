//! One machine of the fleet: directories of its own, and `fleetgate` run on it as a person would.

use std::collections::BTreeMap;
use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use tempfile::TempDir;

use crate::process::{Finished, Program, Running};

/// A machine without a key.
#[derive(Debug)]
pub struct Machine {
    dir: TempDir,
    environment: BTreeMap<String, String>,
}

impl Machine {
    /// A new one of this name, with nothing in its directories.
    ///
    /// # Panics
    /// When there is no temporary directory.
    #[must_use]
    pub fn named(label: &str) -> Self {
        let dir = TempDir::new().expect("a temporary directory");
        // systemd's variables, so that a test that runs as root does not touch the system's directories.
        let config = dir.path().join("config").display().to_string();
        let state = dir.path().join("state").display().to_string();
        let names =
            [("CONFIGURATION_DIRECTORY", config), ("STATE_DIRECTORY", state), ("FLEETGATE_HOST", label.to_owned())];
        let environment = names.into_iter().map(|(name, value)| (name.to_owned(), value)).collect();
        Self { dir, environment }
    }

    /// Sets a variable for all that runs here.
    #[must_use]
    pub fn env(mut self, name: &str, value: &str) -> Self {
        self.environment.insert(name.to_owned(), value.to_owned());
        self
    }

    /// Its own directory.
    #[must_use]
    pub fn dir(&self) -> &Path {
        self.dir.path()
    }

    /// A file of its configuration.
    #[must_use]
    pub fn config(&self, name: &str) -> PathBuf {
        self.dir().join("config").join(name)
    }

    /// Writes a file of its configuration, for its owner alone.
    ///
    /// # Panics
    /// When it cannot be written.
    pub fn write(&self, name: &str, text: &str) -> PathBuf {
        let path = self.config(name);
        fs::create_dir_all(path.parent().expect("a file lies in a directory")).expect("our own directory");
        fs::write(&path, text).expect("our own directory");
        fs::set_permissions(&path, fs::Permissions::from_mode(0o600)).expect("our own file");
        path
    }

    /// `fleetgate` with these arguments.
    #[must_use]
    pub fn program(&self, arguments: &[&str]) -> Program {
        Program::new("fleetgate", self.dir()).args(arguments.iter().copied()).envs(&self.environment)
    }

    /// Runs `fleetgate` to its end.
    pub async fn fleetgate(&self, arguments: &[&str]) -> Finished {
        self.program(arguments).run().await
    }

    /// Runs `fleetgate` to its end, with this on its standard input.
    pub async fn fleetgate_reads(&self, arguments: &[&str], input: &str) -> Finished {
        self.program(arguments).run_with(input).await
    }

    /// Starts the sidecar of this machine.
    pub async fn sidecar(&self) -> Running {
        self.program(&["sidecar", "--listen", "127.0.0.1:0"]).serve(&self.dir().join("sidecar.log")).await
    }
}
