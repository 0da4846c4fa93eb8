//! Keys that a person's shell holds and no launched program needs: the gateway has the providers' keys.

use fleetgate_wire::provider_key;

use super::child::{Change, Child, Environment};

/// What programs send instead of a key. The sidecar replaces it.
pub(super) const PLACEHOLDER: &str = "fleetgate";

/// Variables that hold a key of a provider, or one of Fleetgate's that only people and its own services need. General cloud
/// accounts (`AWS_ACCESS_KEY_ID`, `GOOGLE_APPLICATION_CREDENTIALS`) and `GITHUB_TOKEN` are not among them: an agent's other tools
/// work with those.
const KEYS: [&str; 71] = [
    "AI_GATEWAY_API_KEY",
    "ALIBABA_API_KEY",
    "ANTHROPIC_API_KEY",
    "ANTHROPIC_AUTH_TOKEN",
    "ANTHROPIC_AWS_API_KEY",
    "ANTHROPIC_FOUNDRY_API_KEY",
    "ANTHROPIC_FOUNDRY_AUTH_TOKEN",
    "ANTHROPIC_IDENTITY_TOKEN",
    "AWS_BEARER_TOKEN_BEDROCK",
    "AZURE_AI_API_KEY",
    "AZURE_API_KEY",
    "AZURE_OPENAI_API_KEY",
    "BAILIAN_CODING_PLAN_API_KEY",
    "CEREBRAS_API_KEY",
    "CHUTES_API_KEY",
    "CLAUDE_CODE_OAUTH_REFRESH_TOKEN",
    "CLAUDE_CODE_OAUTH_TOKEN",
    "CODEX_API_KEY",
    "COHERE_API_KEY",
    "CO_API_KEY",
    "DASHSCOPE_API_KEY",
    "DEEPINFRA_API_KEY",
    "DEEPSEEK_API_KEY",
    "FIREWORKS_AI_API_KEY",
    "FIREWORKS_API_KEY",
    "FLEETGATE_ADMIN_KEY",
    "FLEETGATE_MASTER_KEY",
    "FLEETGATE_TOKEN",
    "GEMINI_API_KEY",
    "GOOGLE_API_KEY",
    "GOOGLE_GENERATIVE_AI_API_KEY",
    "GROQ_API_KEY",
    "HUGGINGFACE_API_KEY",
    "KIMI_API_KEY",
    "LITELLM_API_KEY",
    "LITELLM_MASTER_KEY",
    "LM_STUDIO_API_KEY",
    "MINIMAX_API_KEY",
    "MISTRAL_API_KEY",
    "MODELSCOPE_API_KEY",
    "MOONSHOT_API_KEY",
    "NANOGPT_API_KEY",
    "NEBIUS_API_KEY",
    "NOVITA_API_KEY",
    "NVIDIA_API_KEY",
    "NVIDIA_NIM_API_KEY",
    "OLLAMA_API_KEY",
    "OPENAI_ADMIN_KEY",
    "OPENAI_API_KEY",
    "OPENCODE_API_KEY",
    "OPENCODE_AUTH_CONTENT",
    "OPENROUTER_API_KEY",
    "OR_API_KEY",
    "PERPLEXITYAI_API_KEY",
    "PERPLEXITY_API_KEY",
    "POE_API_KEY",
    "REPLICATE_API_KEY",
    "REPLICATE_API_TOKEN",
    "SAMBANOVA_API_KEY",
    "SILICONFLOW_API_KEY",
    "SYNTHETIC_API_KEY",
    "TOGETHERAI_API_KEY",
    "TOGETHER_AI_API_KEY",
    "TOGETHER_API_KEY",
    "VENICE_AI_API_KEY",
    "VOYAGE_API_KEY",
    "XAI_API_KEY",
    "ZAI_API_KEY",
    "ZHIPUAI_API_KEY",
    "ZHIPU_API_KEY",
    "Z_AI_API_KEY",
];

/// Takes every key out: those with a known name, and those whose value has the form of a provider's key, whatever their name.
pub(super) fn take_out(child: &mut Child, caller: &Environment) {
    child.changes.extend(KEYS.iter().map(|name| ((*name).to_owned(), Change::Foreign)));
    for (name, value) in caller {
        let is_key = value.to_str().is_some_and(|value| provider_key::recognise(value).is_some());
        if let Some(name) = name.to_str().filter(|_| is_key) {
            child.changes.insert(name.to_owned(), Change::Foreign);
        }
    }
}

/// Whether a value must not be shown.
pub(super) fn may_be_secret(name: &str, value: &str) -> bool {
    let name = name.to_ascii_uppercase();
    // `CLAUDE_CODE_MAX_CONTEXT_TOKENS` is a number.
    let is_named = ["KEY", "TOKEN", "SECRET", "PASSWORD"].iter().any(|word| name.ends_with(word));
    (is_named && value != PLACEHOLDER && !value.is_empty()) || provider_key::recognise(value).is_some()
}

#[cfg(test)]
mod tests {
    use std::ffi::OsStr;
    use std::os::unix::ffi::OsStrExt;

    use super::*;

    #[test]
    fn the_names_are_in_order_and_none_stands_twice() {
        assert!(KEYS.is_sorted_by(|a, b| a < b));
    }

    #[test]
    fn a_key_is_taken_out_by_its_name_or_by_its_form() {
        let openai = format!("sk-proj-{}T3BlbkFJ{}", "a1".repeat(37), "b2".repeat(37));
        let caller = Environment::from([
            ("GEMINI_API_KEY".into(), "short".into()),
            ("MY_SECOND_ACCOUNT".into(), openai.into()),
            ("EDITOR".into(), "vi".into()),
            ("RAW".into(), OsStr::from_bytes(b"\xff\xfe").into()),
        ]);
        let mut child = Child::new(OsStr::new("x"), &[]);
        take_out(&mut child, &caller);
        for name in ["GEMINI_API_KEY", "MY_SECOND_ACCOUNT"] {
            assert_eq!(child.changes.get(name), Some(&Change::Foreign), "{name}");
        }
        assert!(!child.changes.contains_key("EDITOR") && !child.changes.contains_key("RAW"));
    }
}
