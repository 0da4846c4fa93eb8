//! The gateway's door in the mesh: waited for at the start, followed for as long as it serves.

use std::collections::BTreeMap;
use std::future::Future;
use std::net::{IpAddr, SocketAddr};
use std::path::PathBuf;
use std::pin::pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use http::Request;
use hyper::body::Incoming;
use tokio::sync::watch;
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep};

use super::interface::{MeshPlace, NoMesh, find_mesh};
use super::listen::{Answer, ListenError, Listener, serve};
use super::workers::Workers;
use crate::config::{MeshDoor, MeshSettings};

/// How often a start looks whether the mesh is there by now.
const LOOK_AGAIN: Duration = Duration::from_millis(200);
/// How often a running gateway looks whether its address is another.
const FOLLOW_EVERY: Duration = Duration::from_secs(2);

/// The listeners in the mesh.
#[derive(Debug)]
pub struct MeshListeners {
    finder: Finder,
    port: u16,
    listeners: Vec<Listener>,
    status: MeshStatus,
}

/// How the mesh is found.
#[derive(Debug)]
struct Finder {
    interface: Option<String>,
    daemon: Option<PathBuf>,
}

impl Finder {
    async fn find(&self) -> Result<MeshPlace, NoMesh> {
        find_mesh(self.interface.as_deref(), self.daemon.as_deref()).await
    }
}

/// Why the gateway cannot be reached through the mesh.
#[derive(Debug, thiserror::Error)]
pub enum MeshListenError {
    /// It did not come up in time.
    #[error("waited {} s for the mesh (fleetgate.mesh.wait): {cause}", waited.as_secs())]
    NoMesh {
        /// How long.
        waited: Duration,
        /// What is missing.
        cause: NoMesh,
    },
    /// Its address cannot be listened on.
    #[error(transparent)]
    Listen(#[from] ListenError),
}

/// How the gateway stands in the mesh, for whoever asks. Cloning gives another handle to the same state.
#[derive(Debug, Clone, Default)]
pub struct MeshStatus(Arc<Mutex<State>>);

#[derive(Debug, Default)]
struct State {
    interface: String,
    listening: BTreeMap<IpAddr, SocketAddr>,
    trouble: Option<String>,
}

impl MeshStatus {
    /// Why other machines may not reach the gateway.
    #[must_use]
    pub fn trouble(&self) -> Option<String> {
        self.lock().trouble.clone()
    }

    /// The interface, and the addresses that are served there.
    #[must_use]
    pub fn place(&self) -> (String, Vec<SocketAddr>) {
        let state = self.lock();
        (state.interface.clone(), state.listening.values().copied().collect())
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        // Nothing panics half-way through a change.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Notes what is missing, and says so once.
    fn worry(&self, trouble: String) {
        let mut state = self.lock();
        if state.trouble.as_ref() != Some(&trouble) {
            tracing::warn!(trouble, "other machines may not reach this gateway through the mesh");
            state.trouble = Some(trouble);
        }
    }

    fn calm(&self) {
        let mut state = self.lock();
        if state.trouble.take().is_some() {
            let addresses: Vec<_> = state.listening.values().map(ToString::to_string).collect();
            tracing::info!(interface = state.interface, addresses = addresses.join(" "), "the mesh is there again");
        }
    }
}

impl MeshListeners {
    /// Waits for this machine's address in the mesh and listens there. While it waits, `tell` hears each reason once, with the time
    /// that is left.
    ///
    /// # Errors
    /// When there is no such address in time, or its port is taken.
    pub async fn open(
        door: &MeshDoor,
        settings: &MeshSettings,
        tell: impl Fn(&str, Duration),
    ) -> Result<Self, MeshListenError> {
        let finder = Finder { interface: door.interface.clone(), daemon: settings.socket.clone() };
        let mut opened = Self { finder, port: door.port, listeners: Vec::new(), status: MeshStatus::default() };
        let begun = Instant::now();
        let mut told = String::new();
        loop {
            let missing = match opened.finder.find().await {
                Ok(place) => match opened.bind_all(&place) {
                    Ok(()) => return Ok(opened),
                    Err(error) => Missing::Listen(error),
                },
                Err(cause) => Missing::Mesh(cause),
            };
            let waited = begun.elapsed();
            if matches!(missing, Missing::Listen(ListenError::Taken { .. })) || waited >= door.wait {
                return Err(missing.after(waited));
            }
            let why = missing.to_string();
            if why != told {
                tell(&why, door.wait.saturating_sub(waited));
                told = why;
            }
            sleep(LOOK_AGAIN).await;
        }
    }

    /// Listens on each address of the place. One that is not ready yet (IPv6 is checked for doubles first) comes later.
    fn bind_all(&mut self, place: &MeshPlace) -> Result<(), ListenError> {
        let mut missing = None;
        for address in &place.addresses {
            match Listener::bind(SocketAddr::new(*address, self.port)) {
                Ok(listener) => self.listeners.push(listener),
                Err(error @ ListenError::Taken { .. }) => return Err(error),
                Err(error) => missing = Some(error),
            }
        }
        let mut state = self.status.lock();
        state.interface.clone_from(&place.interface);
        state.listening = self.addresses().map(|address| (address.ip(), address)).collect();
        match missing {
            Some(error) if self.listeners.is_empty() => Err(error),
            _ => Ok(()),
        }
    }

    /// The addresses that are listened on, with their real ports.
    pub fn addresses(&self) -> impl Iterator<Item = SocketAddr> + '_ {
        self.listeners.iter().map(Listener::address)
    }

    /// How it stands, now and later.
    #[must_use]
    pub fn status(&self) -> MeshStatus {
        self.status.clone()
    }

    /// Serves until `stop` resolves, as [`serve`] does, at whatever addresses this machine has in the mesh meanwhile.
    pub async fn serve<H, F>(self, workers: Arc<Workers>, handles: Arc<[H]>, stop: impl Future<Output = ()>)
    where
        H: Fn(Request<Incoming>, SocketAddr) -> F + Clone + Send + Sync + 'static,
        F: Future<Output = Answer> + Send + 'static,
    {
        let Self { finder, port, listeners, status } = self;
        let mut serving = JoinSet::new();
        let mut open = BTreeMap::new();
        let mut start = |listener: Listener| {
            let (close, mut closed) = watch::channel(());
            let closing = async move { drop(closed.changed().await) };
            let address = listener.address();
            let (workers, handles) = (Arc::clone(&workers), Arc::clone(&handles));
            drop(serving.spawn(serve(vec![listener], workers, handles, None, closing)));
            (address, close)
        };
        for listener in listeners {
            let ip = listener.address().ip();
            open.insert(ip, start(listener));
        }
        let mut stop = pin!(stop);
        loop {
            tokio::select! {
                () = stop.as_mut() => break,
                () = sleep(FOLLOW_EVERY) => {}
            }
            let place = match finder.find().await {
                Ok(place) => place,
                // What is open stays open: connections outlive a short absence, and the address may come back as it was.
                Err(missing) => {
                    status.worry(missing.to_string());
                    continue;
                }
            };
            let mut trouble = None;
            for address in place.addresses.iter().filter(|address| !open.contains_key(*address)).collect::<Vec<_>>() {
                match Listener::bind(SocketAddr::new(*address, port)) {
                    Ok(listener) => {
                        tracing::info!(interface = place.interface, address = %listener.address(), "serving in the mesh");
                        open.insert(*address, start(listener));
                    }
                    Err(error) => trouble = Some(error.to_string()),
                }
            }
            open.retain(|ip, (address, _)| {
                let is_here = place.addresses.contains(ip);
                if !is_here {
                    tracing::warn!(interface = place.interface, %address, "this machine has this address in the mesh no more");
                }
                is_here
            });
            {
                let mut state = status.lock();
                state.interface.clone_from(&place.interface);
                state.listening = open.iter().map(|(ip, (address, _))| (*ip, *address)).collect();
            }
            match trouble {
                Some(trouble) => status.worry(trouble),
                None => status.calm(),
            }
        }
        drop(open);
        while serving.join_next().await.is_some() {}
    }
}

/// What a start still waits for.
#[derive(Debug, thiserror::Error)]
enum Missing {
    #[error(transparent)]
    Mesh(NoMesh),
    #[error(transparent)]
    Listen(ListenError),
}

impl Missing {
    fn after(self, waited: Duration) -> MeshListenError {
        match self {
            Self::Mesh(cause) => MeshListenError::NoMesh { waited, cause },
            Self::Listen(error) => error.into(),
        }
    }
}
