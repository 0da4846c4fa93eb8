//! How tunnels through the sidecar and the gateway end, by TCP and by the sidecar's local socket, and what is counted of them.

#![allow(clippy::expect_used, reason = "a broken expectation is a failed test")]

use std::io::ErrorKind;

use fleetgate_tests::client::Tunnel;
use fleetgate_tests::wait::soon;
use fleetgate_tests::{Gateway, Sidecar, eventually};
use fleetgate_wire::row::Row;
use serde_json::json;
use tempfile::TempDir;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream, UnixStream};

struct Way {
    gateway: Gateway,
    sidecar: Sidecar,
    listener: TcpListener,
    socket: String,
    _directory: TempDir,
}

impl Way {
    async fn new() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
        let port = listener.local_addr().expect("it is bound").port();
        let gateway = Gateway::start(|c| c.tunnels_to_loopback(&[port])).await;
        let key = gateway.key(&json!({"key_alias": "vk-mac", "host": "mac"})).await;
        let directory = TempDir::new().expect("a temporary directory");
        let socket = directory.path().join("socket").display().to_string();
        let sidecar = Sidecar::for_host("mac").gateway(&gateway).key(&key);
        let sidecar = sidecar.args(["--listen-unix", &socket]).start().await;
        Self { gateway, sidecar, listener, socket, _directory: directory }
    }

    fn to(&self) -> String {
        self.listener.local_addr().expect("it is bound").to_string()
    }

    /// Both ends of a new tunnel.
    async fn by_tcp(&self) -> (TcpStream, TcpStream) {
        let to = self.to();
        let (client, server) = tokio::join!(Tunnel::open(self.sidecar.address(), &to, ""), self.listener.accept());
        assert_eq!(client.status(), 200, "{}", client.head);
        (client.stream, server.expect("the gateway comes").0)
    }

    /// The same, with a client that came by the local socket.
    async fn by_local_socket(&self) -> (UnixStream, TcpStream) {
        let to = self.to();
        let asking = async {
            let mut stream = UnixStream::connect(&self.socket).await.expect("the sidecar listens");
            let request = format!("CONNECT {to} HTTP/1.1\r\nHost: {to}\r\n\r\n");
            stream.write_all(request.as_bytes()).await.expect("the sidecar reads");
            let mut head = Vec::new();
            while !head.ends_with(b"\r\n\r\n") {
                head.push(soon("the answer", stream.read_u8()).await.expect("a whole head"));
            }
            assert!(head.starts_with(b"HTTP/1.1 200"), "{}", head.escape_ascii());
            stream
        };
        let (client, server) = tokio::join!(asking, self.listener.accept());
        (client, server.expect("the gateway comes").0)
    }

    async fn row(&self) -> Row {
        eventually("the tunnel's row", async || self.gateway.rows().await.pop()).await
    }
}

fn reset(stream: TcpStream) {
    stream.set_zero_linger().expect("a live socket");
    drop(stream);
}

#[tokio::test]
async fn a_reset_passes_both_machines_and_every_byte_is_counted() {
    for client_breaks in [true, false] {
        let way = Way::new().await;
        let (mut client, mut server) = way.by_tcp().await;
        client.write_all(&[1; 100_000]).await.expect("it takes bytes");
        soon("bytes", server.read_exact(&mut vec![0; 100_000])).await.expect("they come");
        server.write_all(&[2; 33]).await.expect("it takes bytes");
        soon("bytes", client.read_exact(&mut [0; 33])).await.expect("they come");
        let (breaks, mut hears) = if client_breaks { (client, server) } else { (server, client) };
        reset(breaks);
        let ended = soon("the end", hears.read_to_end(&mut Vec::new())).await.err().map(|error| error.kind());
        assert_eq!(ended, Some(ErrorKind::ConnectionReset), "client breaks: {client_breaks}");
        let row = way.row().await;
        assert_eq!((row.status.as_str(), row.bytes_up, row.bytes_down), ("broken", Some(100_000), Some(33)));
    }
}

/// One side finishes, then the other sends much and finishes.
async fn finish_in_turn<A, B>(mut first: A, mut second: B)
where
    A: AsyncRead + AsyncWrite + Unpin,
    B: AsyncRead + AsyncWrite + Unpin,
{
    first.write_all(b"first").await.expect("it takes bytes");
    first.shutdown().await.expect("half-close");
    let mut seen = Vec::new();
    soon("the end of one way", second.read_to_end(&mut seen)).await.expect("a clean end");
    assert_eq!(seen, b"first");
    second.write_all(&[3; 70_000]).await.expect("the other way is open");
    second.shutdown().await.expect("half-close");
    seen.clear();
    soon("the end of the other", first.read_to_end(&mut seen)).await.expect("a clean end");
    assert_eq!(seen.len(), 70_000);
}

#[tokio::test]
async fn either_side_may_finish_first_behind_the_sidecar() {
    for client_first in [true, false] {
        let way = Way::new().await;
        let (client, server) = way.by_tcp().await;
        let bytes = if client_first {
            finish_in_turn(client, server).await;
            (Some(5), Some(70_000))
        } else {
            finish_in_turn(server, client).await;
            (Some(70_000), Some(5))
        };
        let row = way.row().await;
        assert_eq!((row.status.as_str(), (row.bytes_up, row.bytes_down)), ("closed", bytes));
    }
}

#[tokio::test]
async fn the_same_holds_by_the_local_socket() {
    for client_first in [true, false] {
        let way = Way::new().await;
        let (client, server) = way.by_local_socket().await;
        let bytes = if client_first {
            finish_in_turn(client, server).await;
            (Some(5), Some(70_000))
        } else {
            finish_in_turn(server, client).await;
            (Some(70_000), Some(5))
        };
        let row = way.row().await;
        assert_eq!((row.status.as_str(), (row.bytes_up, row.bytes_down)), ("closed", bytes));
    }
}

#[tokio::test]
async fn a_destinations_reset_ends_a_client_at_the_local_socket() {
    let way = Way::new().await;
    let (mut client, mut server) = way.by_local_socket().await;
    client.write_all(b"12345").await.expect("it takes bytes");
    soon("bytes", server.read_exact(&mut [0; 5])).await.expect("they come");
    reset(server);
    // A local socket has no reset: it ends.
    drop(soon("the end", client.read_to_end(&mut Vec::new())).await);
    let row = way.row().await;
    assert_eq!((row.status.as_str(), row.bytes_up, row.bytes_down), ("broken", Some(5), Some(0)));
}
