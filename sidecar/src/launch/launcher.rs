//! The launchers that Fleetgate knows by name.

use std::ffi::OsStr;
use std::path::Path;

/// A command that starts an agent.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Launcher {
    /// Claude Code.
    Claude,
    /// Codex.
    Codex,
    /// gemini-cli.
    Gemini,
    /// opencode.
    Opencode,
    /// aider.
    Aider,
    /// qwen-code.
    Qwen,
}

impl Launcher {
    /// All of them.
    pub const ALL: [Self; 6] = [Self::Claude, Self::Codex, Self::Gemini, Self::Opencode, Self::Aider, Self::Qwen];

    /// As modes and rows of the ledger call it.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Claude => "claude",
            Self::Codex => "codex",
            Self::Gemini => "gemini",
            Self::Opencode => "opencode",
            Self::Aider => "aider",
            Self::Qwen => "qwen",
        }
    }

    /// The command that starts it.
    #[must_use]
    pub fn command(self) -> &'static str {
        self.name()
    }

    /// The launcher that a command is, by its file name.
    #[must_use]
    pub fn from_command(command: &OsStr) -> Option<Self> {
        let name = Path::new(command).file_name()?;
        Self::ALL.into_iter().find(|launcher| name == launcher.command())
    }
}
