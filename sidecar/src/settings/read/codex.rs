//! Codex: only its `config.toml` says where calls go; it ignores `OPENAI_BASE_URL`.

use serde_json::Value;

use super::{Conflict, Kind, text, values};
use crate::launch::Launcher;
use crate::settings::document::Format;
use crate::settings::surroundings::{Surroundings, Wiring};

pub(super) fn look(surroundings: &Surroundings, wiring: &Wiring) -> Vec<Conflict> {
    let mut found = managed(surroundings);
    found.extend(own(surroundings, wiring));
    found
}

/// What an administrator lays down beats the user's file and the command line.
fn managed(surroundings: &Surroundings) -> Vec<Conflict> {
    let path = surroundings.with_lookup(|lookup| lookup.codex_managed());
    match values(Launcher::Codex, &path, Format::Toml) {
        None => Vec::new(),
        Some(Err(unreadable)) => vec![unreadable],
        Some(Ok(settings)) => {
            let keys = ["model_provider", "model"].into_iter().filter(|key| text(&settings, key).is_some());
            keys.map(|key| Conflict::new(Launcher::Codex, &path, key, Kind::Overrides)).collect()
        }
    }
}

fn own(surroundings: &Surroundings, wiring: &Wiring) -> Vec<Conflict> {
    let Some(path) = surroundings.directory_of("CODEX_HOME", ".codex").map(|home| home.join("config.toml")) else {
        return Vec::new();
    };
    let config = match values(Launcher::Codex, &path, Format::Toml) {
        None => return Vec::new(),
        Some(Ok(config)) => config,
        Some(Err(unreadable)) => return vec![unreadable],
    };
    let conflict = |key: String, kind| Conflict::new(Launcher::Codex, &path, key, kind);
    let profile = text(&config, "profile").unwrap_or_default();
    let of_profile = text(&config["profiles"][profile], "model_provider");
    let Some(id) = of_profile.or_else(|| text(&config, "model_provider")).filter(|id| *id != "openai") else {
        let leads_here = text(&config, "openai_base_url").is_some_and(|url| wiring.leads_here(url));
        return if leads_here { Vec::new() } else { vec![conflict("model_provider".to_owned(), Kind::LeadsAway)] };
    };
    let described = &config["model_providers"][id];
    let key = |name: &str| format!("model_providers.{id}.{name}");
    let mut found = Vec::new();
    if !text(described, "base_url").is_some_and(|url| wiring.leads_here(url)) {
        found.push(conflict(key("base_url"), Kind::LeadsAway));
    }
    if described["wire_api"] == "chat" {
        found.push(conflict(key("wire_api"), Kind::CannotStart));
    }
    if described.get("experimental_bearer_token").is_some_and(Value::is_string) {
        found.push(conflict(key("experimental_bearer_token"), Kind::Credential));
    }
    found
}
