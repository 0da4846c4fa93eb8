//! One request from its head to its answer.

use std::net::SocketAddr;
use std::sync::Arc;

use fleetgate_wire::authority::Authority;
use fleetgate_wire::header;
use http::header::EXPECT;
use http::{HeaderMap, HeaderValue, Request, Response, StatusCode};
use http_body::Body;
use http_body_util::{Either, Full};
use hyper::body::Incoming;
use hyper::upgrade::OnUpgrade;

use super::guard;
use super::in_flight::InFlight;
use super::target::{self, Target};
use crate::forward::{self, OpenTunnel, TunnelAnswer};
use crate::inject;
use crate::keystore::NoKey;
use crate::local::{self, Sidecar};
use crate::refusal::Refusal;
use crate::respond::{self, Refused, ReplyBody};

/// What all connections of one listener share.
#[derive(Debug, Clone)]
pub(super) struct Front {
    pub(super) sidecar: Arc<Sidecar>,
    pub(super) in_flight: InFlight,
}

impl Front {
    /// Answers; whatever goes wrong becomes an answer too. `ours` is the address that the client reached.
    pub(super) async fn answer(self, mut request: Request<Incoming>, ours: SocketAddr) -> Response<ReplyBody> {
        let target = target::read(&request.method().clone(), request.uri_mut(), ours)
            .and_then(|target| guard::admit(request.headers(), &target, ours.ip()).map(|()| target));
        if let Ok(Target::Api) = target {
            let named = target::take_workload(request.uri_mut());
            if let Some(name) = named.and_then(|workload| HeaderValue::from_str(workload.as_str()).ok()) {
                request.headers_mut().insert(header::WORKLOAD, name);
            }
        }
        let path = request.uri().path().to_owned();
        let answer = match target {
            Ok(Target::Local) => {
                let mut answer = local::answer(&self.sidecar, &path).await;
                // Who asks whether we are ready and hears that we are not is no refused call.
                answer.extensions_mut().remove::<Refused>();
                answer
            }
            Ok(Target::Api) => self.call(request, &path).await,
            Ok(Target::Tunnel(to)) => {
                self.tunnel(&mut request, &to).await.unwrap_or_else(|refusal| respond::refuse(&refusal, &path))
            }
            Err(refusal) => {
                let waits = waits_for_continue(request.headers());
                refuse_politely(&refusal, Some(request.into_body()), waits, &path).await
            }
        };
        if let Some(Refused(reason)) = answer.extensions().get() {
            self.sidecar.metrics.error(reason);
        }
        answer
    }

    async fn call(&self, mut request: Request<Incoming>, path: &str) -> Response<ReplyBody> {
        let waits = waits_for_continue(request.headers());
        let query = request.uri().query().map(str::to_owned);
        let injected = inject::api_call(request.headers_mut(), query.as_deref(), &self.sidecar.keys.current());
        if let Err(problem) = injected {
            return refuse_politely(&no_key(&problem), Some(request.into_body()), waits, path).await;
        }
        match self.sidecar.gateway.call(request).await {
            Ok(response) => {
                self.learn(response.status());
                response.map(Either::Right)
            }
            Err(unforwarded) => {
                let refusal = unforwarded.refusal();
                tracing::warn!(reason = refusal.reason, path, "{}", refusal.message);
                refuse_politely(&refusal, unforwarded.body, waits, path).await
            }
        }
    }

    async fn tunnel(&self, request: &mut Request<Incoming>, to: &Authority) -> Result<Response<ReplyBody>, Refusal> {
        let headers = inject::tunnel(request.headers(), &self.sidecar.keys.current()).map_err(|p| no_key(&p))?;
        let answer = self.sidecar.gateway.connect(to, headers).await.map_err(|unforwarded| {
            let refusal = unforwarded.refusal();
            tracing::warn!(reason = refusal.reason, %to, "{}", refusal.message);
            refusal
        })?;
        match answer {
            TunnelAnswer::Refused(response) => {
                self.learn(response.status());
                Ok((*response).map(Either::Right))
            }
            TunnelAnswer::Open(gateway) => {
                self.relay(hyper::upgrade::on(request), gateway, to.clone());
                Ok(Response::new(Either::Left(Full::default())))
            }
        }
    }

    /// A key that the gateway refuses may have been exchanged meanwhile.
    fn learn(&self, status: StatusCode) {
        if matches!(status, StatusCode::UNAUTHORIZED | StatusCode::PROXY_AUTHENTICATION_REQUIRED) {
            self.sidecar.keys.refused();
        }
    }

    fn relay(&self, client: OnUpgrade, gateway: OpenTunnel, to: Authority) {
        let counted = self.in_flight.enter();
        tokio::spawn(async move {
            match client.await {
                Ok(client) => {
                    let report = forward::join(client, gateway).await;
                    tracing::debug!(%to, up = report.up, down = report.down, end = report.end.word(), "tunnel ended");
                }
                Err(error) => tracing::debug!(%to, "the client left before its tunnel began: {error}"),
            }
            drop(counted);
        });
    }
}

fn no_key(problem: &NoKey) -> Refusal {
    Refusal::new(StatusCode::SERVICE_UNAVAILABLE, "no_key", problem.to_string())
}

/// Who waits for "100 Continue" has sent no body, and must not be told to send one that nobody wants.
fn waits_for_continue(headers: &HeaderMap<HeaderValue>) -> bool {
    headers.contains_key(EXPECT)
}

/// Refuses once the client has finished sending, so that it is there to read the answer.
async fn refuse_politely<B>(
    refusal: &Refusal,
    body: Option<B>,
    waits_for_continue: bool,
    path: &str,
) -> Response<ReplyBody>
where
    B: Body<Data = bytes::Bytes> + Unpin,
{
    if let (Some(body), false) = (body, waits_for_continue) {
        forward::drain(body).await;
    }
    respond::refuse(refusal, path)
}
