//! Codex: a provider of its own in `config.toml`, the only place that says where calls go (openai/codex, `docs/config.md`).

use super::{Plan, Target, WORKLOAD_HEADER, Wishes};
use crate::settings::document::Format;
use crate::settings::surroundings::Surroundings;

const ID: &str = "fleetgate";

pub(super) fn plan(target: &Target<'_>, surroundings: &Surroundings) -> Option<Plan> {
    let path = surroundings.directory_of("CODEX_HOME", ".codex")?.join("config.toml");
    let provider = |name: &'static str| ["model_providers", ID, name];
    let mut wishes = Wishes::default();
    wishes.be(&["model_provider"], ID);
    if let Some(model) = target.model() {
        wishes.be(&["model"], model);
    }
    if let Some(tokens) = target.context_tokens() {
        wishes.be_unless_set(&["model_context_window"], tokens);
    }
    wishes.be(&provider("name"), "Fleetgate");
    wishes.be(&provider("base_url"), target.v1());
    // The only form that it speaks.
    wishes.be(&provider("wire_api"), "responses");
    wishes.be(&["model_providers", ID, "http_headers", WORKLOAD_HEADER], target.workload());
    // Without one of these no credential is sent, and none has to be in the environment.
    for name in ["env_key", "experimental_bearer_token", "requires_openai_auth", "auth"] {
        wishes.be_absent(&provider(name));
    }
    // Telemetry (chatgpt.com) and the list of plugins (github.com) ignore the provider.
    wishes.be_unless_set(&["analytics", "enabled"], false);
    wishes.be_unless_set(&["features", "plugins"], false);
    Some(Plan { path, format: Format::Toml, wishes: wishes.0 })
}
