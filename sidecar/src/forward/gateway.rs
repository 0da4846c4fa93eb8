//! The gateways as this host sees them: in which order they are asked, and how long a call waits when all are away.

use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;
use std::time::Duration;

use http::HeaderMap;
use http::uri::PathAndQuery;
use serde::Serialize;
use tokio::net::TcpStream;
use tokio::sync::watch;
use tokio::time::{Instant, timeout_at};

use super::api::Unforwarded;
use super::ask::Answer;
use super::dial::DialError;
use super::endpoint::{Alive, Endpoint, Terms};
use super::failure::Failure;
use super::line::Line;
use super::url::GatewayUrl;
use crate::metrics::Metrics;

/// The gateways, the preferred one first, and the connections that are kept to them.
#[derive(Debug, Clone)]
pub struct Gateway {
    endpoints: Vec<Arc<Endpoint>>,
    patience: Duration,
    risen: Arc<watch::Sender<()>>,
    pub(super) metrics: Arc<Metrics>,
}

/// What is known of one gateway.
#[derive(Debug, Clone, Serialize)]
pub struct GatewayState {
    /// Its address.
    pub url: String,
    /// Whether the next call goes there.
    pub is_in_use: bool,
    /// `up`, or `away` since the last attempt failed. Before the first attempt it counts as up.
    pub state: &'static str,
    /// Why it is away.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub why: Option<String>,
    /// For how long it has been away.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub away_seconds: Option<u64>,
    /// Connections that wait for the next call.
    pub idle_connections: usize,
    /// Connections that were asked for.
    pub dials: u64,
    /// Those that did not come about.
    pub failed_dials: u64,
}

impl Gateway {
    /// Dials nothing yet: a sidecar starts before its network does. `urls` are in the order of preference, and not empty; a call waits
    /// for `patience` at most, counted from the moment when the last gateway went away.
    #[must_use]
    pub fn new(urls: &[GatewayUrl], patience: Duration, metrics: Arc<Metrics>) -> Self {
        let risen = Arc::new(watch::Sender::new(()));
        let terms = Terms { patience, is_only_one: urls.len() == 1 };
        let endpoints = urls.iter().map(|url| Endpoint::new(url.clone(), terms, Arc::clone(&risen))).collect();
        Self { endpoints, patience, risen, metrics }
    }

    /// The address of the gateway that the next call goes to.
    #[must_use]
    pub fn url(&self) -> &GatewayUrl {
        &self.preferred().url
    }

    /// All addresses, in the order of preference.
    pub fn urls(&self) -> impl Iterator<Item = &GatewayUrl> {
        self.endpoints.iter().map(|endpoint| &endpoint.url)
    }

    /// What is known of each.
    #[must_use]
    pub fn states(&self) -> Vec<GatewayState> {
        let in_use = Arc::as_ptr(self.preferred());
        let describe = |endpoint: &Arc<Endpoint>| {
            let absence = endpoint.absence();
            GatewayState {
                url: endpoint.url.to_string(),
                is_in_use: Arc::as_ptr(endpoint) == in_use,
                state: if absence.is_some() { "away" } else { "up" },
                why: absence.as_ref().map(|absence| absence.why.refusal(&endpoint.url).message),
                away_seconds: absence.map(|absence| absence.since.elapsed().as_secs()),
                idle_connections: endpoint.idle(),
                dials: endpoint.dials.load(Relaxed),
                failed_dials: endpoint.failed_dials.load(Relaxed),
            }
        };
        self.endpoints.iter().map(describe).collect()
    }

    /// Asks each, all at once, whether it answers within a second.
    pub async fn check_each(&self) -> Vec<Result<Alive, Failure>> {
        futures_util::future::join_all(self.endpoints.iter().map(Endpoint::check_alive)).await
    }

    /// Whether a gateway answers within a second.
    ///
    /// # Errors
    /// What is wrong with the first.
    pub async fn check_alive(&self) -> Result<(), Unforwarded> {
        let mut outcomes = self.check_each().await;
        if outcomes.iter().any(Result::is_ok) {
            return Ok(());
        }
        let failure = outcomes.swap_remove(0).err().unwrap_or(Failure::Silent);
        Err(Unforwarded { failure, at: self.endpoints[0].url.clone(), body: None })
    }

    /// Asks the gateway in use, without waiting for one.
    ///
    /// # Errors
    /// When it cannot be reached or something else answers.
    pub async fn ask(&self, path: &PathAndQuery, headers: &HeaderMap) -> Result<Answer, Failure> {
        self.preferred().ask(path, headers).await
    }

    fn preferred(&self) -> &Arc<Endpoint> {
        // There is a first one: the command line demands it.
        self.endpoints.iter().find(|endpoint| endpoint.is_up()).unwrap_or(&self.endpoints[0])
    }

    /// A connection for one call: a kept one or a new one.
    pub(super) async fn line(&self) -> Result<Line, Unforwarded> {
        if let Some(line) = self.preferred().take_idle() {
            return Ok(line);
        }
        let (endpoint, stream) = self.dial().await?;
        let line = endpoint.line_over(stream).await;
        line.map_err(|failure| Unforwarded { failure, at: endpoint.url.clone(), body: None })
    }

    /// A new connection to the first gateway that takes one. Nothing has been sent, so this may go from one to the next, and
    /// wait until one is there: a restart is not the clients' business.
    pub(super) async fn dial(&self) -> Result<(Arc<Endpoint>, TcpStream), Unforwarded> {
        let began = Instant::now();
        let mut risen = self.risen.subscribe();
        let mut has_waited = false;
        loop {
            risen.mark_unchanged();
            let (up, away): (Vec<_>, Vec<_>) = self.endpoints.iter().partition(|endpoint| endpoint.is_up());
            for endpoint in up.into_iter().chain(away) {
                match endpoint.dial().await {
                    Ok(stream) => return Ok((Arc::clone(endpoint), stream)),
                    Err(problem) => endpoint.mark_away(&Failure::Dial(problem)),
                }
            }
            let deadline = self.deadline(began);
            if deadline <= Instant::now() {
                return Err(self.unreached());
            }
            if !has_waited {
                has_waited = true;
                self.metrics.waits.add(1);
            }
            let Ok(Ok(())) = timeout_at(deadline, risen.changed()).await else {
                return Err(self.unreached());
            };
        }
    }

    /// Until when a call that began then waits. Once calls have waited in vain for that long, no other waits at all: the gateway is
    /// not being restarted, it is gone.
    fn deadline(&self, began: Instant) -> Instant {
        let newest = self.endpoints.iter().filter_map(|endpoint| endpoint.absence()).map(|absence| absence.since).max();
        newest.map_or(began, |since| since.min(began)) + self.patience
    }

    fn unreached(&self) -> Unforwarded {
        let first = &self.endpoints[0];
        let failure = first.absence().map_or(Failure::Dial(DialError::Timeout), |absence| absence.why);
        Unforwarded { failure, at: first.url.clone(), body: None }
    }
}
