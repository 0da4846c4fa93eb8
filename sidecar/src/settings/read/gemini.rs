//! gemini-cli: the first `.env` that it finds fills in what the shell does not set, and its settings say how it authenticates; only
//! with an API key does it obey a base URL (google-gemini/gemini-cli, `findEnvFile`).

use std::path::{Path, PathBuf};

use super::{Conflict, Kind, distinct, dotenv, text, upwards, values};
use crate::launch::Launcher;
use crate::settings::document::Format;
use crate::settings::surroundings::{Surroundings, Wiring};

/// Ways of authentication that obey the base URL.
const OBEDIENT: [&str; 2] = ["gemini-api-key", "gateway"];

pub(super) fn look(surroundings: &Surroundings, wiring: &Wiring) -> Vec<Conflict> {
    let home = surroundings.directory_of("GEMINI_CLI_HOME", "");
    let mut found = Vec::new();
    if let Some(path) = env_file(surroundings, home.as_deref()) {
        let is_own = path.parent().is_some_and(|place| place.ends_with(".gemini"));
        // A project's file has variables of its program too.
        let is_its = |name: &str| is_own || name.starts_with("GEMINI_") || name.starts_with("GOOGLE_");
        found.extend(dotenv(Launcher::Gemini, &path, is_its, wiring));
    }
    let files = surroundings.with_lookup(|lookup| lookup.gemini());
    found.extend(distinct(files).iter().filter_map(|path| settings(path)));
    found
}

/// The one file that it reads.
fn env_file(surroundings: &Surroundings, home: Option<&Path>) -> Option<PathBuf> {
    let names = [".gemini/.env", ".env"];
    let around = upwards(surroundings).chain(home);
    around.flat_map(|place| names.map(|name| place.join(name))).find(|path| path.is_file())
}

fn settings(path: &Path) -> Option<Conflict> {
    match values(Launcher::Gemini, path, Format::Json)? {
        Err(unreadable) => Some(unreadable),
        Ok(settings) => {
            let way = text(&settings["security"]["auth"], "selectedType").filter(|way| !OBEDIENT.contains(way));
            way.map(|_| Conflict::new(Launcher::Gemini, path, "security.auth.selectedType", Kind::LeadsAway))
        }
    }
}
