//! Everything before a tunnel, from a connection's first byte to the dial: the gateway's own front, keys, rules and dialer, with
//! pairs of sockets for connections and a network that remembers what it was asked for.

#![allow(clippy::expect_used, reason = "a broken expectation is a finding")]

mod judge;
mod network;
mod seeds;

use std::cell::{Cell, RefCell};
use std::net::{SocketAddr, TcpStream as StdStream};
use std::os::fd::OwnedFd;
use std::os::unix::net::UnixStream;
use std::sync::{Arc, Once};
use std::time::Duration;

use fleetgate_gateway::Rehearsal;
use fleetgate_gateway::config::{Overrides, load};
use fleetgate_gateway::front::Door;
use tempfile::TempDir;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::runtime::{Builder, Runtime};

use network::Recorder;
pub(crate) use seeds::seeds;

/// The only key that there is.
const KEY: &str = "sk-of-the-fuzzer-0123456789";
const SETTINGS: &str = "fleetgate: {egress: {deny: [.blocked.example]}, mesh: {check: off}}\n";
/// A caller's address, which nobody trusts.
const PEER: &str = "192.0.2.1:4000";
/// However loaded the machine is.
const PATIENCE: Duration = Duration::from_secs(60);
/// For what is ready without waiting for anybody: reading what was written, a task that was just begun.
const TURNS: usize = 16;
/// After so many a new gateway begins, with a new ledger.
const MOST_ROUNDS: usize = 100_000;

thread_local! {
    static STAGE: RefCell<Option<Stage>> = const { RefCell::new(None) };
    static PANICS: Cell<usize> = const { Cell::new(0) };
}

/// A gateway, kept from one input to the next.
struct Stage {
    runtime: Runtime,
    gateway: Rehearsal,
    network: Arc<Recorder>,
    rounds: usize,
    _folder: TempDir,
}

/// The first byte says at which port the others arrive.
pub(crate) fn read(bytes: &[u8]) {
    let Some((first, bytes)) = bytes.split_first() else { return };
    let door = if first % 2 == 0 { Door::Proxy } else { Door::Api };
    STAGE.with_borrow_mut(|stage| {
        let now = stage.get_or_insert_with(Stage::set);
        now.rounds += 1;
        now.play(bytes, door);
        if now.rounds == MOST_ROUNDS
            && let Some(Stage { runtime, gateway, .. }) = stage.take()
        {
            runtime.block_on(gateway.close());
        }
    });
}

impl Stage {
    fn set() -> Self {
        count_panics();
        let folder = TempDir::new().expect("a temporary directory");
        let file = folder.path().join("config.yaml");
        std::fs::write(&file, SETTINGS).expect("a file");
        let database = format!("sqlite:{}", folder.path().join("ledger.db").display());
        let overrides = Overrides { config: Some(file), database: Some(database), ..Overrides::default() };
        let environment = [("LITELLM_MASTER_KEY", KEY), ("LITELLM_LOCAL_MODEL_COST_MAP", "True")]
            .map(|(name, value)| (name.into(), value.into()));
        let loaded = load(&overrides, environment).expect("settings that hold");
        let runtime = Builder::new_current_thread().enable_all().build().expect("a runtime");
        let network = Arc::new(Recorder::default());
        let gateway = runtime.block_on(Rehearsal::start(loaded.config, network.clone())).expect("a gateway");
        Self { runtime, gateway, network, rounds: 0, _folder: folder }
    }

    fn play(&self, bytes: &[u8], door: Door) {
        let peer: SocketAddr = PEER.parse().expect("an address");
        let before = PANICS.get();
        let all = async {
            let (client, served) = pair();
            tokio::join!(self.gateway.serve(served, peer, door), self.ask(client, bytes));
            self.gateway.quiet().await;
            self.network.take().await
        };
        let played = self.runtime.block_on(async { tokio::time::timeout(PATIENCE, all).await });
        let Ok(seen) = played else { panic!("a connection or a tunnel goes on although its client is gone") };
        assert_eq!(PANICS.get(), before, "a task panicked");
        judge::judge(bytes, door, &seen);
    }

    /// Sends all, hears what is said to it, and leaves.
    async fn ask(&self, mut client: TcpStream, bytes: &[u8]) {
        // It may be refused before all is there.
        let _refused = client.write_all(bytes).await;
        turns().await;
        // A client that leaves before it has an answer gets no tunnel.
        self.gateway.decided().await;
        turns().await;
        let _refused = client.shutdown().await;
        let _reset = client.read_to_end(&mut Vec::new()).await;
    }
}

async fn turns() {
    for _ in 0..TURNS {
        tokio::task::yield_now().await;
    }
}

/// Both ends of a connection that no network knows of.
fn pair() -> (TcpStream, TcpStream) {
    let (one, other) = UnixStream::pair().expect("two sockets");
    let stream = |end: UnixStream| {
        end.set_nonblocking(true).expect("a socket");
        TcpStream::from_std(StdStream::from(OwnedFd::from(end))).expect("a runtime")
    };
    (stream(one), stream(other))
}

/// A runtime swallows its tasks' panics.
fn count_panics() {
    static ONCE: Once = Once::new();
    ONCE.call_once(|| {
        let said = std::panic::take_hook();
        std::panic::set_hook(Box::new(move |info| {
            let _at_the_threads_end = PANICS.try_with(|count| count.set(count.get() + 1));
            said(info);
        }));
    });
}
