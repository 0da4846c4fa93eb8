//! Where a call goes: base address, path and query, each provider's way.

use std::sync::OnceLock;

use fleetgate_wire::endpoint::{Dialect, Endpoint};
use http::Uri;
use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, utf8_percent_encode};

use super::resolve::Upstream;
use super::spec::Shape;

/// Azure's versions that mean "no deployment in the path".
const AZURE_V1_VERSIONS: [&str; 3] = ["v1", "preview", "latest"];
/// LiteLLM's default.
const AZURE_DEFAULT_VERSION: &str = "2025-02-01-preview";
/// The same for an API that is younger than that version.
const AZURE_RESPONSES_VERSION: &str = "preview";
/// What may stand in a path segment as it is (RFC 3986 §2.3).
const SEGMENT: &AsciiSet = &NON_ALPHANUMERIC.remove(b'-').remove(b'.').remove(b'_').remove(b'~');

/// Addresses that do not change from call to call, by endpoint: put together when they are first needed.
pub(super) type Addresses = [OnceLock<Uri>; Endpoint::COUNT];

/// The address of a call. `query` is the client's, without a credential.
pub(super) fn build(upstream: &Upstream, endpoint: Endpoint, model: &str, query: Option<&str>) -> Result<Uri, String> {
    // Azure's hold the model.
    if query.is_some() || upstream.shape() == Shape::Azure {
        return assemble(upstream, endpoint, model, query);
    }
    let kept = &upstream.addresses[endpoint as usize];
    match kept.get() {
        Some(address) => Ok(address.clone()),
        None => assemble(upstream, endpoint, model, None).map(|address| kept.get_or_init(|| address).clone()),
    }
}

fn assemble(upstream: &Upstream, endpoint: Endpoint, model: &str, query: Option<&str>) -> Result<Uri, String> {
    let anthropic = endpoint.dialect() == Dialect::Anthropic;
    let base = if anthropic { upstream.anthropic_base.as_deref() } else { upstream.openai_base.as_deref() };
    let base = base.ok_or_else(|| format!("{} has no address for {}", upstream.provider(), endpoint.word()))?;
    // People paste whole addresses as a base, with their query.
    let (base, base_query) = base.split_once('?').map_or((base, None), |(base, query)| (base, Some(query)));
    let mut parameters: Vec<String> =
        base_query.into_iter().chain(query).flat_map(|query| query.split('&')).map(str::to_owned).collect();
    let address = match upstream.shape() {
        _ if anthropic => join(&ensure_version(base), endpoint.path()),
        Shape::Plain | Shape::Mock => join(base, endpoint.path()),
        Shape::Ollama => join(&ensure_version(base), endpoint.path()),
        Shape::Azure => azure(upstream, base, endpoint, model, &mut parameters),
        Shape::AzureAi => {
            if let Some(version) = &upstream.api_version {
                set_version(&mut parameters, version);
            }
            join(&azure_ai_base(base), endpoint.path())
        }
    };
    let address = if parameters.is_empty() { address } else { format!("{address}?{}", parameters.join("&")) };
    address.parse().map_err(|error| format!("{address} is no address: {error}"))
}

fn azure(upstream: &Upstream, base: &str, endpoint: Endpoint, model: &str, parameters: &mut Vec<String>) -> String {
    let in_address = parameters.iter().find_map(|pair| pair.strip_prefix("api-version=")).map(str::to_owned);
    let default = if endpoint == Endpoint::Responses { AZURE_RESPONSES_VERSION } else { AZURE_DEFAULT_VERSION };
    let version = upstream.api_version.as_deref().or(in_address.as_deref()).unwrap_or(default);
    let is_v1 = AZURE_V1_VERSIONS.contains(&version);
    match version {
        "v1" => parameters.retain(|pair| !pair.starts_with("api-version=")),
        "latest" => set_version(parameters, "preview"),
        version => set_version(parameters, version),
    }
    if base.contains("/openai/deployments") {
        return join(base, endpoint.path());
    }
    let root = base.trim_end_matches('/').trim_end_matches("/openai/v1").trim_end_matches("/openai");
    if is_v1 {
        return join(&format!("{root}/openai/v1"), endpoint.path());
    }
    if endpoint == Endpoint::Responses {
        return join(&format!("{root}/openai"), endpoint.path());
    }
    // Through a wildcard the name is the caller's: it must not lead anywhere else on this host.
    let model = utf8_percent_encode(model, SEGMENT);
    join(&format!("{root}/openai/deployments/{model}"), endpoint.path())
}

/// One version, ours: Azure's clients send their own, and a parameter that stands twice is refused.
fn set_version(parameters: &mut Vec<String>, version: &str) {
    parameters.retain(|pair| !pair.starts_with("api-version="));
    parameters.push(format!("api-version={version}"));
}

/// Foundry hosts serve models below `/models`; the regional host's base already says so.
fn azure_ai_base(base: &str) -> String {
    let base = base.trim_end_matches('/');
    let host = base.split("://").nth(1).and_then(|rest| rest.split('/').next()).unwrap_or_default();
    if host.ends_with("services.ai.azure.com") && !base.contains("/models") && !base.contains("/openai") {
        format!("{base}/models")
    } else {
        base.to_owned()
    }
}

fn ensure_version(base: &str) -> String {
    let base = base.trim_end_matches('/');
    if base.ends_with("/v1") { base.to_owned() } else { format!("{base}/v1") }
}

/// Joins without doubling: people paste whole addresses as a base.
fn join(base: &str, path: &str) -> String {
    let base = base.trim_end_matches('/');
    if base.ends_with(path) { base.to_owned() } else { format!("{base}{path}") }
}
