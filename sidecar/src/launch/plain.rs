//! Programs that Fleetgate does not know: what the SDKs of `OpenAI` and Anthropic, `LangChain` and litellm read.

use super::child::Child;
use super::foreign::PLACEHOLDER;
use super::plan::Plan;

pub(super) fn wire(child: &mut Child, plan: &Plan<'_>) {
    let base = plan.base();
    let with_version = format!("{base}/v1");
    child.set("OPENAI_BASE_URL", &with_version);
    // litellm, and older SDKs and LangChain.
    child.set("OPENAI_API_BASE", &with_version);
    child.set("OPENAI_API_KEY", PLACEHOLDER);
    child.set("ANTHROPIC_BASE_URL", &base);
    child.set("ANTHROPIC_API_BASE", &base);
    child.set("ANTHROPIC_API_URL", &base);
    child.set("ANTHROPIC_API_KEY", PLACEHOLDER);
    // They name an account or a cloud of the provider's, or replace what was set above.
    child.unset(&[
        "ANTHROPIC_AUTH_TOKEN",
        "ANTHROPIC_PROFILE",
        "OPENAI_ORGANIZATION",
        "OPENAI_ORG_ID",
        "OPENAI_PROJECT",
        "OPENAI_PROJECT_ID",
        "OPENAI_API_TYPE",
        "AZURE_OPENAI_ENDPOINT",
        "CLAUDE_CODE_USE_BEDROCK",
        "CLAUDE_CODE_USE_VERTEX",
        "CLAUDE_CODE_USE_FOUNDRY",
    ]);
    if let Some(models) = &plan.models {
        // No SDK reads a model's name; these are what scripts ask for. ANTHROPIC_MODEL also serves the Agent SDK.
        for name in ["FLEETGATE_MODEL", "OPENAI_MODEL", "ANTHROPIC_MODEL"] {
            child.set(name, models.main.as_str());
        }
    }
}
