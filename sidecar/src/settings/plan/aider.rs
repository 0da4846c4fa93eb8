//! aider: `.aider.conf.yml`, whose keys are the names of its options (aider.chat, "YAML config file").

use super::{PLACEHOLDER, Plan, Target, Wishes};
use crate::settings::document::Format;
use crate::settings::surroundings::Surroundings;

pub(super) fn plan(target: &Target<'_>, surroundings: &Surroundings) -> Option<Plan> {
    let path = surroundings.home.as_ref()?.join(".aider.conf.yml");
    let mut wishes = Wishes::default();
    // It can send no header of its own, so the address says which workload this is.
    wishes.be(&["openai-api-base"], format!("{}/w/{}/v1", target.url, target.workload()));
    wishes.be(&["openai-api-key"], PLACEHOLDER);
    if let Some(model) = target.model() {
        // `openai/` chooses the dialect, and does not reach the gateway.
        let model = format!("openai/{model}");
        wishes.be(&["model"], model.as_str());
        // Commit messages and summaries.
        wishes.be(&["weak-model"], model);
    }
    // Both would leave from this machine's own address.
    wishes.be_unless_set(&["check-update"], false);
    wishes.be_unless_set(&["analytics"], false);
    Some(Plan { path, format: Format::Yaml, wishes: wishes.0 })
}
