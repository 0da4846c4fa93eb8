//! The variables that are in force: the process's own, then `.env`, then what `environment_variables:` sets over both.

use std::ffi::OsString;
use std::fs;
use std::path::Path;

use fleetgate_wire::{ExposeSecret, SecretString};

use super::node::Node;
use super::report::{Cost, Report};
use super::{Environment, Origin, dotenv};

/// Variables that a file must not change: they steer processes and the network, not the gateway. LiteLLM's own list.
const PROTECTED: &[&str] = &[
    "PATH",
    "LD_PRELOAD",
    "LD_LIBRARY_PATH",
    "DYLD_LIBRARY_PATH",
    "DYLD_INSERT_LIBRARIES",
    "PYTHONPATH",
    "PYTHONSTARTUP",
    "PYTHONHOME",
    "HOME",
    "USER",
    "SHELL",
    "LOGNAME",
    "NO_PROXY",
    "no_proxy",
];

impl Environment {
    /// The variables that a process was started with. What is no UTF-8 cannot be a setting and is left out.
    pub fn from_process(variables: impl IntoIterator<Item = (OsString, OsString)>) -> Self {
        let mut environment = Self::default();
        for (name, value) in variables {
            if let (Ok(name), Ok(value)) = (name.into_string(), value.into_string()) {
                let origin = Origin::Environment(name.clone());
                environment.set(name, value, origin);
            }
        }
        environment
    }

    /// The value of a variable that holds no secret.
    pub(crate) fn text(&self, name: &str) -> Option<&str> {
        self.get(name).map(ExposeSecret::expose_secret)
    }

    /// A variable that holds no secret, with its origin.
    pub(super) fn given(&self, name: &str) -> Option<(&str, Origin)> {
        Some((self.text(name)?, self.origin(name)?.clone()))
    }

    /// Whether a switch is on.
    pub(super) fn is_on(&self, name: &str) -> bool {
        self.text(name).and_then(super::scalar::truth).unwrap_or(false)
    }

    fn set(&mut self, name: String, value: String, origin: Origin) {
        self.variables.insert(name, (SecretString::from(value), origin));
    }

    /// Adds the variables of a `.env` file, if there is one. What the process has stays.
    pub(super) fn add_dotenv(&mut self, file: &Path, report: &mut Report) {
        let at = |line| Origin::File { file: file.to_path_buf(), line };
        let text = match fs::read_to_string(file) {
            Ok(text) => text,
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => return,
            Err(error) => {
                report.warn(Cost::Access, at(1), format!("cannot read this file, its variables are not set: {error}"));
                return;
            }
        };
        let (assignments, broken) = dotenv::parse(&text);
        for line in broken {
            report.warn(Cost::Access, at(line), "this line is no NAME=VALUE and is skipped");
        }
        // Within the file the last value of a name wins.
        let mut from_file = Self::default();
        for found in assignments {
            let value = if found.expands {
                let lookup = |name: &str| self.text(name).or_else(|| from_file.text(name)).map(str::to_owned);
                dotenv::expand(&found.value, lookup)
            } else {
                found.value
            };
            from_file.set(found.name, value, at(found.line));
        }
        for (name, variable) in from_file.variables {
            self.variables.entry(name).or_insert(variable);
        }
    }

    /// Applies `environment_variables:`, which wins over the process. Its own `os.environ/` references are resolved already.
    pub(super) fn apply_section(&mut self, section: &Node, report: &mut Report) {
        let Some(entries) = section.map() else {
            report.warn(
                Cost::Access,
                section.place.origin(),
                format!("environment_variables must be a map of names and texts; this is {}", section.kind()),
            );
            return;
        };
        for entry in entries {
            let (name, place) = (&entry.key, entry.place.origin());
            if PROTECTED.contains(&name.as_str()) {
                let message = format!("environment_variables.{name} is not set: a file must not change it");
                report.warn(Cost::Style, place, message);
                continue;
            }
            let Some(value) = entry.node.text() else {
                if !entry.node.is_null() {
                    report.warn(Cost::Access, place, format!("environment_variables.{name} must be a text"));
                }
                continue;
            };
            let current = self.get(name).map(|value| value.expose_secret().to_owned());
            match current {
                Some(current) if value.is_empty() && !current.is_empty() => {
                    let message = format!(
                        "environment_variables.{name} is empty; the value that the environment has stays in force (LiteLLM \
                         would wipe it)"
                    );
                    report.warn(Cost::Access, place, message);
                    continue;
                }
                Some(current) if current != value => {
                    let message = format!(
                        "environment_variables.{name} replaces the value that the environment has, as in LiteLLM"
                    );
                    report.warn(Cost::Access, place.clone(), message);
                }
                _ => {}
            }
            let shown = if value.is_empty() { "[not set]" } else { "[set]" };
            report.setting(format!("environment_variables.{name}"), shown, place.clone());
            self.set(name.clone(), value.to_owned(), place);
        }
    }
}
