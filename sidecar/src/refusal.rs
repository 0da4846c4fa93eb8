//! What is said to a caller whose call goes no further. [`crate::respond`] writes it.

use http::StatusCode;

/// A call that goes no further.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Refusal {
    /// HTTP status.
    pub status: StatusCode,
    /// The machine-readable word for `x-fleetgate-reason`.
    pub reason: &'static str,
    /// What happened, where, and what to do next.
    pub message: String,
}

impl Refusal {
    /// A refusal.
    pub fn new(status: StatusCode, reason: &'static str, message: impl Into<String>) -> Self {
        Self { status, reason, message: message.into() }
    }
}
