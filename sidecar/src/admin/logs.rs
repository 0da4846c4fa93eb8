//! Rows of the ledger.

use serde::Deserialize;
use serde_json::value::RawValue;

use super::{Admin, AdminError, query};

/// Which rows; newest first.
#[derive(Debug, Default)]
pub struct LogFilter {
    /// At most so many.
    pub limit: u32,
    /// Of this host.
    pub host: Option<String>,
    /// Paid by this key.
    pub key_alias: Option<String>,
    /// This one.
    pub request_id: Option<String>,
}

/// Rows as the gateway wrote them: fields that only a newer gateway knows are kept.
#[derive(Debug, Deserialize)]
pub struct Logs {
    /// One JSON object each.
    pub rows: Vec<Box<RawValue>>,
}

impl Admin {
    /// Rows of the ledger.
    ///
    /// # Errors
    /// When the gateway does not tell.
    pub async fn logs(&self, filter: &LogFilter) -> Result<Logs, AdminError> {
        let limit = filter.limit.to_string();
        let query = query(&[
            ("limit", Some(&limit)),
            ("host", filter.host.as_deref()),
            ("key_alias", filter.key_alias.as_deref()),
            ("request_id", filter.request_id.as_deref()),
        ]);
        self.get(&format!("/api/logs?{query}")).await
    }
}
