//! `/__fleetgate/*`: what the sidecar says about itself. Never forwarded, never a secret.

mod page;
mod status;
mod whoami;

use std::sync::Arc;

use http::header::CONTENT_TYPE;
use http::{HeaderValue, Response, StatusCode};
use serde_json::json;

pub use whoami::{Verdict, WhoAmI};

use crate::VERSION;
use crate::forward::Gateway;
use crate::identity::Identity;
use crate::keystore::KeyStore;
use crate::metrics::{self, Metrics};
use crate::refusal::Refusal;
use crate::respond::{self, ReplyBody};

/// The first part of all our own paths.
pub const PREFIX: &str = "/__fleetgate/";

/// Everything that answering a request needs to know.
#[derive(Debug)]
pub struct Sidecar {
    /// Who this host is.
    pub identity: Identity,
    /// Its keys.
    pub keys: Arc<KeyStore>,
    /// Where calls go.
    pub gateway: Gateway,
    /// What was done so far.
    pub metrics: Arc<Metrics>,
}

/// Answers a path behind [`PREFIX`].
pub async fn answer(sidecar: &Sidecar, path: &str) -> Response<ReplyBody> {
    match path.strip_prefix(PREFIX) {
        Some("health") => respond::json(StatusCode::OK, json!({"status": "ok", "version": VERSION}).to_string()),
        Some("version") => respond::json(StatusCode::OK, json!({"version": VERSION}).to_string()),
        Some("ready") => ready(sidecar).await.unwrap_or_else(|refusal| respond::refuse(&refusal, path)),
        Some("status") => respond::json(StatusCode::OK, status::describe(sidecar).await.to_string()),
        Some("metrics") => {
            let mut answer = respond::json(StatusCode::OK, page::render(sidecar));
            answer.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static(metrics::CONTENT_TYPE));
            answer
        }
        Some("whoami") => {
            let keys = sidecar.keys.current();
            let whoami =
                WhoAmI::describe(&sidecar.identity, &keys, sidecar.keys.hosts_file(), Some(sidecar.gateway.url()));
            respond::json(StatusCode::OK, whoami.to_json())
        }
        _ => {
            let message = format!("the sidecar answers {PREFIX}health, ready, whoami, version, status and metrics");
            respond::refuse(&Refusal::new(StatusCode::NOT_FOUND, "unknown_path", message), path)
        }
    }
}

/// Ready is who has a key and a gateway.
async fn ready(sidecar: &Sidecar) -> Result<Response<ReplyBody>, Refusal> {
    let unavailable = |reason, message: String| Refusal::new(StatusCode::SERVICE_UNAVAILABLE, reason, message);
    let keys = sidecar.keys.current();
    keys.credential(None).map_err(|problem| unavailable("no_key", problem.to_string()))?;
    sidecar.gateway.check_alive().await.map_err(|unreached| {
        let refusal = unreached.refusal();
        unavailable(refusal.reason, refusal.message)
    })?;
    Ok(respond::json(StatusCode::OK, json!({"status": "ready", "host": keys.label}).to_string()))
}
