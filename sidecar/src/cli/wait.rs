//! `fleetgate wait`

use std::time::Duration;

use bytes::Bytes;
use clap::Args;
use fleetgate_wire::header;
use http::uri::PathAndQuery;
use http::{HeaderMap, Method, StatusCode};
use tokio::time::{Instant, sleep, timeout_at};

use super::CliError;
use crate::forward::{self, GatewayUrl};

const FIRST_PAUSE: Duration = Duration::from_millis(50);
const LONGEST_PAUSE: Duration = Duration::from_secs(1);

#[derive(Debug, Args)]
pub(super) struct WaitArgs {
    /// Give up after so many seconds
    #[arg(long, value_name = "SECONDS", default_value_t = 30)]
    timeout: u64,
    /// The sidecar
    #[arg(long, value_name = "URL", default_value = "http://127.0.0.1:4000")]
    url: GatewayUrl,
}

pub(super) async fn run(args: &WaitArgs) -> Result<(), CliError> {
    let deadline = Instant::now() + Duration::from_secs(args.timeout);
    let mut pause = FIRST_PAUSE;
    let mut why = "it did not answer".to_owned();
    loop {
        match timeout_at(deadline, is_ready(&args.url)).await {
            Ok(Ok(())) => return Ok(()),
            Ok(Err(problem)) => why = problem,
            Err(_) => {}
        }
        if Instant::now() + pause >= deadline {
            return Err(CliError::NotReady { url: args.url.clone(), seconds: args.timeout, why });
        }
        sleep(pause).await;
        pause = (pause * 3 / 2).min(LONGEST_PAUSE);
    }
}

async fn is_ready(url: &GatewayUrl) -> Result<(), String> {
    let path = PathAndQuery::from_static("/__fleetgate/ready");
    match forward::ask(url, Method::GET, path, HeaderMap::new(), Bytes::new()).await {
        Ok(answer) if !answer.headers.contains_key(header::SIDECAR) => {
            Err("something other than a sidecar answers there".to_owned())
        }
        Ok(answer) if answer.status == StatusCode::OK => Ok(()),
        Ok(answer) => {
            let body: serde_json::Value = serde_json::from_slice(&answer.body).unwrap_or_default();
            let message = body.pointer("/error/message").and_then(|message| message.as_str());
            Err(message.map_or_else(|| format!("it answers {}", answer.status), str::to_owned))
        }
        Err(forward::Failure::Dial(problem)) => Err(problem.to_string()),
        Err(forward::Failure::Gone(problem)) => Err(problem),
        Err(_) => Err("it did not answer".to_owned()),
    }
}
