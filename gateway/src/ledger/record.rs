//! A row on its way: what the journal holds and what a database is given. The names are those of the table's columns.

use serde::{Deserialize, Serialize};
use uuid::Uuid;

use super::rollup::Charged;

/// What is known of the program and the machine behind a call, beside their names. Younger than the rest of a row: records of the
/// journal's first form have none.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Provenance<'a> {
    /// What the sidecar found at the other end of the connection.
    #[serde(borrow)]
    pub process: Option<&'a str>,
    /// The operating system's user.
    #[serde(borrow)]
    pub os_user: Option<&'a str>,
    /// What is remarkable, see [`fleetgate_wire::row::Mark`].
    #[serde(borrow)]
    pub marks: Vec<&'a str>,
    /// The machine by another's word, where that differs from the row's.
    #[serde(borrow)]
    pub host_seen: Option<&'a str>,
    /// A provider's own key that the program showed, as `PROVIDER:FINGERPRINT`.
    #[serde(borrow)]
    pub sighting: Option<&'a str>,
}

/// One row. Texts are borrowed from the entry that it was made of, or from the journal's bytes.
///
/// The journal keeps it in postcard's form, which knows fields by their order alone: a change of this struct is a new
/// [`FORMAT`](super::journal::FORMAT).
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Record<'a> {
    /// The identifier as a number.
    pub id: u128,
    /// `call` or `tunnel`.
    pub kind: &'a str,
    /// The machine.
    pub host: &'a str,
    /// Why that is believed.
    pub host_source: &'a str,
    /// What made the call there.
    pub workload: &'a str,
    /// The key's name.
    pub key_alias: &'a str,
    /// The key's hash, or `master`.
    pub key_hash: &'a str,
    /// The key's user.
    #[serde(borrow)]
    pub user_id: Option<&'a str>,
    /// The key's team.
    #[serde(borrow)]
    pub team_id: Option<&'a str>,
    /// The end user that the caller named.
    #[serde(borrow)]
    pub customer: Option<&'a str>,
    /// The caller's tags.
    #[serde(borrow)]
    pub tags: Vec<&'a str>,
    /// Which API.
    pub endpoint: &'a str,
    /// The model by the caller's name.
    pub model_requested: &'a str,
    /// The model that answered.
    pub model: &'a str,
    /// Who answered.
    pub provider: &'a str,
    /// The entry of `model_list` that served it.
    pub deployment_id: &'a str,
    /// How it ended.
    pub status: &'a str,
    /// The upstream's HTTP status.
    pub http_status: Option<u16>,
    /// What went wrong.
    #[serde(borrow)]
    pub error: Option<&'a str>,
    /// Token counts as JSON, see [`fleetgate_wire::usage::Usage`].
    #[serde(borrow)]
    pub usage: Option<&'a str>,
    /// The whole prompt.
    pub input_tokens: Option<u64>,
    /// Read from a cache.
    pub cache_read_tokens: Option<u64>,
    /// Written to a cache.
    pub cache_write_tokens: Option<u64>,
    /// Everything produced.
    pub output_tokens: Option<u64>,
    /// Produced while reasoning.
    pub reasoning_tokens: Option<u64>,
    /// Known cost in nano-dollars.
    pub cost_nanousd: Option<i64>,
    /// What was reserved for it in the budgets, in nano-dollars. Never part of the known cost.
    pub reserved_nanousd: Option<i64>,
    /// Who counted.
    pub usage_source: &'a str,
    /// Who priced.
    pub price_source: &'a str,
    /// By which row of the catalogue, or which entry.
    #[serde(borrow)]
    pub price_name: Option<&'a str>,
    /// The provider's service tier.
    #[serde(borrow)]
    pub service_tier: Option<&'a str>,
    /// Microseconds since 1970.
    pub started_at: i64,
    /// Microseconds since 1970.
    pub first_byte_at: Option<i64>,
    /// Microseconds since 1970.
    pub ended_at: i64,
    /// The caller's program.
    #[serde(borrow)]
    pub user_agent: Option<&'a str>,
    /// The provider's identifier.
    #[serde(borrow)]
    pub upstream_id: Option<&'a str>,
    /// A tunnel's destination.
    #[serde(borrow)]
    pub destination: Option<&'a str>,
    /// Towards a tunnel's destination.
    pub bytes_up: Option<u64>,
    /// Towards a tunnel's client.
    pub bytes_down: Option<u64>,
    /// Written behind all else, see [`FORMAT`](super::journal::FORMAT).
    #[serde(skip)]
    pub provenance: Provenance<'a>,
    /// The address that was dialled for a tunnel. Written behind the provenance.
    #[serde(skip)]
    pub address: Option<&'a str>,
    /// The proxy through which that was. Written behind the address.
    #[serde(skip)]
    pub next_proxy: Option<&'a str>,
}

impl Record<'_> {
    /// The identifier as text, as the table has it.
    #[must_use]
    pub fn id_text(&self) -> String {
        Uuid::from_u128(self.id).to_string()
    }

    /// Whom it is charged to.
    pub(super) fn charged(&self) -> Charged<'_> {
        Charged {
            key_hash: self.key_hash,
            host: self.host,
            workload: self.workload,
            model_requested: self.model_requested,
            provider: self.provider,
            deployment_id: self.deployment_id,
            user_id: self.user_id,
            team_id: self.team_id,
            customer: self.customer,
            tags: &self.tags,
            started_at: self.started_at,
        }
    }

    /// The caller's tags as JSON; `None` when there are none.
    #[must_use]
    pub fn tags_text(&self) -> Option<String> {
        list(&self.tags)
    }

    /// The row's marks as JSON; `None` when there are none.
    #[must_use]
    pub fn marks_text(&self) -> Option<String> {
        list(&self.provenance.marks)
    }
}

fn list(words: &[&str]) -> Option<String> {
    (!words.is_empty()).then(|| serde_json::Value::from(words.to_vec()).to_string())
}
