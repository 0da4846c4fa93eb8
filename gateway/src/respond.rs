//! Any refusal to a wire error, in the caller's dialect. The only place that writes an error body.

use bytes::Bytes;
use fleetgate_wire::endpoint::Dialect;
use fleetgate_wire::error_body::ErrorBody;
use fleetgate_wire::header as names;
use fleetgate_wire::host::HostLabel;
use http::{HeaderName, HeaderValue, Response, StatusCode, header};
use http_body_util::{BodyExt, Full};
use serde_json::{Value, json};

use crate::admit::Refused;
use crate::admit::budget::Exceeded;
use crate::admit::rate::RateLimited;
use crate::auth::Denied;
use crate::dialect::AskError;
use crate::egress::TunnelRefused;
use crate::front::{Answer, BodyError};
use crate::ledger::LedgerError;
use crate::provider::{ClientError, RequestError};
use crate::relay::Unrecorded;
use crate::route::NoRoute;

/// This gateway's version, on every answer.
pub const VERSION: &str = env!("CARGO_PKG_VERSION");

/// Seconds. A place is free when a tunnel ends, which nobody foresees.
const TUNNELS_RETRY_AFTER: &str = "1";

/// LiteLLM's word for it; programs look for it.
const BUDGET_EXCEEDED: &str = "budget_exceeded";

/// The `type` with status 429 for which Codex stops at once and shows a text of the server's, which it takes from
/// [`CODEX_MESSAGE`]. For `insufficient_quota` it stops too and shows its own, "Check your plan and billing details" (0.169, tried).
const CODEX_LIMIT: &str = "usage_limit_reached";
const CODEX_MESSAGE: HeaderName = HeaderName::from_static("x-codex-promo-message");

/// Everything that can be said instead of an answer.
#[derive(Debug, thiserror::Error)]
pub enum Refusal {
    /// Nobody we know.
    #[error(transparent)]
    Denied(#[from] Denied),
    /// The same on a tunnel, which has a status of its own.
    #[error("{}", at_a_proxy(.0))]
    ProxyDenied(Denied),
    /// Known, but not allowed.
    #[error(transparent)]
    Refused(#[from] Refused),
    /// A budget cannot pay for it.
    #[error("{exceeded}")]
    Budget {
        /// Which one, with its figures.
        exceeded: Box<Exceeded>,
        /// LiteLLM's `budget_exceeded_status_code`, when it is set.
        status: Option<u16>,
    },
    /// Too many calls or tokens for now.
    #[error("{0}")]
    Rate(Box<RateLimited>),
    /// Nobody knows its price, and the operator wants none of those.
    #[error(
        "model {0} has no price, and litellm_settings.block_requests_for_models_without_pricing is on: set input_cost_per_token and \
         output_cost_per_token, or base_model, on its entry"
    )]
    Unpriced(String),
    /// The body could not be read.
    #[error(transparent)]
    Body(#[from] BodyError),
    /// The body could not be understood.
    #[error(transparent)]
    Ask(#[from] AskError),
    /// Nothing serves it.
    #[error(transparent)]
    NoRoute(#[from] NoRoute),
    /// The request could not be put together.
    #[error(transparent)]
    Request(#[from] RequestError),
    /// The provider gave no answer.
    #[error("{provider}: {source}")]
    Upstream {
        /// Which provider.
        provider: &'static str,
        /// What happened.
        source: ClientError,
    },
    /// What cannot be written down must not be spent.
    #[error("{0}")]
    Ledger(#[from] LedgerError),
    /// What was spent could not be written down, and nothing of the answer had gone out.
    #[error(transparent)]
    Unrecorded(#[from] Unrecorded),
    /// No tunnel.
    #[error(transparent)]
    Tunnel(#[from] TunnelRefused),
    /// A WebSocket where there is none: Codex falls back to POST at once on 426, and after seven tries on anything else.
    #[error("this gateway does not speak WebSocket here; POST to the same path")]
    UpgradeRequired,
    /// A method that the path does not have.
    #[error("{method} is not what this path takes; use {allowed}")]
    Method {
        /// What came.
        method: String,
        /// What is taken.
        allowed: &'static str,
    },
    /// The same of a management path, where [docs/api.md] has the methods.
    #[error("{method} is not what {path} takes; docs/api.md says which method it does")]
    WrongMethod {
        /// What came.
        method: String,
        /// The path.
        path: String,
    },
    /// A management request that could not be read.
    #[error("{message}")]
    Rejected {
        /// Why, as a status.
        status: StatusCode,
        /// Why, in words.
        message: String,
    },
    /// Something for this machine, where only what is for others is served.
    #[error(
        "only what is meant for other machines is served here (CONNECT host:port), not {0} of a path; the API has its own port"
    )]
    ProxyOnly(String),
    /// No such path.
    #[error("no such path: {0}; GET /v1/models lists models, docs/api.md lists paths")]
    NoSuchPath(String),
    /// A management request that makes no sense.
    #[error("{message}")]
    BadRequest {
        /// What is wrong with it.
        message: String,
        /// The field.
        param: Option<&'static str>,
    },
    /// An invitation that serves nobody. Whether it is unknown or was good once is the administrator's to see.
    #[error(
        "this invitation is not valid for host {0}: it is unknown, ended, used up, withdrawn, for other hosts, or has served this host. \
         Ask for a new one: fleetgate keys invite --host {0}"
    )]
    Uninvited(HostLabel),
    /// Another key has the name, and this invitation may not replace it.
    #[error(
        "host {host} has a key already ({alias}). To replace it, ask for an invitation that names the host: fleetgate keys invite --host {host}"
    )]
    Enrolled {
        /// Who comes.
        host: HostLabel,
        /// The key's name.
        alias: String,
    },
    /// A sidecar passed it on: whoever may call through it must not get its key.
    #[error("this path is for a machine's own commands, not through a sidecar: call the gateway itself")]
    ThroughSidecar,
    /// A key that cannot be changed so.
    #[error("{0}")]
    KeyChange(String),
    /// A management request about something that is not there.
    #[error("{0}")]
    NotFound(String),
}

/// A denial to a program that takes the gateway for a proxy: its `Authorization` is the destination's.
fn at_a_proxy(denied: &Denied) -> String {
    match denied {
        Denied::NoKey => "this proxy asks for a virtual key: write its address as http://any:sk-…@HOST:PORT, or send \
                          'Proxy-Authorization: Bearer sk-…'"
            .to_owned(),
        _ => denied.to_string(),
    }
}

impl Refusal {
    fn status(&self, dialect: Dialect) -> StatusCode {
        match self {
            Self::Budget { status, .. } => {
                status.and_then(|status| StatusCode::from_u16(status).ok()).unwrap_or_else(|| budget_status(dialect))
            }
            Self::Rate(_) => StatusCode::TOO_MANY_REQUESTS,
            Self::Unpriced(_) => StatusCode::FORBIDDEN,
            Self::Denied(Denied::NotAdmin { .. } | Denied::HostMismatch { .. }) => StatusCode::FORBIDDEN,
            Self::Denied(Denied::MeshAway(_)) => StatusCode::SERVICE_UNAVAILABLE,
            Self::Denied(_) => StatusCode::UNAUTHORIZED,
            Self::Uninvited(_) | Self::ThroughSidecar => StatusCode::FORBIDDEN,
            Self::Enrolled { .. } | Self::KeyChange(_) => StatusCode::CONFLICT,
            Self::ProxyDenied(_) => StatusCode::PROXY_AUTHENTICATION_REQUIRED,
            Self::Refused(_) => StatusCode::FORBIDDEN,
            Self::Body(BodyError::TooLarge { .. }) => StatusCode::PAYLOAD_TOO_LARGE,
            Self::Body(BodyError::UnknownEncoding(_)) => StatusCode::UNSUPPORTED_MEDIA_TYPE,
            Self::Body(BodyError::Silent) => StatusCode::REQUEST_TIMEOUT,
            Self::Body(_) | Self::Ask(_) | Self::NoRoute(_) | Self::BadRequest { .. } => StatusCode::BAD_REQUEST,
            Self::Request(_) => StatusCode::INTERNAL_SERVER_ERROR,
            Self::Upstream { source: ClientError::Timeout { .. }, .. } => StatusCode::GATEWAY_TIMEOUT,
            Self::Upstream { .. } => StatusCode::BAD_GATEWAY,
            Self::Ledger(LedgerError::AliasTaken(_)) => StatusCode::BAD_REQUEST,
            Self::Ledger(_) | Self::Unrecorded(_) => StatusCode::SERVICE_UNAVAILABLE,
            Self::Tunnel(refused) => match refused {
                TunnelRefused::Authority(_)
                | TunnelRefused::Body
                | TunnelRefused::PlainHttpOff
                | TunnelRefused::Scheme(_)
                | TunnelRefused::Framing(_) => StatusCode::BAD_REQUEST,
                TunnelRefused::Port { .. }
                | TunnelRefused::Policy { .. }
                | TunnelRefused::Destination { .. }
                | TunnelRefused::Myself(_) => StatusCode::FORBIDDEN,
                TunnelRefused::Resolve { .. }
                | TunnelRefused::Connect { .. }
                | TunnelRefused::NextProxy { .. }
                | TunnelRefused::Answer { .. } => StatusCode::BAD_GATEWAY,
                TunnelRefused::TooMany(_) => StatusCode::SERVICE_UNAVAILABLE,
                TunnelRefused::TooManyOfKey { .. } | TunnelRefused::BytesSpent { .. } => StatusCode::TOO_MANY_REQUESTS,
                TunnelRefused::Uncounted(_) => StatusCode::SERVICE_UNAVAILABLE,
            },
            Self::UpgradeRequired => StatusCode::UPGRADE_REQUIRED,
            Self::Method { .. } | Self::WrongMethod { .. } | Self::ProxyOnly(_) => StatusCode::METHOD_NOT_ALLOWED,
            Self::Rejected { status, .. } => *status,
            Self::NoSuchPath(_) | Self::NotFound(_) => StatusCode::NOT_FOUND,
        }
    }

    /// LiteLLM's `type`, which is also the word in `x-fleetgate-reason`.
    fn kind(&self) -> String {
        let word = match self {
            Self::Denied(denied) | Self::ProxyDenied(denied) => match denied {
                Denied::Unknown { .. } => "token_not_found_in_db",
                Denied::Expired { .. } => "expired_key",
                Denied::NotAdmin { .. } => "admin_only",
                Denied::HostMismatch { .. } => "host_mismatch",
                Denied::MeshAway(_) => "mesh_unavailable",
                _ => "auth_error",
            },
            Self::Refused(Refused::Model { .. }) => "key_model_access_denied",
            Self::Budget { .. } => BUDGET_EXCEEDED,
            Self::Rate(_) => "rate_limit_error",
            Self::Unpriced(_) => "model_cost_map_missing",
            Self::Body(BodyError::TooLarge { .. }) => "request_too_large",
            Self::Body(_) | Self::Ask(_) | Self::NoRoute(_) => "invalid_request_error",
            Self::Request(_) => "upstream_address",
            Self::Upstream { source, .. } => match source {
                ClientError::Connect { .. } => "upstream_unreachable",
                ClientError::Cut { .. } => "upstream_cut",
                ClientError::Timeout { .. } => "upstream_timeout",
            },
            Self::Ledger(LedgerError::AliasTaken(_)) | Self::BadRequest { .. } | Self::Rejected { .. } => {
                "bad_request_error"
            }
            Self::Ledger(_) | Self::Unrecorded(_) => "ledger_unavailable",
            Self::Tunnel(refused) => return refused.reason(),
            Self::Uninvited(_) => "invitation_invalid",
            Self::Enrolled { .. } => "host_has_key",
            Self::ThroughSidecar => "through_sidecar",
            Self::KeyChange(_) => "key_change",
            Self::UpgradeRequired => "upgrade_required",
            Self::Method { .. } | Self::WrongMethod { .. } | Self::ProxyOnly(_) => "method_not_allowed",
            Self::NoSuchPath(_) | Self::NotFound(_) => "not_found_error",
        };
        word.to_owned()
    }

    fn param(&self) -> Option<&'static str> {
        match self {
            Self::Refused(_)
            | Self::Unpriced(_)
            | Self::NoRoute(_)
            | Self::Ask(AskError::NoModel | AskError::ModelTooLong) => Some("model"),
            Self::Denied(Denied::Unknown { .. }) => Some("key"),
            Self::Ledger(LedgerError::AliasTaken(_)) => Some("key_alias"),
            Self::BadRequest { param, .. } => *param,
            _ => None,
        }
    }

    /// OpenAI's `code`, where it is not the status.
    fn code(&self, status: StatusCode, stops_codex: bool) -> Option<&'static str> {
        match self {
            // OpenAI's own word for a 429 that no waiting mends.
            Self::Budget { .. } if status == StatusCode::TOO_MANY_REQUESTS && !stops_codex => {
                Some("insufficient_quota")
            }
            Self::Budget { .. } => Some(BUDGET_EXCEEDED),
            _ => None,
        }
    }

    /// Whether the answer is the one that makes Codex stop and show why.
    fn stops_codex(&self, dialect: Dialect, status: StatusCode) -> bool {
        let is_budget = matches!(self, Self::Budget { .. });
        is_budget && dialect == Dialect::Responses && status == StatusCode::TOO_MANY_REQUESTS
    }

    /// Figures for programs.
    fn details(&self) -> Option<Value> {
        let Self::Budget { exceeded, .. } = self else { return None };
        Some(json!({
            "scope": exceeded.scope.to_string(),
            "spent": exceeded.spent.dollars(),
            "reserved": exceeded.reserved.dollars(),
            "needed": exceeded.needed.dollars(),
            "max_budget": exceeded.cap.dollars(),
            "resets_at": exceeded.resets_at,
        }))
    }

    /// The answer that says it.
    #[must_use]
    pub fn answer(&self, dialect: Dialect) -> Answer {
        let (status, kind) = (self.status(dialect), self.kind());
        let (message, details) = (self.to_string(), self.details());
        let stops_codex = self.stops_codex(dialect, status);
        let body = ErrorBody {
            status: status.as_u16(),
            kind: if stops_codex { CODEX_LIMIT } else { &kind },
            code: self.code(status, stops_codex),
            details: details.as_ref(),
            param: self.param(),
            message: &message,
        };
        let mut answer = json_answer(status, body.render(dialect));
        let headers = answer.headers_mut();
        set(headers, names::REASON, &kind);
        let is_passing = matches!(self, Self::Rate(_) | Self::Tunnel(TunnelRefused::TooManyOfKey { .. }));
        if status.is_client_error() && !is_passing {
            // The same request would be refused again: Claude Code and the SDKs would try up to ten times.
            set(headers, names::SHOULD_RETRY, "false");
        }
        if stops_codex {
            set(headers, CODEX_MESSAGE, &message);
        }
        match self {
            // Without this header programs would not send the credentials they have.
            Self::ProxyDenied(_) => set(headers, header::PROXY_AUTHENTICATE, "Basic realm=\"fleetgate\""),
            Self::UpgradeRequired => set(headers, header::UPGRADE, "HTTP/1.1"),
            Self::Method { allowed, .. } => set(headers, header::ALLOW, allowed),
            Self::ProxyOnly(_) => set(headers, header::ALLOW, "CONNECT"),
            Self::Rate(limited) => limited.set_headers(headers),
            Self::Tunnel(TunnelRefused::TooMany(_) | TunnelRefused::TooManyOfKey { .. }) => {
                set(headers, header::RETRY_AFTER, TUNNELS_RETRY_AFTER);
            }
            _ => {}
        }
        answer
    }
}

/// The status that makes each dialect's real clients stop and show the message: tried with Claude Code, Codex, opencode,
/// qwen-code and the SDKs. 402 keeps Codex trying, 429 keeps the others waiting.
fn budget_status(dialect: Dialect) -> StatusCode {
    match dialect {
        Dialect::OpenAi | Dialect::Anthropic => StatusCode::PAYMENT_REQUIRED,
        Dialect::Responses => StatusCode::TOO_MANY_REQUESTS,
    }
}

/// Sets a header to a text of ours. One that no header can carry is left out.
pub(crate) fn set(headers: &mut http::HeaderMap, name: HeaderName, text: &str) {
    if let Ok(value) = HeaderValue::from_str(text) {
        headers.insert(name, value);
    }
}

/// An answer with a JSON body.
#[must_use]
pub fn json_answer(status: StatusCode, body: String) -> Answer {
    let mut answer = Response::new(full(Bytes::from(body)));
    *answer.status_mut() = status;
    answer.headers_mut().insert(header::CONTENT_TYPE, HeaderValue::from_static("application/json"));
    answer
}

/// An answer with nothing in it.
#[must_use]
pub fn empty(status: StatusCode) -> Answer {
    let mut answer = Response::new(full(Bytes::new()));
    *answer.status_mut() = status;
    answer
}

fn full(bytes: Bytes) -> crate::front::AnswerBody {
    Full::new(bytes).map_err(|never| match never {}).boxed_unsync()
}
