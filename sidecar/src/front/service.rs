//! One request from its head to its answer.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use fleetgate_wire::authority::Authority;
use fleetgate_wire::header;
use fleetgate_wire::workload::Workload;
use http::header::EXPECT;
use http::{HeaderMap, HeaderValue, Request, Response, StatusCode};
use http_body::Body;
use http_body_util::{Either, Full};
use hyper::body::Incoming;
use hyper::upgrade::OnUpgrade;

use super::access::{Access, strip_cors};
use super::guard;
use super::in_flight::InFlight;
use super::sightings::Sightings;
use super::target::{self, Target};
use crate::forward::{self, OpenTunnel, TunnelAnswer};
use crate::inject::{self, Injected};
use crate::keystore::NoKey;
use crate::local::{self, Sidecar};
use crate::refusal::Refusal;
use crate::respond::{self, Refused, ReplyBody};
use crate::workload::{Caller, Callers, Facts};

/// How long a call waits for the name of its program, once on each connection: the look that began when the connection was taken
/// mostly takes 2 ms (on macOS, where commands must be started, a hundred), and a model's first word takes longer than any of these.
const NAME_PATIENCE: Duration = Duration::from_millis(if cfg!(target_os = "macos") { 200 } else { 10 });
/// Where workloads have keys of their own the name says whose money it is, and a call rather waits.
const KEY_PATIENCE: Duration = Duration::from_secs(2);

/// What all connections share.
#[derive(Debug, Clone)]
pub(super) struct Front {
    pub(super) sidecar: Arc<Sidecar>,
    pub(super) in_flight: InFlight,
    gate: Arc<Gate>,
}

#[derive(Debug)]
struct Gate {
    access: Access,
    sightings: Sightings,
}

impl Front {
    pub(super) fn new(sidecar: Arc<Sidecar>, access: Access) -> Self {
        let gate = Arc::new(Gate { access, sightings: Sightings::default() });
        Self { sidecar, in_flight: InFlight::new(), gate }
    }

    pub(super) fn callers(&self) -> &Arc<Callers> {
        &self.gate.access.callers
    }

    /// Answers; whatever goes wrong becomes an answer too. `ours` is the address that the client reached.
    pub(super) async fn answer(
        self,
        mut request: Request<Incoming>,
        caller: Arc<Caller>,
        ours: SocketAddr,
    ) -> Response<ReplyBody> {
        let target = self.sort(&mut request, &caller, ours).await;
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
            Ok(Target::Api) => self.call(request, &path, &caller).await,
            Ok(Target::Tunnel(to)) => {
                self.tunnel(&mut request, &to, &caller).await.unwrap_or_else(|refusal| respond::refuse(&refusal, &path))
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

    /// Where it wants to go, if it may. A web page hears no more than that it is one, not even whose sidecar this is.
    async fn sort(
        &self,
        request: &mut Request<Incoming>,
        caller: &Caller,
        ours: SocketAddr,
    ) -> Result<Target, Refusal> {
        let access = &self.gate.access;
        let target = target::read(&request.method().clone(), request.uri_mut(), ours, &access.hosts)?;
        guard::admit(request.headers(), &target, ours.ip(), &access.hosts)?;
        access.admit(caller).await?;
        if target != Target::Local {
            access.check_token(request.headers(), request.uri().query())?;
        }
        Ok(target)
    }

    async fn call(&self, mut request: Request<Incoming>, path: &str, caller: &Caller) -> Response<ReplyBody> {
        let waits = waits_for_continue(request.headers());
        let query = request.uri().query().map(str::to_owned);
        let facts = self.facts(request.headers(), caller).await;
        let injected = facts.and_then(|facts| {
            let keys = self.sidecar.keys.current();
            inject::api_call(request.headers_mut(), query.as_deref(), &keys, &facts).map_err(|problem| no_key(&problem))
        });
        match injected {
            Ok(injected) => self.note(&injected),
            Err(refusal) => return refuse_politely(&refusal, Some(request.into_body()), waits, path).await,
        }
        match self.sidecar.gateway.call(request).await {
            Ok(mut response) => {
                self.learn(response.status());
                strip_cors(response.headers_mut());
                response.map(Either::Right)
            }
            Err(unforwarded) => {
                let refusal = unforwarded.refusal();
                tracing::warn!(reason = refusal.reason, path, "{}", refusal.message);
                refuse_politely(&refusal, unforwarded.body, waits, path).await
            }
        }
    }

    async fn tunnel(
        &self,
        request: &mut Request<Incoming>,
        to: &Authority,
        caller: &Caller,
    ) -> Result<Response<ReplyBody>, Refusal> {
        let facts = self.facts(request.headers(), caller).await?;
        let (headers, injected) =
            inject::tunnel(request.headers(), &self.sidecar.keys.current(), &facts).map_err(|p| no_key(&p))?;
        self.note(&injected);
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

    /// Who calls, as far as it is known by now.
    async fn facts(&self, headers: &HeaderMap, caller: &Caller) -> Result<Facts, Refusal> {
        let keys = self.sidecar.keys.current();
        let names_itself = inject::claimed_workload(headers).is_some();
        let patience = if keys.workloads.is_empty() || names_itself { NAME_PATIENCE } else { KEY_PATIENCE };
        match caller.facts(patience).await {
            Some(facts) => Access::check_mesh(facts).map(|()| facts.clone()),
            None => Ok(Facts { user: self.callers().own_name_of(caller).await, process: None }),
        }
    }

    fn note(&self, injected: &Injected) {
        if let Some(sighting) = &injected.sighting {
            self.gate.sightings.note(sighting, injected.workload.as_ref().map_or("unknown", Workload::as_str));
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
