//! HTTP/2 without TLS, as a client speaks it that knows it may: tunnels and calls as streams of one connection.

#![allow(clippy::expect_used, reason = "a broken expectation is a failed test")]

use std::io::ErrorKind;
use std::net::SocketAddr;

use bytes::Bytes;
use fleetgate_tests::upstream::openai::chat_request;
use fleetgate_tests::wait::soon;
use fleetgate_tests::{Gateway, MASTER_KEY, eventually};
use fleetgate_wire::row::Row;
use http::{HeaderMap, Method, Request, Response, StatusCode};
use http_body_util::{BodyExt, Full};
use hyper::body::Incoming;
use hyper::client::conn::http2::{SendRequest, handshake};
use hyper::upgrade::Upgraded;
use hyper_util::rt::{TokioExecutor, TokioIo};
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinHandle;

struct Connection {
    sender: SendRequest<Full<Bytes>>,
    ended: JoinHandle<hyper::Result<()>>,
}

impl Connection {
    async fn open(to: SocketAddr) -> Self {
        let stream = TcpStream::connect(to).await.expect("the gateway listens");
        let (sender, connection) =
            handshake(TokioExecutor::new(), TokioIo::new(stream)).await.expect("the gateway speaks HTTP/2");
        Self { sender, ended: tokio::spawn(connection) }
    }

    async fn send(&mut self, request: http::request::Builder, body: String) -> Response<Incoming> {
        let request = request.body(Full::from(body)).expect("a request");
        soon("an answer", self.sender.send_request(request)).await.expect("an answer")
    }

    async fn connect(&mut self, to: &str) -> Response<Incoming> {
        let bearer = format!("Bearer {MASTER_KEY}");
        let request = Request::builder().method(Method::CONNECT).uri(to).header("proxy-authorization", bearer);
        self.send(request, String::new()).await
    }

    /// Both ends of a new tunnel.
    async fn tunnel(&mut self, listener: &TcpListener) -> (TokioIo<Upgraded>, TcpStream) {
        let to = listener.local_addr().expect("it is bound").to_string();
        let (answer, server) = tokio::join!(self.connect(&to), listener.accept());
        assert_eq!(answer.status(), 200, "{:?}", answer.headers());
        let client = hyper::upgrade::on(answer).await.expect("a tunnel");
        (TokioIo::new(client), server.expect("the gateway comes").0)
    }
}

/// A connection whose streams are seen as they are.
struct Streams {
    sender: h2::client::SendRequest<Bytes>,
    driving: JoinHandle<Result<(), h2::Error>>,
}

impl Streams {
    async fn open(to: SocketAddr) -> Self {
        let stream = TcpStream::connect(to).await.expect("the gateway listens");
        let (sender, connection) = h2::client::handshake(stream).await.expect("the gateway speaks HTTP/2");
        Self { sender, driving: tokio::spawn(connection) }
    }

    /// Both ways of a new tunnel's stream, and its other end.
    async fn tunnel(&mut self, listener: &TcpListener) -> (h2::RecvStream, h2::SendStream<Bytes>, TcpStream) {
        let to = listener.local_addr().expect("it is bound").to_string();
        let request = Request::connect(to).header("proxy-authorization", format!("Bearer {MASTER_KEY}"));
        let (answer, send) = self.sender.send_request(request.body(()).expect("a request"), false).expect("a stream");
        let (answer, server) = tokio::join!(soon("an answer", answer), listener.accept());
        (answer.expect("an answer").into_body(), send, server.expect("the gateway comes").0)
    }
}

async fn listener() -> (TcpListener, u16) {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
    let port = listener.local_addr().expect("it is bound").port();
    (listener, port)
}

async fn gateway(port: u16) -> Gateway {
    let egress = json!({"dangerously_allow_networks": ["127.0.0.0/8"], "ports": [port], "drain_timeout": 0.2});
    let proxy = json!({"listen": "127.0.0.1:0"});
    let mock =
        json!({"model_name": "gpt-x", "litellm_params": {"model": "openai/gpt-4.1-mini", "mock_response": "hello"}});
    Gateway::start(|c| c.entry(mock).set("fleetgate", "egress", egress).set("fleetgate", "forward_proxy", proxy)).await
}

async fn tunnel_rows(gw: &Gateway, count: usize) -> Vec<Row> {
    eventually("the tunnels' rows", async || {
        let rows: Vec<Row> = gw.rows().await.into_iter().filter(|row| row.kind == "tunnel").collect();
        (rows.len() == count).then_some(rows)
    })
    .await
}

fn reason(headers: &HeaderMap) -> &str {
    headers.get("x-fleetgate-reason").and_then(|value| value.to_str().ok()).unwrap_or_default()
}

#[tokio::test]
async fn tunnels_are_streams_on_both_ports_half_closed_and_counted() {
    let (listener, port) = listener().await;
    let gw = gateway(port).await;
    for (number, address) in [gw.address(), gw.proxy()].into_iter().enumerate() {
        let mut connection = Connection::open(address).await;
        let (mut client, mut server) = connection.tunnel(&listener).await;
        let (mut other, mut other_server) = connection.tunnel(&listener).await;
        client.write_all(b"first").await.expect("it takes bytes");
        client.shutdown().await.expect("half-close");
        let mut seen = Vec::new();
        soon("the end of one way", server.read_to_end(&mut seen)).await.expect("a clean end");
        assert_eq!(seen, b"first");
        // More than any window of the protocol, so that it has to be opened again and again.
        let many = vec![3; 3 << 20];
        let (wrote, read) = tokio::join!(
            async {
                server.write_all(&many).await?;
                server.shutdown().await
            },
            async {
                seen.clear();
                soon("the end of the other", client.read_to_end(&mut seen)).await
            }
        );
        wrote.expect("the other way is open");
        read.expect("a clean end");
        assert!(seen == many);
        // The neighbour has not noticed.
        other_server.write_all(b"still here").await.expect("it takes bytes");
        let mut word = [0; 10];
        soon("its bytes", other.read_exact(&mut word)).await.expect("they come");
        drop((other, other_server));
        let rows = tunnel_rows(&gw, 2 * (number + 1)).await;
        let whole = rows.iter().find(|row| row.bytes_down == Some(3 << 20) && row.status == "closed");
        assert!(whole.is_some_and(|row| row.bytes_up == Some(5)) || number == 1, "{rows:?}");
        assert_eq!(rows.iter().filter(|row| row.bytes_down == Some(3 << 20)).count(), number + 1);
    }
}

#[tokio::test]
async fn a_clients_reset_is_the_destinations_and_ends_no_other_stream() {
    let (listener, port) = listener().await;
    let gw = gateway(port).await;
    let mut connection = Streams::open(gw.address()).await;
    let (_body, mut send, mut server) = connection.tunnel(&listener).await;
    let (_other_body, mut other, mut other_server) = connection.tunnel(&listener).await;
    send.send_data(Bytes::from_static(b"12345"), false).expect("it takes bytes");
    soon("bytes", server.read_exact(&mut [0; 5])).await.expect("they come");
    send.send_reset(h2::Reason::CANCEL);
    let ended = soon("the end", server.read_to_end(&mut Vec::new())).await;
    assert_eq!(ended.err().map(|error| error.kind()), Some(ErrorKind::ConnectionReset));
    other.send_data(Bytes::from_static(b"on"), true).expect("it takes bytes");
    soon("bytes", other_server.read_exact(&mut [0; 2])).await.expect("they come");
    let rows = tunnel_rows(&gw, 1).await;
    assert_eq!((rows[0].status.as_str(), rows[0].bytes_up), ("broken", Some(5)));
    assert!(!connection.driving.is_finished());
}

#[tokio::test]
async fn a_destinations_reset_is_the_clients_and_ends_no_other_stream() {
    let (listener, port) = listener().await;
    let gw = gateway(port).await;
    let mut connection = Streams::open(gw.address()).await;
    let (mut body, _send, mut server) = connection.tunnel(&listener).await;
    let (mut other_body, _other, mut other_server) = connection.tunnel(&listener).await;
    server.write_all(b"12345").await.expect("it takes bytes");
    let seen = soon("bytes", body.data()).await.expect("they come").expect("no error");
    assert_eq!(seen, b"12345"[..]);
    server.set_zero_linger().expect("a live socket");
    drop(server);
    let ended =
        soon("the end", body.data()).await.expect("a cut must not look like an end").expect_err("nor like bytes");
    assert!(ended.is_reset() && ended.reason() == Some(h2::Reason::CANCEL), "{ended:?}");
    // The neighbour has not noticed, and its own end is an end.
    other_server.write_all(b"on").await.expect("it takes bytes");
    let seen = soon("bytes", other_body.data()).await.expect("they come").expect("no error");
    assert_eq!(seen, b"on"[..]);
    drop(other_server);
    assert!(soon("the end", other_body.data()).await.is_none_or(|last| last.is_ok_and(|last| last.is_empty())));
    let rows = tunnel_rows(&gw, 1).await;
    assert_eq!((rows[0].status.as_str(), rows[0].bytes_down), ("broken", Some(5)));
    assert!(!connection.driving.is_finished());
}

#[tokio::test]
async fn a_reset_in_the_middle_of_much_is_a_reset() {
    let (listener, port) = listener().await;
    let gw = gateway(port).await;
    let mut connection = Streams::open(gw.address()).await;
    let (mut body, _send, mut server) = connection.tunnel(&listener).await;
    // More than the client lets come before it reads: the rest waits in every buffer there is.
    soon("room", server.write_all(&vec![7; 256 * 1024])).await.expect("it takes bytes");
    server.set_zero_linger().expect("a live socket");
    drop(server);
    let ended = loop {
        match soon("the end", body.data()).await.expect("a cut must not look like an end") {
            Ok(bytes) => body.flow_control().release_capacity(bytes.len()).expect("they were taken"),
            Err(error) => break error,
        }
    };
    assert!(ended.is_reset(), "{ended:?}");
    assert_eq!(tunnel_rows(&gw, 1).await[0].status, "broken");
}

#[tokio::test]
async fn a_refusal_ends_its_stream_alone_and_says_why() {
    let (listener, port) = listener().await;
    let gw = gateway(port).await;
    for address in [gw.address(), gw.proxy()] {
        let mut connection = Connection::open(address).await;
        for (to, word) in [
            (format!("10.0.0.1:{port}"), "private"),
            (format!("169.254.169.254:{port}"), "metadata"),
            ("127.0.0.1:1".to_owned(), "port_not_allowed"),
        ] {
            let to = to.as_str();
            let answer = connection.connect(to).await;
            let (status, headers) = (answer.status(), answer.headers().clone());
            assert!(status.is_client_error(), "{to}: {status}");
            assert!(reason(&headers).contains(word), "{to}: {headers:?}");
            assert!(!headers.contains_key("connection"), "{to}: {headers:?}");
        }
        let answer = connection.send(Request::connect("example.com:443"), String::new()).await;
        assert_eq!(answer.status(), StatusCode::PROXY_AUTHENTICATION_REQUIRED);
        assert!(answer.headers().contains_key("proxy-authenticate"));
        let (client, server) = connection.tunnel(&listener).await;
        drop((client, server));
    }
}

#[tokio::test]
async fn calls_and_tunnels_share_a_connection_and_the_proxys_port_takes_no_calls() {
    let (listener, port) = listener().await;
    let gw = gateway(port).await;
    let mut connection = Connection::open(gw.address()).await;
    let (client, _server) = connection.tunnel(&listener).await;
    let call = |address: SocketAddr| {
        let uri = format!("http://{address}/v1/chat/completions");
        let bearer = format!("Bearer {MASTER_KEY}");
        Request::post(uri).header("content-type", "application/json").header("authorization", bearer)
    };
    let answer = connection.send(call(gw.address()), chat_request("gpt-x").to_string()).await;
    assert_eq!(answer.status(), 200);
    let body = answer.into_body().collect().await.expect("a whole answer").to_bytes();
    let body: Value = serde_json::from_slice(&body).expect("JSON");
    assert_eq!(body["choices"][0]["message"]["content"], "hello");
    assert_eq!(gw.rows().await.iter().filter(|row| row.kind == "call").count(), 1);

    let mut proxy = Connection::open(gw.proxy()).await;
    let answer = proxy.send(call(gw.proxy()), chat_request("gpt-x").to_string()).await;
    assert!(answer.status().is_client_error(), "{}", answer.status());
    assert_eq!(gw.rows().await.iter().filter(|row| row.kind == "call").count(), 1);
    drop(client);
}

#[tokio::test]
async fn an_idle_connection_ends_with_the_gateway_and_a_busy_one_is_waited_for() {
    let (_listener, port) = listener().await;
    let mut gw = gateway(port).await;
    let mut connection = Connection::open(gw.address()).await;
    let answer = connection.send(Request::get(format!("{}/health/liveliness", gw.url())), String::new()).await;
    assert_eq!(answer.status(), 200);
    drop(answer);
    gw.terminate().await;
    let ended = soon("the end of the connection", connection.ended).await.expect("no panic");
    assert!(ended.is_ok(), "GOAWAY is a clean end: {ended:?}");
}

#[tokio::test]
async fn a_preface_in_pieces_is_understood_and_one_that_is_none_is_answered() {
    let (_listener, port) = listener().await;
    let gw = gateway(port).await;
    let mut stream = TcpStream::connect(gw.address()).await.expect("the gateway listens");
    stream.set_nodelay(true).expect("a live socket");
    for piece in ["P", "RI", " * HTTP/2.0\r\n\r\nSM\r\n\r\n"] {
        stream.write_all(piece.as_bytes()).await.expect("the gateway reads");
        tokio::task::yield_now().await;
    }
    // An empty SETTINGS frame; the gateway's own begins with its length, and has type 4.
    stream.write_all(&[0, 0, 0, 4, 0, 0, 0, 0, 0]).await.expect("the gateway reads");
    let mut frame = [0; 9];
    soon("the gateway's settings", stream.read_exact(&mut frame)).await.expect("a frame");
    assert_eq!(frame[3], 4);

    let mut stream = TcpStream::connect(gw.address()).await.expect("the gateway listens");
    stream.write_all(b"P").await.expect("the gateway reads");
    tokio::task::yield_now().await;
    stream.write_all(b"UT / HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n").await.expect("the gateway reads");
    let mut answer = String::new();
    soon("an answer", stream.read_to_string(&mut answer)).await.expect("text");
    assert!(answer.starts_with("HTTP/1.1 4"), "{answer}");
}

#[tokio::test]
async fn half_a_preface_and_an_end_keeps_nobody_busy() {
    let (_listener, port) = listener().await;
    let gw = gateway(port).await;
    // More than there are workers: each would have one.
    for _ in 0..2 * std::thread::available_parallelism().map_or(1, usize::from) {
        let mut stream = TcpStream::connect(gw.address()).await.expect("the gateway listens");
        stream.write_all(b"PRI").await.expect("the gateway reads");
        stream.shutdown().await.expect("half-close");
        // By an end or, since nobody read what was sent, by a reset.
        drop(soon("the gateway's end", stream.read_to_end(&mut Vec::new())).await);
    }
}
