//! aider: its `.aider.conf.yml` and any `.env` beat the variables that the shell sets (aider.chat, "YAML config file"; its
//! `load_dotenv_files`).

use super::{Conflict, Kind, distinct, dotenv, text, upwards, values};
use crate::launch::Launcher;
use crate::settings::document::Format;
use crate::settings::surroundings::{Surroundings, Wiring, may_be_provider_key};

pub(super) fn look(surroundings: &Surroundings, wiring: &Wiring) -> Vec<Conflict> {
    let project = upwards(surroundings).find(|place| place.join(".git").exists()).map(Into::into);
    let places = [surroundings.directory.clone(), project, surroundings.home.clone()];
    let places = distinct(places.into_iter().flatten().collect());
    let mut found = Vec::new();
    for path in places.iter().map(|place| place.join(".aider.conf.yml")) {
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
    // It chooses the provider by the model, so any of their variables may be the one.
    let files = places.iter().map(|place| place.join(".env"));
    found.extend(files.flat_map(|path| dotenv(Launcher::Aider, &path, |_| true, wiring)));
    found
}
