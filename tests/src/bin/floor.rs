//! The floor that the benchmark measures against: a bare pass-through reverse proxy. No keys, no parsing, no ledger.
//!
//! `fleetgate-floor ADDRESS:PORT [FILE]` forwards everything there over pooled connections. With a file, each answer waits before its
//! end until the disk has a record of it: the floor of a gateway whose rows survive the loss of power.

use std::convert::Infallible;
use std::error::Error;
use std::fs::File;
use std::future::Future;
use std::io::{self, Write};
use std::net::SocketAddr;
use std::path::Path;
use std::pin::Pin;
use std::sync::mpsc;
use std::task::{Context, Poll, ready};
use std::thread;

use http::uri::{Authority, Scheme};
use http::{Request, Response, StatusCode, Uri};
use http_body_util::{Either, Empty};
use hyper::body::{Body, Bytes, Frame, Incoming};
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::client::legacy::Client;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::{TokioExecutor, TokioIo};
use tokio::net::TcpListener;
use tokio::sync::oneshot;

type Answer = Either<Either<Incoming, Recorded>, Empty<Bytes>>;
/// Asks for a record; answered when the disk has it.
type Recorder = mpsc::Sender<oneshot::Sender<()>>;

/// As long as a row is.
const RECORD: [u8; 256] = [b'x'; 256];

#[tokio::main]
async fn main() -> Result<(), Box<dyn Error>> {
    let upstream: SocketAddr = std::env::args().nth(1).ok_or("usage: fleetgate-floor ADDRESS:PORT")?.parse()?;
    let authority: Authority = upstream.to_string().parse()?;
    let mut connector = HttpConnector::new();
    connector.set_nodelay(true);
    let client: Client<HttpConnector, Incoming> = Client::builder(TokioExecutor::new()).build(connector);
    let recorder = std::env::args().nth(2).map(|path| record(Path::new(&path))).transpose()?;
    let listener = TcpListener::bind("127.0.0.1:0").await?;
    writeln!(std::io::stdout(), "listening http://{}\nready", listener.local_addr()?)?;
    loop {
        let (stream, _) = listener.accept().await?;
        stream.set_nodelay(true)?;
        let (client, authority, recorder) = (client.clone(), authority.clone(), recorder.clone());
        tokio::spawn(async move {
            let service =
                service_fn(move |request| forward(client.clone(), authority.clone(), recorder.clone(), request));
            // A client that goes away is no event here.
            drop(http1::Builder::new().serve_connection(TokioIo::new(stream), service).await);
        });
    }
}

async fn forward(
    client: Client<HttpConnector, Incoming>,
    authority: Authority,
    recorder: Option<Recorder>,
    mut request: Request<Incoming>,
) -> Result<Response<Answer>, Infallible> {
    let mut uri = std::mem::take(request.uri_mut()).into_parts();
    uri.scheme = Some(Scheme::HTTP);
    uri.authority = Some(authority);
    *request.uri_mut() = Uri::from_parts(uri).unwrap_or_default();
    match client.request(request).await {
        Ok(response) => Ok(response.map(|body| {
            Either::Left(match recorder {
                None => Either::Left(body),
                Some(recorder) => Either::Right(Recorded { body, recorder, last: None, on_disk: None, ended: false }),
            })
        })),
        Err(_) => {
            let mut response = Response::new(Either::Right(Empty::new()));
            *response.status_mut() = StatusCode::BAD_GATEWAY;
            Ok(response)
        }
    }
}

/// One thread writes for all who wait, and syncs once for them.
fn record(path: &Path) -> io::Result<Recorder> {
    let mut file = File::create(path)?;
    let (recorder, asked) = mpsc::channel::<oneshot::Sender<()>>();
    thread::spawn(move || {
        while let Ok(first) = asked.recv() {
            let waiting: Vec<_> = std::iter::once(first).chain(asked.try_iter()).collect();
            if file.write_all(&RECORD.repeat(waiting.len())).and_then(|()| file.sync_data()).is_err() {
                return;
            }
            for one in waiting {
                // Whoever no longer waits has no use for it.
                let _gone = one.send(());
            }
        }
    });
    Ok(recorder)
}

/// A body whose end waits for its record.
struct Recorded {
    body: Incoming,
    recorder: Recorder,
    /// The last frame, if the body said so with it.
    last: Option<Frame<Bytes>>,
    /// Asked for once the end is there.
    on_disk: Option<oneshot::Receiver<()>>,
    ended: bool,
}

impl Body for Recorded {
    type Data = Bytes;
    type Error = hyper::Error;

    fn poll_frame(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, hyper::Error>>> {
        let this = self.get_mut();
        if this.ended {
            return Poll::Ready(None);
        }
        if this.on_disk.is_none() {
            match ready!(Pin::new(&mut this.body).poll_frame(cx)) {
                Some(Ok(frame)) if this.body.is_end_stream() => this.last = Some(frame),
                None => {}
                other => return Poll::Ready(other),
            }
            let (asked, on_disk) = oneshot::channel();
            // A recorder that is gone could not write: then nothing is to be waited for.
            drop(this.recorder.send(asked));
            this.on_disk = Some(on_disk);
        }
        if let Some(on_disk) = &mut this.on_disk {
            drop(ready!(Pin::new(on_disk).poll(cx)));
        }
        this.ended = true;
        Poll::Ready(this.last.take().map(Ok))
    }

    fn is_end_stream(&self) -> bool {
        self.ended
    }

    fn size_hint(&self) -> hyper::body::SizeHint {
        self.body.size_hint()
    }
}
