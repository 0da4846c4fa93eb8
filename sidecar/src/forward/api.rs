//! An API call to the gateway: bodies stream both ways, whatever their length.

use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use bytes::Bytes;
use fleetgate_wire::header;
use http::header::{CONNECTION, EXPECT, HOST, HeaderValue, TE, TRAILER};
use http::uri::PathAndQuery;
use http::{HeaderMap, Method, Request, Response, Uri, Version};
use http_body::{Body, Frame, SizeHint};
use hyper::body::Incoming;

use super::RelayedBody;
use super::answer_body::AnswerBody;
use super::failure::Failure;
use super::gateway::Gateway;
use super::lent_body::{Lender, LentBody, Returned};
use super::line::{Line, Unanswered};
use super::url::GatewayUrl;
use crate::metrics::Metrics;
use crate::refusal::Refusal;

/// How often a gateway may close a connection that it has just taken, before a byte was sent, until the client is told.
const CLOSED_AT_ONCE: usize = 3;

/// The body of what goes to the gateway. None at all for our own questions.
#[derive(Debug, Default)]
pub(super) struct Outgoing(Option<(LentBody<RelayedBody>, Arc<Metrics>)>);

impl Body for Outgoing {
    type Data = Bytes;
    type Error = hyper::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, hyper::Error>>> {
        let Some((body, metrics)) = &mut self.0 else { return Poll::Ready(None) };
        let polled = Pin::new(body).poll_frame(context);
        if let Poll::Ready(Some(Ok(frame))) = &polled {
            metrics.call_bytes_up.add(frame.data_ref().map_or(0, Bytes::len) as u64);
        }
        polled
    }

    fn is_end_stream(&self) -> bool {
        self.0.as_ref().is_none_or(|(body, _)| body.is_end_stream())
    }

    fn size_hint(&self) -> SizeHint {
        self.0.as_ref().map_or_else(|| SizeHint::with_exact(0), |(body, _)| body.size_hint())
    }
}

/// A call that did not get through.
#[derive(Debug)]
pub struct Unforwarded {
    /// Why.
    pub failure: Failure,
    /// Where.
    pub at: GatewayUrl,
    /// What the client still sends, when it could be saved.
    pub body: Option<RelayedBody>,
}

impl Unforwarded {
    /// The answer for the client.
    #[must_use]
    pub fn refusal(&self) -> Refusal {
        self.failure.refusal(&self.at)
    }
}

impl Gateway {
    /// Passes a call on and gives back the answer's head as soon as it is there. Dropping the future or the answer's body ends the call
    /// at the gateway too.
    ///
    /// A call is sent a second time only when the gateway cannot have begun it: nothing of it was written, or a kept connection
    /// broke before any answer and the gateway had not got the body, without which it begins nothing (or the method changes nothing
    /// at all).
    ///
    /// # Errors
    /// When no gateway can be reached or something else answers.
    pub async fn call(&self, request: Request<Incoming>) -> Result<Response<AnswerBody>, Unforwarded> {
        let counted = self.metrics.calls.enter();
        let (mut parts, body) = request.into_parts();
        let wants_trailers = wants_trailers(&parts.headers);
        strip_hop_by_hop(&mut parts.headers);
        if wants_trailers {
            parts.headers.insert(TE, HeaderValue::from_static("trailers"));
            parts.headers.insert(CONNECTION, HeaderValue::from_static("te"));
        }
        // Our own server has said "continue" by the time that a byte of the body goes on.
        parts.headers.remove(EXPECT);
        parts.uri = Uri::from(without_key(parts.uri.path_and_query()));
        parts.version = Version::HTTP_11;
        let (mut outgoing, mut lender) = self.outgoing(RelayedBody::new(body));
        (*outgoing.method_mut(), *outgoing.uri_mut()) = (parts.method, parts.uri);
        *outgoing.headers_mut() = parts.headers;

        let (mut closed_at_once, mut is_repeated) = (0, false);
        loop {
            let mut line = match self.line().await {
                Ok(line) => line,
                Err(mut unreached) => {
                    drop(outgoing);
                    unreached.body = lender.returned().map(|returned| returned.body);
                    return Err(unreached);
                }
            };
            outgoing.headers_mut().insert(HOST, line.endpoint.url.host_header());
            let head = (line.is_reused && !is_repeated).then(|| Head::of(&outgoing));
            let failure = match line.send(outgoing).await {
                Ok(response) => match Failure::check_marker(response.headers()) {
                    Ok(()) => {
                        let (parts, body) = self.accept(response, &line, wants_trailers).into_parts();
                        let body = AnswerBody::new(body, Some(line), Arc::clone(&self.metrics), Some(counted));
                        return Ok(Response::from_parts(parts, body));
                    }
                    Err(failure) => {
                        line.endpoint.mark_away(&failure);
                        failure
                    }
                },
                Err(Unanswered::Unsent(request)) if line.is_reused || closed_at_once < CLOSED_AT_ONCE => {
                    closed_at_once += usize::from(!line.is_reused);
                    self.metrics.retries.add(1);
                    outgoing = *request;
                    continue;
                }
                Err(unanswered) => unanswered.into_failure(),
            };
            // Whatever broke this connection has probably broken the others.
            line.endpoint.flush();
            let returned = lender.returned();
            match (head, returned) {
                (Some(head), Some(returned)) if head.may_be_repeated(&returned) && is_broken(&failure) => {
                    is_repeated = true;
                    self.metrics.retries.add(1);
                    (outgoing, lender) = self.outgoing(returned.body);
                    head.put_on(&mut outgoing);
                }
                (_, returned) => {
                    let body = returned.map(|returned| returned.body);
                    return Err(Unforwarded { failure, at: line.endpoint.url.clone(), body });
                }
            }
        }
    }

    fn outgoing(&self, body: RelayedBody) -> (Request<Outgoing>, Lender<RelayedBody>) {
        let (lent, lender) = Lender::lend(body);
        (Request::new(Outgoing(Some((lent, Arc::clone(&self.metrics))))), lender)
    }

    /// A gateway's answer, as the client gets it.
    fn accept(&self, mut response: Response<Incoming>, line: &Line, wants_trailers: bool) -> Response<Incoming> {
        line.answered();
        if response.headers().get(CONNECTION).is_some_and(|value| value == "close") {
            // It is about to end: what is idle would break at the next call.
            line.endpoint.flush();
        }
        strip_hop_by_hop(response.headers_mut());
        if !wants_trailers {
            response.headers_mut().remove(TRAILER);
        }
        response
    }
}

fn is_broken(failure: &Failure) -> bool {
    matches!(failure, Failure::Gone(_))
}

/// What a second sending needs of the first.
struct Head {
    method: Method,
    uri: Uri,
    headers: HeaderMap,
}

impl Head {
    fn of(request: &Request<Outgoing>) -> Self {
        Self { method: request.method().clone(), uri: request.uri().clone(), headers: request.headers().clone() }
    }

    /// Whether the gateway cannot have begun the call, or may begin it twice.
    fn may_be_repeated(&self, returned: &Returned<RelayedBody>) -> bool {
        returned.is_whole && (self.method.is_safe() || !returned.body.is_end_stream())
    }

    fn put_on(self, request: &mut Request<Outgoing>) {
        (*request.method_mut(), *request.uri_mut()) = (self.method, self.uri);
        *request.headers_mut() = self.headers;
    }
}

/// Names the fields behind a chunked body; whoever relays the body relays them too (RFC 9110 §6.5), so this one stays.
fn strip_hop_by_hop(headers: &mut HeaderMap) {
    let announced: Vec<HeaderValue> = headers.get_all(TRAILER).iter().cloned().collect();
    header::strip_hop_by_hop(headers);
    for names in announced {
        headers.append(TRAILER, names);
    }
}

fn wants_trailers(headers: &HeaderMap) -> bool {
    let words = headers.get_all(TE).iter().filter_map(|value| value.to_str().ok()).flat_map(|value| value.split(','));
    words.into_iter().any(|word| word.trim().eq_ignore_ascii_case("trailers"))
}

/// Google's clients put their credential into the query.
fn without_key(target: Option<&PathAndQuery>) -> PathAndQuery {
    let Some(target) = target else { return PathAndQuery::from_static("/") };
    let Some(query) = target.query() else { return target.clone() };
    let rebuilt = match header::strip_key_parameter(query) {
        Some(rest) => format!("{}?{rest}", target.path()),
        None => target.path().to_owned(),
    };
    // A part of a valid target is one.
    rebuilt.parse().unwrap_or_else(|_| PathAndQuery::from_static("/"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_key_leaves_the_query() {
        for (target, kept) in [
            ("/v1/messages?beta=true", "/v1/messages?beta=true"),
            (
                "/v1beta/models/m:streamGenerateContent?alt=sse&key=AIza",
                "/v1beta/models/m:streamGenerateContent?alt=sse",
            ),
            ("/x?key=AIza", "/x"),
            ("/x", "/x"),
        ] {
            assert_eq!(without_key(Some(&target.parse().unwrap())), kept);
        }
    }
}
