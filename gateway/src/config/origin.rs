//! Where a value came from, and what is wrong with one.

use std::fmt;
use std::path::PathBuf;

/// Where a value came from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Origin {
    /// A line of a file, counted from 1.
    File {
        /// The file, as the operator named it.
        file: PathBuf,
        /// The line.
        line: usize,
    },
    /// A variable of the process's environment.
    Environment(String),
    /// A flag of the command line.
    CommandLine(&'static str),
    /// Nobody said anything.
    Default,
}

impl fmt::Display for Origin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::File { file, line } => write!(f, "{}:{line}", file.display()),
            Self::Environment(name) => write!(f, "environment {name}"),
            Self::CommandLine(flag) => write!(f, "command line {flag}"),
            Self::Default => f.write_str("default"),
        }
    }
}

/// One live value and where it came from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Setting {
    /// Its path, for example `litellm_settings.request_timeout`.
    pub path: String,
    /// The value as it is in force; a secret is shown as `[set]`.
    pub value: String,
    /// Where it came from.
    pub origin: Origin,
}

/// Something that the operator should know.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Finding {
    /// Whether the gateway can start.
    pub severity: Severity,
    /// Where.
    pub origin: Origin,
    /// What happened, and what to do next.
    pub message: String,
}

/// How bad a finding is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Severity {
    /// The gateway does not start.
    Error,
    /// It starts, and something is not as the file says.
    Warning,
    /// Worth knowing.
    Notice,
}

impl fmt::Display for Finding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let word = match self.severity {
            Severity::Error => "error",
            Severity::Warning => "warning",
            Severity::Notice => "notice",
        };
        write!(f, "{}: {word}: {}", self.origin, self.message)
    }
}
