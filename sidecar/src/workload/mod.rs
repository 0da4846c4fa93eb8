//! Who on this machine is calling: the user, and the program behind the connection.
//!
//! The kernel is asked for the user when a connection is taken, because that decides whether it may speak at all. The program is
//! looked for behind the caller's back, for many connections at once, and holds no call up for more than a moment.
//!
//! Users and programs are Linux's: `sock_diag(7)` and `/proc`. On macOS the programs are named by commands of the system; users are not
//! told there, nor is anything elsewhere, and [`Owner::Untold`] says so.

mod batch;
mod callers;
mod cgroup;
mod lsof;
mod mesh;
mod netlink;
mod process;
mod processes;
mod program;
mod socket;
mod text;
mod users;

pub use callers::{Caller, Callers, Facts, Owner};
pub use process::Process;
pub use users::{AllowedUsers, NoSuchUser, name_of};
