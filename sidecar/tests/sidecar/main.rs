//! The sidecar over real sockets, with literal bytes on both sides.

#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test fails by panicking")]

mod credentials;
mod failures;
mod fresh_keys;
mod program;
mod refusals;
mod streaming;
mod tunnels;
mod world;
