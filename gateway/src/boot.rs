//! Wires the stages together: the only place that sees all of them.

mod follow;
mod rehearsal;

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use fleetgate_wire::endpoint::Dialect;
use fleetgate_wire::header as names;
use http::{HeaderValue, Request, StatusCode, header};
use http_body_util::{BodyExt, Full};
use hyper::body::Incoming;
use hyper_util::service::TowerToHyperService;
use jiff::Timestamp;
use tokio::sync::{Mutex, watch};

use follow::{follow, forget_replaced, unless_away};
pub use rehearsal::Rehearsal;

use crate::admin::{self, Admin, Changed, Peer};
use crate::admit::budget::{BudgetOptions, Budgets};
use crate::admit::rate::{Funds, Rates};
use crate::auth::{Directory, Keyring, Mesh};
use crate::config::{Config, Finding, OnClientGone, Severity};
use crate::egress::{Dialer, Network, System};
use crate::front::{
    Answer, Arrival, Door, Intake, ListenError, Listener, MeshListenError, MeshListeners, PlainIntake, Socks,
    TunnelIntake, Workers, accept_socks, serve,
};
use crate::gateway::Gateway;
use crate::ledger::{Leasable, LeasedBudgets, LeasedRates, Ledger, LedgerError};
use crate::limits::{LimitBook, levels, load_budgets, load_rates, remember_bills, watch_fleet};
use crate::metrics::{CallLabels, DeploymentReport, LedgerPulse, Metrics};
use crate::notify::Notifier;
use crate::price::{CatalogueError, Pricer, catalogue_at_start, keep_fresh};
use crate::provider::{Client, Upstream};
use crate::respond::{Refusal, VERSION};
use crate::route::Router;
use crate::trace::{Post, Tracer};
use crate::witness::Visit;
use crate::{call, plain, tunnel};

/// A gateway that listens.
#[derive(Debug)]
pub(crate) struct Booted {
    gateway: Gateway,
    listeners: Vec<Listener>,
    proxy_listeners: Vec<Listener>,
    socks_listeners: Vec<Listener>,
    mesh: Option<MeshListeners>,
    admin: axum::Router,
    workers: Workers,
}

/// Why the gateway cannot start.
#[derive(Debug, thiserror::Error)]
pub(crate) enum BootError {
    /// An address cannot be listened on.
    #[error(transparent)]
    Listen(#[from] ListenError),
    /// There is no address in the mesh, or it cannot be listened on.
    #[error(transparent)]
    Mesh(#[from] MeshListenError),
    /// The ledger cannot be opened.
    #[error(transparent)]
    Ledger(#[from] LedgerError),
    /// The built-in catalogue cannot be read.
    #[error(transparent)]
    Catalogue(#[from] CatalogueError),
    /// TLS cannot be set up.
    #[error("cannot set up TLS for providers: {0}")]
    Tls(#[source] std::io::Error),
    /// The system has no threads or descriptors left.
    #[error(
        "cannot start the threads that serve connections: {0}; look at the limits of this account (ulimit -u, ulimit -n)"
    )]
    Workers(#[source] std::io::Error),
}

/// What the providers' room has to say of a configuration.
#[must_use]
pub(crate) fn review(config: &Config) -> Vec<Finding> {
    let mut findings = Vec::new();
    for deployment in &config.deployments {
        let (severity, message) = match Upstream::resolve(deployment, &config.environment) {
            // LiteLLM drops such an entry and serves the others.
            Err(error) => (Severity::Warning, format!("{}: {error}; this entry is left out", deployment.model_name)),
            Ok(upstream) => match upstream.missing_key() {
                Some(variables) if deployment.mock_response.is_none() => {
                    let name = &deployment.model_name;
                    (
                        Severity::Warning,
                        format!("{name}: no key for {}; set api_key or {variables}", upstream.provider()),
                    )
                }
                _ => continue,
            },
        };
        findings.push(Finding { severity, origin: deployment.origin.clone(), message });
    }
    findings
}

/// Waits for this machine's address in the mesh, if that is to be served.
async fn open_mesh(config: &Config, notifier: &Notifier) -> Result<Option<MeshListeners>, MeshListenError> {
    let Some(door) = &config.mesh_door else { return Ok(None) };
    let tell = |why: &str, left: Duration| {
        tracing::warn!(why, seconds = left.as_secs(), "waiting for this machine's address in the mesh");
        notifier.waiting(why, left);
    };
    MeshListeners::open(door, &config.mesh, tell).await.map(Some)
}

/// Opens the ledger and the listeners. `config_warnings` is how many the configuration gave.
///
/// # Errors
/// When one of them cannot be opened.
pub(crate) async fn boot(config: Config, config_warnings: usize, notifier: &Notifier) -> Result<Booted, BootError> {
    boot_in(Arc::new(System), config, config_warnings, notifier).await
}

/// The same, with tunnels through this network.
async fn boot_in(
    network: Arc<dyn Network>,
    config: Config,
    config_warnings: usize,
    notifier: &Notifier,
) -> Result<Booted, BootError> {
    let mesh = open_mesh(&config, notifier).await?;
    let bind = |addresses: &[SocketAddr]| {
        addresses.iter().map(|address| Listener::bind(*address)).collect::<Result<Vec<_>, _>>()
    };
    let (listeners, proxy_listeners) = (bind(&config.listen)?, bind(&config.forward_proxy.listen)?);
    let socks_listeners = bind(&config.forward_proxy.socks5_listen)?;
    let ledger = Ledger::open(&config.database, &config.state_directory, config.durability).await?;
    let keyring = Arc::new(Keyring::new(
        config.master_key.as_ref(),
        unless_away(ledger.keys().await, || ledger.remembered_keys())?,
    ));
    let directory = Arc::new(Directory::new(unless_away(ledger.entities().await, || ledger.remembered_entities())?));
    let router = Arc::new(Router::new(&config.deployments, &config.routing));
    let upstreams = config.deployments.iter().map(|entry| Upstream::resolve(entry, &config.environment).ok());
    let upstreams: Arc<[Option<Upstream>]> = upstreams.collect();
    let metrics = Arc::new(Metrics::default());
    watch_deployments(&metrics, Arc::clone(&router), Arc::clone(&upstreams));
    watch_ledger(&metrics, ledger.clone());
    let client = Client::new().map_err(BootError::Tls)?;
    let cores = std::thread::available_parallelism().map_or(1, std::num::NonZero::get);
    let workers = Workers::start(cores).map_err(BootError::Workers)?;
    let tracer = Arc::new(Tracer::start(config.otel.as_ref(), Collector(client.clone())));
    tracer.count_in(&metrics);
    let in_mesh: Vec<SocketAddr> = mesh.iter().flat_map(MeshListeners::addresses).collect();
    let listening = listeners.iter().chain(&proxy_listeners).chain(&socks_listeners).map(Listener::address);
    let listening = listening.chain(in_mesh.iter().copied()).collect();
    let dialer =
        Arc::new(Dialer::new(network, config.egress.clone(), &config.forward_proxy, ledger.is_shared(), listening));
    let pricer = Pricer::new(catalogue_at_start(&config.catalogue)?).with_adjustments(config.price_adjustments.clone());
    let pricer = Arc::new(pricer);
    tokio::spawn(keep_fresh(Arc::clone(&pricer), client.clone(), config.catalogue.clone()));
    let budgets = Budgets::new(BudgetOptions::from(&config.budgets));
    let rates = Rates::new(config.rates.iter().cloned(), if ledger.is_shared() { Funds::Leased } else { Funds::Own });
    let rates = rates.with_days(BudgetOptions::from(&config.budgets).calendar, Timestamp::now());
    let book = Arc::new(LimitBook {
        keyring: Arc::clone(&keyring),
        directory: Arc::clone(&directory),
        configured: config.budgets.budgets.clone(),
        budgets: budgets.clone(),
        rates: rates.clone(),
        leased: ledger.is_shared(),
        rated: std::sync::Mutex::default(),
    });
    book.refresh();
    remember_bills(&budgets, &ledger).await;
    let watched = Arc::clone(&book);
    metrics.watch(move |page| page.budgets(&levels(&watched)));
    let changing = Arc::new(Mutex::new(()));
    follow(&ledger, &book, Arc::clone(&changing));
    let calendar = BudgetOptions::from(&config.budgets).calendar;
    let engines: Vec<Arc<dyn Leasable>> = vec![
        Arc::new(LeasedBudgets::new(budgets.clone(), calendar, config.counts_unknown)),
        Arc::new(LeasedRates::new(rates.clone())),
        dialer.leasable(),
    ];
    let address = in_mesh.first().copied().or_else(|| listeners.first().map(Listener::address));
    let address = address.map(|address| address.to_string()).unwrap_or_default();
    ledger.share(engines, config.lease_ttl, address).await;
    tokio::spawn(load_budgets(budgets.clone(), ledger.clone(), config.counts_unknown));
    tokio::spawn(load_rates(rates.clone(), ledger.clone()));
    if ledger.is_shared() {
        tokio::spawn(watch_fleet(budgets.clone(), ledger.clone(), config.counts_unknown));
    }
    let replacing = Arc::clone(&changing);
    let repriced = budgets.clone();
    let admin = admin::router(Admin {
        changed: Changed(Box::new({
            let book = Arc::clone(&book);
            move || book.refresh()
        })),
        budgets: budgets.clone(),
        keyring: Arc::clone(&keyring),
        directory: Arc::clone(&directory),
        ledger: ledger.clone(),
        models: Arc::clone(&router),
        pricer: Arc::clone(&pricer),
        repriced: Changed(Box::new(move || repriced.reload())),
        settings: config.settings.clone(),
        config_warnings,
        metrics: Arc::clone(&metrics),
        counts_unknown: config.counts_unknown,
        metrics_open: config.metrics_open,
        dialer: Arc::clone(&dialer),
        mesh: mesh.as_ref().map(MeshListeners::status),
        started_at: Timestamp::now(),
        changing,
    });
    tokio::spawn(forget_replaced(ledger.clone(), book, replacing));
    let gateway = Gateway {
        keyring,
        directory,
        mesh: Mesh::new(config.mesh.clone()),
        metrics,
        tracer,
        router,
        upstreams,
        client,
        pricer,
        budgets,
        refusals: Arc::default(),
        rates,
        ledger,
        dialer,
        config: Arc::new(config),
    };
    Ok(Booted { gateway, listeners, proxy_listeners, socks_listeners, mesh, admin, workers })
}

/// Has the ledger's state in the metrics.
fn watch_ledger(metrics: &Metrics, ledger: Ledger) {
    metrics.interrupted(&CallLabels::default(), ledger.load().interrupted as u64);
    metrics.watch_ledger(move || {
        let load = ledger.load();
        LedgerPulse {
            trouble: ledger.trouble(),
            spool_depth: Some(load.waiting_rows),
            newest_row_at: load.newest_row_at,
        }
    });
}

/// Has the deployments in the metrics that can be called.
fn watch_deployments(metrics: &Metrics, router: Arc<Router>, upstreams: Arc<[Option<Upstream>]>) {
    metrics.watch(move |page| {
        let reports: Vec<_> = router
            .states()
            .filter_map(|(deployment, state, counts)| {
                let upstream = upstreams.get(deployment.index)?.as_ref()?;
                let names = [upstream.model_name(&deployment.model), &*deployment.id, upstream.provider()];
                Some(DeploymentReport { names, state, counts })
            })
            .collect();
        page.deployments(&reports);
    });
}

/// How long a collector may take to answer.
const COLLECTOR_TIMEOUT: Duration = Duration::from_secs(10);

/// Sends spans through the providers' client.
struct Collector(Client);

impl Post for Collector {
    async fn post(&self, request: Request<Full<Bytes>>) -> Result<StatusCode, String> {
        let reply = self.0.send(request, COLLECTOR_TIMEOUT).await.map_err(|error| error.to_string())?;
        Ok(reply.head.status)
    }
}

impl Booted {
    /// Where it listens, with the real ports: the API's addresses, then the forward proxy's, those for SOCKS5, and those in the
    /// mesh.
    pub(crate) fn addresses(&self) -> impl Iterator<Item = SocketAddr> + '_ {
        let own =
            self.listeners.iter().chain(&self.proxy_listeners).chain(&self.socks_listeners).map(Listener::address);
        own.chain(self.mesh.iter().flat_map(MeshListeners::addresses))
    }

    /// Serves until `stop` resolves, finishes what is under way, and writes the last rows.
    pub(crate) async fn run(self, stop: impl Future<Output = ()>) {
        let Self { gateway, listeners, proxy_listeners, socks_listeners, mesh, admin, workers } = self;
        let workers = Arc::new(workers);
        let apart = || Arc::new(Gateway { client: gateway.client.apart(), ..gateway.clone() });
        let gateways: Vec<Arc<Gateway>> = (0..workers.count()).map(|_| apart()).collect();
        // Boxed: the server hands each of these on several times, and they are large.
        let api = gateways.iter().cloned().map(|gateway| {
            let admin = Arc::new(admin.clone());
            move |request, peer| Box::pin(answer(Arc::clone(&gateway), Arc::clone(&admin), request, peer))
        });
        let proxy = gateways
            .iter()
            .cloned()
            .map(|gateway| move |request, peer| Box::pin(forward(Arc::clone(&gateway), request, peer)));
        let (api, proxy): (Arc<[_]>, Arc<[_]>) = (api.collect(), proxy.collect());
        let socks_handler = Arc::new(gateway.clone());
        let socks = move |stream, peer| {
            let gateway = Arc::clone(&socks_handler);
            // From now on: whoever stops the gateway waits for its row.
            let held = gateway.dialer.hold();
            tokio::spawn(async move { tunnel::serve_socks(&gateway, stream, peer, &held).await });
        };
        let also_socks = gateway.config.forward_proxy.socks5.then(|| Arc::new(socks.clone()) as Socks);
        let (tell, told) = watch::channel(());
        let stop_both = async {
            stop.await;
            drop(tell);
        };
        // An error says that the sender is gone, which is what is waited for.
        let stopped = |mut told: watch::Receiver<()>| async move { drop(told.changed().await) };
        let in_mesh = {
            let (workers, api, stopped) = (Arc::clone(&workers), Arc::clone(&api), stopped(told.clone()));
            async move {
                if let Some(mesh) = mesh {
                    mesh.serve(workers, api, stopped).await;
                }
            }
        };
        tokio::join!(
            stop_both,
            in_mesh,
            serve(listeners, Arc::clone(&workers), Arc::clone(&api), None, stopped(told.clone())),
            serve(proxy_listeners, Arc::clone(&workers), proxy, also_socks, stopped(told.clone())),
            accept_socks(socks_listeners, socks, stopped(told)),
        );
        gateway.dialer.stop().await;
        // An answer that is read to its end for a client who left is dropped here, and so writes its row.
        if let Some(workers) = Arc::into_inner(workers) {
            drop(tokio::task::spawn_blocking(|| workers.stop()).await);
        }
        gateway.ledger.close().await;
        // Rows first: the collector may be away.
        gateway.tracer.close().await;
    }
}

async fn answer(
    gateway: Arc<Gateway>,
    admin: Arc<axum::Router>,
    request: Request<Incoming>,
    peer: SocketAddr,
) -> Answer {
    let arrival = Arrival::sort(request, peer);
    let dialect = arrival.dialect();
    let mut visit = None;
    let result = match arrival {
        Arrival::Call(intake) => {
            let visit = visit.insert(Visit::new(intake.endpoint));
            serve_call(&gateway, intake, visit).await
        }
        // Boxed, so that a call has no room for what it is not.
        Arrival::Tunnel(intake) => return Box::pin(connect(&gateway, intake, Door::Api)).await,
        Arrival::AbsoluteForm(intake) => return Box::pin(pass_on(&gateway, intake, Door::Api)).await,
        Arrival::Other(request) => Ok(Box::pin(manage(axum::Router::clone(&admin), request, peer)).await),
    };
    let mut answer = result.unwrap_or_else(|refusal| refusal.answer(dialect));
    if let Some(visit) = visit {
        visit.end(&gateway, &answer);
    }
    answer.headers_mut().insert(names::GATEWAY, HeaderValue::from_static(VERSION));
    answer
}

/// What the forward proxy's port serves: what is meant for other machines. No path and no host name has a meaning of its own there.
async fn forward(gateway: Arc<Gateway>, request: Request<Incoming>, peer: SocketAddr) -> Answer {
    let method = request.method().clone();
    match Arrival::sort(request, peer) {
        Arrival::Tunnel(intake) => connect(&gateway, intake, Door::Proxy).await,
        Arrival::AbsoluteForm(intake) => pass_on(&gateway, intake, Door::Proxy).await,
        Arrival::Call(_) | Arrival::Other(_) => closing(&Refusal::ProxyOnly(method.to_string())),
    }
}

async fn connect(gateway: &Arc<Gateway>, intake: TunnelIntake, door: Door) -> Answer {
    match tunnel::serve(gateway, intake, door).await {
        Ok(mut answer) => {
            answer.headers_mut().insert(names::GATEWAY, HeaderValue::from_static(VERSION));
            answer
        }
        Err(refusal) => closing(&refusal),
    }
}

async fn pass_on(gateway: &Arc<Gateway>, intake: PlainIntake, door: Door) -> Answer {
    plain::serve(gateway, intake, door).await.unwrap_or_else(|refusal| closing(&refusal))
}

/// A refusal that ends its connection: what a client sends behind a `CONNECT`, or as a body for another machine, must not be read
/// as the next request.
fn closing(refusal: &Refusal) -> Answer {
    let mut answer = refusal.answer(Dialect::OpenAi);
    let headers = answer.headers_mut();
    headers.insert(header::CONNECTION, HeaderValue::from_static("close"));
    headers.insert(names::GATEWAY, HeaderValue::from_static(VERSION));
    answer
}

/// A client that goes away before the answer's head takes this future with it. Where answers are to be finished, they must not
/// end with it.
async fn serve_call(gateway: &Arc<Gateway>, intake: Intake, visit: &mut Visit) -> Result<Answer, Refusal> {
    if gateway.config.on_client_gone == OnClientGone::Abort {
        return call::serve(gateway, intake, visit).await;
    }
    let (gateway, mut inner) = (Arc::clone(gateway), visit.clone());
    let serving = tokio::spawn(async move {
        let answer = call::serve(&gateway, intake, &mut inner).await;
        (answer, inner)
    });
    let (answer, inner) = serving.await.unwrap_or_else(|error| std::panic::resume_unwind(error.into_panic()));
    *visit = inner;
    answer
}

async fn manage(admin: axum::Router, mut request: Request<Incoming>, peer: SocketAddr) -> Answer {
    request.extensions_mut().insert(Peer(peer));
    let answered =
        hyper::service::Service::call(&TowerToHyperService::new(admin), request.map(axum::body::Body::new)).await;
    match answered {
        Ok(answer) => answer.map(|body| body.map_err(Into::into).boxed_unsync()),
        Err(never) => match never {},
    }
}
