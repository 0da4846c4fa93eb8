//! Every key that LiteLLM knows under an entry's `litellm_params`, and what becomes of it. Data only; a key that is not here is
//! a request parameter and goes to the provider, as in LiteLLM.

/// What becomes of a parameter.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Param {
    /// It is a field of a deployment.
    Typed,
    /// A dollar price per unit.
    Price,
    /// A member that the request gets when its caller sends none. A well-known one, so nothing is said about it.
    Default,
    /// It describes the model and changes nothing.
    Description,
    /// A limit that is not enforced yet.
    Limit,
    /// A cloud's credential or place. It never goes into a body.
    Cloud,
    /// How LiteLLM's own client behaves; it is not honoured and never goes into a body.
    Client,
    /// Nobody knows it.
    Unknown,
}

use Param::{Client, Cloud, Default, Description, Limit, Price, Typed};

const PARAMS: &[(Param, &[&str])] = &[
    (
        Typed,
        &[
            "model",
            "api_key",
            "api_base",
            "base_url",
            "api_version",
            "organization",
            "custom_llm_provider",
            "litellm_credential_name",
            "extra_headers",
            "headers",
            "extra_body",
            "drop_params",
            "additional_drop_params",
            "weight",
            "rpm",
            "tpm",
            "rpd",
            "tpd",
            "max_parallel_requests",
            "order",
            "timeout",
            "stream_timeout",
            "mock_response",
            "base_model",
            "max_budget",
            "budget_duration",
            "allowed_fails",
            "allowed_fails_policy",
            "cooldown_time",
        ],
    ),
    (
        Default,
        &[
            "temperature",
            "top_p",
            "top_k",
            "min_p",
            "n",
            "max_tokens",
            "max_completion_tokens",
            "max_output_tokens",
            "stop",
            "seed",
            "presence_penalty",
            "frequency_penalty",
            "repetition_penalty",
            "logit_bias",
            "logprobs",
            "top_logprobs",
            "response_format",
            "tools",
            "tool_choice",
            "parallel_tool_calls",
            "reasoning_effort",
            "reasoning",
            "thinking",
            "thinking_level",
            "verbosity",
            "service_tier",
            "user",
            "metadata",
            "safety_settings",
            "chat_template_kwargs",
            "provider",
            "transforms",
            "plugins",
            "num_ctx",
            "num_batch",
            "num_predict",
            "num_gpu",
            "keep_alive",
            "mirostat",
            "dimensions",
            "encoding_format",
            "input_type",
            "voice",
            "size",
            "quality",
            "modalities",
            "stream_options",
            "prompt_cache_key",
            "web_search_options",
        ],
    ),
    (Limit, &["itpm", "otpm", "rpm_limit", "tpm_limit", "default_api_key_tpm_limit"]),
    (Description, &["description", "mcp_server_url", "tier", "model_info", "mode", "max_input_tokens"]),
    (
        Cloud,
        &[
            "region_name",
            "azure_ad_token",
            "azure_ad_token_provider",
            "azure_username",
            "azure_password",
            "azure_scope",
            "tenant_id",
            "client_id",
            "client_secret",
            "project_id",
            "space_id",
            "token",
            "username",
            "password",
            "s3_bucket_name",
            "gcs_bucket_name",
            "api_token",
            "oauth_token",
        ],
    ),
    (
        Client,
        &[
            "max_retries",
            "num_retries",
            "retry_policy",
            "fallbacks",
            "context_window_fallbacks",
            "tags",
            "tag_regex",
            "use_in_pass_through",
            "use_litellm_proxy",
            "configurable_clientside_auth_params",
            "allowed_openai_params",
            "merge_reasoning_content_in_choices",
            "cache_control_injection_points",
            "fake_stream",
            "stream",
            "mock_timeout",
            "mock_tool_calls",
            "use_chat_completions_api",
            "ssl_verify",
            "ssl_certificate",
            "cache",
            "caching",
            "guardrails",
            "prompt_id",
            "prompt_variables",
            "litellm_session_id",
            "litellm_trace_id",
            "auto_router_config",
            "auto_router_config_path",
            "auto_router_default_model",
            "auto_router_embedding_model",
            "complexity_router_config",
            "hf_model_name",
            "custom_prompt_dict",
            "roles",
            "initial_prompt_value",
            "final_prompt_value",
            "bos_token",
            "eos_token",
            "supports_system_message",
            "model_list",
            "client",
            "logger_fn",
            "verbose",
            "no-log",
            "rust",
            "max_file_size_mb",
            "vector_store_id",
        ],
    ),
];

const PREFIXES: &[(Param, &[&str])] = &[
    (Cloud, &["aws_", "vertex_", "azure_", "watsonx_", "sagemaker_", "databricks_", "oci_", "snowflake_", "sap_"]),
    (Description, &["supports_", "supported_"]),
    (Client, &["litellm_", "mock_", "cache_", "auto_router_", "complexity_router_", "milvus_", "s3_", "gcs_"]),
];

/// Endings of names under which people keep credentials.
const CREDENTIAL_ENDINGS: &[&str] = &["_key", "_secret", "_token", "_password", "_credentials"];

/// What becomes of a parameter.
pub(super) fn param(name: &str) -> Param {
    let known = PARAMS.iter().find(|(_, names)| names.contains(&name));
    let by_prefix = || PREFIXES.iter().find(|(_, starts)| starts.iter().any(|start| name.starts_with(start)));
    match known {
        Some((param, _)) => *param,
        None if is_price(name) => Price,
        None => match by_prefix() {
            Some((param, _)) => *param,
            None if CREDENTIAL_ENDINGS.iter().any(|end| name.ends_with(end)) => Cloud,
            None => Param::Unknown,
        },
    }
}

/// What follows from not honouring a parameter of LiteLLM's client.
pub(super) fn consequence(name: &str) -> &'static str {
    match name {
        "ssl_verify" | "ssl_certificate" => "certificates are always checked",
        "num_retries" | "max_retries" | "retry_policy" => "router_settings.num_retries holds for every entry",
        "fallbacks" | "context_window_fallbacks" => "only the router's fallbacks are followed",
        "tags" | "tag_regex" => "tags do not choose deployments",
        "stream" | "fake_stream" => "the caller decides whether an answer is a stream",
        "cache" | "caching" => "answers are not cached",
        "cache_control_injection_points" | "merge_reasoning_content_in_choices" => {
            "requests and answers are passed on as they come"
        }
        "guardrails" => "calls are not checked",
        _ => "it steers LiteLLM's own client, which is not here",
    }
}

/// Whether a name is one of the price list's price fields.
pub(super) fn is_price(name: &str) -> bool {
    name == "tiered_pricing"
        || name.contains("cost_per")
        || name.ends_with("_cost")
        || name.contains("_cost_above")
        || name.contains("_token_cost")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_credential_is_never_taken_for_a_request_parameter() {
        for name in ["aws_secret_access_key", "vertex_credentials", "some_api_key", "my_token", "client_secret"] {
            assert_eq!(param(name), Param::Cloud, "{name}");
        }
        assert_eq!(param("max_tokens"), Param::Default);
        assert_eq!(param("repeat_last_n"), Param::Unknown);
        assert_eq!(param("cache_read_input_token_cost"), Param::Price);
        assert_eq!(param("input_cost_per_token_above_200k_tokens"), Param::Price);
    }
}
