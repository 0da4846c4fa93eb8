//! The block in a person's start-up files: putting it in, taking it out, and trying it in the shells that read it.
//!
//! [`block`] knows its form and [`edit`] what changes in a file's bytes; [`file`] replaces files, [`copies`] keeps the synced files that the
//! block's line reads, [`home`] knows which file each shell reads, and [`work`] puts these together. [`check`] tries blocks out.

mod block;
mod check;
mod copies;
mod dialect;
mod difference;
mod edit;
mod file;
mod home;
mod trial;
mod work;

pub use block::VERSION;
pub use check::{Checked, Examined, check};
pub use copies::{Copies, CopyProblem, CopyState};
pub use dialect::{Shell, UnknownShell};
pub use edit::Standing;
pub use file::FileProblem;
pub use home::{Home, NoPlace, Place};
pub use trial::{Fault, Interpreter};
pub use work::{Action, Done, Outcome, Work, shell_of};
