//! A scripted provider: records every request byte for byte and answers by script, else as the real API would.

pub mod anthropic;
mod body;
pub mod gemini;
pub mod openai;
mod reply;
pub mod responses;
pub mod tls;

use std::collections::VecDeque;
use std::future::poll_fn;
use std::io;
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};

use bytes::Bytes;
use http::{HeaderMap, Method, Request, Response};
use http_body_util::BodyExt;
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use serde_json::{Value, json};
use tokio::io::{AsyncRead, AsyncWrite, AsyncWriteExt};
use tokio::net::{TcpListener, TcpSocket, TcpStream};
use tokio::sync::watch;
use tokio::task::JoinHandle;
use tokio_rustls::TlsAcceptor;
use tokio_rustls::server::TlsStream;

use crate::wait::soon;
use body::ScriptBody;
pub use reply::Reply;
use reply::{Ending, Head};
use tls::TestCa;

/// The secret that gateways are given for their upstreams; it must reach them, and nobody else.
pub const PROVIDER_KEY: &str = "provider-secret-canary-4711";

/// One request as it arrived.
#[derive(Debug, Clone)]
pub struct Recorded {
    /// The method.
    pub method: Method,
    /// Path and query; of a `CONNECT` where it leads.
    pub path: String,
    /// The headers.
    pub headers: HeaderMap,
    /// The body, without its transfer coding.
    pub body: Bytes,
}

impl Recorded {
    /// The body as JSON, or null.
    #[must_use]
    pub fn json(&self) -> Value {
        serde_json::from_slice(&self.body).unwrap_or(Value::Null)
    }

    /// The body as text.
    #[must_use]
    pub fn text(&self) -> String {
        String::from_utf8_lossy(&self.body).into_owned()
    }

    /// A header's value, or an empty text.
    #[must_use]
    pub fn header(&self, name: &str) -> &str {
        self.headers.get(name).and_then(|value| value.to_str().ok()).unwrap_or_default()
    }

    /// Everything that arrived, as one text: to look for what must not be in it.
    #[must_use]
    pub fn everything(&self) -> String {
        format!("{} {}\n{:?}\n{}", self.method, self.path, self.headers, self.text())
    }
}

/// A fake provider on a loopback port. It ends with this value.
#[derive(Debug)]
pub struct Upstream {
    address: SocketAddr,
    scheme: &'static str,
    shared: Arc<Shared>,
    server: JoinHandle<()>,
}

#[derive(Debug, Default)]
struct Shared {
    requests: Mutex<Vec<Recorded>>,
    script: Mutex<VecDeque<Reply>>,
    always: Mutex<Option<Reply>>,
    plays_gateway: AtomicBool,
    sent: Arc<AtomicUsize>,
    arrived: watch::Sender<usize>,
    abandoned: watch::Sender<usize>,
}

impl Upstream {
    /// Starts one that speaks clear HTTP.
    ///
    /// # Panics
    /// When there is no free port.
    pub async fn start() -> Self {
        Self::serve("http", None).await
    }

    /// Starts one that speaks HTTPS as `localhost` and 127.0.0.1.
    ///
    /// # Panics
    /// When there is no free port.
    pub async fn start_tls(ca: &TestCa) -> Self {
        let config = ca.server_config(&["localhost", "127.0.0.1"]);
        Self::serve("https", Some(TlsAcceptor::from(config))).await
    }

    async fn serve(scheme: &'static str, tls: Option<TlsAcceptor>) -> Self {
        // Many calls at once are many connections at once; the usual 128 would have the kernel reset some.
        let socket = TcpSocket::new_v4().expect("a socket");
        socket.bind(SocketAddr::from(([127, 0, 0, 1], 0))).expect("a free port");
        let listener = socket.listen(1024).expect("a bound socket");
        let address = listener.local_addr().expect("a bound socket has an address");
        let shared = Arc::new(Shared::default());
        let server = tokio::spawn(accept(listener, tls, Arc::clone(&shared)));
        Self { address, scheme, shared, server }
    }

    /// Where it listens.
    #[must_use]
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Its base address without path, as Anthropic's clients want it.
    #[must_use]
    pub fn origin(&self) -> String {
        match self.scheme {
            "https" => format!("https://localhost:{}", self.address.port()),
            scheme => format!("{scheme}://{}", self.address),
        }
    }

    /// Its base address with `/v1`, as OpenAI's clients want it.
    #[must_use]
    pub fn base(&self) -> String {
        format!("{}/v1", self.origin())
    }

    /// Answers the next request that has no answer yet with this.
    ///
    /// # Panics
    /// Never: the lock is not held across anything that panics.
    pub fn reply(&self, reply: Reply) {
        self.shared.script.lock().unwrap().push_back(reply);
    }

    /// Answers every request without a reply of its own with this.
    ///
    /// # Panics
    /// Never: the lock is not held across anything that panics.
    pub fn always(&self, reply: Reply) {
        *self.shared.always.lock().unwrap() = Some(reply);
    }

    /// Signs its answers as a gateway does, so that a sidecar takes it for one.
    pub fn play_gateway(&self) {
        self.shared.plays_gateway.store(true, Ordering::Relaxed);
    }

    /// Every request so far.
    ///
    /// # Panics
    /// Never: the lock is not held across anything that panics.
    #[must_use]
    pub fn requests(&self) -> Vec<Recorded> {
        self.shared.requests.lock().unwrap().clone()
    }

    /// The one request that came.
    ///
    /// # Panics
    /// When none or several came.
    #[must_use]
    #[track_caller]
    pub fn only_request(&self) -> Recorded {
        let mut requests = self.requests();
        assert_eq!(requests.len(), 1, "requests upstream: {:?}", requests.iter().map(|r| &r.path).collect::<Vec<_>>());
        requests.remove(0)
    }

    /// Waits until so many requests have come in all.
    ///
    /// # Panics
    /// When they do not come.
    pub async fn arrived(&self, count: usize) {
        let mut arrived = self.shared.arrived.subscribe();
        soon("requests at the upstream", arrived.wait_for(|n| *n >= count)).await.expect("the upstream lives");
    }

    /// How many pieces of bodies have been handed to sockets so far.
    #[must_use]
    pub fn pieces_sent(&self) -> usize {
        self.shared.sent.load(Ordering::Relaxed)
    }

    /// Waits until somebody has gone away from an answer before its end.
    ///
    /// # Panics
    /// When nobody does.
    pub async fn abandoned(&self) {
        let mut abandoned = self.shared.abandoned.subscribe();
        soon("the upstream's client goes away", abandoned.wait_for(|n| *n > 0)).await.expect("the upstream lives");
    }
}

impl Drop for Upstream {
    fn drop(&mut self) {
        self.server.abort();
    }
}

async fn accept(listener: TcpListener, tls: Option<TlsAcceptor>, shared: Arc<Shared>) {
    let mut connections = tokio::task::JoinSet::new();
    loop {
        let Ok((stream, _)) = listener.accept().await else { return };
        let _ = stream.set_nodelay(true);
        let (tls, shared) = (tls.clone(), Arc::clone(&shared));
        connections.spawn(async move {
            match tls {
                None => serve_connection(stream, shared).await,
                Some(tls) => {
                    if let Ok(stream) = tls.accept(stream).await {
                        serve_connection(stream, shared).await;
                    }
                }
            }
        });
    }
}

/// What to do with the socket once the answer has been broken off.
#[derive(Debug)]
enum Finale {
    Close,
    Reset,
    Raw(Bytes),
}

trait Socket: AsyncRead + AsyncWrite + Unpin + Send + 'static {
    fn tcp(&self) -> &TcpStream;
}

impl Socket for TcpStream {
    fn tcp(&self) -> &TcpStream {
        self
    }
}

impl Socket for TlsStream<TcpStream> {
    fn tcp(&self) -> &TcpStream {
        self.get_ref().0
    }
}

async fn serve_connection<S: Socket>(socket: S, shared: Arc<Shared>) {
    let finale = Arc::new(Mutex::new(Finale::Close));
    let service = service_fn(|request| -> Answering {
        let (shared, finale) = (Arc::clone(&shared), Arc::clone(&finale));
        Box::pin(async move { answer(request, shared, finale).await })
    });
    let mut connection = http1::Builder::new().serve_connection(TokioIo::new(socket), service);
    // Breaking off an answer is an error to hyper and the script's wish here.
    let _ = poll_fn(|cx| connection.poll_without_shutdown(cx)).await;
    let mut socket = connection.into_parts().io.into_inner();
    let finale = std::mem::replace(&mut *finale.lock().unwrap(), Finale::Close);
    match finale {
        Finale::Close => {}
        Finale::Reset => drop(socket.tcp().set_zero_linger()),
        Finale::Raw(bytes) => drop(socket.write_all(&bytes).await),
    }
}

type Answering = Pin<Box<dyn Future<Output = Result<Response<ScriptBody>, io::Error>> + Send>>;

async fn answer(
    request: Request<Incoming>,
    shared: Arc<Shared>,
    finale: Arc<Mutex<Finale>>,
) -> Result<Response<ScriptBody>, io::Error> {
    let (parts, body) = request.into_parts();
    let body = body.collect().await.map_err(io::Error::other)?.to_bytes();
    let path = parts.uri.path_and_query().map_or_else(|| parts.uri.to_string(), ToString::to_string);
    let recorded = Recorded { method: parts.method, path, headers: parts.headers, body };
    let scripted = shared.script.lock().unwrap().pop_front();
    let reply = scripted.or_else(|| shared.always.lock().unwrap().clone());
    let mut reply = reply.unwrap_or_else(|| as_the_real_one(&recorded));
    if shared.plays_gateway.load(Ordering::Relaxed) {
        reply = reply.header("x-fleetgate-gateway", "test");
    }
    shared.requests.lock().unwrap().push(recorded);
    shared.arrived.send_modify(|n| *n += 1);

    if let Some(gate) = &reply.held_by {
        gate.opened().await;
    }
    *finale.lock().unwrap() = match (&reply.head, reply.ending) {
        (Head::Raw(bytes), _) => Finale::Raw(bytes.clone()),
        (_, Ending::Reset) => Finale::Reset,
        _ => Finale::Close,
    };
    match &reply.head {
        // No answer from hyper: the connection's end writes the literal bytes.
        Head::Raw(_) => Err(io::Error::other("the script answers with literal bytes")),
        Head::Http { status, headers } => {
            let mut response = Response::builder().status(*status);
            for (name, value) in headers {
                response = response.header(name, value);
            }
            let body = ScriptBody::new(reply, Arc::clone(&shared.sent), shared.abandoned.clone());
            response.body(body).map_err(io::Error::other)
        }
    }
}

/// What the real provider would say on this path.
fn as_the_real_one(request: &Recorded) -> Reply {
    let path = request.path.split('?').next().unwrap_or_default();
    let body = request.json();
    let is = |suffix: &str| path.ends_with(suffix);
    if is("/chat/completions") {
        openai::chat(&body)
    } else if is("/completions") {
        openai::completion(&body)
    } else if is("/embeddings") {
        openai::embedding(&body)
    } else if is("/responses") {
        responses::response(&body)
    } else if is("/messages/count_tokens") {
        Reply::json(200, &json!({"input_tokens": 2095}))
    } else if is("/messages") {
        anthropic::message(&body)
    } else if let Some((_, verb)) = path.rsplit_once(':') {
        gemini::generated(verb)
    } else {
        Reply::json(404, &json!({"error": {"message": format!("the fake provider has no {path}")}}))
    }
}
