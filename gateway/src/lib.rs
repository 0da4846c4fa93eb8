//! The gateway: one room per stage, in the order in which a call goes through them. ARCHITECTURE.md has the table.

pub mod admin;
pub mod admit;
pub mod auth;
pub mod config;
pub mod dialect;
pub mod egress;
pub mod front;
pub mod ledger;
pub mod meter;
pub mod metrics;
pub mod price;
pub mod provider;
pub mod relay;
pub mod route;
pub mod trace;

pub mod respond;

mod attempt;
mod boot;
mod call;
mod call_limits;
mod detour;
mod funds;
mod gateway;
mod limits;
mod notify;
mod plain;
mod tunnel;
mod witness;

pub mod cli;

pub use boot::Rehearsal;
