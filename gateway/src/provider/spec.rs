//! The table of providers.
//!
//! Sources: each provider's API reference, and LiteLLM's names for prefixes and key variables, so that a LiteLLM configuration
//! finds the same keys. Addresses end where `/chat/completions` or `/v1/messages` begins.

/// How a credential is shown upstream.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Auth {
    /// `Authorization: Bearer K`
    Bearer,
    /// `api-key: K` (Azure OpenAI)
    ApiKey,
    /// Both: which of Azure AI's hosts reads which is not the same everywhere.
    ApiKeyAndBearer,
    /// `x-api-key: K`, and `Authorization: Bearer K` where the host is not Anthropic's own.
    Anthropic,
}

/// How an address is put together.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Shape {
    /// Base and path.
    Plain,
    /// `/openai/deployments/NAME/…?api-version=`
    Azure,
    /// `/models/…?api-version=`
    AzureAi,
    /// Base, `/v1` if it is missing, and path.
    Ollama,
    /// Nobody is called.
    Mock,
}

/// One provider.
#[derive(Debug)]
pub(super) struct Spec {
    /// The prefix in `litellm_params.model`.
    pub(super) name: &'static str,
    /// Variables that hold its key, first found wins.
    pub(super) key_variables: &'static [&'static str],
    /// Variables that hold another base address.
    pub(super) base_variables: &'static [&'static str],
    /// Base of its OpenAI-compatible API; `Some("")` where only the operator knows it.
    pub(super) openai: Option<&'static str>,
    /// Whether the same base has `/responses`.
    pub(super) responses: bool,
    /// Base of its Anthropic-compatible API, without `/v1`; `Some("")`: the OpenAI base has `/messages` as well.
    pub(super) anthropic: Option<&'static str>,
    pub(super) auth: Auth,
    pub(super) shape: Shape,
    /// Streams need `stream_options.include_usage` to report usage (some refuse the field and report anyway).
    pub(super) asks_stream_usage: bool,
    /// Works without a key.
    pub(super) keyless: bool,
    /// Request members it is known to refuse: `drop_params` removes them.
    pub(super) refuses: &'static [&'static str],
}

const fn plain(name: &'static str, base: &'static str, key_variables: &'static [&'static str]) -> Spec {
    Spec {
        name,
        key_variables,
        base_variables: &[],
        openai: Some(base),
        responses: false,
        anthropic: None,
        auth: Auth::Bearer,
        shape: Shape::Plain,
        asks_stream_usage: true,
        keyless: false,
        refuses: &[],
    }
}

const fn local(
    name: &'static str,
    base_variables: &'static [&'static str],
    key_variables: &'static [&'static str],
) -> Spec {
    Spec { base_variables, responses: true, anthropic: Some(""), keyless: true, ..plain(name, "", key_variables) }
}

/// Ollama by either of LiteLLM's names, over its own OpenAI route.
const fn ollama(name: &'static str) -> Spec {
    Spec {
        base_variables: &["OLLAMA_API_BASE"],
        responses: true,
        anthropic: Some(""),
        shape: Shape::Ollama,
        keyless: true,
        ..plain(name, "http://localhost:11434", &["OLLAMA_API_KEY"])
    }
}

/// All providers that are known by name.
pub(super) static SPECS: &[Spec] = &[
    Spec {
        base_variables: &["OPENAI_BASE_URL", "OPENAI_API_BASE"],
        responses: true,
        ..plain("openai", "https://api.openai.com/v1", &["OPENAI_API_KEY"])
    },
    Spec {
        base_variables: &["AZURE_API_BASE"],
        responses: true,
        auth: Auth::ApiKey,
        shape: Shape::Azure,
        ..plain("azure", "", &["AZURE_API_KEY", "AZURE_OPENAI_API_KEY"])
    },
    Spec {
        base_variables: &["AZURE_AI_API_BASE"],
        auth: Auth::ApiKeyAndBearer,
        shape: Shape::AzureAi,
        ..plain("azure_ai", "", &["AZURE_AI_API_KEY"])
    },
    Spec {
        responses: true,
        anthropic: Some("https://openrouter.ai/api"),
        ..plain("openrouter", "https://openrouter.ai/api/v1", &["OPENROUTER_API_KEY", "OR_API_KEY"])
    },
    Spec {
        base_variables: &["ANTHROPIC_API_BASE", "ANTHROPIC_BASE_URL"],
        openai: None,
        anthropic: Some("https://api.anthropic.com"),
        auth: Auth::Anthropic,
        ..plain("anthropic", "", &["ANTHROPIC_API_KEY", "ANTHROPIC_AUTH_TOKEN"])
    },
    Spec {
        refuses: &["logit_bias", "store", "service_tier"],
        ..plain(
            "gemini",
            "https://generativelanguage.googleapis.com/v1beta/openai",
            &["GOOGLE_API_KEY", "GEMINI_API_KEY"],
        )
    },
    ollama("ollama"),
    ollama("ollama_chat"),
    Spec {
        base_variables: &["ZAI_API_BASE"],
        anthropic: Some("https://api.z.ai/api/anthropic"),
        ..plain("zai", "https://api.z.ai/api/paas/v4", &["ZAI_API_KEY"])
    },
    Spec {
        base_variables: &["MOONSHOT_API_BASE"],
        anthropic: Some("https://api.moonshot.ai/anthropic"),
        ..plain("moonshot", "https://api.moonshot.ai/v1", &["MOONSHOT_API_KEY"])
    },
    Spec {
        base_variables: &["MINIMAX_API_BASE"],
        anthropic: Some("https://api.minimax.io/anthropic"),
        ..plain("minimax", "https://api.minimax.io/v1", &["MINIMAX_API_KEY"])
    },
    Spec {
        base_variables: &["DEEPSEEK_API_BASE"],
        anthropic: Some("https://api.deepseek.com/anthropic"),
        ..plain("deepseek", "https://api.deepseek.com/beta", &["DEEPSEEK_API_KEY"])
    },
    Spec {
        base_variables: &["DASHSCOPE_API_BASE"],
        anthropic: Some("https://dashscope-intl.aliyuncs.com/apps/anthropic"),
        ..plain("dashscope", "https://dashscope-intl.aliyuncs.com/compatible-mode/v1", &["DASHSCOPE_API_KEY"])
    },
    Spec {
        base_variables: &["XAI_API_BASE"],
        responses: true,
        ..plain("xai", "https://api.x.ai/v1", &["XAI_API_KEY"])
    },
    Spec {
        refuses: &["logprobs", "logit_bias", "top_logprobs"],
        responses: true,
        ..plain("groq", "https://api.groq.com/openai/v1", &["GROQ_API_KEY"])
    },
    Spec {
        asks_stream_usage: false,
        refuses: &["logit_bias", "logprobs", "top_logprobs", "store", "user", "service_tier", "stream_options"],
        ..plain("mistral", "https://api.mistral.ai/v1", &["MISTRAL_API_KEY"])
    },
    Spec {
        asks_stream_usage: false,
        ..plain("perplexity", "https://api.perplexity.ai", &["PERPLEXITYAI_API_KEY", "PERPLEXITY_API_KEY"])
    },
    plain(
        "together_ai",
        "https://api.together.ai/v1",
        &["TOGETHER_API_KEY", "TOGETHERAI_API_KEY", "TOGETHER_AI_API_KEY", "TOGETHER_AI_TOKEN"],
    ),
    plain("fireworks_ai", "https://api.fireworks.ai/inference/v1", &["FIREWORKS_API_KEY", "FIREWORKS_AI_API_KEY"]),
    plain("cerebras", "https://api.cerebras.ai/v1", &["CEREBRAS_API_KEY"]),
    plain("deepinfra", "https://api.deepinfra.com/v1/openai", &["DEEPINFRA_API_KEY"]),
    plain("sambanova", "https://api.sambanova.ai/v1", &["SAMBANOVA_API_KEY"]),
    plain("nvidia_nim", "https://integrate.api.nvidia.com/v1", &["NVIDIA_NIM_API_KEY"]),
    plain("nebius", "https://api.studio.nebius.ai/v1", &["NEBIUS_API_KEY"]),
    plain("novita", "https://api.novita.ai/v3/openai", &["NOVITA_API_KEY"]),
    plain("nano-gpt", "https://nano-gpt.com/api/v1", &["NANOGPT_API_KEY"]),
    plain("synthetic", "https://api.synthetic.new/openai/v1", &["SYNTHETIC_API_KEY"]),
    plain("chutes", "https://llm.chutes.ai/v1", &["CHUTES_API_KEY"]),
    plain("veniceai", "https://api.venice.ai/api/v1", &["VENICE_AI_API_KEY"]),
    plain("poe", "https://api.poe.com/v1", &["POE_API_KEY"]),
    plain("github", "https://models.github.ai/inference", &["GITHUB_API_KEY"]),
    local("hosted_vllm", &["HOSTED_VLLM_API_BASE"], &["HOSTED_VLLM_API_KEY"]),
    local("vllm", &["VLLM_API_BASE"], &["VLLM_API_KEY"]),
    local("lm_studio", &["LM_STUDIO_API_BASE"], &["LM_STUDIO_API_KEY"]),
    local("llamafile", &["LLAMAFILE_API_BASE"], &["LLAMAFILE_API_KEY"]),
    local("litellm_proxy", &["LITELLM_PROXY_API_BASE"], &["LITELLM_PROXY_API_KEY"]),
    local("custom_openai", &[], &[]),
    local("openai_like", &["OPENAI_LIKE_API_BASE"], &["OPENAI_LIKE_API_KEY"]),
    Spec {
        responses: true,
        anthropic: Some(""),
        shape: Shape::Mock,
        keyless: true,
        ..plain("mock", "http://mock.invalid", &[])
    },
];

/// OpenAI's reasoning models answer 400 to these (platform.openai.com/docs/guides/reasoning).
pub(super) const REFUSED_BY_REASONING: &[&str] =
    &["temperature", "top_p", "presence_penalty", "frequency_penalty", "logprobs", "top_logprobs", "logit_bias"];

/// The provider of this name.
pub(super) fn by_name(name: &str) -> Option<&'static Spec> {
    SPECS.iter().find(|spec| spec.name == name)
}

/// The provider of a bare model name, by the pattern of its family (a price list would forget retired names).
pub(super) fn by_family(model: &str) -> Option<&'static Spec> {
    const FAMILIES: &[(&str, &str)] = &[
        ("gpt-", "openai"),
        ("chatgpt-", "openai"),
        ("o1", "openai"),
        ("o3", "openai"),
        ("o4", "openai"),
        ("codex-", "openai"),
        ("text-embedding-", "openai"),
        ("dall-e-", "openai"),
        ("claude-", "anthropic"),
        ("gemini-", "gemini"),
    ];
    if model == "*" {
        return by_name("openai");
    }
    FAMILIES.iter().find(|(start, _)| model.starts_with(start)).and_then(|(_, name)| by_name(name))
}

/// The provider that a well-known host belongs to.
pub(super) fn by_host(host: &str) -> Option<&'static Spec> {
    let host_of = |base: &str| base.split("://").nth(1).and_then(|rest| rest.split('/').next()).map(str::to_owned);
    SPECS.iter().find(|spec| {
        let bases = [spec.openai, spec.anthropic];
        bases.into_iter().flatten().filter_map(host_of).any(|known| known == host && spec.shape != Shape::Mock)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_name_stands_once_and_every_address_is_one() {
        for (index, spec) in SPECS.iter().enumerate() {
            assert!(SPECS[..index].iter().all(|earlier| earlier.name != spec.name), "{}", spec.name);
            for base in [spec.openai, spec.anthropic].into_iter().flatten().filter(|base| !base.is_empty()) {
                assert!(base.parse::<http::Uri>().is_ok() && !base.ends_with('/'), "{base}");
            }
        }
    }

    #[test]
    fn bare_names_belong_to_their_family() {
        let name = |model| by_family(model).map(|spec| spec.name);
        assert_eq!(name("gpt-4o"), Some("openai"));
        assert_eq!(name("claude-sonnet-4-5"), Some("anthropic"));
        assert_eq!(name("qwen3:8b"), None);
        assert_eq!(by_host("api.anthropic.com").map(|spec| spec.name), Some("anthropic"));
        assert!(by_host("192.168.1.5").is_none());
    }
}
