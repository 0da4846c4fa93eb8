//! A sidecar between a client and a gateway that are both written out byte by byte.

use std::fs;
use std::future::Future;
use std::net::SocketAddr;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use fleetgate_sidecar::forward::Gateway;
use fleetgate_sidecar::keystore::KeyStore;
use fleetgate_sidecar::local::Sidecar;
use fleetgate_sidecar::metrics::Metrics;
use fleetgate_sidecar::{front, identity};
use tempfile::TempDir;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::oneshot;
use tokio::time::timeout;

/// The host's key in all tests. Its name must never be seen outside the gateway.
pub(crate) const HOST_KEY: &str = "sk-canary-host-0123456789";
/// What every gateway's answer bears.
pub(crate) const MARK: &str = "x-fleetgate-gateway: 0.1.0\r\n";
const HOSTS: &str = "[[host]]\nmatch = ['mac']\nkey = 'file:mac.key'\n";
/// How long calls wait for a gateway that is away, and those under way for their end.
const PATIENCE: Duration = Duration::from_millis(200);
const DRAIN: Duration = Duration::from_secs(10);

/// No test waits longer than this for anything.
pub(crate) async fn soon<T>(what: impl Future<Output = T>) -> T {
    timeout(Duration::from_secs(10), what).await.expect("it takes too long")
}

/// A sidecar that serves until it is dropped.
pub(crate) struct World {
    pub(crate) address: SocketAddr,
    pub(crate) keys: Arc<KeyStore>,
    pub(crate) directory: TempDir,
    stop: Option<oneshot::Sender<()>>,
}

impl World {
    /// With the usual `hosts.toml`.
    pub(crate) async fn start(gateway: SocketAddr) -> Self {
        Self::with_hosts(gateway, HOSTS).await
    }

    pub(crate) async fn with_hosts(gateway: SocketAddr, hosts: &str) -> Self {
        let directory = hosts_directory(hosts);
        let identity = identity::find(Some("mac"), None).await.unwrap();
        let keys = KeyStore::open(&directory.path().join("hosts.toml"), &identity.label).await.unwrap();
        let keys = Arc::new(keys);
        let listeners = front::bind(&["127.0.0.1:0".parse().unwrap()], false).unwrap();
        let address = listeners.addresses[0];
        let (url, metrics) = (format!("http://{gateway}").parse().unwrap(), Arc::new(Metrics::default()));
        let gateway = Gateway::new(&[url], PATIENCE, Arc::clone(&metrics));
        let sidecar = Arc::new(Sidecar { identity, keys: Arc::clone(&keys), gateway, metrics });
        let (stop, stopped) = oneshot::channel::<()>();
        tokio::spawn(front::serve(listeners, sidecar, stopped, |_| tokio::time::sleep(DRAIN)));
        Self { address, keys, directory, stop: Some(stop) }
    }

    /// Asks for the end, as SIGTERM does.
    pub(crate) fn stop(&mut self) {
        self.stop = None;
    }

    pub(crate) async fn client(&self) -> Wire {
        Wire(TcpStream::connect(self.address).await.unwrap())
    }

    /// Sends one request on a connection of its own and reads the answer to its end.
    pub(crate) async fn ask(&self, request: &str) -> String {
        let mut client = self.client().await;
        client.send(request).await;
        let mut answer = client.head().await;
        answer.push_str(&client.body_of(&answer).await);
        answer
    }

    /// A plain `POST /v1/messages`.
    pub(crate) async fn post(&self) -> String {
        self.ask("POST /v1/messages HTTP/1.1\r\nHost: localhost\r\nContent-Length: 2\r\n\r\n{}").await
    }
}

/// A directory with `hosts.toml` and the host's key.
pub(crate) fn hosts_directory(hosts: &str) -> TempDir {
    let directory = tempfile::tempdir().unwrap();
    fs::write(directory.path().join("hosts.toml"), hosts).unwrap();
    write_key(&directory.path().join("mac.key"), HOST_KEY);
    directory
}

pub(crate) fn write_key(path: &Path, key: &str) -> PathBuf {
    fs::write(path, format!("{key}\n")).unwrap();
    fs::set_permissions(path, fs::Permissions::from_mode(0o600)).unwrap();
    path.to_owned()
}

/// The gateway's end.
pub(crate) struct FakeGateway(TcpListener);

impl FakeGateway {
    pub(crate) async fn bind() -> Self {
        Self(TcpListener::bind("127.0.0.1:0").await.unwrap())
    }

    pub(crate) fn address(&self) -> SocketAddr {
        self.0.local_addr().unwrap()
    }

    pub(crate) async fn accept(&self) -> Wire {
        Wire(soon(self.0.accept()).await.unwrap().0)
    }

    /// Takes one request with a short body and answers it; gives back its head in lower-case header names.
    pub(crate) async fn serve_one(&self, answer: &str) -> String {
        let mut wire = self.accept().await;
        let head = wire.head().await;
        wire.body_of(&head).await;
        wire.send(answer).await;
        head
    }

    /// Whether nobody has come.
    pub(crate) fn is_unvisited(&self) -> bool {
        let mut accept = Box::pin(self.0.accept());
        let waker = futures_util::task::noop_waker();
        accept.as_mut().poll(&mut std::task::Context::from_waker(&waker)).is_pending()
    }
}

/// One connection.
pub(crate) struct Wire(pub(crate) TcpStream);

impl Wire {
    pub(crate) async fn send(&mut self, text: &str) {
        soon(self.0.write_all(text.as_bytes())).await.unwrap();
    }

    /// Reads up to the blank line, and not a byte more.
    pub(crate) async fn head(&mut self) -> String {
        let mut head = Vec::new();
        while !head.ends_with(b"\r\n\r\n") {
            match soon(self.0.read_u8()).await {
                Ok(byte) => head.push(byte),
                Err(error) => panic!("{error} after {:?}", String::from_utf8_lossy(&head)),
            }
        }
        String::from_utf8(head).unwrap()
    }

    /// Reads as many bytes as the head announces.
    pub(crate) async fn body_of(&mut self, head: &str) -> String {
        let length = header(head, "content-length").map_or(0, |length| length.parse().unwrap());
        self.read(length).await
    }

    pub(crate) async fn read(&mut self, length: usize) -> String {
        let mut body = vec![0; length];
        soon(self.0.read_exact(&mut body)).await.unwrap();
        String::from_utf8(body).unwrap()
    }

    /// Everything until the other side ends, and whether it ended cleanly.
    pub(crate) async fn rest(&mut self) -> String {
        let mut rest = Vec::new();
        // A reset is an end like any other here.
        let _ = soon(self.0.read_to_end(&mut rest)).await;
        String::from_utf8(rest).unwrap()
    }
}

/// The value of a header in a head.
pub(crate) fn header<'a>(head: &'a str, name: &str) -> Option<&'a str> {
    head.lines().find_map(|line| {
        let (key, value) = line.split_once(':')?;
        key.eq_ignore_ascii_case(name).then(|| value.trim())
    })
}

pub(crate) fn status(answer: &str) -> u16 {
    answer.split(' ').nth(1).and_then(|status| status.parse().ok()).unwrap_or_else(|| panic!("no status: {answer}"))
}

/// A short answer of a gateway that closes its connection afterwards.
pub(crate) fn ok() -> String {
    format!("HTTP/1.1 200 OK\r\n{MARK}Connection: close\r\nContent-Length: 2\r\n\r\n{{}}")
}
