//! One row before it is written.

use fleetgate_wire::money::NanoDollars;
use fleetgate_wire::usage::Usage;
use jiff::Timestamp;
use uuid::Uuid;

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
    pub caller: Caller,
    /// Which API.
    pub endpoint: &'static str,
    /// The model by the caller's name.
    pub model_requested: String,
    /// The model that answered.
    pub model: String,
    /// Who answered.
    pub provider: String,
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
    /// Money.
    pub cost: Cost,
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
            Self::Refused => "refused",
            Self::Tunnel(word) => word,
        }
    }
}

/// Texts that come from clients and providers are kept up to so many characters.
const LONGEST_TEXT: usize = 512;

impl Entry {
    /// Cuts what strangers wrote to a length that a row can bear.
    pub fn shorten(&mut self) {
        let texts = [&mut self.model_requested, &mut self.model];
        let optional = [&mut self.error, &mut self.user_agent, &mut self.upstream_id, &mut self.destination];
        for text in texts.into_iter().chain(optional.into_iter().flatten()) {
            if let Some((end, _)) = text.char_indices().nth(LONGEST_TEXT) {
                text.truncate(end);
            }
        }
    }

    /// Who counted the tokens.
    #[must_use]
    pub fn usage_source(&self) -> &'static str {
        if self.usage.is_some() { "provider" } else { "none" }
    }

    /// The cost in nano-dollars.
    #[must_use]
    pub fn cost_nanousd(&self) -> Option<i64> {
        self.cost.amount.map(|NanoDollars(nanos)| nanos)
    }
}
