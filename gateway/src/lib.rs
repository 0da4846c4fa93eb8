//! The gateway: one room per stage, in the order in which a call goes through them. ARCHITECTURE.md has the table.

pub mod admit;
pub mod auth;
pub mod config;
pub mod dialect;
pub mod egress;
pub mod front;
pub mod ledger;
pub mod meter;
pub mod price;
pub mod relay;
pub mod respond;
pub mod provider;
pub mod route;
