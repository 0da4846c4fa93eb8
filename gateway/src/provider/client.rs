//! The pooled client for all providers.

use std::io;
use std::time::Duration;

use bytes::Bytes;
use http::{Request, Uri, header};
use http_body_util::Full;
use hyper::client::conn::http1;
use hyper_rustls::{HttpsConnector, HttpsConnectorBuilder};
use hyper_util::client::legacy::connect::HttpConnector;
use rustls::{ClientConfig, RootCertStore};
use tower_service::Service;

use super::line::{Line, Wire};
use super::pool::{OriginId, Pool};
use super::reply::{Reply, ReplyBody};

const CONNECT_TIMEOUT: Duration = Duration::from_secs(10);
const KEEPALIVE: Duration = Duration::from_secs(30);
/// How often a provider may close a connection that it has just taken, before a byte was sent, until the call fails.
const CLOSED_AT_ONCE: usize = 2;

/// Calls providers. It never obeys proxy variables of the environment: the gateway is the proxy.
#[derive(Debug, Clone)]
pub struct Client {
    connector: HttpsConnector<HttpConnector>,
    pool: Pool,
}

/// Why a provider gave no answer.
#[derive(Debug, thiserror::Error)]
pub enum ClientError {
    /// No connection.
    #[error("cannot connect to {host}: {cause}")]
    Connect {
        /// Whom.
        host: String,
        /// The innermost cause.
        cause: String,
    },
    /// Connected, but the connection ended before an answer began.
    #[error("{host} ended the connection before it answered: {cause}")]
    Cut {
        /// Who.
        host: String,
        /// The innermost cause.
        cause: String,
    },
    /// Nothing came for too long.
    #[error("{host} did not answer within {seconds} s (litellm_settings.request_timeout)")]
    Timeout {
        /// Who.
        host: String,
        /// How long we waited.
        seconds: u64,
    },
}

impl Client {
    /// A client that trusts the system's certificate authorities (or those of `SSL_CERT_FILE`).
    ///
    /// # Errors
    /// When TLS cannot be set up.
    pub fn new() -> io::Result<Self> {
        let mut roots = RootCertStore::empty();
        let found = rustls_native_certs::load_native_certs();
        let (usable, _broken) = roots.add_parsable_certificates(found.certs);
        if usable == 0 {
            tracing::warn!(
                "no certificate authorities found: https:// providers cannot be reached; install ca-certificates"
            );
        }
        let tls = ClientConfig::builder().with_root_certificates(roots).with_no_client_auth();
        let mut tcp = HttpConnector::new();
        tcp.enforce_http(false);
        tcp.set_nodelay(true);
        tcp.set_connect_timeout(Some(CONNECT_TIMEOUT));
        tcp.set_keepalive(Some(KEEPALIVE));
        let https =
            HttpsConnectorBuilder::new().with_tls_config(tls).https_or_http().enable_http1().wrap_connector(tcp);
        Ok(Self { connector: https, pool: Pool::default() })
    }

    /// One with the same trust and connections of its own: a connection is driven by the thread that opened it.
    #[must_use]
    pub fn apart(&self) -> Self {
        Self { connector: self.connector.clone(), pool: Pool::default() }
    }

    /// Sends a request and waits for the answer's head, at most `timeout`.
    ///
    /// # Errors
    /// When no answer begins.
    pub async fn send(&self, request: Request<Full<Bytes>>, timeout: Duration) -> Result<Reply, ClientError> {
        let uri = request.uri().clone();
        match tokio::time::timeout(timeout, self.exchange(request)).await {
            Ok(Ok(reply)) => Ok(reply),
            Ok(Err(Unanswered::Unconnected(cause))) => Err(ClientError::Connect { host: host(&uri), cause }),
            Ok(Err(Unanswered::Cut(cause))) => Err(ClientError::Cut { host: host(&uri), cause }),
            Err(_) => Err(ClientError::Timeout { host: host(&uri), seconds: timeout.as_secs() }),
        }
    }

    /// A request is sent again only while nothing of it was sent: a kept connection may close at any moment.
    async fn exchange(&self, mut request: Request<Full<Bytes>>) -> Result<Reply, Unanswered> {
        let uri = request.uri().clone();
        let Some((origin, host)) = self.pool.origin(&uri) else {
            return Err(Unanswered::Unconnected("the address names no host".to_owned()));
        };
        request.headers_mut().insert(header::HOST, host);
        *request.uri_mut() = uri.path_and_query().cloned().map(Uri::from).unwrap_or_default();
        let mut closed_at_once = 0;
        loop {
            let mut line = match self.pool.take(origin) {
                Some(line) => line,
                // Apart: a rare way must not make the future of every call larger.
                None => Box::pin(self.connect(origin, uri.clone())).await?,
            };
            match line.send(request).await {
                Ok(answer) => {
                    let (head, body) = answer.into_parts();
                    return Ok(Reply { head, body: ReplyBody::upstream(body, line) });
                }
                Err((_, Some(unsent))) if line.is_reused || closed_at_once < CLOSED_AT_ONCE => {
                    closed_at_once += usize::from(!line.is_reused);
                    request = unsent;
                }
                Err((error, _)) => return Err(Unanswered::Cut(innermost(&error))),
            }
        }
    }

    async fn connect(&self, origin: OriginId, uri: Uri) -> Result<Line, Unanswered> {
        let mut connector = self.connector.clone();
        let stream = connector.call(uri).await.map_err(|error| Unanswered::Unconnected(innermost(&*error)))?;
        let (sender, connection) =
            http1::handshake(stream).await.map_err(|error| Unanswered::Unconnected(innermost(&error)))?;
        Ok(self.pool.fresh(origin, Wire::new(sender, connection)))
    }
}

/// Why there is no answer, in words.
enum Unanswered {
    Unconnected(String),
    Cut(String),
}

fn host(uri: &Uri) -> String {
    uri.authority().map(ToString::to_string).unwrap_or_default()
}

/// The last of the causes is the one a person can act on.
fn innermost(error: &(dyn std::error::Error + 'static)) -> String {
    let mut cause = error;
    while let Some(next) = cause.source() {
        cause = next;
    }
    cause.to_string()
}

#[cfg(test)]
mod tests;
