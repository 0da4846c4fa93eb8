//! One plain `http://` request to another machine: the stages of a tunnel, then HTTP on both sides instead of bytes.

use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, ready};

use bytes::Bytes;
use fleetgate_wire::authority::Authority;
use fleetgate_wire::header as names;
use fleetgate_wire::tunnel::TunnelEnd;
use http::header::{self, HeaderName};
use http::uri::{PathAndQuery, Scheme};
use http::{HeaderMap, HeaderValue, Request, Response, StatusCode, Uri, Version};
use http_body_util::BodyExt;
use hyper::body::{Body, Frame, Incoming, SizeHint};
use tokio::sync::oneshot;

use crate::egress::{Purpose, TunnelRefused, plain_authority};
use crate::front::{Answer, Door, PlainIntake};
use crate::gateway::Gateway;
use crate::ledger::Status;
use crate::respond::{Refusal, VERSION, set};
use crate::tunnel::{Asked, caller, open};

/// Forwards a request and passes its answer on as it comes.
///
/// # Errors
/// With the refusal to answer instead.
pub(crate) async fn serve(gateway: &Arc<Gateway>, intake: PlainIntake, door: Door) -> Result<Answer, Refusal> {
    if !gateway.config.forward_proxy.plain_http {
        return Err(TunnelRefused::PlainHttpOff.into());
    }
    let PlainIntake { request, peer, started_at } = intake;
    let caller = caller(gateway, &for_the_proxy(request.headers()), peer, door, started_at).await?;
    let user_agent = request.headers().get(header::USER_AGENT);
    let user_agent = user_agent.map(|value| String::from_utf8_lossy(value.as_bytes()).into_owned());
    let written = shown(request.uri());
    let parsed = check(&request).and_then(|()| Ok(plain_authority(&written)?));
    let host = parsed.as_ref().map_or(HeaderValue::from_static(""), host_header);
    let asked = Asked { written, parsed, user_agent, endpoint: "http", purpose: Purpose::PlainHttp, started_at };
    let (opened, mut row) = open(gateway, caller, peer, asked).await?;
    let (reported, id) = (row.opened(&opened), row.id());
    let (request, destination) = (forwarded(request, host), row.destination());
    let failed = |cause| TunnelRefused::Answer { destination: destination.clone(), cause };
    let (mut sender, exchange) = opened.exchange().await.map_err(failed)?;

    let outcome = Arc::new(Mutex::new(Outcome::default()));
    let (held, price) = (gateway.dialer.hold(), gateway.config.forward_proxy.price_per_gb);
    let (client, gone) = oneshot::channel::<()>();
    let watch = Watch { outcome: Arc::clone(&outcome), _client: client };
    tokio::spawn(async move {
        // Its sender is dropped, with the answer or without one.
        let report = exchange.run(async { drop(gone.await) }).await;
        let outcome = std::mem::take(&mut *lock(&outcome));
        let end = outcome.end(report.end);
        row.answered(outcome.status.map(|status| status.as_u16()), outcome.error);
        row.ended_as(end, report, price);
        drop(row);
        // Only now may the ledger be closed.
        drop(held);
    });

    let answer = match sender.send_request(request).await {
        Ok(answer) if answer.status() == StatusCode::SWITCHING_PROTOCOLS => {
            Err("it changes to another protocol, which nobody asked for".to_owned())
        }
        answer => answer.map_err(|error| error.to_string()),
    };
    let answer = answer.map_err(|cause| {
        let refused = failed(cause);
        lock(&watch.outcome).error = Some(refused.to_string());
        refused
    })?;
    lock(&watch.outcome).status = Some(answer.status());
    let mut answer = passed_on(answer, watch);
    set(answer.headers_mut(), names::REQUEST_ID, &id);
    if let Some(reported) = reported {
        set(answer.headers_mut(), names::REASON, &reported);
    }
    Ok(answer)
}

/// What is known of an answer, for its row.
#[derive(Debug, Default)]
struct Outcome {
    status: Option<StatusCode>,
    error: Option<String>,
    is_whole: bool,
}

impl Outcome {
    /// What an exchange came to whose connection ended so.
    fn end(&self, end: TunnelEnd) -> Status {
        match (end, &self.error, self.status) {
            (TunnelEnd::Closed | TunnelEnd::Broken(_), ..) if self.is_whole => Status::Success,
            (TunnelEnd::Closed | TunnelEnd::Broken(_), None, _) => Status::ClientGone,
            (TunnelEnd::Closed | TunnelEnd::Broken(_), Some(_), None) => Status::Failure,
            (TunnelEnd::Closed | TunnelEnd::Broken(_), Some(_), Some(_)) => Status::UpstreamCut,
            (end, ..) => Status::Tunnel(end.word()),
        }
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    // Nothing panics half-way through a change.
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Dropped with the answer's body, or with the request that nobody waits for any more: then the exchange ends.
#[derive(Debug)]
struct Watch {
    outcome: Arc<Mutex<Outcome>>,
    _client: oneshot::Sender<()>,
}

/// An answer's body on its way.
struct Passing {
    body: Incoming,
    watch: Watch,
}

impl Body for Passing {
    type Data = Bytes;
    type Error = hyper::Error;

    fn poll_frame(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, hyper::Error>>> {
        let frame = ready!(Pin::new(&mut self.body).poll_frame(cx));
        match &frame {
            Some(Err(error)) => lock(&self.watch.outcome).error = Some(format!("the answer was cut: {error}")),
            _ if frame.is_none() || self.body.is_end_stream() => lock(&self.watch.outcome).is_whole = true,
            _ => {}
        }
        Poll::Ready(frame)
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}

/// The headers that speak to the proxy. All others, `Authorization` among them, are the destination's.
fn for_the_proxy(headers: &HeaderMap) -> HeaderMap {
    let ours = |name: &HeaderName| *name == header::PROXY_AUTHORIZATION || name.as_str().starts_with(names::PREFIX);
    headers.iter().filter(|(name, _)| ours(name)).map(|(name, value)| (name.clone(), value.clone())).collect()
}

/// The destination as it is written, for its row. A name and password in it are nobody's business there.
fn shown(uri: &Uri) -> String {
    let written = uri.authority().map_or("", |authority| authority.as_str());
    written.rsplit_once('@').map_or_else(|| written.to_owned(), |(_, host)| format!("\u{2026}@{host}"))
}

/// Whether everybody would see the same request.
fn check(request: &Request<Incoming>) -> Result<(), TunnelRefused> {
    if request.uri().scheme() != Some(&Scheme::HTTP) {
        return Err(TunnelRefused::Scheme(request.uri().scheme_str().unwrap_or_default().to_owned()));
    }
    let headers = request.headers();
    let mut codings = headers.get_all(header::TRANSFER_ENCODING).iter();
    match (codings.next(), codings.next()) {
        (None, _) => {}
        (Some(coding), None) if coding.as_bytes().eq_ignore_ascii_case(b"chunked") => {
            // The library takes them apart when it knows of both; should one be left, it is not passed on.
            if headers.contains_key(header::CONTENT_LENGTH) {
                return Err(TunnelRefused::Framing("the request has both content-length and transfer-encoding"));
            }
        }
        _ => return Err(TunnelRefused::Framing("the request's transfer-encoding is something else than chunked")),
    }
    Ok(())
}

/// A destination as `Host` names it.
fn host_header(authority: &Authority) -> HeaderValue {
    let text = if authority.port() == 80 { authority.host().to_string() } else { authority.to_string() };
    // Canonical names and addresses are ASCII.
    HeaderValue::from_str(&text).unwrap_or(HeaderValue::from_static(""))
}

/// The request as the destination gets it: what belongs to this hop, to us, or to the proxy's door stays here.
fn forwarded(request: Request<Incoming>, host: HeaderValue) -> Request<Incoming> {
    let (mut head, body) = request.into_parts();
    let path = head.uri.path_and_query().cloned().unwrap_or_else(|| PathAndQuery::from_static("/"));
    let wants_trailers = named(&head.headers, &header::TE, "trailers");
    let trailer = head.headers.get(header::TRAILER).cloned();
    let headers = &mut head.headers;
    names::strip_hop_by_hop(headers);
    names::strip_ours(headers);
    strip_for_proxies(headers);
    // The body is asked for, and so sent, at once.
    headers.remove(header::EXPECT);
    headers.insert(header::HOST, host);
    headers.append(header::VIA, names::GATEWAY_VIA);
    let mut hop = String::from("close");
    if wants_trailers {
        headers.insert(header::TE, HeaderValue::from_static("trailers"));
        hop.push_str(", te");
    }
    if let Ok(hop) = HeaderValue::from_str(&hop) {
        headers.insert(header::CONNECTION, hop);
    }
    if !body.is_end_stream() && body.size_hint().exact().is_none() {
        // Said aloud: without it the library drops the body of a GET.
        headers.insert(header::TRANSFER_ENCODING, HeaderValue::from_static("chunked"));
        if let Some(trailer) = trailer {
            headers.insert(header::TRAILER, trailer);
        }
    }
    head.uri = Uri::from(path);
    head.version = Version::HTTP_11;
    Request::from_parts(head, body)
}

/// Credentials and whatever else is for proxies; `Proxy` itself sets `HTTP_PROXY` for the scripts of some servers.
fn strip_for_proxies(headers: &mut HeaderMap) {
    let is_theirs = |name: &&HeaderName| name.as_str() == "proxy" || name.as_str().starts_with("proxy-");
    let theirs: Vec<HeaderName> = headers.keys().filter(is_theirs).cloned().collect();
    for name in &theirs {
        headers.remove(name);
    }
}

fn named(headers: &HeaderMap, name: &HeaderName, word: &str) -> bool {
    let values = headers.get_all(name).iter().filter_map(|value| value.to_str().ok());
    values.flat_map(|value| value.split([',', ';'])).any(|part| part.trim().eq_ignore_ascii_case(word))
}

/// The answer as the client gets it.
fn passed_on(answer: Response<Incoming>, watch: Watch) -> Answer {
    let (mut head, body) = answer.into_parts();
    let trailer = head.headers.get(header::TRAILER).cloned();
    if head.headers.contains_key(header::TRANSFER_ENCODING) {
        // It says how long the answer is, whatever else says so too (RFC 9112 §6.3).
        head.headers.remove(header::CONTENT_LENGTH);
    }
    names::strip_hop_by_hop(&mut head.headers);
    // Nobody but this gateway speaks for it.
    names::strip_ours(&mut head.headers);
    if let Some(trailer) = trailer {
        head.headers.insert(header::TRAILER, trailer);
    }
    head.headers.append(header::VIA, names::GATEWAY_VIA);
    head.headers.insert(names::GATEWAY, HeaderValue::from_static(VERSION));
    head.version = Version::HTTP_11;
    head.extensions = http::Extensions::new();
    if body.is_end_stream() {
        lock(&watch.outcome).is_whole = true;
    }
    Response::from_parts(head, Passing { body, watch }.map_err(Into::into).boxed_unsync())
}
