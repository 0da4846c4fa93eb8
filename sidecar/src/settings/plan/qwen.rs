//! qwen-code: `settings.json` (qwenlm.github.io/qwen-code-docs, "settings"; its `resolveModelConfig`).

use super::{PLACEHOLDER, Plan, Target, WORKLOAD_HEADER, Wishes};
use crate::settings::document::Format;
use crate::settings::surroundings::Surroundings;

pub(super) fn plan(target: &Target<'_>, surroundings: &Surroundings) -> Option<Plan> {
    let path = surroundings.directory_of("QWEN_HOME", ".qwen")?.join("settings.json");
    let mut wishes = Wishes::default();
    // `env` fills in what the environment lacks, `security.auth` what both lack.
    wishes.be(&["env", "OPENAI_BASE_URL"], target.v1());
    wishes.be(&["env", "OPENAI_API_KEY"], PLACEHOLDER);
    wishes.be(&["security", "auth", "selectedType"], "openai");
    for name in ["baseUrl", "apiKey"] {
        wishes.be_absent(&["security", "auth", name]);
    }
    wishes.be(&["model", "generationConfig", "customHeaders", WORKLOAD_HEADER], target.workload());
    if let Some(model) = target.model() {
        wishes.be(&["model", "name"], model);
        for name in ["OPENAI_MODEL", "QWEN_MODEL"] {
            wishes.be_absent(&["env", name]);
        }
    }
    if let Some(tokens) = target.context_tokens() {
        wishes.be_unless_set(&["model", "generationConfig", "contextWindowSize"], tokens);
    }
    // Its telemetry ignores the base URL.
    wishes.be_unless_set(&["privacy", "usageStatisticsEnabled"], false);
    wishes.spare_loopback(&["env"], surroundings);
    Some(Plan { path, format: Format::Json, wishes: wishes.0 })
}
