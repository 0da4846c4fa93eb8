//! qwen-code: entries of `modelProviders` beat the environment, `env` and `security.auth` fill in what it does not set.

use std::path::{Path, PathBuf};

use super::{Conflict, Kind, distinct, text, values, variable};
use crate::launch::Launcher;
use crate::settings::document::Format;
use crate::settings::surroundings::{BASE_URLS, PROVIDER_KEYS, Surroundings, Wiring, may_be_provider_key};

pub(super) fn look(surroundings: &Surroundings, wiring: &Wiring) -> Vec<Conflict> {
    let system = match surroundings.variable("QWEN_CODE_SYSTEM_SETTINGS_PATH") {
        Some(path) => PathBuf::from(path),
        None => surroundings.system.join("etc/qwen-code/settings.json"),
    };
    let project = surroundings.directory.as_ref().map(|directory| directory.join(".qwen"));
    let places = project.into_iter().chain(surroundings.directory_of("QWEN_HOME", ".qwen"));
    let files = std::iter::once(system).chain(places.map(|place| place.join("settings.json"))).collect();
    distinct(files).iter().flat_map(|path| settings(path, wiring)).collect()
}

fn settings(path: &Path, wiring: &Wiring) -> Vec<Conflict> {
    let conflict = |key: String, kind| Conflict::new(Launcher::Qwen, path, key, kind);
    let settings = match values(Launcher::Qwen, path, Format::Json) {
        None => return Vec::new(),
        Some(Ok(settings)) => settings,
        Some(Err(unreadable)) => return vec![unreadable],
    };
    let mut found = Vec::new();
    for (protocol, models) in settings["modelProviders"].as_object().into_iter().flatten() {
        let leads_away = |model: &serde_json::Value| text(model, "baseUrl").is_some_and(|url| !wiring.leads_here(url));
        if models.as_array().into_iter().flatten().any(leads_away) {
            found.push(conflict(format!("modelProviders.{protocol}"), Kind::LeadsAway));
        }
    }
    let auth = &settings["security"]["auth"];
    if text(auth, "baseUrl").is_some_and(|url| !wiring.leads_here(url)) {
        found.push(conflict("security.auth.baseUrl".to_owned(), Kind::LeadsAway));
    }
    if text(auth, "apiKey").is_some_and(may_be_provider_key) {
        found.push(conflict("security.auth.apiKey".to_owned(), Kind::Credential));
    }
    for (name, value) in settings["env"].as_object().into_iter().flatten() {
        let kind = variable(name, value.as_str().unwrap_or_default(), &BASE_URLS, &PROVIDER_KEYS, wiring);
        found.extend(kind.map(|kind| conflict(format!("env.{name}"), kind)));
    }
    found
}
