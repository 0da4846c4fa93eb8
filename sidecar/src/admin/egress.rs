//! Where tunnels may lead, and what went through them.

use fleetgate_wire::egress::{EgressGroup, EgressSums, Explanation};
use serde::Deserialize;

use super::{Admin, AdminError, Times, query};

/// What went through tunnels.
#[derive(Debug, Deserialize)]
pub struct Egress {
    /// By host and destination, the most bytes first.
    pub groups: Vec<EgressGroup>,
    /// Of all of them.
    pub total: EgressSums,
    /// There are more groups than these.
    #[serde(default)]
    pub left_off: bool,
}

impl Admin {
    /// What would become of a tunnel.
    ///
    /// # Errors
    /// When the gateway does not tell.
    pub async fn explain(
        &self,
        to: &str,
        asker: Option<&str>,
        host: Option<&str>,
        workload: Option<&str>,
    ) -> Result<Explanation, AdminError> {
        let query = query(&[("to", Some(to)), ("as", asker), ("host", host), ("workload", workload)]);
        self.get(&format!("/api/egress/explain?{query}")).await
    }

    /// Tunnels and bytes by host and destination.
    ///
    /// # Errors
    /// When the gateway does not tell.
    pub async fn egress(&self, times: &Times) -> Result<Egress, AdminError> {
        let query = query(&[("since", times.since.as_deref()), ("until", times.until.as_deref())]);
        self.get(&format!("/api/egress/spend?{query}")).await
    }
}
