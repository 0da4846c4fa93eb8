//! One row before it is written.

use std::net::SocketAddr;
use std::sync::Arc;

use fleetgate_wire::money::NanoDollars;
use fleetgate_wire::row::Mark;
use fleetgate_wire::usage::{Usage, UsageSource};
use jiff::Timestamp;
use uuid::Uuid;

use super::record::{Provenance, Record};
use crate::auth::Caller;
use crate::price::Cost;

/// One upstream attempt or one tunnel.
#[derive(Debug, Clone)]
pub struct Entry {
    /// Its identifier; grows with time.
    pub id: Uuid,
    /// Attempt or tunnel.
    pub kind: Kind,
    /// Who pays.
    pub caller: Arc<Caller>,
    /// Which API.
    pub endpoint: &'static str,
    /// The model by the caller's name.
    pub model_requested: Arc<str>,
    /// The model that answered.
    pub model: String,
    /// Who answered.
    pub provider: &'static str,
    /// `model_info.id` of the entry that served it.
    pub deployment_id: String,
    /// How it ended.
    pub status: Status,
    /// The upstream's HTTP status.
    pub http_status: Option<u16>,
    /// What went wrong.
    pub error: Option<String>,
    /// Tokens; `None` when nobody counted them.
    pub usage: Option<Usage>,
    /// Who counted.
    pub usage_source: UsageSource,
    /// Money.
    pub cost: Cost,
    /// The provider's service tier.
    pub service_tier: Option<String>,
    /// What the budgets hold for it.
    pub reserved: Option<NanoDollars>,
    /// When the call was taken.
    pub started_at: Timestamp,
    /// When the answer began.
    pub first_byte_at: Option<Timestamp>,
    /// When it ended.
    pub ended_at: Timestamp,
    /// The caller's program.
    pub user_agent: Option<String>,
    /// The provider's identifier.
    pub upstream_id: Option<String>,
    /// A tunnel's destination.
    pub destination: Option<String>,
    /// A tunnel's bytes: towards the destination, towards the client.
    pub bytes: Option<(u64, u64)>,
    /// The address that was dialled for it.
    pub address: Option<SocketAddr>,
    /// The proxy through which that was.
    pub next_proxy: Option<String>,
}

/// What a row is about.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// An upstream attempt.
    Call,
    /// A tunnel.
    Tunnel,
}

impl Kind {
    /// The word in the row.
    #[must_use]
    pub fn word(self) -> &'static str {
        match self {
            Self::Call => "call",
            Self::Tunnel => "tunnel",
        }
    }
}

/// How an attempt or tunnel ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Status {
    /// The answer came whole.
    Success,
    /// The provider refused, or could not be reached.
    Failure,
    /// The client went away before the end.
    ClientGone,
    /// The provider's answer broke in the middle.
    UpstreamCut,
    /// The gateway died before the end: nobody knows what it cost.
    Interrupted,
    /// A tunnel that was not opened.
    Refused,
    /// A tunnel's end, in its own words.
    Tunnel(&'static str),
}

impl Status {
    /// The word in the row.
    #[must_use]
    pub fn word(self) -> &'static str {
        match self {
            Self::Success => "success",
            Self::Failure => "failure",
            Self::ClientGone => "client_gone",
            Self::UpstreamCut => "upstream_cut",
            Self::Interrupted => "interrupted",
            Self::Refused => "refused",
            Self::Tunnel(word) => word,
        }
    }
}

/// Texts of a row are kept up to so many bytes, so that each row has its place in the journal.
const LONGEST_TEXT: usize = 400;

impl Entry {
    /// The cost in nano-dollars.
    #[must_use]
    pub fn cost_nanousd(&self) -> Option<i64> {
        self.cost.amount.map(|NanoDollars(nanos)| nanos)
    }

    /// Shows the entry as a row, with what strangers wrote cut to a length that a row can bear. (A workload's name is short and
    /// printable by its type.)
    pub(super) fn with_record<R>(&self, show: impl FnOnce(&Record<'_>) -> R) -> R {
        let host = self.caller.host.text();
        let usage = self.usage.as_ref().and_then(|usage| serde_json::to_string(usage).ok());
        let count = |pick: fn(&Usage) -> u64| self.usage.as_ref().map(pick);
        // Asked for anew each time: what the mesh says may have come meanwhile.
        let host_seen = self.caller.host_seen();
        let marks = self.caller.marks(host_seen.as_ref());
        let sighting = self.caller.origin.sighting.as_ref().map(ToString::to_string);
        let address = self.address.map(|address| address.to_string());
        show(&Record {
            id: self.id.as_u128(),
            kind: self.kind.word(),
            host: cut(&host),
            host_source: self.caller.host.source(),
            workload: self.caller.workload.as_str(),
            key_alias: cut(self.caller.key.alias()),
            key_hash: &self.caller.key_hash,
            user_id: self.caller.key.user().map(cut),
            team_id: self.caller.key.team().map(cut),
            customer: self.caller.customer.as_deref().map(cut),
            tags: self.caller.tags.iter().map(|tag| cut(tag)).collect(),
            endpoint: self.endpoint,
            model_requested: cut(&self.model_requested),
            model: cut(&self.model),
            provider: self.provider,
            deployment_id: cut(&self.deployment_id),
            status: self.status.word(),
            http_status: self.http_status,
            error: self.error.as_deref().map(cut),
            usage: usage.as_deref(),
            input_tokens: count(|usage| usage.input),
            cache_read_tokens: count(|usage| usage.cache_read),
            cache_write_tokens: count(Usage::cache_write),
            output_tokens: count(|usage| usage.output),
            reasoning_tokens: count(|usage| usage.reasoning),
            cost_nanousd: self.cost_nanousd(),
            reserved_nanousd: self.reserved.map(|NanoDollars(nanos)| nanos),
            usage_source: self.usage_source.word(),
            price_source: self.cost.source.word(),
            price_name: self.cost.price_name.as_deref().map(cut),
            service_tier: self.service_tier.as_deref().map(cut),
            started_at: self.started_at.as_microsecond(),
            first_byte_at: self.first_byte_at.map(Timestamp::as_microsecond),
            ended_at: self.ended_at.as_microsecond(),
            user_agent: self.user_agent.as_deref().map(cut),
            upstream_id: self.upstream_id.as_deref().map(cut),
            destination: self.destination.as_deref().map(cut),
            bytes_up: self.bytes.map(|(up, _)| up),
            bytes_down: self.bytes.map(|(_, down)| down),
            provenance: Provenance {
                process: self.caller.origin.process.as_deref().map(cut),
                os_user: self.caller.origin.os_user.as_deref().map(cut),
                marks: marks.into_iter().map(Mark::word).collect(),
                host_seen: host_seen.as_ref().map(|host| cut(host.as_str())),
                sighting: sighting.as_deref(),
            },
            address: address.as_deref(),
            next_proxy: self.next_proxy.as_deref().map(cut),
        })
    }
}

/// The longest beginning that is whole characters and has no NUL, which PostgreSQL's texts cannot hold.
fn cut(text: &str) -> &str {
    let most = memchr::memchr(0, text.as_bytes()).unwrap_or(text.len()).min(LONGEST_TEXT);
    &text[..text.floor_char_boundary(most)]
}
