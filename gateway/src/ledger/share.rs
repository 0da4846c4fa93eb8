//! Budgets and rates as what gateways lease from each other: the names of their rules, and the windows in which they count.

mod budgets;
mod rates;

pub use budgets::LeasedBudgets;
pub use rates::LeasedRates;
