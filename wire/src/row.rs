//! The ledger's row as every output and export shows it.

use serde::{Deserialize, Serialize};

/// One upstream attempt or one tunnel. The names are an interface: exports, `fleetgate logs --json` and `/api/logs` bear them.
///
/// Times are RFC 3339 in UTC with microseconds. Token counts follow [`crate::usage::Usage`]. `None` means unknown, never zero.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Row {
    /// The ledger's own identifier of this attempt.
    pub request_id: String,
    /// `call` or `tunnel`.
    pub kind: String,
    /// The machine, or the address of a caller without a sidecar.
    pub host: String,
    /// Why the host is believed: `key`, `claimed` or `address`.
    pub host_source: String,
    /// What made the call on that machine.
    pub workload: String,
    /// The name of the key that paid.
    pub key_alias: String,
    /// The SHA-256 of that key, or `master`.
    pub key_hash: String,
    /// The user the key belongs to.
    pub user: Option<String>,
    /// The team the key belongs to.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub team: Option<String>,
    /// The end user that the caller named.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub customer: Option<String>,
    /// The caller's tags.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub tags: Vec<String>,
    /// Which API was called (`chat`, `messages` …) or `connect`.
    pub endpoint: String,
    /// The model the caller named.
    pub model_requested: String,
    /// The model that answered.
    pub model: String,
    /// Who answered.
    pub provider: String,
    /// `success`, `failure`, `client_gone`, `upstream_cut`, `interrupted`, `refused`, or how a tunnel ended.
    pub status: String,
    /// The HTTP status of the upstream's answer.
    pub http_status: Option<u16>,
    /// What went wrong, in one sentence.
    pub error: Option<String>,
    /// The whole prompt.
    pub input_tokens: Option<u64>,
    /// Prompt tokens read from a cache.
    pub cache_read_tokens: Option<u64>,
    /// Prompt tokens written to a cache.
    pub cache_write_tokens: Option<u64>,
    /// Everything produced.
    pub output_tokens: Option<u64>,
    /// Produced tokens that were reasoning.
    pub reasoning_tokens: Option<u64>,
    /// Cost in nano-dollars; `None` when no price is known.
    pub cost_nanousd: Option<i64>,
    /// What the budgets held for it, in nano-dollars; no part of the known cost.
    pub reserved_nanousd: Option<i64>,
    /// The cost before it was priced anew.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub cost_before_nanousd: Option<i64>,
    /// `provider`, `partial`, `estimated` or `none`.
    pub usage_source: String,
    /// `provider`, `override`, `catalogue`, `free` or `unpriced`.
    pub price_source: String,
    /// The catalogue's row or the entry that the price is from.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub price_name: Option<String>,
    /// The provider's service tier.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub service_tier: Option<String>,
    /// When the call was taken.
    pub started_at: String,
    /// When the first byte of the answer came.
    pub first_byte_at: Option<String>,
    /// When the last byte of the answer came.
    pub ended_at: String,
    /// The caller's `User-Agent`.
    pub user_agent: Option<String>,
    /// The provider's identifier of its answer.
    pub upstream_id: Option<String>,
    /// A tunnel's destination.
    pub destination: Option<String>,
    /// The address that was dialled for it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub address: Option<String>,
    /// The proxy through which that was, where the gateway did not go directly.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub next_proxy: Option<String>,
    /// A tunnel's bytes towards the destination.
    pub bytes_up: Option<u64>,
    /// A tunnel's bytes towards the client.
    pub bytes_down: Option<u64>,
    /// What the sidecar found at the other end of the connection: executable, unit or container.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub process: Option<String>,
    /// The operating system's user that this process belongs to.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub os_user: Option<String>,
    /// What is remarkable about who called.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub marks: Vec<Mark>,
    /// What the mesh calls the machine, or else its sidecar, where that differs from `host`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub host_seen: Option<String>,
    /// A provider's own key that the program showed, as `PROVIDER:FINGERPRINT`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub sighting: Option<String>,
}

/// What is remarkable about who called.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Mark {
    /// The host matched nothing in `hosts.toml` and lives on the fallback key: a straggler.
    FallbackKey,
    /// The mesh, or the sidecar, calls the machine otherwise than the row does.
    HostMismatch,
    /// The program showed a provider's own key.
    RawProviderKey,
    /// A word of a newer gateway.
    #[serde(other)]
    Other,
}

impl Mark {
    /// The word in the row.
    #[must_use]
    pub fn word(self) -> &'static str {
        match self {
            Self::FallbackKey => "fallback_key",
            Self::HostMismatch => "host_mismatch",
            Self::RawProviderKey => "raw_provider_key",
            Self::Other => "other",
        }
    }

    /// Reads the list that the table has, as JSON.
    #[must_use]
    pub fn read_list(text: Option<&str>) -> Vec<Self> {
        text.and_then(|text| serde_json::from_str(text).ok()).unwrap_or_default()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_mark_is_written_as_its_word_and_unknown_ones_are_borne() {
        for mark in [Mark::FallbackKey, Mark::HostMismatch, Mark::RawProviderKey] {
            assert_eq!(serde_json::to_value(mark).unwrap(), mark.word());
        }
        assert_eq!(Mark::read_list(Some(r#"["fallback_key", "of_tomorrow"]"#)), [Mark::FallbackKey, Mark::Other]);
        assert_eq!(Mark::read_list(None), []);
    }
}
