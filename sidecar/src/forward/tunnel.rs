//! A client's `CONNECT`, chained to the gateway's.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use fleetgate_wire::authority::Authority;
use fleetgate_wire::header;
use fleetgate_wire::tunnel::{End, TunnelLimits, TunnelReport, relay, relay_tcp};
use http::header::HOST;
use http::{HeaderMap, HeaderValue, Method, Request, Response};
use http_body_util::Empty;
use hyper::client::conn::http1;
use hyper::upgrade::Upgraded;
use hyper_util::rt::TokioIo;
use tokio::net::TcpStream;
use tokio::time::timeout;

use super::answer_body::AnswerBody;
use super::api::Unforwarded;
use super::failure::Failure;
use super::gateway::Gateway;
use crate::metrics::{Entered, Metrics};

/// The gateway resolves and dials before it answers; longer than it may take for that.
const ANSWER_LIMIT: Duration = Duration::from_secs(30);

/// What the gateway said to a `CONNECT`.
#[derive(Debug)]
pub enum TunnelAnswer {
    /// The way is open.
    Open(OpenTunnel),
    /// It refused; its answer is the client's.
    Refused(Box<Response<AnswerBody>>),
}

/// The gateway's end of a tunnel; it counts as open as long as it exists.
#[derive(Debug)]
pub struct OpenTunnel {
    gateway: Upgraded,
    metrics: Arc<Metrics>,
    _counted: Entered,
}

impl Gateway {
    /// Asks the gateway for a tunnel.
    ///
    /// # Errors
    /// When the gateway cannot be reached or something else answers.
    pub async fn connect(&self, to: &Authority, headers: HeaderMap) -> Result<TunnelAnswer, Unforwarded> {
        let counted = self.metrics.tunnels.enter();
        let (endpoint, stream) = self.dial().await?;
        let answer = self.ask_for_tunnel(stream, to, headers, counted).await;
        answer.map_err(|failure| Unforwarded { failure, at: endpoint.url.clone(), body: None })
    }

    async fn ask_for_tunnel(
        &self,
        stream: TcpStream,
        to: &Authority,
        headers: HeaderMap,
        counted: Entered,
    ) -> Result<TunnelAnswer, Failure> {
        let gone = |error: hyper::Error| Failure::gone(&error);
        let (mut sender, connection) =
            http1::Builder::new().handshake::<_, Empty<Bytes>>(TokioIo::new(stream)).await.map_err(gone)?;
        tokio::spawn(connection.with_upgrades());

        let request = connect_request(to, headers).ok_or_else(|| Failure::Gone("no such target".to_owned()))?;
        let answer = timeout(ANSWER_LIMIT, sender.send_request(request)).await;
        let response = answer.map_err(|_| Failure::Silent)?.map_err(gone)?;
        Failure::check_marker(response.headers())?;
        if response.status().is_success() {
            let gateway = hyper::upgrade::on(response).await.map_err(gone)?;
            return Ok(TunnelAnswer::Open(OpenTunnel {
                gateway,
                metrics: Arc::clone(&self.metrics),
                _counted: counted,
            }));
        }
        let (mut parts, body) = response.into_parts();
        header::strip_hop_by_hop(&mut parts.headers);
        let body = AnswerBody::new(body, None, Arc::clone(&self.metrics), None);
        Ok(TunnelAnswer::Refused(Box::new(Response::from_parts(parts, body))))
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

/// Joins both ends. Each end's bytes that came along with its head are still in it and go first.
pub(crate) async fn join(client: Upgraded, tunnel: OpenTunnel) -> TunnelReport {
    let OpenTunnel { gateway, metrics, _counted: counted } = tunnel;
    let report = relay_between(client, gateway).await;
    metrics.tunnel_bytes_up.add(report.up);
    metrics.tunnel_bytes_down.add(report.down);
    drop(counted);
    report
}

/// Between the sockets themselves where both are TCP's, so that a reset is passed on; a client may also have come by a local socket.
async fn relay_between(client: Upgraded, gateway: Upgraded) -> TunnelReport {
    let limits = TunnelLimits::default();
    let client = match client.downcast::<TokioIo<TcpStream>>() {
        Ok(parts) => End { stream: parts.io.into_inner(), early: parts.read_buf },
        Err(client) => return relay(TokioIo::new(client), Bytes::new(), TokioIo::new(gateway), limits).await,
    };
    match gateway.downcast::<TokioIo<TcpStream>>() {
        Ok(parts) => {
            let gateway = End { stream: parts.io.into_inner(), early: parts.read_buf };
            relay_tcp(client, gateway, limits, std::future::pending()).await
        }
        Err(gateway) => relay(client.stream, client.early, TokioIo::new(gateway), limits).await,
    }
}
