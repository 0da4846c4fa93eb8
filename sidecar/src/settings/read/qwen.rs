//! qwen-code: entries of `modelProviders` beat the environment, `env` and `security.auth` fill in what it does not set.

use std::path::Path;

use super::{Conflict, Kind, distinct, dotenv, text, values, variables};
use crate::launch::Launcher;
use crate::settings::document::Format;
use crate::settings::surroundings::{Surroundings, Wiring, may_be_provider_key};

/// Ways of authentication that lead to a provider's own address, whatever base URL is set.
const DISOBEDIENT: [&str; 2] = ["qwen-oauth", "vertex-ai"];

pub(super) fn look(surroundings: &Surroundings, wiring: &Wiring) -> Vec<Conflict> {
    let project = surroundings.directory.as_ref().map(|directory| directory.join(".qwen"));
    let user = surroundings.directory_of("QWEN_HOME", ".qwen");
    let places = distinct(project.into_iter().chain(user).collect());
    let files = distinct(surroundings.with_lookup(|lookup| lookup.qwen()));
    let mut found: Vec<Conflict> = files.iter().flat_map(|path| settings(path, wiring)).collect();
    let variables = places.iter().map(|place| place.join(".env"));
    found.extend(variables.flat_map(|path| dotenv(Launcher::Qwen, &path, |_| true, wiring)));
    found
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
    if text(auth, "selectedType").is_some_and(|way| DISOBEDIENT.contains(&way)) {
        found.push(conflict("security.auth.selectedType".to_owned(), Kind::LeadsAway));
    }
    found.extend(variables(&settings["env"], wiring).map(|(name, kind)| conflict(format!("env.{name}"), kind)));
    found
}
