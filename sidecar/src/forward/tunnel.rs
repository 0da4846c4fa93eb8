//! A client's `CONNECT`, chained to the gateway's.

use std::time::Duration;

use bytes::Bytes;
use fleetgate_wire::authority::Authority;
use fleetgate_wire::header;
use fleetgate_wire::tunnel::{TunnelLimits, TunnelReport, relay};
use http::header::HOST;
use http::{HeaderMap, HeaderValue, Method, Request, Response};
use http_body_util::Empty;
use hyper::body::Incoming;
use hyper::client::conn::http1;
use hyper::upgrade::Upgraded;
use hyper_util::rt::TokioIo;
use tokio::time::timeout;

use super::RelayedBody;
use super::dial::dial;
use super::failure::Failure;
use super::gateway::Gateway;

/// The gateway resolves and dials before it answers; longer than it may take for that.
const ANSWER_LIMIT: Duration = Duration::from_secs(30);

/// What the gateway said to a `CONNECT`.
#[derive(Debug)]
pub enum TunnelAnswer {
    /// The way is open.
    Open(Upgraded),
    /// It refused; its answer is the client's.
    Refused(Box<Response<RelayedBody>>),
}

impl Gateway {
    /// Asks the gateway for a tunnel.
    ///
    /// # Errors
    /// When the gateway cannot be reached or something else answers.
    pub async fn connect(&self, to: &Authority, headers: HeaderMap) -> Result<TunnelAnswer, Failure> {
        let stream = dial(&self.url).await.map_err(Failure::Dial)?;
        let gone = |error: hyper::Error| Failure::Gone(error.to_string());
        let (mut sender, connection) =
            http1::Builder::new().handshake::<_, Empty<Bytes>>(TokioIo::new(stream)).await.map_err(gone)?;
        tokio::spawn(connection.with_upgrades());

        let request = connect_request(to, headers).ok_or_else(|| Failure::Gone("no such target".to_owned()))?;
        let answer = timeout(ANSWER_LIMIT, sender.send_request(request)).await;
        let response = answer.map_err(|_| Failure::Silent)?.map_err(gone)?;
        Failure::check_marker(response.headers())?;
        if response.status().is_success() {
            return Ok(TunnelAnswer::Open(hyper::upgrade::on(response).await.map_err(gone)?));
        }
        Ok(TunnelAnswer::Refused(Box::new(relayed(response))))
    }
}

fn connect_request(to: &Authority, headers: HeaderMap) -> Option<Request<Empty<Bytes>>> {
    let target = to.to_string();
    let mut request = Request::new(Empty::new());
    *request.method_mut() = Method::CONNECT;
    *request.headers_mut() = headers;
    request.headers_mut().insert(HOST, HeaderValue::from_str(&target).ok()?);
    *request.uri_mut() = target.parse().ok()?;
    Some(request)
}

fn relayed(response: Response<Incoming>) -> Response<RelayedBody> {
    let (mut parts, body) = response.into_parts();
    header::strip_hop_by_hop(&mut parts.headers);
    Response::from_parts(parts, RelayedBody::new(body))
}

/// Joins both ends. Each end's bytes that came along with its head are still in it and go first.
pub(crate) async fn join(client: Upgraded, gateway: Upgraded) -> TunnelReport {
    relay(TokioIo::new(client), Bytes::new(), TokioIo::new(gateway), TunnelLimits::default()).await
}
