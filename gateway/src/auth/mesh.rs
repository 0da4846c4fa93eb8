//! Whether a call came from the machine that it names: the mesh knows whose address the connection has.
//!
//! An address is asked for at most once a minute, behind the callers' backs. The first call of a new one waits for the answer for a
//! moment, which the daemon needs the hundredth part of; what comes later is on the row if that is settled later still. Only where
//! calls are refused by the answer is it waited for longer.

use std::net::{IpAddr, SocketAddr};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use fleetgate_wire::host::HostLabel;
use fleetgate_wire::mesh::{MeshError, SOCKETS, who_is};
use foldhash::HashMap;
use tokio::sync::watch;
use tokio::time::{Instant, timeout, timeout_at};

use super::{Caller, Denied};
use crate::config::{MeshCheck, MeshSettings};

/// A machine may be renamed, and its address given to another.
const KNOWN_FOR: Duration = Duration::from_secs(60);
/// A port of loopback is another connection's sooner than that.
const RELAYED_FOR: Duration = Duration::from_secs(5);
/// After so long a daemon that did not answer is asked again.
const AWAY_FOR: Duration = Duration::from_secs(5);
/// The daemon answers from memory, within a millisecond.
const ASK_WITHIN: Duration = Duration::from_secs(5);
/// How long a call waits for an answer that its row only reports.
const REPORT_WITHIN: Duration = Duration::from_millis(50);
/// Answers that are kept. With more addresses the older ones go.
const MOST_KNOWN: usize = 4096;

/// The mesh's word, by address. A clone is another handle on the same answers.
#[derive(Debug, Clone)]
pub struct Mesh {
    settings: Arc<MeshSettings>,
    state: Arc<Mutex<State>>,
}

#[derive(Debug, Default)]
struct State {
    known: HashMap<Place, Known>,
    /// Since when the daemon does not answer, and why.
    away: Option<(Instant, String)>,
}

/// Whose connection. In user space `tailscaled` relays the connections of all machines from loopback: then the port tells them
/// apart.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
enum Place {
    Address(IpAddr),
    Relayed(SocketAddr),
}

#[derive(Debug)]
struct Known {
    asked: Instant,
    answer: watch::Receiver<Look>,
}

/// What the mesh says of one address.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Look {
    /// Nothing yet, or it is not asked.
    Pending,
    /// It is this machine.
    Node(HostLabel),
    /// It is no machine of the mesh.
    Nobody,
    /// It cannot be asked.
    Away(String),
}

/// The mesh's word on one call's address, now or later.
#[derive(Debug, Clone)]
pub(super) struct Sight {
    asked: Instant,
    answer: watch::Receiver<Look>,
    settings: Arc<MeshSettings>,
}

impl Sight {
    fn look(&self) -> Look {
        self.answer.borrow().clone()
    }

    /// The machine's name, as soon as the mesh has said one.
    pub(super) fn node(&self) -> Option<HostLabel> {
        match &*self.answer.borrow() {
            Look::Node(name) => Some(name.clone()),
            Look::Pending | Look::Nobody | Look::Away(_) => None,
        }
    }

    /// Whether a label is the one of the machine that the mesh calls so.
    pub(super) fn agrees(&self, label: &HostLabel, name: &HostLabel) -> bool {
        label == name || self.settings.names.get(label) == Some(name)
    }

    /// Waits until so long after the daemon was asked: a daemon that hangs holds up the first calls of an address, not all of
    /// them.
    async fn wait(&mut self, limit: Duration) {
        if *self.answer.borrow() != Look::Pending {
            return;
        }
        // An error means that nobody asks any more: then what is known must do.
        let _ = timeout_at(self.asked + limit, self.answer.wait_for(|look| *look != Look::Pending)).await;
    }
}

impl Mesh {
    /// A mesh of which nothing is known yet.
    #[must_use]
    pub fn new(settings: MeshSettings) -> Self {
        Self { settings: Arc::new(settings), state: Arc::default() }
    }

    /// Lets the caller know what the mesh says of his machine.
    ///
    /// # Errors
    /// Where it is to be enforced: when the mesh calls the machine otherwise, or cannot be asked.
    pub async fn check(&self, mut caller: Caller, peer: SocketAddr) -> Result<Caller, Denied> {
        let limit = match self.settings.check {
            MeshCheck::Off => return Ok(caller),
            MeshCheck::Report => REPORT_WITHIN,
            MeshCheck::Enforce => ASK_WITHIN,
        };
        let mut sight = self.sight(peer);
        sight.wait(limit).await;
        if self.settings.check == MeshCheck::Report {
            caller.origin.watch(sight);
            return Ok(caller);
        }
        let look = sight.look();
        caller.origin.watch(sight);
        match look {
            Look::Node(_) => match (caller.host.label(), caller.mesh_name()) {
                (Some(host), Some(seen)) => {
                    let key = caller.key.full_name();
                    tracing::warn!(%host, mesh = %seen, %peer, key, "a call is refused: the mesh calls its machine otherwise");
                    Err(Denied::HostMismatch { key, host: host.clone(), seen })
                }
                _ => Ok(caller),
            },
            Look::Nobody => {
                caller.disbelieve(peer.ip().to_canonical());
                Ok(caller)
            }
            Look::Away(cause) => Err(Denied::MeshAway(cause)),
            Look::Pending => Err(Denied::MeshAway("it does not answer".to_owned())),
        }
    }

    /// What the mesh calls the machine at this address, waited for: who shows no key is known by nothing else.
    pub(super) async fn name_of(&self, peer: SocketAddr) -> Option<HostLabel> {
        let mut sight = self.sight(peer);
        sight.wait(ASK_WITHIN).await;
        sight.node()
    }

    /// What is known of an address. What is not, or is too old, is asked for behind the caller's back.
    fn sight(&self, peer: SocketAddr) -> Sight {
        let ip = peer.ip().to_canonical();
        let place = if ip.is_loopback() { Place::Relayed(peer) } else { Place::Address(ip) };
        let now = Instant::now();
        let mut state = lock(&self.state);
        if let Some(known) = state.known.get(&place).filter(|known| known.is_fresh(place, now)) {
            return self.sighted(known);
        }
        if state.known.len() >= MOST_KNOWN {
            state.known.retain(|place, known| known.is_fresh(*place, now));
        }
        if state.known.len() >= MOST_KNOWN {
            state.known.clear();
        }
        // Where there is no daemon, or it hangs, not every new address tries it.
        let away = state.away.as_ref().filter(|(since, _)| now.duration_since(*since) < AWAY_FOR);
        let away = away.map(|(_, cause)| Look::Away(cause.clone()));
        let (tell, answer) = watch::channel(away.clone().unwrap_or(Look::Pending));
        let known = Known { asked: now, answer };
        let sight = self.sighted(&known);
        state.known.insert(place, known);
        drop(state);
        if away.is_none() {
            let (settings, state) = (Arc::clone(&self.settings), Arc::clone(&self.state));
            tokio::spawn(async move {
                let look = look(&settings, peer).await;
                lock(&state).note(&look, &settings);
                tell.send_replace(look.unwrap_or_else(|(cause, _)| Look::Away(cause)));
            });
        }
        sight
    }

    fn sighted(&self, known: &Known) -> Sight {
        Sight { asked: known.asked, answer: known.answer.clone(), settings: Arc::clone(&self.settings) }
    }
}

impl State {
    /// Notes whether the daemon answers, and says so once.
    fn note(&mut self, look: &Result<Look, (String, bool)>, settings: &MeshSettings) {
        match look {
            Ok(_) => {
                if self.away.take().is_some() {
                    tracing::info!("the mesh can be asked which machines calls come from");
                }
            }
            Err((cause, is_absence)) => {
                // Without a daemon on this machine there is nothing to report.
                let is_expected = *is_absence && settings.check == MeshCheck::Report && settings.socket.is_none();
                if self.away.replace((Instant::now(), cause.clone())).is_none() && !is_expected {
                    tracing::warn!(cause, "the mesh cannot be asked which machines calls come from");
                }
            }
        }
    }
}

impl Known {
    fn is_fresh(&self, place: Place, now: Instant) -> bool {
        let lasts = match (&*self.answer.borrow(), place) {
            (Look::Away(_), _) => AWAY_FOR,
            (_, Place::Relayed(_)) => RELAYED_FOR,
            (_, Place::Address(_)) => KNOWN_FOR,
        };
        now.duration_since(self.asked) < lasts
    }
}

fn lock(state: &Mutex<State>) -> MutexGuard<'_, State> {
    // Nothing panics half-way through a change.
    state.lock().unwrap_or_else(PoisonError::into_inner)
}

/// The daemon's answer, or why there is none and whether that is because there is no daemon.
async fn look(settings: &MeshSettings, peer: SocketAddr) -> Result<Look, (String, bool)> {
    match timeout(ASK_WITHIN, ask(settings.socket.as_deref(), peer)).await {
        Ok(Ok(name)) => Ok(name.map_or(Look::Nobody, Look::Node)),
        Ok(Err(error)) => Err((error.to_string(), error.is_absence())),
        Err(_) => Err(("tailscaled does not answer".to_owned(), false)),
    }
}

/// Asks the daemon at the place that the operator named, or at the first of its usual ones where there is one.
async fn ask(socket: Option<&Path>, peer: SocketAddr) -> Result<Option<HostLabel>, MeshError> {
    if let Some(socket) = socket {
        return who_is(socket, peer).await;
    }
    let [first, second] = SOCKETS.map(PathBuf::from);
    match who_is(&first, peer).await {
        Err(error) if error.is_absence() => who_is(&second, peer).await,
        answer => answer,
    }
}

#[cfg(test)]
mod tests;
