//! The programs that Fleetgate knows how to lead to the sidecar.

use std::ffi::OsStr;
use std::path::Path;
use std::str::FromStr;

/// A coding agent with settings of its own kind.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Launcher {
    /// Claude Code.
    Claude,
    /// `OpenAI`'s Codex.
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

/// No launcher has this name.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("no launcher is named {0:?}; there are claude, codex, gemini, opencode, aider and qwen")]
pub struct UnknownLauncher(pub String);

impl Launcher {
    /// All of them, in the order in which they are listed.
    pub const ALL: [Self; 6] = [Self::Claude, Self::Codex, Self::Gemini, Self::Opencode, Self::Aider, Self::Qwen];

    /// Its name in `modes.toml`, in a command's name (`claude-glm`) and in the ledger's `workload`.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Claude => "claude",
            Self::Codex => "codex",
            Self::Gemini => "gemini",
            Self::Opencode => "opencode",
            Self::Aider => "aider",
            Self::Qwen => "qwen",
        }
    }

    /// The file name of its program.
    #[must_use]
    pub const fn command(self) -> &'static str {
        self.name()
    }

    /// The launcher whose program this is, by the file name alone: `/usr/local/bin/claude` is Claude Code.
    #[must_use]
    pub fn from_command(command: &OsStr) -> Option<Self> {
        let file = Path::new(command).file_name()?;
        Self::ALL.into_iter().find(|launcher| file == launcher.command())
    }
}

impl FromStr for Launcher {
    type Err = UnknownLauncher;

    fn from_str(name: &str) -> Result<Self, UnknownLauncher> {
        Self::ALL.into_iter().find(|launcher| launcher.name() == name).ok_or_else(|| UnknownLauncher(name.to_owned()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_program_is_known_by_its_file_name_wherever_it_lies() {
        for (command, launcher) in [
            ("claude", Some(Launcher::Claude)),
            ("/usr/local/bin/codex", Some(Launcher::Codex)),
            ("./qwen", Some(Launcher::Qwen)),
            ("python3", None),
            ("claude/", Some(Launcher::Claude)),
            ("claude-code", None),
            ("", None),
            ("..", None),
        ] {
            assert_eq!(Launcher::from_command(OsStr::new(command)), launcher, "{command}");
        }
    }

    #[test]
    fn every_launcher_is_found_by_its_name() {
        for launcher in Launcher::ALL {
            assert_eq!(launcher.name().parse(), Ok(launcher));
        }
        assert!("cursor".parse::<Launcher>().is_err());
    }
}
