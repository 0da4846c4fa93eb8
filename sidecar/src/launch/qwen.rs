//! qwen-code: `OpenAI`'s dialect. Its command line beats its settings and `.env` files.

use super::child::Child;
use super::foreign::PLACEHOLDER;
use super::plan::Plan;

pub(super) fn wire(child: &mut Child, plan: &Plan<'_>) {
    // It takes no header from outside.
    let base = format!("{}/v1", plan.base());
    child.set("OPENAI_BASE_URL", &base);
    child.set("OPENAI_API_KEY", PLACEHOLDER);
    // They go to Alibaba from this machine's own address.
    child.set("QWEN_USAGE_STATISTICS_ENABLED", "false");
    child.unset(&["QWEN_DEFAULT_AUTH_TYPE", "ANTHROPIC_BASE_URL", "GOOGLE_GEMINI_BASE_URL"]);
    child.add(&["--auth-type", "openai", "--openai-base-url", &base, "--openai-api-key", PLACEHOLDER]);
    if let Some(models) = &plan.models {
        child.set("OPENAI_MODEL", models.main.as_str());
        child.add(&["--model", models.main.as_str()]);
    }
}
