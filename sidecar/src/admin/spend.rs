//! Who spent how much.

use fleetgate_wire::seen::Straggler;
use fleetgate_wire::spend::{Repriced, UnpricedModel};
use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;

use super::{Admin, AdminError, query};

/// Which calls: a date, a time, or how long ago, in the gateway's own words.
#[derive(Debug, Default)]
pub struct Times {
    /// Not before.
    pub since: Option<String>,
    /// Before; a date's whole day is within.
    pub until: Option<String>,
}

/// Sums as the gateway wrote them: fields that only a newer gateway knows are kept.
#[derive(Debug, Deserialize)]
pub struct Spend {
    /// One JSON object each, see [`fleetgate_wire::spend::Group`].
    pub groups: Vec<Box<RawValue>>,
    /// See [`fleetgate_wire::spend::Sums`].
    pub total: Box<RawValue>,
    /// There are more groups than these.
    #[serde(default)]
    pub left_off: bool,
}

/// Which rows shall be priced anew.
#[derive(Debug, Serialize)]
pub struct Reprice {
    /// Not before.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub since: Option<String>,
    /// Before; a date's whole day is within.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub until: Option<String>,
    /// Of this model.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub model: Option<String>,
    /// Only say what would change.
    pub dry_run: bool,
}

#[derive(Deserialize)]
struct Stragglers {
    stragglers: Vec<Straggler>,
}

#[derive(Deserialize)]
struct Unpriced {
    unpriced: Vec<UnpricedModel>,
}

impl Admin {
    /// Sums by these dimensions.
    ///
    /// # Errors
    /// When the gateway does not tell.
    pub async fn spend(&self, by: &[String], times: &Times) -> Result<Spend, AdminError> {
        let by = by.join(",");
        let query = query(&[("by", Some(&by)), ("since", times.since.as_deref()), ("until", times.until.as_deref())]);
        self.get(&format!("/api/spend?{query}")).await
    }

    /// The models that nobody has a price for.
    ///
    /// # Errors
    /// When the gateway does not tell.
    pub async fn unpriced(&self, times: &Times) -> Result<Vec<UnpricedModel>, AdminError> {
        let query = query(&[("since", times.since.as_deref()), ("until", times.until.as_deref())]);
        let answer: Unpriced = self.get(&format!("/api/spend/unpriced?{query}")).await?;
        Ok(answer.unpriced)
    }

    /// The hosts that have no key of their own yet.
    ///
    /// # Errors
    /// When the gateway does not tell.
    pub async fn stragglers(&self, times: &Times) -> Result<Vec<Straggler>, AdminError> {
        let query = query(&[("since", times.since.as_deref()), ("until", times.until.as_deref())]);
        let answer: Stragglers = self.get(&format!("/api/stragglers?{query}")).await?;
        Ok(answer.stragglers)
    }

    /// Prices old rows by today's prices.
    ///
    /// # Errors
    /// When the gateway does not.
    pub async fn reprice(&self, wanted: &Reprice) -> Result<Repriced, AdminError> {
        self.post("/api/spend/reprice", serde_json::json!(wanted).to_string()).await
    }
}
