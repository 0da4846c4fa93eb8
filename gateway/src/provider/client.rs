//! The pooled client for all providers.

use std::io;
use std::time::Duration;

use bytes::Bytes;
use http::Request;
use http_body_util::Full;
use hyper_rustls::{HttpsConnector, HttpsConnectorBuilder};
use hyper_util::client::legacy;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::{TokioExecutor, TokioTimer};
use rustls::{ClientConfig, RootCertStore};

use super::reply::{Reply, ReplyBody};

const CONNECT_TIMEOUT: Duration = Duration::from_secs(10);
const POOL_IDLE: Duration = Duration::from_secs(60);
const KEEPALIVE: Duration = Duration::from_secs(30);

/// Calls providers. It never obeys proxy variables of the environment: the gateway is the proxy.
#[derive(Debug, Clone)]
pub struct Client {
    inner: legacy::Client<HttpsConnector<HttpConnector>, Full<Bytes>>,
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
        let inner = legacy::Client::builder(TokioExecutor::new())
            .pool_idle_timeout(POOL_IDLE)
            .pool_timer(TokioTimer::new())
            .timer(TokioTimer::new())
            .build(https);
        Ok(Self { inner })
    }

    /// Sends a request and waits for the answer's head, at most `timeout`.
    ///
    /// # Errors
    /// When no answer begins.
    pub async fn send(&self, request: Request<Full<Bytes>>, timeout: Duration) -> Result<Reply, ClientError> {
        let authority = request.uri().authority().cloned();
        let host = || authority.as_ref().map(ToString::to_string).unwrap_or_default();
        match tokio::time::timeout(timeout, self.inner.request(request)).await {
            Err(_) => Err(ClientError::Timeout { host: host(), seconds: timeout.as_secs() }),
            Ok(Ok(answer)) => {
                let (head, body) = answer.into_parts();
                Ok(Reply { head, body: ReplyBody::Upstream(body) })
            }
            Ok(Err(error)) => {
                let (host, cause) = (host(), innermost(&error));
                Err(if error.is_connect() {
                    ClientError::Connect { host, cause }
                } else {
                    ClientError::Cut { host, cause }
                })
            }
        }
    }
}

/// The last of the causes is the one a person can act on.
fn innermost(error: &legacy::Error) -> String {
    let mut cause: &dyn std::error::Error = error;
    while let Some(next) = cause.source() {
        cause = next;
    }
    cause.to_string()
}
