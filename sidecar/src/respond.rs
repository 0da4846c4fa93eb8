//! The only place that writes an error.

use bytes::Bytes;
use fleetgate_wire::endpoint::dialect_of_path;
use fleetgate_wire::error_body::ErrorBody;
use fleetgate_wire::header;
use http::{HeaderValue, Response, StatusCode, header::CONTENT_TYPE};
use http_body_util::{Either, Full};

use crate::VERSION;
use crate::forward::RelayedBody;

/// The body of everything that leaves towards a client: written here, or relayed from the gateway.
pub type ReplyBody = Either<Full<Bytes>, RelayedBody>;

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

    /// The answer, in the dialect of the path that was asked for.
    #[must_use]
    pub fn into_response(self, path: &str) -> Response<ReplyBody> {
        let body = ErrorBody { status: self.status.as_u16(), kind: self.reason, param: None, message: &self.message };
        let mut response = json(self.status, body.render(dialect_of_path(path)));
        response.headers_mut().insert(header::REASON, HeaderValue::from_static(self.reason));
        response
    }
}

/// An answer of our own.
#[must_use]
pub fn json(status: StatusCode, body: String) -> Response<ReplyBody> {
    let mut response = Response::new(Either::Left(Full::new(Bytes::from(body))));
    *response.status_mut() = status;
    let headers = response.headers_mut();
    headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
    // Who answered: a caller can tell the sidecar's own words from the gateway's.
    headers.insert(header::SIDECAR, HeaderValue::from_static(VERSION));
    response
}
