//! Listening sockets, connections and their orderly end.

use std::future::Future;
use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use fleetgate_wire::port_owner::PortOwner;
use http::{Request, Response};
use http_body_util::combinators::UnsyncBoxBody;
use hyper::body::Incoming;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;

use super::connection::{Socks, Stage, serve_connection};
use super::workers::Workers;

/// The body of an answer. An error in it cuts the connection, so that a client sees a cut as a cut.
pub type AnswerBody = UnsyncBoxBody<Bytes, Box<dyn std::error::Error + Send + Sync>>;
/// An answer.
pub type Answer = Response<AnswerBody>;

const PATIENCE: Patience = Patience { drain: Duration::from_secs(30), linger: Duration::from_millis(500) };
/// After `accept` failed for want of descriptors there is nothing to do but wait for some to be closed.
const ACCEPT_PAUSE: Duration = Duration::from_millis(50);
const BACKLOG: i32 = 1024;

/// A bound socket.
#[derive(Debug)]
pub struct Listener {
    inner: TcpListener,
    address: SocketAddr,
}

/// Why an address could not be listened on.
#[derive(Debug, thiserror::Error)]
pub enum ListenError {
    /// Another process has the port.
    #[error("{address} is taken by {owner}; stop it, or choose another address with --listen")]
    Taken {
        /// The address.
        address: SocketAddr,
        /// What is known of the process that has it.
        owner: PortOwner,
    },
    /// The address is not one of this machine, or not allowed.
    #[error("cannot listen on {address}: {source}; is the mesh up, and is this an address of this machine?")]
    Unavailable {
        /// The address.
        address: SocketAddr,
        /// What the system says.
        source: io::Error,
    },
}

impl Listener {
    /// Binds and listens.
    ///
    /// # Errors
    /// When the port is taken (with its owner where the system tells) or the address is not ours.
    pub fn bind(address: SocketAddr) -> Result<Self, ListenError> {
        let bound = (|| {
            let socket = socket2::Socket::new(
                socket2::Domain::for_address(address),
                socket2::Type::STREAM,
                Some(socket2::Protocol::TCP),
            )?;
            socket.set_reuse_address(true)?;
            if address.is_ipv6() {
                socket.set_only_v6(true)?;
            }
            socket.set_nonblocking(true)?;
            socket.bind(&address.into())?;
            socket.listen(BACKLOG)?;
            let inner = TcpListener::from_std(socket.into())?;
            let address = inner.local_addr()?;
            Ok(Self { inner, address })
        })();
        bound.map_err(|source: io::Error| match source.kind() {
            io::ErrorKind::AddrInUse => {
                let owner = PortOwner::find(address);
                ListenError::Taken { address, owner }
            }
            _ => ListenError::Unavailable { address, source },
        })
    }

    /// The next connection.
    ///
    /// # Errors
    /// With the system's.
    pub async fn accept(&self) -> io::Result<(TcpStream, SocketAddr)> {
        self.inner.accept().await
    }

    /// The address, with the real port where 0 was asked for.
    #[must_use]
    pub fn address(&self) -> SocketAddr {
        self.address
    }
}

/// What is waited for at the end.
#[derive(Debug, Clone, Copy)]
struct Patience {
    /// For requests under way.
    drain: Duration,
    /// For a next request on an idle connection. One that crosses the closing of its connection is lost, and its client cannot
    /// know whether it was begun; whoever calls within this time is answered and told to close.
    linger: Duration,
}

/// Serves until `stop` resolves, then lets the requests under way finish for up to 30 seconds and cuts the others. When it
/// returns, no request is left. There is a `handle` for each worker. Connections that speak SOCKS5 go to `socks`, if there is one.
pub async fn serve<H, F>(
    listeners: Vec<Listener>,
    workers: Arc<Workers>,
    handles: Arc<[H]>,
    socks: Option<Socks>,
    stop: impl Future<Output = ()>,
) where
    H: Fn(Request<Incoming>, SocketAddr) -> F + Clone + Send + Sync + 'static,
    F: Future<Output = Answer> + Send + 'static,
{
    serve_and_drain(listeners, workers, handles, socks, stop, PATIENCE).await;
}

async fn serve_and_drain<H, F>(
    listeners: Vec<Listener>,
    workers: Arc<Workers>,
    handles: Arc<[H]>,
    socks: Option<Socks>,
    stop: impl Future<Output = ()>,
    patience: Patience,
) where
    H: Fn(Request<Incoming>, SocketAddr) -> F + Clone + Send + Sync + 'static,
    F: Future<Output = Answer> + Send + 'static,
{
    // Every connection holds a receiver: `closed` resolves when the last one is gone.
    let (stopping, watch) = watch::channel(Stage::Serving);
    let accepting: Vec<_> = listeners
        .into_iter()
        .map(|listener| {
            let (workers, handles, socks) = (Arc::clone(&workers), Arc::clone(&handles), socks.clone());
            tokio::spawn(accept(listener, workers, handles, socks, watch.clone(), patience.linger))
        })
        .collect();
    drop(watch);
    stop.await;
    for task in accepting {
        task.abort();
        // Until it is gone it may still take a connection.
        drop(task.await);
    }
    stopping.send_replace(Stage::Draining);
    if tokio::time::timeout(patience.drain, stopping.closed()).await.is_err() {
        tracing::warn!(
            seconds = patience.drain.as_secs(),
            "connections were still busy at the end of the drain and are cut"
        );
        stopping.send_replace(Stage::Cutting);
        stopping.closed().await;
    }
}

async fn accept<H, F>(
    listener: Listener,
    workers: Arc<Workers>,
    handles: Arc<[H]>,
    socks: Option<Socks>,
    stopping: watch::Receiver<Stage>,
    linger: Duration,
) where
    H: Fn(Request<Incoming>, SocketAddr) -> F + Clone + Send + Sync + 'static,
    F: Future<Output = Answer> + Send + 'static,
{
    loop {
        // As the system's own socket it can go to another thread's runtime.
        let accepted = listener.inner.accept().await.and_then(|(stream, peer)| Ok((stream.into_std()?, peer)));
        match accepted {
            Ok((stream, peer)) => {
                let (handles, socks, stopping) = (Arc::clone(&handles), socks.clone(), stopping.clone());
                workers.place(move |worker, place| {
                    let Some(handle) = handles.get(worker).cloned() else { return };
                    drop(tokio::spawn(async move {
                        match TcpStream::from_std(stream) {
                            Ok(stream) => serve_connection(stream, peer, handle, socks, stopping, linger).await,
                            Err(error) => tracing::warn!(%error, "cannot serve a connection"),
                        }
                        drop(place);
                    }));
                });
            }
            Err(error) => {
                tracing::warn!(%error, "cannot accept a connection");
                tokio::time::sleep(ACCEPT_PAUSE).await;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicBool, Ordering};

    use http_body_util::{BodyExt, Empty};
    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    use tokio::sync::Notify;

    use super::*;

    struct Dropped(Arc<AtomicBool>);

    impl Drop for Dropped {
        fn drop(&mut self) {
            self.0.store(true, Ordering::SeqCst);
        }
    }

    #[tokio::test]
    async fn a_request_that_outlasts_the_drain_is_dropped_before_serving_ends() {
        let listener = Listener::bind("127.0.0.1:0".parse().unwrap()).unwrap();
        let mut client = TcpStream::connect(listener.address()).await.unwrap();
        let (dropped, arrived, stop) =
            (Arc::new(AtomicBool::new(false)), Arc::new(Notify::new()), Arc::new(Notify::new()));
        let guard = Arc::clone(&dropped);
        let (came, stopped) = (Arc::clone(&arrived), Arc::clone(&stop));
        let handle = move |_, _| {
            let guard = Dropped(Arc::clone(&guard));
            came.notify_one();
            async move {
                std::future::pending::<()>().await;
                drop(guard);
                Response::new(Empty::new().map_err(|never| match never {}).boxed_unsync())
            }
        };
        let stopping = async move { stopped.notified().await };
        let patience = Patience { drain: Duration::from_millis(50), linger: Duration::ZERO };
        let workers = Arc::new(Workers::start(1).unwrap());
        let handles = Arc::from([handle]);
        let serving = tokio::spawn(serve_and_drain(vec![listener], workers, handles, None, stopping, patience));
        client.write_all(b"GET / HTTP/1.1\r\nhost: x\r\n\r\n").await.unwrap();
        arrived.notified().await;
        stop.notify_one();
        tokio::time::timeout(Duration::from_secs(10), serving).await.unwrap().unwrap();
        assert!(dropped.load(Ordering::SeqCst), "its row would come after the ledger was closed");
        assert!(matches!(client.read(&mut [0; 8]).await, Ok(0) | Err(_)));
    }

    #[tokio::test]
    async fn a_request_that_crosses_the_end_is_answered_and_told_to_close() {
        let listener = Listener::bind("127.0.0.1:0".parse().unwrap()).unwrap();
        let address = listener.address();
        let mut client = TcpStream::connect(address).await.unwrap();
        let handle = |_, _| async {
            Response::new(http_body_util::Full::from("hi").map_err(|never| match never {}).boxed_unsync())
        };
        let stop = Arc::new(Notify::new());
        let stopped = Arc::clone(&stop);
        let stopping = async move { stopped.notified().await };
        let an_hour = Duration::from_secs(3600);
        let patience = Patience { drain: an_hour, linger: an_hour };
        let workers = Arc::new(Workers::start(1).unwrap());
        let handles = Arc::from([handle]);
        let serving = tokio::spawn(serve_and_drain(vec![listener], workers, handles, None, stopping, patience));
        let mut answer = Vec::new();
        client.write_all(b"GET /1 HTTP/1.1\r\nhost: x\r\n\r\n").await.unwrap();
        while !answer.ends_with(b"hi") {
            client.read_buf(&mut answer).await.unwrap();
        }
        assert!(!String::from_utf8_lossy(&answer).contains("connection: close"));
        stop.notify_one();
        while TcpStream::connect(address).await.is_ok() {
            tokio::task::yield_now().await;
        }
        client.write_all(b"GET /2 HTTP/1.1\r\nhost: x\r\n\r\n").await.unwrap();
        answer.clear();
        client.read_to_end(&mut answer).await.unwrap();
        let answer = String::from_utf8_lossy(&answer);
        assert!(answer.starts_with("HTTP/1.1 200") && answer.contains("connection: close"), "{answer}");
        tokio::time::timeout(Duration::from_secs(10), serving).await.unwrap().unwrap();
    }
}
