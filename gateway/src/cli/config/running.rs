//! Asking the running process for its settings, and what it answers with.

use std::io::ErrorKind;
use std::net::SocketAddr;
use std::time::Duration;

use http::{Request, StatusCode, header};
use http_body_util::{BodyExt, Empty, Limited};
use hyper::body::Bytes;
use hyper_util::rt::TokioIo;
use serde::{Deserialize, Serialize};
use tokio::net::TcpStream;

use crate::config::Setting;

const PATIENCE: Duration = Duration::from_secs(5);
const MAX_ANSWER: usize = 16 << 20;

/// What `GET /api/config` answers with.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Running {
    /// The gateway's version.
    pub version: String,
    /// Its process.
    pub pid: u32,
    /// When it started.
    pub started_at: String,
    /// Its live settings.
    pub settings: Vec<RunningSetting>,
}

/// A [`Setting`] on the wire.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct RunningSetting {
    /// Its path.
    pub path: String,
    /// Its value; secrets are `[set]`.
    pub value: String,
    /// Where it came from.
    pub origin: String,
}

impl From<&Setting> for RunningSetting {
    fn from(setting: &Setting) -> Self {
        Self { path: setting.path.clone(), value: setting.value.clone(), origin: setting.origin.to_string() }
    }
}

/// The `settings` member of `/api/config`.
#[must_use]
pub fn settings_json(settings: &[Setting]) -> serde_json::Value {
    let row = |setting: &Setting| {
        serde_json::json!({
            "path": setting.path,
            "value": setting.value,
            "origin": setting.origin.to_string(),
        })
    };
    settings.iter().map(row).collect()
}

/// What came of asking.
#[derive(Debug)]
pub enum Answer {
    /// The process and its settings.
    Running(Running),
    /// Nobody listens there.
    Refused,
    /// Somebody listens, and does not tell.
    Denied(StatusCode),
    /// Something else went wrong.
    Failed(String),
}

/// Asks the gateway at an address for its settings. No proxy is involved, whatever the environment says.
pub async fn ask(address: SocketAddr, key: Option<&str>) -> Answer {
    match tokio::time::timeout(PATIENCE, request(address, key)).await {
        Ok(Ok(answer)) => answer,
        Ok(Err(error)) => match error.downcast_ref::<std::io::Error>().map(std::io::Error::kind) {
            Some(ErrorKind::ConnectionRefused) => Answer::Refused,
            _ => Answer::Failed(error.to_string()),
        },
        Err(_) => Answer::Failed(format!("no answer within {} seconds", PATIENCE.as_secs())),
    }
}

type Error = Box<dyn std::error::Error + Send + Sync>;

async fn request(address: SocketAddr, key: Option<&str>) -> Result<Answer, Error> {
    let stream = TcpStream::connect(address).await?;
    let (mut sender, connection) = hyper::client::conn::http1::handshake(TokioIo::new(stream)).await?;
    let connection = tokio::spawn(connection);
    let mut request = Request::get("/api/config").header(header::HOST, address.to_string());
    if let Some(key) = key {
        request = request.header(header::AUTHORIZATION, format!("Bearer {key}"));
    }
    let response = sender.send_request(request.body(Empty::<Bytes>::new())?).await?;
    let status = response.status();
    let answer = if status == StatusCode::OK {
        let body = Limited::new(response.into_body(), MAX_ANSWER).collect().await?.to_bytes();
        let running = serde_json::from_slice(&body).map_err(|_| "its answer is not that of a Fleetgate gateway")?;
        Answer::Running(running)
    } else {
        Answer::Denied(status)
    };
    connection.abort();
    Ok(answer)
}
