//! The other ends of our connections.

use std::net::SocketAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::time::Duration;

use http::HeaderValue;
use tokio::sync::SetOnce;
use tokio::task::spawn_blocking;
use tokio::time::timeout;

use super::batch::Finder;
use super::netlink::Netlink;
use super::process::Process;
use super::socket::{Found, Pair};
use super::users::{AllowedUsers, name_of};

/// The kernel answers at once; only where its whole table must be read does anybody wait.
const OWNER_LIMIT: Duration = Duration::from_secs(2);

/// Whose a connection is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Owner {
    /// A user of this machine.
    User(u32),
    /// Nobody's any more: the client has closed it. What the kernel says of such a one is not to be trusted.
    Gone,
    /// Somebody's on another machine, who came to an address that is not loopback.
    Elsewhere,
    /// This system does not say.
    Untold,
}

/// What is known of the program behind a connection.
#[derive(Debug, Clone, Default)]
pub struct Facts {
    /// The name of its user.
    pub user: Option<HeaderValue>,
    /// The program.
    pub process: Option<Process>,
}

/// The other end of one connection.
#[derive(Debug, Default)]
pub struct Caller {
    owner: SetOnce<Owner>,
    facts: SetOnce<Facts>,
}

impl Caller {
    /// Whose it is. `None` when that could not be found in time.
    pub async fn owner(&self) -> Option<Owner> {
        timeout(OWNER_LIMIT, self.owner.wait()).await.ok().copied()
    }

    /// What was found out about it, if that is known within this time.
    pub async fn facts(&self, patience: Duration) -> Option<&Facts> {
        if let Some(facts) = self.facts.get() {
            return Some(facts);
        }
        timeout(patience, self.facts.wait()).await.ok()
    }

    fn belong_to(&self, owner: Owner) {
        let _ = self.owner.set(owner);
    }

    pub(super) fn settle(&self, facts: Facts) {
        // Somebody may have been quicker; the first word counts.
        let _ = self.facts.set(facts);
    }
}

impl Clue {
    pub(super) fn user(&self) -> Option<u32> {
        match self {
            Self::Connection(_) => None,
            Self::Socket { uid, .. } | Self::Number { uid, .. } => Some(*uid),
        }
    }
}

/// Finds out who calls.
#[derive(Debug)]
pub struct Callers {
    allowed: AllowedUsers,
    own_name: Option<HeaderValue>,
    kernel: Mutex<Option<Netlink>>,
    queue: Mutex<Queue>,
    finder: Mutex<Finder>,
    mesh_users: Mutex<Vec<u32>>,
}

#[derive(Debug, Default)]
struct Queue {
    waiting: Vec<Wanted>,
    is_served: bool,
}

/// A caller about whom something is to be found out. It may have gone by then.
#[derive(Debug)]
pub(super) struct Wanted {
    pub(super) caller: Weak<Caller>,
    pub(super) clue: Clue,
}

/// Where to begin.
#[derive(Debug, Clone, Copy)]
pub(super) enum Clue {
    /// The connection alone.
    Connection(Pair),
    /// Its socket.
    Socket { uid: u32, inode: u64, cgroup: Option<u64> },
    /// A process's number, as a Unix socket tells it.
    Number { uid: u32, number: u32 },
}

impl Callers {
    /// For a sidecar that these users may use.
    #[must_use]
    pub fn new(allowed: AllowedUsers) -> Arc<Self> {
        let kernel = Netlink::open();
        if let Err(error) = &kernel
            && cfg!(target_os = "linux")
        {
            tracing::debug!("no sock_diag here, /proc/net/tcp is read instead: {error}");
        }
        Arc::new(Self {
            own_name: HeaderValue::from_str(&name_of(allowed.own())).ok(),
            allowed,
            kernel: Mutex::new(kernel.ok()),
            queue: Mutex::default(),
            finder: Mutex::new(Finder::of_this_machine()),
            mesh_users: Mutex::default(),
        })
    }

    /// Who may use the sidecar.
    #[must_use]
    pub fn allowed(&self) -> &AllowedUsers {
        &self.allowed
    }

    /// The name of a caller's user if that is the sidecar's own, which is known from the start.
    pub async fn own_name_of(&self, caller: &Caller) -> Option<HeaderValue> {
        let is_own = caller.owner().await == Some(Owner::User(self.allowed.own()));
        self.own_name.clone().filter(|_| is_own)
    }

    /// Whether a mesh that runs as this user can speak through loopback for other machines.
    #[must_use]
    pub fn is_mesh_user(&self, uid: u32) -> bool {
        locked(&self.mesh_users).contains(&uid)
    }

    /// Looks for such a mesh, and says in the log when there is one.
    pub fn watch_mesh(self: &Arc<Self>) {
        self.serve_queue(&mut locked(&self.queue));
    }

    /// The caller behind a TCP connection. Its user is asked for at once, in some 30 µs.
    #[must_use]
    pub fn meet(self: &Arc<Self>, client: SocketAddr, ours: SocketAddr) -> Arc<Caller> {
        let caller = Arc::new(Caller::default());
        let pair = Pair { client, ours };
        let found = locked(&self.kernel).as_mut().map(|kernel| kernel.find(client, ours));
        let clue = match found {
            // On loopback it must be somewhere; a kernel that knows nothing of `sock_diag` says the same.
            Some(Ok(found)) if found != Found::Nothing || !pair.is_loopback() => self.judge(&caller, pair, found),
            _ => Some(Clue::Connection(pair)),
        };
        if let Some(clue) = clue {
            self.look_for(&caller, clue);
        }
        caller
    }

    /// The caller behind a connection of a Unix socket, which says itself whose it is.
    #[must_use]
    pub fn meet_local(self: &Arc<Self>, uid: u32, number: Option<u32>) -> Arc<Caller> {
        let caller = Arc::new(Caller::default());
        caller.belong_to(Owner::User(uid));
        match number {
            Some(number) if self.allowed.admit(uid) => self.look_for(&caller, Clue::Number { uid, number }),
            _ => caller.settle(Facts::default()),
        }
        caller
    }

    /// Says whose it is. What is worth looking for then is the program; for strangers nothing is.
    pub(super) fn judge(&self, caller: &Caller, pair: Pair, found: Found) -> Option<Clue> {
        let owner = match found {
            Found::Socket(socket) => Owner::User(socket.uid),
            Found::Nothing if !pair.is_loopback() => Owner::Elsewhere,
            Found::Closed | Found::Nothing => Owner::Gone,
        };
        caller.belong_to(owner);
        match found {
            Found::Socket(socket) if self.allowed.admit(socket.uid) => {
                Some(Clue::Socket { uid: socket.uid, inode: socket.inode, cgroup: socket.cgroup })
            }
            _ => {
                caller.settle(Facts::default());
                None
            }
        }
    }

    /// Neither the kernel nor its table tells.
    pub(super) fn give_up(&self, caller: &Caller) {
        self.leave_untold(caller);
        caller.settle(Facts::default());
    }

    /// Where it should be told, a caller without an owner stays out.
    pub(super) fn leave_untold(&self, caller: &Caller) {
        if cfg!(not(target_os = "linux")) {
            caller.belong_to(Owner::Untold);
        }
    }

    fn look_for(self: &Arc<Self>, caller: &Arc<Caller>, clue: Clue) {
        let mut queue = locked(&self.queue);
        queue.waiting.push(Wanted { caller: Arc::downgrade(caller), clue });
        self.serve_queue(&mut queue);
    }

    /// One thread for all, and none while nobody waits.
    fn serve_queue(self: &Arc<Self>, queue: &mut Queue) {
        if !std::mem::replace(&mut queue.is_served, true) {
            let callers = Arc::clone(self);
            spawn_blocking(move || callers.work());
        }
    }

    fn note_mesh(&self, users: Vec<u32>) {
        let mut known = locked(&self.mesh_users);
        for uid in users.iter().filter(|uid| !known.contains(uid)) {
            tracing::warn!(
                "a mesh without a network device (tailscaled --tun=userspace-networking) runs here as {}: other machines of the \
                 mesh reach this machine's loopback. Callers of that user are refused unless they are seen to be another program",
                name_of(*uid)
            );
        }
        *known = users;
    }

    fn work(&self) {
        let mut finder = locked(&self.finder);
        loop {
            let wanted = std::mem::take(&mut locked(&self.queue).waiting);
            let mesh_users = finder.run(self, &wanted);
            self.note_mesh(mesh_users);
            finder.settle();
            let mut queue = locked(&self.queue);
            if queue.waiting.is_empty() {
                queue.is_served = false;
                return;
            }
        }
    }
}

/// What these locks guard is whole at every moment, so a panic under one spoils nothing.
fn locked<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(all(test, target_os = "linux"))]
mod tests {
    use std::net::{TcpListener, TcpStream};

    use super::*;

    #[tokio::test]
    async fn many_callers_are_known_with_and_without_netlink() {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let ours = listener.local_addr().unwrap();
        let clients: Vec<_> = (0..50).map(|_| TcpStream::connect(ours).unwrap()).collect();
        let own = AllowedUsers::only_own();
        for has_netlink in [true, false] {
            let callers = Callers::new(own.clone());
            if !has_netlink {
                *locked(&callers.kernel) = None;
            }
            let met: Vec<_> = clients.iter().map(|client| callers.meet(client.local_addr().unwrap(), ours)).collect();
            for caller in met {
                assert_eq!(caller.owner().await, Some(Owner::User(own.own())));
                let facts = caller.facts(Duration::from_secs(20)).await.unwrap();
                let executable = std::env::current_exe().unwrap();
                let file = executable.file_name().unwrap().to_str().unwrap();
                assert_eq!(facts.process.as_ref().unwrap().workload.as_ref().unwrap().as_str(), file);
            }
            // One that nobody has open is nobody's, whatever the kernel says.
            let gone = TcpStream::connect(ours).unwrap();
            let theirs = gone.local_addr().unwrap();
            drop(gone);
            assert_eq!(callers.meet(theirs, ours).owner().await, Some(Owner::Gone));
        }
    }
}
