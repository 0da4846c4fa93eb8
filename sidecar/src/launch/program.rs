//! What is started: a launcher that Fleetgate knows, or any other program.

use std::ffi::OsStr;
use std::fmt;

use super::launcher::Launcher;

/// Decides which variables a program needs.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Program {
    /// A coding agent with settings of its own kind.
    Known(Launcher),
    /// Whatever reads the variables of the SDKs of `OpenAI` and Anthropic.
    Plain,
}

impl Program {
    /// The launcher that was named, else the one whose program the command is.
    #[must_use]
    pub fn find(named: Option<Launcher>, command: &OsStr) -> Self {
        named.or_else(|| Launcher::from_command(command)).map_or(Self::Plain, Self::Known)
    }

    /// Its table in a mode of `modes.toml`.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Known(launcher) => launcher.name(),
            Self::Plain => "plain",
        }
    }
}

impl fmt::Display for Program {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}
