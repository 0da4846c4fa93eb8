//! One question on a connection of its own: for commands, which ask once and end.

use bytes::Bytes;
use http::header::HOST;
use http::uri::PathAndQuery;
use http::{HeaderMap, Method, Request, StatusCode};
use http_body_util::{BodyExt, Full};
use hyper::client::conn::http1;
use hyper_util::rt::TokioIo;

use super::dial::dial;
use super::failure::Failure;
use super::url::GatewayUrl;

/// A whole answer.
#[derive(Debug)]
pub struct Answer {
    /// HTTP status.
    pub status: StatusCode,
    /// Its headers.
    pub headers: HeaderMap,
    /// Its body.
    pub body: Bytes,
}

/// Asks and reads the whole answer.
///
/// # Errors
/// When there is no connection or it breaks.
pub async fn ask(
    url: &GatewayUrl,
    method: Method,
    path: PathAndQuery,
    mut headers: HeaderMap,
    body: Bytes,
) -> Result<Answer, Failure> {
    let gone = |error: hyper::Error| Failure::Gone(error.to_string());
    let stream = dial(url).await.map_err(Failure::Dial)?;
    let (mut sender, connection) = http1::handshake(TokioIo::new(stream)).await.map_err(gone)?;
    tokio::spawn(connection);

    headers.insert(HOST, url.host_header());
    let mut request = Request::new(Full::new(body));
    *request.method_mut() = method;
    *request.uri_mut() = path.into();
    *request.headers_mut() = headers;
    let (parts, body) = sender.send_request(request).await.map_err(gone)?.into_parts();
    let body = body.collect().await.map_err(gone)?.to_bytes();
    Ok(Answer { status: parts.status, headers: parts.headers, body })
}
