//! Takes connections until it is told to stop, then lets what is under way finish.

use std::convert::Infallible;
use std::future::Future;
use std::io;
use std::net::SocketAddr;
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use futures_util::future::join_all;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tokio::time::sleep;

use super::in_flight::InFlight;
use super::listen::Listeners;
use super::service::Front;
use crate::local::Sidecar;

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
    let front = Front { sidecar: Arc::clone(&sidecar), in_flight: InFlight::new() };
    let in_flight = front.in_flight.clone();

    let accepting = join_all(listeners.sockets.into_iter().map(|socket| accept(socket, front.clone(), &stopping)));
    // Listening ends with this: what comes later is refused by the kernel.
    let stopped = tokio::select! {
        _ = accepting => return,
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

async fn accept(socket: TcpListener, front: Front, stopping: &watch::Sender<bool>) {
    loop {
        match socket.accept().await {
            Ok((stream, _)) => {
                let counted = (front.in_flight.enter(), front.sidecar.metrics.connections.enter());
                let connection = converse(stream, front.clone(), stopping.subscribe());
                tokio::spawn(async move {
                    if let Err(error) = connection.await {
                        tracing::debug!("a client connection ended: {error}");
                    }
                    drop(counted);
                });
            }
            Err(error) => {
                tracing::warn!("cannot take a connection: {error}");
                sleep(ACCEPT_PAUSE).await;
            }
        }
    }
}

async fn converse(stream: TcpStream, front: Front, mut stopping: watch::Receiver<bool>) -> Result<(), ConverseError> {
    stream.set_nodelay(true)?;
    let ours: SocketAddr = stream.local_addr()?;
    let service = service_fn(move |request| {
        let answer = front.clone().answer(request, ours);
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
        ended = connection.as_mut() => return Ok(ended?),
        _ = stopping.wait_for(|stopping| *stopping) => {}
    }
    connection.as_mut().graceful_shutdown();
    Ok(connection.await?)
}

/// How a conversation can end before its time.
#[derive(Debug, thiserror::Error)]
enum ConverseError {
    #[error(transparent)]
    Socket(#[from] io::Error),
    #[error(transparent)]
    Http(#[from] hyper::Error),
}
