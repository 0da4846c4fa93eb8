//! Launchers: the commands that agents are started with.

mod launcher;

pub use launcher::{Launcher, UnknownLauncher};
