//! The test DSL: real gateway and sidecar processes, scripted providers, and clients that say exactly what they send.
//!
//! ```text
//! let upstream = Upstream::start().await;
//! let gw = Gateway::start(|c| c.model("gpt-x", &upstream)).await;
//! let key = gw.key(&json!({"key_alias": "vk-mac", "host": "mac"})).await;
//! let answer = gw.post("/v1/chat/completions").bearer(&key).json(&chat_request("gpt-x")).send().await;
//! ```
//!
//! Nothing here sleeps for a guessed time: a test waits for an event, or polls a condition within a bound ([`wait`]).

#![allow(clippy::expect_used, clippy::unwrap_used, reason = "a broken expectation of the DSL is a failed test")]
#![allow(clippy::print_stdout, reason = "a skipped test says so on stdout")]

pub mod binaries;
pub mod books;
pub mod burst;
pub mod client;
pub mod closed_port;
pub mod desk;
pub mod diagnosis;
pub mod disk;
pub mod gateway;
pub mod home;
pub mod installation;
pub mod load;
pub mod machine;
pub mod netns;
pub mod postgres;
pub mod process;
pub mod raw_gateway;
pub mod real_clients;
pub mod sidecar;
pub mod sockets;
pub mod tailscaled;
pub mod upstream;
pub mod wait;

pub use books::{Books, Faults, Spent};
pub use client::{Answer, Call};
pub use closed_port::ClosedPort;
pub use diagnosis::Diagnosis;
pub use disk::SmallDisk;
pub use gateway::{Gateway, MASTER_KEY};
pub use home::PersonsHome;
pub use load::Load;
pub use machine::Machine;
pub use postgres::Postgres;
pub use sidecar::Sidecar;
pub use tailscaled::Tailscaled;
pub use upstream::{Reply, Upstream};
pub use wait::eventually;
