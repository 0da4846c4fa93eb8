//! Starts programs so that their calls go through the sidecar: what a mode asks for, what each launcher needs for that, and what
//! must not come along. Nothing is exported into a shell; the program alone gets it.

mod aider;
mod child;
mod claude;
mod codex;
mod foreign;
mod gemini;
mod headers;
mod launcher;
mod listing;
mod mode;
mod modes;
mod no_proxy;
mod opencode;
mod places;
mod plain;
mod plan;
mod program;
mod qwen;
mod url;

pub use child::{Change, Child, Environment};
pub use launcher::{Launcher, UnknownLauncher};
pub use mode::{ModeName, ModeNameError, Model, ModelError};
pub use modes::{Mode, Modes, ModesFileError, Origin};
pub(crate) use places::Lookup;
pub use plan::{LaunchError, Places, Request, prepare};
pub use program::Program;
pub use url::{SidecarUrl, SidecarUrlError};
