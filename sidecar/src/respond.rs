//! The only place that writes an error.

use bytes::Bytes;
use fleetgate_wire::endpoint::dialect_of_path;
use fleetgate_wire::error_body::ErrorBody;
use fleetgate_wire::header;
use http::{HeaderValue, Response, StatusCode, header::CONTENT_TYPE};
use http_body_util::{Either, Full};

use crate::VERSION;
use crate::forward::AnswerBody;
use crate::refusal::Refusal;

/// The body of everything that leaves towards a client: written here, or relayed from the gateway.
pub type ReplyBody = Either<Full<Bytes>, AnswerBody>;

/// Lies among the extensions of every refusal, for whoever counts them.
#[derive(Debug, Clone, Copy)]
pub struct Refused(pub &'static str);

/// Writes a refusal in the dialect of the path that was asked for.
#[must_use]
pub fn refuse(refusal: &Refusal, path: &str) -> Response<ReplyBody> {
    let Refusal { status, reason, message } = refusal;
    let body = ErrorBody { status: status.as_u16(), kind: reason, code: None, details: None, param: None, message };
    let mut response = json(*status, body.render(dialect_of_path(path)));
    response.headers_mut().insert(header::REASON, HeaderValue::from_static(reason));
    response.extensions_mut().insert(Refused(reason));
    response
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
