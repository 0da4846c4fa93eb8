//! The GenAI conventions' names (open-telemetry/semantic-conventions-genai, schema gen-ai/1.42.0; none is stable yet), and ours.

pub(super) const OPERATION: &str = "gen_ai.operation.name";
pub(super) const PROVIDER: &str = "gen_ai.provider.name";
pub(super) const REQUEST_MODEL: &str = "gen_ai.request.model";
pub(super) const RESPONSE_MODEL: &str = "gen_ai.response.model";
pub(super) const RESPONSE_ID: &str = "gen_ai.response.id";
pub(super) const INPUT_TOKENS: &str = "gen_ai.usage.input_tokens";
pub(super) const OUTPUT_TOKENS: &str = "gen_ai.usage.output_tokens";
/// Part of the input tokens.
pub(super) const CACHE_READ_TOKENS: &str = "gen_ai.usage.cache_read.input_tokens";
pub(super) const SERVER_ADDRESS: &str = "server.address";
pub(super) const SERVER_PORT: &str = "server.port";
pub(super) const HTTP_STATUS: &str = "http.response.status_code";
pub(super) const ERROR_TYPE: &str = "error.type";

pub(super) const HOST: &str = "fleetgate.host";
pub(super) const WORKLOAD: &str = "fleetgate.workload";
pub(super) const KEY_ALIAS: &str = "fleetgate.key_alias";
pub(super) const REQUEST_ID: &str = "fleetgate.request_id";
pub(super) const COST_USD: &str = "fleetgate.cost_usd";
pub(super) const STATUS: &str = "fleetgate.status";

/// What an endpoint does, by its word in rows.
pub(super) fn operation(endpoint: &str) -> &str {
    match endpoint {
        "chat" | "messages" | "responses" => "chat",
        "completions" => "text_completion",
        other => other,
    }
}

/// A provider by the conventions' name, where they have one.
pub(super) fn provider(provider: &str) -> &str {
    match provider {
        "azure" => "azure.ai.openai",
        "azure_ai" => "azure.ai.inference",
        "bedrock" => "aws.bedrock",
        "gemini" => "gcp.gemini",
        "vertex_ai" => "gcp.vertex_ai",
        "mistral" => "mistral_ai",
        "moonshot" => "moonshot_ai",
        "watsonx" => "ibm.watsonx.ai",
        "xai" => "x_ai",
        other => other,
    }
}
