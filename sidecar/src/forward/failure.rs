//! What went wrong between here and the gateway, in words that say where to look.

use std::error::Error;

use fleetgate_wire::header;
use http::header::SERVER;
use http::{HeaderMap, StatusCode};

use super::dial::DialError;
use super::url::GatewayUrl;
use crate::refusal::Refusal;

/// Why the gateway's answer never came.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Failure {
    /// No connection.
    Dial(DialError),
    /// The connection ended before the answer began.
    Gone(String),
    /// Connected, but no answer to a `CONNECT`.
    Silent,
    /// A gateway that says of itself that it is not well.
    Unwell(StatusCode),
    /// Something answered, but no gateway; with its `Server` header.
    NotAGateway(Option<String>),
    /// Another sidecar answered, or this one: the way leads in a circle.
    Loop,
}

impl Failure {
    /// A connection that broke, with the innermost reason.
    pub(super) fn gone(error: &dyn Error) -> Self {
        Self::Gone(root_cause(error))
    }

    /// Whether these are the headers of a gateway's answer.
    ///
    /// # Errors
    /// What answered instead.
    pub fn check_marker(headers: &HeaderMap) -> Result<(), Self> {
        if headers.contains_key(header::GATEWAY) {
            return Ok(());
        }
        if headers.contains_key(header::SIDECAR) {
            return Err(Self::Loop);
        }
        Err(Self::NotAGateway(headers.get(SERVER).map(|value| String::from_utf8_lossy(value.as_bytes()).into_owned())))
    }

    /// The answer for the client.
    #[must_use]
    pub fn refusal(&self, gateway: &GatewayUrl) -> Refusal {
        let at = gateway.authority();
        let bad_gateway = |reason, message: String| Refusal::new(StatusCode::BAD_GATEWAY, reason, message);
        match self {
            Self::Dial(DialError::Refused) => bad_gateway(
                "gateway_refused",
                format!("nothing listens at {at} (connection refused): is fleetgate-gateway running there?"),
            ),
            Self::Dial(DialError::Timeout) => Refusal::new(
                StatusCode::GATEWAY_TIMEOUT,
                "gateway_timeout",
                format!(
                    "{at} does not answer: packets are dropped. If ping to it works, it is a mesh ACL or a firewall; \
                     if not, the gateway's machine or the mesh is down"
                ),
            ),
            Self::Dial(DialError::Dns(why)) => bad_gateway(
                "gateway_dns",
                format!("the gateway's name in {at} cannot be resolved ({why}): is the mesh's DNS up on this host?"),
            ),
            Self::Dial(DialError::Unreachable(why)) => bad_gateway(
                "gateway_unreachable",
                format!("no way to the gateway at {at} ({why}): is the mesh up on this host?"),
            ),
            Self::Gone(why) => bad_gateway(
                "gateway_gone",
                format!("the gateway at {at} broke the connection before it answered ({why}); it may be restarting"),
            ),
            Self::Silent => Refusal::new(
                StatusCode::GATEWAY_TIMEOUT,
                "gateway_timeout",
                format!("the gateway at {at} took the connection but did not answer the CONNECT"),
            ),
            Self::Unwell(status) => bad_gateway(
                "gateway_unwell",
                format!("the gateway at {at} answers its health check with {status}: see its log"),
            ),
            Self::NotAGateway(server) => {
                let server = server.as_ref().map_or_else(String::new, |name| format!(" (it says Server: {name})"));
                bad_gateway(
                    "not_a_gateway",
                    format!(
                        "something other than a Fleetgate gateway answers at {at}{server}: check FLEETGATE_GATEWAY \
                         (LiteLLM's default port is 4000 too)"
                    ),
                )
            }
            Self::Loop => Refusal::new(
                StatusCode::LOOP_DETECTED,
                "loop",
                format!("{at} is a sidecar, not a gateway: FLEETGATE_GATEWAY leads in a circle"),
            ),
        }
    }
}

fn root_cause(error: &dyn Error) -> String {
    let mut cause = error;
    while let Some(deeper) = cause.source() {
        cause = deeper;
    }
    cause.to_string()
}
