//! aider: its `.aider.conf.yml` beats the variables that the shell sets (aider.chat, "YAML config file").

use super::{Conflict, Kind, distinct, text, values};
use crate::launch::Launcher;
use crate::settings::document::Format;
use crate::settings::surroundings::{Surroundings, Wiring, may_be_provider_key};

pub(super) fn look(surroundings: &Surroundings, wiring: &Wiring) -> Vec<Conflict> {
    let places = [&surroundings.directory, &surroundings.home];
    let files = distinct(places.into_iter().flatten().map(|place| place.join(".aider.conf.yml")).collect());
    let mut found = Vec::new();
    for path in files {
        let settings = match values(Launcher::Aider, &path, Format::Yaml) {
            None => continue,
            Some(Ok(settings)) => settings,
            Some(Err(unreadable)) => {
                found.push(unreadable);
                continue;
            }
        };
        let mut push = |key: &str, kind| found.push(Conflict::new(Launcher::Aider, &path, key, kind));
        if text(&settings, "openai-api-base").is_some_and(|url| !wiring.leads_here(url)) {
            push("openai-api-base", Kind::LeadsAway);
        }
        for key in ["openai-api-key", "anthropic-api-key"] {
            if text(&settings, key).is_some_and(may_be_provider_key) {
                push(key, Kind::Credential);
            }
        }
        // Lists of NAME=value, which may set the address or a key.
        for key in ["api-key", "set-env"] {
            if text(&settings, key).is_some() {
                push(key, Kind::Overrides);
            }
        }
        for key in ["model", "weak-model", "editor-model"] {
            if text(&settings, key).is_some() {
                push(key, Kind::Overrides);
            }
        }
    }
    found
}
