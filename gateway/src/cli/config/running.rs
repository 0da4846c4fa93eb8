//! Asking the running process for its settings, and what it answers with.

use std::io::ErrorKind;
use std::net::SocketAddr;
use std::time::Duration;

use http::{Request, StatusCode, header};
use http_body_util::{BodyExt, Empty, Limited};
use hyper::body::Bytes;
use hyper_util::rt::TokioIo;
use tokio::net::TcpStream;

use crate::config::Running;

const PATIENCE: Duration = Duration::from_secs(5);
const MAX_ANSWER: usize = 16 << 20;

/// What came of asking.
#[derive(Debug)]
pub(super) enum Answer {
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
pub(super) async fn ask(address: SocketAddr, key: Option<&str>) -> Answer {
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
