//! aider. It reads `.env` files over its environment, and `.aider.conf.yml` besides: only its command line beats both.

use super::child::Child;
use super::foreign::PLACEHOLDER;
use super::plan::Plan;

pub(super) fn wire(child: &mut Child, plan: &Plan<'_>) {
    let base = plan.base();
    let with_version = format!("{base}/v1");
    child.set("OPENAI_API_BASE", &with_version);
    child.set("OPENAI_API_KEY", PLACEHOLDER);
    child.set("ANTHROPIC_API_BASE", &base);
    child.set("ANTHROPIC_API_KEY", PLACEHOLDER);
    // litellm would fetch a list of prices.
    child.set("LITELLM_LOCAL_MODEL_COST_MAP", "True");
    child.unset(&["OPENAI_BASE_URL", "ANTHROPIC_BASE_URL", "OPENAI_API_TYPE", "OPENAI_ORGANIZATION"]);
    child.add(&["--openai-api-base", &with_version, "--openai-api-key", PLACEHOLDER]);
    child.add(&["--anthropic-api-key", PLACEHOLDER]);
    // litellm takes the second name of each before the first.
    for (name, url) in
        [("OPENAI_BASE_URL", &with_version), ("ANTHROPIC_API_BASE", &base), ("ANTHROPIC_BASE_URL", &base)]
    {
        child.add(&["--set-env", &format!("{name}={url}")]);
    }
    child.add(&["--no-check-update", "--no-analytics"]);
    if let Some(models) = &plan.models {
        let named = |model: &super::mode::Model| format!("openai/{}", model.as_str());
        child.add(&["--model", &named(&models.main), "--weak-model", &named(&models.small)]);
        // The lists of models that it knows have none of ours.
        child.add(&["--no-show-model-warnings"]);
    }
}
