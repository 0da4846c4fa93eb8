//! A client's request to the provider's: body, address and headers.

use bytes::Bytes;
use fleetgate_wire::endpoint::{Dialect, Endpoint};
use fleetgate_wire::header::{CREDENTIALS, GATEWAY_VIA, HopByHop, PREFIX, strip_key_parameter};
use http::{HeaderMap, HeaderName, HeaderValue, Method, Request, header, request};
use http_body_util::Full;

use super::resolve::Upstream;
use super::spec::Shape;
use super::{edits, url};
use crate::dialect::Ask;
use crate::route::Choice;

/// A request as it goes to the provider.
#[derive(Debug)]
pub struct Outgoing {
    /// The request.
    pub request: Request<Full<Bytes>>,
    /// Whether a usage chunk will come that the client did not ask for.
    pub strip_usage: bool,
}

/// Why a request cannot be put together.
#[derive(Debug, thiserror::Error)]
pub enum RequestError {
    /// The address cannot be built from `api_base` and model.
    #[error("cannot build the upstream address: {0}; look at api_base and api_version of this entry")]
    Address(String),
}

/// Anthropic's API wants a version; a client that sends none gets the one all of them know.
const ANTHROPIC_VERSION: HeaderValue = HeaderValue::from_static("2023-06-01");

/// What a provider must not learn: who is behind the one address, and what only concerns this hop.
static PRIVATE: [HeaderName; 10] = [
    header::HOST,
    header::CONTENT_LENGTH,
    header::ACCEPT_ENCODING,
    header::EXPECT,
    header::COOKIE,
    header::FORWARDED,
    header::VIA,
    HeaderName::from_static("x-real-ip"),
    HeaderName::from_static("true-client-ip"),
    HeaderName::from_static("litellm-changed-by"),
];

/// Whole families of them: what proxies add, what a mesh says of its users, and what callers and sidecars tell the gateway.
const PRIVATE_FAMILIES: [&str; 4] = ["x-forwarded-", "tailscale-", "x-litellm-", PREFIX];

/// So many headers the gateway adds of its own.
const OWN: usize = 5;

/// Shapes a request for one choice of the plan. `output_limit` is the most tokens that its budgets can pay for, where that is less
/// than it asks for.
///
/// # Errors
/// When the body or the address cannot be built.
pub fn shape(
    ask: &Ask,
    head: &request::Parts,
    choice: &Choice,
    upstream: &Upstream,
    drop_params: bool,
    output_limit: Option<u64>,
) -> Result<Outgoing, RequestError> {
    let model = upstream.model_name(&choice.model);
    let fields = ask.fields();
    let (mut edits, strip_usage) = edits::collect(ask, &fields, &choice.deployment, upstream, model, drop_params);
    if let Some(limit) = output_limit {
        edits::limit_output(ask.endpoint, &fields, upstream, limit, &mut edits);
    }
    let body = if edits.is_empty() { ask.body.clone() } else { fields.apply(&edits) };

    let query = head.uri.query().and_then(strip_key_parameter);
    let uri = url::build(upstream, ask.endpoint, model, query.as_deref()).map_err(RequestError::Address)?;
    let mut request = Request::new(Full::new(body));
    *request.method_mut() = Method::POST;
    *request.uri_mut() = uri;
    *request.headers_mut() = headers(&head.headers, ask.endpoint, upstream, drop_params);
    Ok(Outgoing { request, strip_usage })
}

fn is_private(name: &HeaderName) -> bool {
    PRIVATE.contains(name) || PRIVATE_FAMILIES.iter().any(|family| name.as_str().starts_with(family))
}

fn headers(from_client: &HeaderMap, endpoint: Endpoint, upstream: &Upstream, drop_params: bool) -> HeaderMap {
    let hop = HopByHop::of(from_client);
    let mut headers = HeaderMap::with_capacity(from_client.len() + upstream.headers.len() + OWN);
    for (name, value) in from_client {
        if !hop.contains(name) && !CREDENTIALS.contains(name) && !is_private(name) {
            headers.append(name, value.clone());
        }
    }
    if upstream.is_on_this_machine() {
        headers.insert(header::VIA, GATEWAY_VIA);
    }
    // The meter reads the answer as it passes.
    headers.insert(header::ACCEPT_ENCODING, HeaderValue::from_static("identity"));
    headers.entry(header::CONTENT_TYPE).or_insert(HeaderValue::from_static("application/json"));
    if endpoint.dialect() == Dialect::Anthropic {
        headers.entry("anthropic-version").or_insert(ANTHROPIC_VERSION);
    }
    if drop_params && upstream.shape() == Shape::AzureAi {
        // Azure AI's own way to ignore what a model does not know.
        headers.insert("extra-parameters", HeaderValue::from_static("drop"));
    }
    for (name, value) in &upstream.headers {
        match headers.entry(name) {
            // Beta flags are a list: the client's stay.
            header::Entry::Occupied(mut entry) if *name == "anthropic-beta" => entry.append(value.clone()),
            header::Entry::Occupied(mut entry) => drop(entry.insert(value.clone())),
            header::Entry::Vacant(entry) => drop(entry.insert(value.clone())),
        }
    }
    headers
}
