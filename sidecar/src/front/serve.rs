//! Takes connections until it is told to stop, then lets what is under way finish.

use std::convert::Infallible;
use std::future::Future;
use std::io;
use std::net::{Ipv4Addr, SocketAddr};
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use futures_util::future::{join, join_all};
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpListener, TcpStream, UnixStream};
use tokio::sync::watch;
use tokio::time::sleep;

use super::listen::Listeners;
use super::local_socket::LocalSocket;
use super::service::Front;
use crate::local::Sidecar;
use crate::workload::{Caller, Callers};

/// hyper counts the silence between two requests too, so this is also how long an idle client connection lives: longer than
/// any client's own pool keeps one (Go: 90 s), else calls would run into connections that are just being closed.
const HEAD_LIMIT: Duration = Duration::from_secs(120);
const MAX_HEAD: usize = 64 * 1024;
const MAX_HEADERS: usize = 256;
/// Out of file descriptors: a moment later some are free again.
const ACCEPT_PAUSE: Duration = Duration::from_millis(50);

/// Serves until `stop` resolves and then for as long as open calls need, at most until the future resolves that `cut` makes of
/// what `stop` gave.
pub async fn serve<S, Cut: Future<Output = ()>>(
    listeners: Listeners,
    sidecar: Arc<Sidecar>,
    stop: impl Future<Output = S>,
    cut: impl FnOnce(S) -> Cut,
) {
    let stopping = watch::Sender::new(false);
    let Listeners { sockets, local, access, .. } = listeners;
    let front = Front::new(Arc::clone(&sidecar), access);
    let in_flight = front.in_flight.clone();

    let ports = join_all(sockets.into_iter().map(|socket| accept(Port(socket), &front, &stopping)));
    let files = join_all(local.into_iter().map(|socket| accept(socket, &front, &stopping)));
    // Listening ends with this: what comes later is refused by the kernel.
    let stopped = tokio::select! {
        _ = join(ports, files) => return,
        () = sidecar.keys.watch() => return,
        stopped = stop => stopped,
    };
    stopping.send_replace(true);
    tokio::select! {
        () = in_flight.all_done() => {}
        () = cut(stopped) => {
            let (calls, tunnels) = (sidecar.metrics.calls.read().open, sidecar.metrics.tunnels.read().open);
            tracing::warn!(calls, tunnels, "some calls or tunnels had not ended and are cut");
        }
    }
}

/// A port to listen on.
struct Port(TcpListener);

/// Where connections come from, each with the one behind it and the address that it reached.
trait Door {
    type Stream: AsyncRead + AsyncWrite + Unpin + Send + 'static;

    async fn next(&self, callers: &Arc<Callers>) -> io::Result<(Self::Stream, Arc<Caller>, SocketAddr)>;
}

impl Door for Port {
    type Stream = TcpStream;

    async fn next(&self, callers: &Arc<Callers>) -> io::Result<(TcpStream, Arc<Caller>, SocketAddr)> {
        let (stream, client) = self.0.accept().await?;
        stream.set_nodelay(true).map_err(gone)?;
        let ours = stream.local_addr().map_err(gone)?;
        Ok((stream, callers.meet(client, ours), ours))
    }
}

impl Door for LocalSocket {
    type Stream = UnixStream;

    async fn next(&self, callers: &Arc<Callers>) -> io::Result<(UnixStream, Arc<Caller>, SocketAddr)> {
        let (stream, _) = self.socket.accept().await?;
        let client = stream.peer_cred().map_err(gone)?;
        let number = client.pid().and_then(|pid| u32::try_from(pid).ok());
        // A request here names its server as one to http://localhost would.
        Ok((stream, callers.meet_local(client.uid(), number), SocketAddr::from((Ipv4Addr::LOCALHOST, 80))))
    }
}

/// The client left before it was taken in.
fn gone(_: io::Error) -> io::Error {
    io::ErrorKind::ConnectionAborted.into()
}

async fn accept(door: impl Door, front: &Front, stopping: &watch::Sender<bool>) {
    loop {
        match door.next(front.callers()).await {
            Ok((stream, caller, ours)) => {
                let counted = (front.in_flight.enter(), front.sidecar.metrics.connections.enter());
                let connection = converse(stream, caller, ours, front.clone(), stopping.subscribe());
                tokio::spawn(async move {
                    if let Err(error) = connection.await {
                        tracing::debug!("a client connection ended: {error}");
                    }
                    drop(counted);
                });
            }
            Err(error) if error.kind() == io::ErrorKind::ConnectionAborted => {}
            Err(error) => {
                tracing::warn!("cannot take a connection: {error}");
                sleep(ACCEPT_PAUSE).await;
            }
        }
    }
}

async fn converse(
    stream: impl AsyncRead + AsyncWrite + Unpin + Send + 'static,
    caller: Arc<Caller>,
    ours: SocketAddr,
    front: Front,
    mut stopping: watch::Receiver<bool>,
) -> Result<(), hyper::Error> {
    let service = service_fn(move |request| {
        let answer = front.clone().answer(request, Arc::clone(&caller), ours);
        async move { Ok::<_, Infallible>(answer.await) }
    });
    let connection = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(HEAD_LIMIT)
        .max_header_size(MAX_HEAD)
        .max_headers(MAX_HEADERS)
        .serve_connection(TokioIo::new(stream), service)
        .with_upgrades();
    let mut connection = pin!(connection);
    tokio::select! {
        ended = connection.as_mut() => return ended,
        _ = stopping.wait_for(|stopping| *stopping) => {}
    }
    connection.as_mut().graceful_shutdown();
    connection.await
}
