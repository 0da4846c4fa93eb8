//! One connection from its first bytes to its end. They tell what it speaks: HTTP/1, HTTP/2 whose client knows that it may
//! (RFC 9113 §3.3), or SOCKS5 where that is served.

use std::convert::Infallible;
use std::future::Future;
use std::io;
use std::net::SocketAddr;
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use futures_util::StreamExt;
use futures_util::stream::FuturesUnordered;
use http::header::{CONNECTION, HOST};
use http::{HeaderValue, Method, Request, Uri, Version};
use http_body_util::BodyExt;
use hyper::body::{Body, Frame, Incoming, SizeHint};
use hyper::server::conn::{http1, http2};
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use rustix::net::{RecvFlags, recv};
use tokio::io::Interest;
use tokio::net::TcpStream;
use tokio::sync::watch;

use super::listen::{Answer, AnswerBody};
use super::socks;
use super::streams::{StreamCut, Streams};

/// Codex sends 1.7 KB of headers, browsers with cookies more; 64 KB is beyond any client seen.
const MAX_HEAD_BYTES: u32 = 64 * 1024;
/// hyper counts the idle time between two requests into it as well, so it must be longer than any client pool's own limit.
const HEAD_TIMEOUT: Duration = Duration::from_secs(120);
/// How HTTP/2 begins; no request of HTTP/1 does, since its registry keeps the method `PRI` for that.
const PREFACE: [u8; 4] = *b"PRI ";
/// Requests and tunnels at once on one connection of HTTP/2.
const MAX_STREAMS: u32 = 256;
/// What may be under way to us in one stream: at 20 ms between two machines, 12 MB a second.
const STREAM_WINDOW: u32 = 256 * 1024;
/// The same for all streams of a connection, and so the most that it can make us hold.
const CONNECTION_WINDOW: u32 = 4 * 1024 * 1024;
/// What waits to be sent in one stream.
const SEND_BUFFER: usize = 64 * 1024;
/// Streams that a client opened and reset before they were looked at; with more it only wants us to work (CVE-2023-44487).
const MAX_RESETS: usize = 20;
/// Nobody closes a connection of HTTP/2 for its silence but us: a client that is gone does not answer a ping.
const PING_AFTER: Duration = Duration::from_secs(60);

/// Takes a connection over that speaks SOCKS5.
pub type Socks = Arc<dyn Fn(TcpStream, SocketAddr) + Send + Sync>;

/// How far the end has come.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Stage {
    Serving,
    /// Requests under way may finish.
    Draining,
    /// What is left is dropped, and so writes its row.
    Cutting,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Speech {
    Http1,
    Http2,
    Socks,
}

/// Serves a connection that somebody else took, until it ends or becomes a tunnel.
pub async fn serve_one<H, F>(stream: TcpStream, peer: SocketAddr, handle: H, socks: Option<Socks>)
where
    H: Fn(Request<Incoming>, SocketAddr) -> F + Clone + Send + Sync + 'static,
    F: Future<Output = Answer> + Send + 'static,
{
    let (_serving, stopping) = watch::channel(Stage::Serving);
    serve_connection(stream, peer, handle, socks, stopping, Duration::ZERO).await;
}

/// Serves a connection until it ends, or until the end of serving has come for it.
pub(super) async fn serve_connection<H, F>(
    stream: TcpStream,
    peer: SocketAddr,
    handle: H,
    socks: Option<Socks>,
    mut stopping: watch::Receiver<Stage>,
    linger: Duration,
) where
    H: Fn(Request<Incoming>, SocketAddr) -> F + Clone + Send + Sync + 'static,
    F: Future<Output = Answer> + Send + 'static,
{
    // Without it a small chunk of a stream waits for the acknowledgement of the one before.
    let _harmless = stream.set_nodelay(true);
    let first = tokio::time::timeout(HEAD_TIMEOUT, speech(&stream, socks.is_some()));
    let spoken = tokio::select! {
        biased;
        spoken = first => spoken,
        () = crossed(&mut stopping, linger) => return,
    };
    match (spoken, socks) {
        (Ok(Ok(Speech::Http1)), _) => serve_http1(stream, peer, handle, stopping, linger).await,
        (Ok(Ok(Speech::Http2)), _) => serve_http2(stream, peer, handle, stopping).await,
        (Ok(Ok(Speech::Socks)), Some(socks)) => socks(stream, peer),
        // It said nothing in all that time, or it is gone.
        _ => {}
    }
}

/// Looks at the first bytes and leaves them where they are.
async fn speech(stream: &TcpStream, has_socks: bool) -> io::Result<Speech> {
    loop {
        let ready = stream.ready(Interest::READABLE).await?;
        let looked = stream.try_io(Interest::READABLE, || {
            let mut first = [0; PREFACE.len()];
            let (_, count) = recv(stream, &mut first[..], RecvFlags::PEEK)?;
            match &first[..count] {
                [] => Err(io::ErrorKind::UnexpectedEof.into()),
                [socks::VERSION, ..] if has_socks => Ok(Speech::Socks),
                seen if seen == PREFACE => Ok(Speech::Http2),
                // It could become both.
                seen if PREFACE.starts_with(seen) => Err(io::ErrorKind::WouldBlock.into()),
                _ => Ok(Speech::Http1),
            }
        });
        match looked {
            // Nothing more will come, and a socket that has ended is ready for ever: to wait would be to spin.
            Err(error) if error.kind() == io::ErrorKind::WouldBlock && ready.is_read_closed() => {
                return Err(io::ErrorKind::UnexpectedEof.into());
            }
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
            looked => return looked,
        }
    }
}

async fn serve_http1<H, F>(
    stream: TcpStream,
    peer: SocketAddr,
    handle: H,
    mut stopping: watch::Receiver<Stage>,
    linger: Duration,
) where
    H: Fn(Request<Incoming>, SocketAddr) -> F + Clone + Send + Sync + 'static,
    F: Future<Output = Answer> + Send + 'static,
{
    // One receiver for all requests: each more is counted where all connections of all workers are.
    let draining = Arc::new(stopping.clone());
    let service = service_fn(move |request| {
        // A tunnel has its connection to itself.
        let is_tunnel = request.method() == Method::CONNECT;
        let (answering, draining) = (handle(request, peer), Arc::clone(&draining));
        async move {
            let mut answer = answering.await;
            if *draining.borrow() >= Stage::Draining && !is_tunnel {
                answer.headers_mut().insert(CONNECTION, HeaderValue::from_static("close"));
            }
            Ok::<_, Infallible>(answer)
        }
    });
    let connection = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(HEAD_TIMEOUT)
        .max_buf_size(MAX_HEAD_BYTES as usize)
        .serve_connection(TokioIo::new(stream), service)
        .with_upgrades();
    let mut connection = pin!(connection);
    // In a set of its own it is looked at when it is woken, and not at each step of the connection: that would take a lock.
    let mut ending = FuturesUnordered::from_iter([crossed(&mut stopping, linger)]);
    let result = tokio::select! {
        // What has come by now is served, however late this task is.
        biased;
        result = connection.as_mut() => result,
        Some(()) = ending.next() => {
            drop(ending);
            connection.as_mut().graceful_shutdown();
            tokio::select! {
                result = connection.as_mut() => result,
                () = reached(&mut stopping, Stage::Cutting) => return,
            }
        }
    };
    if let Err(error) = result {
        tracing::debug!(%peer, %error, "connection ended");
    }
}

async fn serve_http2<H, F>(stream: TcpStream, peer: SocketAddr, handle: H, mut stopping: watch::Receiver<Stage>)
where
    H: Fn(Request<Incoming>, SocketAddr) -> F + Clone + Send + Sync + 'static,
    F: Future<Output = Answer> + Send + 'static,
{
    let until = stopping.clone();
    let service = service_fn(move |mut request: Request<Incoming>| {
        as_origin_form(&mut request);
        // Each stream is a task of its own. The end of serving waits for whoever holds one of these, and so for it and its body.
        let (handle, held) = (handle.clone(), until.clone());
        async move {
            if let Some(cut) = StreamCut::current() {
                request.extensions_mut().insert(cut);
            }
            let mut answer = handle(request, peer).await;
            // A refusal ends its stream by itself, and HTTP/2 has no such header (RFC 9113 §8.2.2).
            answer.headers_mut().remove(CONNECTION);
            Ok::<_, Infallible>(answer.map(|body| Held { body, _held: held }.boxed_unsync()))
        }
    });
    let connection = http2::Builder::new(Streams)
        .timer(TokioTimer::new())
        .max_header_list_size(MAX_HEAD_BYTES)
        .max_concurrent_streams(MAX_STREAMS)
        .max_pending_accept_reset_streams(MAX_RESETS)
        .initial_stream_window_size(STREAM_WINDOW)
        .initial_connection_window_size(CONNECTION_WINDOW)
        .max_send_buf_size(SEND_BUFFER)
        .keep_alive_interval(PING_AFTER)
        .serve_connection(TokioIo::new(stream), service);
    let mut connection = pin!(connection);
    let result = tokio::select! {
        result = connection.as_mut() => result,
        () = reached(&mut stopping, Stage::Draining) => {
            // GOAWAY says which requests were taken: none is lost between the two of us.
            connection.as_mut().graceful_shutdown();
            tokio::select! {
                result = connection.as_mut() => result,
                () = reached(&mut stopping, Stage::Cutting) => return,
            }
        }
    };
    if let Err(error) = result {
        tracing::debug!(%peer, %error, "connection ended");
    }
}

/// What HTTP/2 says in pseudo-headers, as HTTP/1 says it to a server: whom it asks in `Host`, and the path alone. A request for
/// another machine cannot be told from one for us there, so all are for us; tunnels name their destination as ever.
fn as_origin_form(request: &mut Request<Incoming>) {
    debug_assert_eq!(request.version(), Version::HTTP_2);
    if request.method() == Method::CONNECT {
        return;
    }
    let host = request.uri().authority().and_then(|authority| HeaderValue::from_str(authority.as_str()).ok());
    if let Some(host) = host.filter(|_| !request.headers().contains_key(HOST)) {
        request.headers_mut().insert(HOST, host);
    }
    let path = request.uri().path_and_query().cloned();
    *request.uri_mut() = path.map_or_else(|| Uri::from_static("/"), Uri::from);
}

/// An answer's body, which the end of serving waits for.
struct Held {
    body: AnswerBody,
    _held: watch::Receiver<Stage>,
}

impl Body for Held {
    type Data = <AnswerBody as Body>::Data;
    type Error = <AnswerBody as Body>::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Self::Data>, Self::Error>>> {
        Pin::new(&mut self.body).poll_frame(cx)
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}

/// Resolves when nothing more is waited for that may have crossed the beginning of the end.
async fn crossed(stopping: &mut watch::Receiver<Stage>, linger: Duration) {
    reached(stopping, Stage::Draining).await;
    // A drain that is shorter than this ends it.
    let _either = tokio::time::timeout(linger, reached(stopping, Stage::Cutting)).await;
}

async fn reached(stopping: &mut watch::Receiver<Stage>, stage: Stage) {
    // The sender outlives every connection; were it gone, there would be nothing left to serve.
    drop(stopping.wait_for(|now| *now >= stage).await);
}
