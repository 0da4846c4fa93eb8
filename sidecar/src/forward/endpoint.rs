//! One gateway: its idle connections, and whether it takes new ones.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::Relaxed};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::time::Duration;

use fleetgate_wire::header;
use http::header::HOST;
use http::uri::PathAndQuery;
use http::{HeaderMap, Request};
use http_body_util::BodyExt;
use hyper::client::conn::http1;
use hyper_util::rt::TokioIo;
use tokio::net::TcpStream;
use tokio::sync::watch;
use tokio::time::{Instant, sleep, timeout};

use super::api::Outgoing;
use super::ask::Answer;
use super::dial::{DialError, dial};
use super::failure::Failure;
use super::line::Line;
use super::pool::{Moment, Pool, Wire};
use super::url::GatewayUrl;

/// A gateway that went away is looked for after this, then less often.
const FIRST_PAUSE: Duration = Duration::from_millis(50);
/// While calls may be waiting for it.
const PAUSE_WHILE_AWAITED: Duration = Duration::from_millis(250);
/// Later on, when another gateway has taken its place.
const LONGEST_PAUSE: Duration = Duration::from_secs(5);
/// A failure so long after the last one is the beginning of another absence.
const ABSENCE_GAP: Duration = Duration::from_secs(60);

const ALIVE_LIMIT: Duration = Duration::from_secs(1);

/// What a gateway that answers says of itself.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Alive {
    /// From the question to the whole answer.
    pub latency: Duration,
    /// Its version.
    pub version: String,
}

/// How patient calls are, and whether there is another gateway.
#[derive(Debug, Clone, Copy)]
pub(super) struct Terms {
    pub(super) patience: Duration,
    pub(super) is_only_one: bool,
}

/// One gateway.
#[derive(Debug)]
pub(super) struct Endpoint {
    pub(super) url: GatewayUrl,
    terms: Terms,
    pool: Mutex<Pool>,
    is_away: AtomicBool,
    absence: Mutex<Option<Absence>>,
    /// Told whenever one of the gateways is back.
    risen: Arc<watch::Sender<()>>,
    pub(super) dials: AtomicU64,
    pub(super) failed_dials: AtomicU64,
}

/// Since when it takes no connections.
#[derive(Debug, Clone)]
pub(super) struct Absence {
    pub(super) since: Instant,
    pub(super) why: Failure,
    last_failure: Instant,
    is_watched: bool,
}

impl Endpoint {
    pub(super) fn new(url: GatewayUrl, terms: Terms, risen: Arc<watch::Sender<()>>) -> Arc<Self> {
        Arc::new(Self {
            url,
            terms,
            pool: Mutex::default(),
            is_away: AtomicBool::new(false),
            absence: Mutex::default(),
            risen,
            dials: AtomicU64::new(0),
            failed_dials: AtomicU64::new(0),
        })
    }

    pub(super) fn is_up(&self) -> bool {
        !self.is_away.load(Relaxed)
    }

    pub(super) fn absence(&self) -> Option<Absence> {
        self.lock_absence().clone()
    }

    /// How many connections wait for a call.
    pub(super) fn idle(&self) -> usize {
        self.lock_pool().open()
    }

    /// An idle connection.
    pub(super) fn take_idle(self: &Arc<Self>) -> Option<Line> {
        let wire = self.lock_pool().take(Moment::now())?;
        Some(Line::reused(Arc::clone(self), wire))
    }

    /// A new connection, for a tunnel or to become a [`Line`].
    pub(super) async fn dial(&self) -> Result<TcpStream, DialError> {
        self.dials.fetch_add(1, Relaxed);
        dial(&self.url).await.inspect_err(|_| {
            self.failed_dials.fetch_add(1, Relaxed);
        })
    }

    /// Speaks HTTP over a new connection.
    pub(super) async fn line_over(self: &Arc<Self>, stream: TcpStream) -> Result<Line, Failure> {
        let gone = |problem: &dyn std::error::Error| Failure::Gone(problem.to_string());
        let local = stream.local_addr().map_err(|error| gone(&error))?.ip();
        let peer = stream.peer_addr().map_err(|error| gone(&error))?;
        let generation = self.lock_pool().generation();
        let (sender, connection) = http1::handshake(TokioIo::new(stream)).await.map_err(|error| gone(&error))?;
        tokio::spawn(async move {
            if let Err(error) = connection.await {
                tracing::debug!("a connection to the gateway ended: {error}");
            }
        });
        Ok(Line::fresh(Arc::clone(self), Wire { sender, local, peer, generation }))
    }

    /// A connection has done its work and is there for the next call.
    pub(super) fn give_back(self: &Arc<Self>, wire: Wire) {
        let is_unswept = self.lock_pool().put(wire, Moment::now());
        if is_unswept {
            tokio::spawn(sweep(Arc::downgrade(self)));
        }
    }

    /// Uses none of the present connections again.
    pub(super) fn flush(&self) {
        self.lock_pool().flush();
    }

    /// A gateway answered on a connection of this generation. An old one says nothing of new ones: whoever finishes its last
    /// calls takes no others.
    pub(super) fn answered(&self, generation: u64) {
        if !self.is_up() && generation == self.lock_pool().generation() {
            self.mark_up();
        }
    }

    fn mark_up(&self) {
        if !self.is_away.swap(false, Relaxed) {
            return;
        }
        if let Some(absence) = self.lock_absence().take() {
            tracing::info!(gateway = %self.url, away = ?absence.since.elapsed(), "the gateway is back");
        }
        self.risen.send_replace(());
    }

    /// It takes no connections, or something else answers in its place.
    pub(super) fn mark_away(self: &Arc<Self>, why: &Failure) {
        let now = Instant::now();
        let mut absence = self.lock_absence();
        let fresh = || Absence { since: now, why: why.clone(), last_failure: now, is_watched: false };
        let known = absence.get_or_insert_with(|| {
            tracing::warn!("{}", why.refusal(&self.url).message);
            fresh()
        });
        if now.duration_since(known.last_failure) > ABSENCE_GAP && !known.is_watched {
            *known = fresh();
        }
        known.why = why.clone();
        known.last_failure = now;
        self.is_away.store(true, Relaxed);
        self.flush();
        let is_awaited = now.duration_since(known.since) < self.terms.patience;
        if !known.is_watched && (is_awaited || !self.terms.is_only_one) {
            known.is_watched = true;
            tokio::spawn(watch_for_return(Arc::downgrade(self), self.terms));
        }
    }

    /// Asks one question on a pooled connection, without waiting for a gateway that is away.
    pub(super) async fn ask(self: &Arc<Self>, path: &PathAndQuery, headers: &HeaderMap) -> Result<Answer, Failure> {
        let mut idle = self.take_idle();
        loop {
            let mut line = match idle.take() {
                Some(line) => line,
                None => self.line_over(self.dial().await.map_err(Failure::Dial)?).await?,
            };
            let mut request = Request::new(Outgoing::default());
            *request.uri_mut() = path.clone().into();
            request.headers_mut().clone_from(headers);
            request.headers_mut().insert(HOST, self.url.host_header());
            let (parts, body) = match line.send(request).await {
                Ok(response) => response.into_parts(),
                // A question changes nothing, so it may be asked twice.
                Err(_) if line.is_reused => {
                    self.flush();
                    continue;
                }
                Err(unanswered) => return Err(unanswered.into_failure()),
            };
            Failure::check_marker(&parts.headers)?;
            let body = body.collect().await.map_err(|error| Failure::gone(&error))?.to_bytes();
            line.give_back();
            return Ok(Answer { status: parts.status, headers: parts.headers, body });
        }
    }

    /// Whether a gateway answers there within a second, which one, and how soon.
    pub(super) async fn check_alive(self: &Arc<Self>) -> Result<Alive, Failure> {
        let began = Instant::now();
        let path = PathAndQuery::from_static("/health/liveliness");
        let answer = timeout(ALIVE_LIMIT, self.ask(&path, &HeaderMap::new())).await;
        let answer = answer.unwrap_or(Err(Failure::Dial(DialError::Timeout)))?;
        if !answer.status.is_success() {
            return Err(Failure::Unwell(answer.status));
        }
        let version = answer.headers.get(header::GATEWAY).and_then(|value| value.to_str().ok());
        Ok(Alive { latency: began.elapsed(), version: version.unwrap_or_default().to_owned() })
    }

    fn lock_pool(&self) -> MutexGuard<'_, Pool> {
        // Nothing under this lock can leave it half done.
        self.pool.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn lock_absence(&self) -> MutexGuard<'_, Option<Absence>> {
        self.absence.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Closes connections that nobody used for too long; ends with the last of them, so that an idle sidecar does not wake up.
async fn sweep(endpoint: Weak<Endpoint>) {
    loop {
        let Some(pause) = endpoint.upgrade().and_then(|endpoint| endpoint.lock_pool().sweep(Moment::now())) else {
            return;
        };
        sleep(pause).await;
    }
}

/// Asks until the gateway answers again. Where it is the only one, only for as long as calls may be waiting: later ones try
/// for themselves.
async fn watch_for_return(endpoint: Weak<Endpoint>, terms: Terms) {
    let mut pause = FIRST_PAUSE;
    loop {
        sleep(pause).await;
        let Some(endpoint) = endpoint.upgrade() else { return };
        let outcome = endpoint.check_alive().await;
        let mut absence = endpoint.lock_absence();
        let Some(known) = absence.as_mut() else { return };
        match outcome {
            Ok(_) => {
                drop(absence);
                endpoint.mark_up();
                return;
            }
            Err(failure) => {
                known.why = failure;
                known.last_failure = Instant::now();
            }
        }
        let is_awaited = known.since.elapsed() < terms.patience;
        if !is_awaited && terms.is_only_one {
            known.is_watched = false;
            return;
        }
        let longest = if is_awaited { PAUSE_WHILE_AWAITED } else { LONGEST_PAUSE };
        pause = (pause * 3 / 2).min(longest);
    }
}
