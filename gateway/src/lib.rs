//! The gateway: one room per stage, in the order in which a call goes through them. ARCHITECTURE.md has the table.

pub mod admit;
pub mod auth;
pub mod config;
pub mod dialect;
pub mod front;
pub mod meter;
pub mod relay;
pub mod provider;
pub mod route;
