//! `/__fleetgate/status`: what this sidecar does, and what its gateways say at this moment.

use std::time::Duration;

use http::header::AUTHORIZATION;
use http::uri::PathAndQuery;
use http::{HeaderMap, StatusCode};
use serde_json::{Value, json};
use tokio::time::timeout;

use super::Sidecar;
use crate::VERSION;
use crate::forward::Gateway;

/// The question about the key may take this long; somebody waits for the answer.
const KEY_LIMIT: Duration = Duration::from_secs(1);

/// All of it as one JSON object, without any secret. It asks the gateways, so it takes up to a second or two.
pub(super) async fn describe(sidecar: &Sidecar) -> Value {
    let metrics = &sidecar.metrics;
    let (gateways, key) = futures_util::future::join(describe_gateways(&sidecar.gateway), describe_key(sidecar)).await;
    json!({
        "version": VERSION,
        "host": sidecar.keys.current().label.to_string(),
        "uptime_seconds": metrics.uptime().as_secs(),
        "connections": metrics.connections.read(),
        "calls": metrics.calls.read(),
        "tunnels": metrics.tunnels.read(),
        "bytes": {
            "calls_up": metrics.call_bytes_up.get(),
            "calls_down": metrics.call_bytes_down.get(),
            "tunnels_up": metrics.tunnel_bytes_up.get(),
            "tunnels_down": metrics.tunnel_bytes_down.get(),
        },
        "retries": metrics.retries.get(),
        "waits": metrics.waits.get(),
        "errors": metrics.errors(),
        "gateways": gateways,
        "key": key,
    })
}

async fn describe_gateways(gateway: &Gateway) -> Vec<Value> {
    let found = gateway.check_each().await;
    // Read afterwards: a gateway that was thought to be up may just have failed to answer.
    let states = gateway.states();
    let describe = |(state, found): (_, Result<crate::forward::Alive, _>)| {
        let mut described = json!(state);
        match found {
            Ok(alive) => {
                let same = alive.version == VERSION;
                described["latency_ms"] = json!(alive.latency.as_secs_f64() * 1000.0);
                described["version"] = json!(alive.version);
                described["is_same_version"] = json!(same);
            }
            Err(problem) => {
                described["state"] = json!("away");
                described["problem"] = json!(problem);
            }
        }
        described
    };
    let found = found.into_iter().zip(gateway.urls()).map(|(f, url)| f.map_err(|why| why.refusal(url).message));
    states.into_iter().zip(found).map(describe).collect()
}

/// What the gateway knows of the key that this host pays with.
async fn describe_key(sidecar: &Sidecar) -> Value {
    let keys = sidecar.keys.current();
    let credential = match keys.credential(None) {
        Ok(credential) => credential.bearer(),
        Err(problem) => return json!({"problem": problem.to_string()}),
    };
    let mut headers = HeaderMap::from_iter([(AUTHORIZATION, credential)]);
    if let Ok(label) = keys.label.as_str().parse() {
        headers.insert(fleetgate_wire::header::HOST, label);
    }
    let path = PathAndQuery::from_static("/api/self");
    let problem = match timeout(KEY_LIMIT, sidecar.gateway.ask(&path, &headers)).await {
        Ok(Ok(answer)) if answer.status == StatusCode::OK => match serde_json::from_slice(&answer.body) {
            Ok(known) => return known,
            Err(error) => format!("the gateway's answer is no JSON: {error}"),
        },
        Ok(Ok(answer)) if answer.status == StatusCode::UNAUTHORIZED => {
            "the gateway does not know this key, or it is blocked or expired".to_owned()
        }
        Ok(Ok(answer)) => format!("the gateway answers {} to /api/self; is it older than this sidecar?", answer.status),
        Ok(Err(failure)) => failure.refusal(sidecar.gateway.url()).message,
        Err(_) => "the gateway did not answer within a second".to_owned(),
    };
    json!({"problem": problem})
}
