//! opencode: `provider.NAME.options` of its settings (opencode.ai, "config").

use std::path::{Path, PathBuf};

use super::{Conflict, Kind, distinct, text, values};
use crate::launch::Launcher;
use crate::settings::document::Format;
use crate::settings::surroundings::{Surroundings, Wiring, may_be_provider_key};

pub(super) fn look(surroundings: &Surroundings, wiring: &Wiring) -> Vec<Conflict> {
    let own = surroundings.variable("OPENCODE_CONFIG_DIR").map(PathBuf::from);
    let project = surroundings.directory.iter().flat_map(|place| [place.join(".opencode"), place.clone()]);
    let named = surroundings.variable("OPENCODE_CONFIG").map(PathBuf::from);
    let user = surroundings.directory_of("XDG_CONFIG_HOME", ".config").map(|config| config.join("opencode"));
    let both = |place: PathBuf| ["opencode.jsonc", "opencode.json"].map(|name| place.join(name));
    let mut files = surroundings.with_lookup(|lookup| lookup.opencode_managed());
    files.extend(own.into_iter().chain(project).flat_map(both));
    files.extend(named);
    files.extend(user.into_iter().flat_map(both));
    distinct(files).iter().flat_map(|path| settings(path, wiring)).collect()
}

fn settings(path: &Path, wiring: &Wiring) -> Vec<Conflict> {
    let settings = match values(Launcher::Opencode, path, Format::Json) {
        None => return Vec::new(),
        Some(Ok(settings)) => settings,
        Some(Err(unreadable)) => return vec![unreadable],
    };
    let mut found = Vec::new();
    for (name, provider) in settings["provider"].as_object().into_iter().flatten() {
        let options = &provider["options"];
        // "{env:NAME}" and "{file:PATH}" are looked up when opencode starts.
        let text = |key: &str| text(options, key).filter(|value| !value.starts_with('{'));
        let mut push = |key: &str, kind| {
            found.push(Conflict::new(Launcher::Opencode, path, format!("provider.{name}.options.{key}"), kind));
        };
        if text("baseURL").is_some_and(|url| !wiring.leads_here(url)) {
            push("baseURL", Kind::LeadsAway);
        }
        if text("apiKey").is_some_and(may_be_provider_key) {
            push("apiKey", Kind::Credential);
        }
    }
    found
}
