//! A connection in use: it takes one request, and goes back to its gateway's pool when the answer has been read.

use std::sync::Arc;

use http::{Request, Response};
use hyper::body::Incoming;

use super::api::Outgoing;
use super::endpoint::Endpoint;
use super::failure::Failure;
use super::pool::Wire;

/// A connection to one of the gateways.
#[derive(Debug)]
pub(super) struct Line {
    pub(super) endpoint: Arc<Endpoint>,
    wire: Wire,
    pub(super) is_reused: bool,
}

/// How sending failed.
#[derive(Debug)]
pub(super) enum Unanswered {
    /// The connection was closed before a byte of the request was written: here it is again.
    Unsent(Box<Request<Outgoing>>),
    /// The connection broke when the request, or a part of it, was on its way.
    Broken(Failure),
}

impl Unanswered {
    pub(super) fn into_failure(self) -> Failure {
        match self {
            Self::Unsent(_) => Failure::Gone("it closed the connection at once".to_owned()),
            Self::Broken(failure) => failure,
        }
    }
}

impl Line {
    pub(super) fn fresh(endpoint: Arc<Endpoint>, wire: Wire) -> Self {
        Self { endpoint, wire, is_reused: false }
    }

    pub(super) fn reused(endpoint: Arc<Endpoint>, wire: Wire) -> Self {
        Self { endpoint, wire, is_reused: true }
    }

    /// Sends a request and waits for its answer's head.
    pub(super) async fn send(&mut self, request: Request<Outgoing>) -> Result<Response<Incoming>, Unanswered> {
        self.wire.sender.try_send_request(request).await.map_err(|mut error| match error.take_message() {
            // hyper gives a request back only while it stood in its queue: nothing of it was encoded.
            Some(request) => Unanswered::Unsent(Box::new(request)),
            None => Unanswered::Broken(Failure::gone(&error.into_error())),
        })
    }

    /// A gateway's answer came over it.
    pub(super) fn answered(&self) {
        self.endpoint.answered(self.wire.generation);
    }

    /// The answer has been read to its end.
    pub(super) fn give_back(self) {
        self.endpoint.give_back(self.wire);
    }
}
