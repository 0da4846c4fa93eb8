//! Where a call goes: base address, path and query, each provider's way.

use fleetgate_wire::endpoint::{Dialect, Endpoint};
use http::Uri;

use super::resolve::Upstream;
use super::spec::Shape;

/// Azure's versions that mean "no deployment in the path".
const AZURE_V1_VERSIONS: [&str; 3] = ["v1", "preview", "latest"];
/// LiteLLM's default.
const AZURE_DEFAULT_VERSION: &str = "2025-02-01-preview";

/// Puts the address together. `query` is the client's, without a credential.
pub(super) fn build(upstream: &Upstream, endpoint: Endpoint, model: &str, query: Option<&str>) -> Result<Uri, String> {
    let anthropic = endpoint.dialect() == Dialect::Anthropic;
    let base = if anthropic { upstream.anthropic_base.as_deref() } else { upstream.openai_base.as_deref() };
    let base = base.ok_or_else(|| format!("{} has no address for {}", upstream.provider(), endpoint.word()))?;
    let mut parameters: Vec<String> = query.map(str::to_owned).into_iter().collect();
    let address = match upstream.shape() {
        _ if anthropic => join(&ensure_version(base), endpoint.path()),
        Shape::Plain | Shape::Mock => join(base, endpoint.path()),
        Shape::Ollama => join(&ensure_version(base), endpoint.path()),
        Shape::Azure => azure(upstream, base, endpoint, model, &mut parameters),
        Shape::AzureAi => {
            parameters.extend(upstream.api_version.as_ref().map(|version| format!("api-version={version}")));
            join(&azure_ai_base(base), endpoint.path())
        }
    };
    let address = if parameters.is_empty() { address } else { format!("{address}?{}", parameters.join("&")) };
    address.parse().map_err(|error| format!("{address} is no address: {error}"))
}

fn azure(upstream: &Upstream, base: &str, endpoint: Endpoint, model: &str, parameters: &mut Vec<String>) -> String {
    let version = upstream.api_version.as_deref().unwrap_or(AZURE_DEFAULT_VERSION);
    let is_v1 = AZURE_V1_VERSIONS.contains(&version);
    if !(is_v1 && version == "v1") {
        let version = if version == "latest" { "preview" } else { version };
        parameters.push(format!("api-version={version}"));
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
    join(&format!("{root}/openai/deployments/{model}"), endpoint.path())
}

/// Foundry hosts serve models below `/models`; the regional host's base already says so.
fn azure_ai_base(base: &str) -> String {
    let base = base.trim_end_matches('/');
    let host = base.split("://").nth(1).and_then(|rest| rest.split('/').next()).unwrap_or_default();
    if host.ends_with("services.ai.azure.com") && !base.ends_with("/models") && !base.contains("/openai") {
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
