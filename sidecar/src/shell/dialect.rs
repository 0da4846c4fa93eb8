//! The shells that a block is for, and the one line in it.

use std::fmt;
use std::str::FromStr;

/// A shell whose start-up file can hold the block.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Shell {
    /// GNU Bash.
    Bash,
    /// Z shell.
    Zsh,
    /// fish, which has a syntax of its own.
    Fish,
    /// Any other POSIX shell: dash, busybox sh, ksh, mksh.
    Sh,
}

/// Neither of ours.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("there is no block for \"{0}\"; say bash, zsh, fish or sh (dash, busybox sh, ksh and mksh are sh)")]
pub struct UnknownShell(pub(super) String);

/// The synced file where it was installed, if it is readable. `$HOME` and not a path, since rc files travel between machines; silent where
/// there is no such file. The closing comment takes the carriage return of a file with CRLF.
const POSIX_LINE: &str = "if [ -r \"${XDG_DATA_HOME:-${HOME-}/.local/share}/fleetgate/fleetgate.sh\" ]; then . \
                          \"${XDG_DATA_HOME:-${HOME-}/.local/share}/fleetgate/fleetgate.sh\"; fi #";
/// The same; an unset variable makes its whole word vanish, so that the other one is the first.
const FISH_LINE: &str = "begin; set -l fleetgate $XDG_DATA_HOME/fleetgate/fleetgate.fish $HOME/.local/share/fleetgate/fleetgate.fish; \
                         if test -r \"$fleetgate[1]\"; source \"$fleetgate[1]\"; end; end #";

impl Shell {
    /// All of them, in the order in which they are reported.
    pub const ALL: [Self; 4] = [Self::Bash, Self::Zsh, Self::Fish, Self::Sh];

    /// As it is typed after `--shell`.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Bash => "bash",
            Self::Zsh => "zsh",
            Self::Fish => "fish",
            Self::Sh => "sh",
        }
    }

    /// What a block of the present version holds.
    #[must_use]
    pub fn line(self) -> &'static str {
        if self == Self::Fish { FISH_LINE } else { POSIX_LINE }
    }
}

impl fmt::Display for Shell {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

impl FromStr for Shell {
    type Err = UnknownShell;

    fn from_str(text: &str) -> Result<Self, UnknownShell> {
        match text {
            "bash" => Ok(Self::Bash),
            "zsh" => Ok(Self::Zsh),
            "fish" => Ok(Self::Fish),
            "sh" | "dash" | "ash" | "busybox" | "ksh" | "ksh93" | "mksh" | "posix" => Ok(Self::Sh),
            _ => Err(UnknownShell(text.to_owned())),
        }
    }
}
