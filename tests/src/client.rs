//! A small HTTP/1 client that sends what it is told, nothing else, and raw sockets for what HTTP libraries refuse to send.

use std::net::SocketAddr;

use bytes::Bytes;
use http::{HeaderMap, HeaderName, HeaderValue, Method, Request, StatusCode};
use http_body_util::{BodyExt, Full};
use hyper::body::Incoming;
use hyper::client::conn::http1;
use hyper_util::rt::TokioIo;
use serde_json::Value;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::task::JoinHandle;

use crate::wait::soon;

/// A request on its way: built step by step, sent once, on a connection of its own.
#[derive(Debug, Clone)]
pub struct Call {
    address: SocketAddr,
    method: Method,
    path: String,
    headers: HeaderMap,
    body: Bytes,
}

impl Call {
    /// A request without body.
    #[must_use]
    pub fn new(address: SocketAddr, method: Method, path: &str) -> Self {
        Self { address, method, path: path.to_owned(), headers: HeaderMap::new(), body: Bytes::new() }
    }

    /// Adds a header.
    ///
    /// # Panics
    /// When it is none.
    #[must_use]
    pub fn header(mut self, name: &str, value: &str) -> Self {
        let name: HeaderName = name.parse().expect("a header name");
        self.headers.append(name, HeaderValue::from_str(value).expect("a header value"));
        self
    }

    /// Adds `Authorization: Bearer …`.
    #[must_use]
    pub fn bearer(self, key: &str) -> Self {
        self.header("authorization", &format!("Bearer {key}"))
    }

    /// Sets a JSON body.
    #[must_use]
    pub fn json(self, body: &Value) -> Self {
        self.body(body.to_string())
    }

    /// Sets a literal body, labelled as JSON.
    #[must_use]
    pub fn body(mut self, body: impl Into<Bytes>) -> Self {
        self.body = body.into();
        self.header("content-type", "application/json")
    }

    /// Sends it and reads the answer to its end.
    ///
    /// # Panics
    /// When there is no answer.
    pub async fn send(self) -> Answer {
        self.open().await.finish().await
    }

    /// Sends it and returns as soon as the answer's head is there.
    ///
    /// # Panics
    /// When there is no answer.
    pub async fn open(self) -> Open {
        self.try_open().await.expect("the server answers")
    }

    /// As [`Call::open`], for servers that may be gone.
    ///
    /// # Errors
    /// When the connection fails or ends before an answer.
    pub async fn try_open(self) -> Result<Open, String> {
        soon("an answer's head", self.connect_and_send()).await
    }

    async fn connect_and_send(self) -> Result<Open, String> {
        let stream = TcpStream::connect(self.address).await.map_err(|error| error.to_string())?;
        let (mut sender, connection) = http1::handshake(TokioIo::new(stream)).await.map_err(|e| e.to_string())?;
        let connection = tokio::spawn(async move { drop(connection.await) });
        let mut request = Request::new(Full::new(self.body));
        *request.method_mut() = self.method;
        *request.uri_mut() = self.path.parse().map_err(|error| format!("{error}"))?;
        *request.headers_mut() = self.headers;
        if !request.headers().contains_key("host") {
            let host = HeaderValue::from_str(&self.address.to_string()).map_err(|e| e.to_string())?;
            request.headers_mut().insert("host", host);
        }
        let response = sender.send_request(request).await.map_err(|error| error.to_string())?;
        let (parts, body) = response.into_parts();
        Ok(Open { status: parts.status, headers: parts.headers, body, connection })
    }
}

/// An answer whose body is still coming. Dropping it closes the connection, as a client does that has gone.
#[derive(Debug)]
pub struct Open {
    /// The status.
    pub status: StatusCode,
    /// The headers.
    pub headers: HeaderMap,
    body: Incoming,
    connection: JoinHandle<()>,
}

impl Open {
    /// The next piece of the body; `None` at its end.
    ///
    /// # Panics
    /// When the answer is cut.
    pub async fn next(&mut self) -> Option<Bytes> {
        self.try_next().await.expect("the answer is not cut")
    }

    async fn try_next(&mut self) -> Result<Option<Bytes>, hyper::Error> {
        while let Some(frame) = soon("the next bytes of an answer", self.body.frame()).await {
            if let Ok(data) = frame?.into_data() {
                return Ok(Some(data));
            }
        }
        Ok(None)
    }

    /// Reads until the body holds the text, so that a test stands at a known place within a stream.
    ///
    /// # Panics
    /// When the answer ends first.
    pub async fn read_until(&mut self, text: &str) -> String {
        let mut seen = Vec::new();
        loop {
            let said = String::from_utf8_lossy(&seen).into_owned();
            if said.contains(text) {
                return said;
            }
            seen.extend(self.next().await.unwrap_or_else(|| panic!("the answer ended before {text:?}: {said}")));
        }
    }

    /// Reads to the end, whole or cut.
    pub async fn finish(mut self) -> Answer {
        let mut body = Vec::new();
        let whole = loop {
            match self.try_next().await {
                Ok(Some(data)) => body.extend_from_slice(&data),
                Ok(None) => break true,
                Err(_) => break false,
            }
        };
        Answer { status: self.status, headers: std::mem::take(&mut self.headers), body: body.into(), whole }
    }
}

impl Drop for Open {
    fn drop(&mut self) {
        self.connection.abort();
    }
}

/// An answer.
#[derive(Debug, Clone)]
pub struct Answer {
    /// The status.
    pub status: StatusCode,
    /// The headers.
    pub headers: HeaderMap,
    /// All of the body that came.
    pub body: Bytes,
    /// Whether the body ended as HTTP says; false when it was cut.
    pub whole: bool,
}

impl Answer {
    /// The body as text.
    #[must_use]
    pub fn text(&self) -> String {
        String::from_utf8_lossy(&self.body).into_owned()
    }

    /// The body as JSON.
    ///
    /// # Panics
    /// When it is none.
    #[must_use]
    pub fn json(&self) -> Value {
        serde_json::from_slice(&self.body).unwrap_or_else(|e| panic!("{}: no JSON ({e}): {}", self.status, self.text()))
    }

    /// A header's value, or an empty text.
    #[must_use]
    pub fn header(&self, name: &str) -> &str {
        self.headers.get(name).and_then(|value| value.to_str().ok()).unwrap_or_default()
    }

    /// The answer itself, once its status is as expected.
    ///
    /// # Panics
    /// When it is not, or the body was cut; the body is in the message.
    #[track_caller]
    pub fn expect(self, status: u16) -> Self {
        assert_eq!(self.status.as_u16(), status, "{}", self.text());
        assert!(self.whole, "the answer was cut: {}", self.text());
        self
    }
}

/// Sends literal bytes and reads until the server closes. Say `Connection: close` in them.
///
/// # Panics
/// When the server cannot be reached, or neither answers nor closes.
pub async fn raw(address: SocketAddr, bytes: &[u8]) -> String {
    let mut stream = TcpStream::connect(address).await.expect("the server listens");
    stream.write_all(bytes).await.expect("the server reads");
    let mut answer = Vec::new();
    // A reset after the answer is the server's right; what came before it counts.
    let _ = soon("a raw answer", stream.read_to_end(&mut answer)).await;
    String::from_utf8_lossy(&answer).into_owned()
}

/// What came of a `CONNECT`.
#[derive(Debug)]
pub struct Tunnel {
    /// The answer's head, status line first.
    pub head: String,
    /// The stream behind the head.
    pub stream: TcpStream,
}

impl Tunnel {
    /// Asks for a tunnel. `headers` are literal lines, each with its `\r\n`.
    ///
    /// # Panics
    /// When the proxy closes without a whole answer.
    pub async fn open(proxy: SocketAddr, destination: &str, headers: &str) -> Self {
        let mut stream = TcpStream::connect(proxy).await.expect("the proxy listens");
        let request = format!("CONNECT {destination} HTTP/1.1\r\nHost: {destination}\r\n{headers}\r\n");
        stream.write_all(request.as_bytes()).await.expect("the proxy reads");
        let mut head = Vec::new();
        // Byte by byte, so that nothing behind the head is taken from the tunnel.
        while !head.ends_with(b"\r\n\r\n") {
            let byte = soon("the answer to CONNECT", stream.read_u8()).await;
            head.push(byte.unwrap_or_else(|e| panic!("CONNECT {destination}: {e} after {head:?}")));
        }
        Self { head: String::from_utf8_lossy(&head).into_owned(), stream }
    }

    /// The status.
    ///
    /// # Panics
    /// When the head has none.
    #[must_use]
    pub fn status(&self) -> u16 {
        self.head.split_whitespace().nth(1).and_then(|code| code.parse().ok()).expect("a status line")
    }

    /// A header's value, or an empty text.
    #[must_use]
    pub fn header(&self, name: &str) -> &str {
        let lines = self.head.lines().filter_map(|line| line.split_once(':'));
        lines.into_iter().find(|(n, _)| n.eq_ignore_ascii_case(name)).map_or("", |(_, value)| value.trim())
    }
}
