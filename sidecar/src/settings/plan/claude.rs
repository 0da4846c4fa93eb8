//! Claude Code: the `env` block of its `settings.json`, which also background agents, the editors' extensions and the agent SDK's
//! sessions read (code.claude.com, "settings" and "llm-gateway").

use super::{PLACEHOLDER, Plan, Target, Want, Wishes};
use crate::settings::document::Format;
use crate::settings::read::OTHER_CLAUDE_PROVIDERS;
use crate::settings::surroundings::Surroundings;

/// These back ends think for longer than Claude Code waits by default. In milliseconds.
const PATIENCE: &str = "3000000";
const MODELS: [&str; 6] = [
    "ANTHROPIC_MODEL",
    "ANTHROPIC_DEFAULT_OPUS_MODEL",
    "ANTHROPIC_DEFAULT_SONNET_MODEL",
    "ANTHROPIC_DEFAULT_HAIKU_MODEL",
    "ANTHROPIC_DEFAULT_FABLE_MODEL",
    "CLAUDE_CODE_SUBAGENT_MODEL",
];

pub(super) fn plan(target: &Target<'_>, surroundings: &Surroundings) -> Option<Plan> {
    let path = surroundings.directory_of("CLAUDE_CONFIG_DIR", ".claude")?.join("settings.json");
    let mut wishes = Wishes::default();
    wishes.be(&["env", "ANTHROPIC_BASE_URL"], target.url);
    wishes.be(&["env", "ANTHROPIC_AUTH_TOKEN"], PLACEHOLDER);
    let headers = Want::HaveHeader { between: "\n", workload: target.workload() };
    wishes.push(&["env", "ANTHROPIC_CUSTOM_HEADERS"], headers);
    if let Some(model) = target.model() {
        for name in MODELS {
            wishes.be(&["env", name], model);
        }
        wishes.be_unless_set(&["env", "API_TIMEOUT_MS"], PATIENCE);
        // The old name of ANTHROPIC_DEFAULT_HAIKU_MODEL; left over, it would win over the mode.
        wishes.be_absent(&["env", "ANTHROPIC_SMALL_FAST_MODEL"]);
    }
    if let Some(tokens) = target.context_tokens() {
        // It assumes a million tokens for models that it does not know.
        wishes.be_unless_set(&["env", "CLAUDE_CODE_MAX_CONTEXT_TOKENS"], tokens.to_string());
    }
    // Telemetry and update checks ignore the base URL and would leave from this machine's own address.
    wishes.be_unless_set(&["env", "CLAUDE_CODE_DISABLE_NONESSENTIAL_TRAFFIC"], "1");
    for name in ["ANTHROPIC_API_KEY", "CLAUDE_CODE_OAUTH_TOKEN"].into_iter().chain(OTHER_CLAUDE_PROVIDERS) {
        wishes.be_absent(&["env", name]);
    }
    wishes.spare_loopback(&["env"], surroundings);
    Some(Plan { path, format: Format::Json, wishes: wishes.0 })
}
