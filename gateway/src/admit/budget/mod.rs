//! Budgets: what a call may cost at most is set aside in all of them at once, before it leaves; what it did cost is settled after.
//!
//! [`rules`] reads a scope's limits and [`configured`] the file's, [`Budgets::replace`] puts them in force, [`Budgets::load`] tells what the ledger knows. For each
//! attempt [`Budgets::reserve`] gives a [`Hold`], whose amount is what the attempt may cost. Nothing here knows of prices or rows.

mod book;
mod calendar;
mod caution;
mod counter;
mod crossing;
mod engine;
pub mod estimate;
mod hold;
mod lease;
mod load;
mod log;
mod offer;
mod queue;
mod refusal;
mod rule;
mod spent;
mod state;
mod status;

pub use calendar::{BUCKET_SECONDS, Calendar, Term, Window, bucket_of, bucket_start};
pub use crossing::Crossing;
pub use engine::{BudgetOptions, Budgets, Charge};
pub use hold::Hold;
pub use lease::Wanted;
pub use load::Missing;
pub use log::RefusalLog;
pub use refusal::{Exceeded, Shortfall};
pub use rule::{Increase, Rule, RuleError, RuleId, configured, rules};
pub use status::Status;

#[cfg(test)]
mod tests;
