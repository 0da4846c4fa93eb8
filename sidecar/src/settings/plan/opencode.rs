//! opencode: a provider of its own, or the addresses of those it has (opencode.ai, "config" and "providers").

use std::path::PathBuf;

use super::{PLACEHOLDER, Plan, Target, WORKLOAD_HEADER, Wishes};
use crate::settings::document::Format;
use crate::settings::surroundings::Surroundings;

const ID: &str = "fleetgate";
const SCHEMA: &str = "https://opencode.ai/config.json";
/// Its own default, in tokens. It wants both limits or none.
const OUTPUT_TOKENS: u64 = 32_000;

pub(super) fn plan(target: &Target<'_>, surroundings: &Surroundings) -> Option<Plan> {
    let mut wishes = Wishes::default();
    // It would write this line itself at its next start.
    wishes.be_unless_set(&["$schema"], SCHEMA);
    if let Some(model) = target.model() {
        let provider = ["provider", ID];
        wishes.be(&[&provider[..], &["npm"]].concat(), "@ai-sdk/openai-compatible");
        wishes.be(&[&provider[..], &["name"]].concat(), "Fleetgate");
        lead(&mut wishes, ID, target);
        let entry = [&provider[..], &["models", model]].concat();
        wishes.be(&[&entry[..], &["name"]].concat(), model);
        if let Some(tokens) = target.context_tokens() {
            wishes.be_unless_set(&[&entry[..], &["limit", "context"]].concat(), tokens);
            wishes.be_unless_set(&[&entry[..], &["limit", "output"]].concat(), OUTPUT_TOKENS);
        }
        let name = format!("{ID}/{model}");
        wishes.be(&["model"], name.as_str());
        // Titles; it would look for a small model of another provider.
        wishes.be(&["small_model"], name);
    } else {
        lead(&mut wishes, "anthropic", target);
        lead(&mut wishes, "openai", target);
    }
    Some(Plan { path: path(surroundings)?, format: Format::Json, wishes: wishes.0 })
}

fn lead(wishes: &mut Wishes, provider: &str, target: &Target<'_>) {
    let options = ["provider", provider, "options"];
    wishes.be(&[&options[..], &["baseURL"]].concat(), target.v1());
    wishes.be(&[&options[..], &["apiKey"]].concat(), PLACEHOLDER);
    wishes.be(&[&options[..], &["headers", WORKLOAD_HEADER]].concat(), target.workload());
}

/// The file that it writes itself: the first that is there.
fn path(surroundings: &Surroundings) -> Option<PathBuf> {
    if let Some(path) = surroundings.variable("OPENCODE_CONFIG") {
        return Some(path.into());
    }
    let directory = match surroundings.variable("OPENCODE_CONFIG_DIR") {
        Some(directory) => PathBuf::from(directory),
        None => surroundings.directory_of("XDG_CONFIG_HOME", ".config")?.join("opencode"),
    };
    let mut paths = ["opencode.jsonc", "opencode.json"].map(|name| directory.join(name)).into_iter();
    paths.find(|path| path.symlink_metadata().is_ok()).or_else(|| Some(directory.join("opencode.json")))
}
