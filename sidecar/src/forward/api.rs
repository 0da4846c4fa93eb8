//! An API call to the gateway: bodies stream both ways, whatever their length.

use std::pin::Pin;
use std::task::{Context, Poll};

use bytes::Bytes;
use fleetgate_wire::header;
use http::header::{EXPECT, HOST};
use http::uri::PathAndQuery;
use http::{Request, Response, Version};
use http_body::{Body, Frame, SizeHint};
use hyper::body::Incoming;

use super::RelayedBody;
use super::failure::Failure;
use super::gateway::Gateway;
use super::lent_body::{Lender, LentBody};

/// The body of what goes to the gateway. None at all for our own questions.
#[derive(Debug, Default)]
pub(super) struct Outgoing(Option<LentBody<RelayedBody>>);

impl Body for Outgoing {
    type Data = Bytes;
    type Error = hyper::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, hyper::Error>>> {
        self.0.as_mut().map_or(Poll::Ready(None), |body| Pin::new(body).poll_frame(context))
    }

    fn is_end_stream(&self) -> bool {
        self.0.as_ref().is_none_or(Body::is_end_stream)
    }

    fn size_hint(&self) -> SizeHint {
        self.0.as_ref().map_or_else(|| SizeHint::with_exact(0), Body::size_hint)
    }
}

/// A call that did not get through.
#[derive(Debug)]
pub struct Unforwarded {
    /// Why.
    pub failure: Failure,
    /// What the client still sends, when it could be saved.
    pub body: Option<RelayedBody>,
}

impl Gateway {
    /// Passes a call on and gives back the answer's head as soon as it is there. Dropping the future or the answer's body ends the call
    /// at the gateway too.
    ///
    /// # Errors
    /// When the gateway cannot be reached or something else answers.
    pub async fn call(&self, request: Request<Incoming>) -> Result<Response<RelayedBody>, Unforwarded> {
        let (mut parts, body) = request.into_parts();
        header::strip_hop_by_hop(&mut parts.headers);
        // Our own server has said "continue" by the time that a byte of the body goes on.
        parts.headers.remove(EXPECT);
        parts.headers.insert(HOST, self.url.host_header());

        let (lent, lender) = Lender::lend(RelayedBody::new(body));
        let mut outgoing = Request::new(Outgoing(Some(lent)));
        *outgoing.method_mut() = parts.method;
        *outgoing.uri_mut() = self.url.uri(without_key(parts.uri.path_and_query()));
        *outgoing.version_mut() = Version::HTTP_11;
        *outgoing.headers_mut() = parts.headers;

        let answered = self.client.request(outgoing).await.map_err(|error| Failure::of_client(&error));
        let answered = answered.and_then(|response| Failure::check_marker(response.headers()).map(|()| response));
        match answered {
            Ok(response) => {
                let (mut parts, body) = response.into_parts();
                header::strip_hop_by_hop(&mut parts.headers);
                Ok(Response::from_parts(parts, RelayedBody::new(body)))
            }
            Err(failure) => Err(Unforwarded { failure, body: lender.returned() }),
        }
    }
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
