//! How many tokens a request can cost at most, from its body alone. Pure functions; prices and context windows are the caller's.

mod lean;
mod output;
mod prompt;
mod request;
mod text;

pub use output::{OutputAsk, output_limit};
pub use prompt::{PromptBound, exact, image_bound, rough};
