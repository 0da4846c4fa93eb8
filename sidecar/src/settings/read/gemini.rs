//! gemini-cli: the `.env` of its directory fills in what the shell does not set.

use super::{Conflict, distinct, values, variable};
use crate::launch::Launcher;
use crate::settings::document::Format;
use crate::settings::surroundings::{BASE_URLS, PROVIDER_KEYS, Surroundings, Wiring};

pub(super) fn look(surroundings: &Surroundings, wiring: &Wiring) -> Vec<Conflict> {
    let home = surroundings.directory_of("GEMINI_CLI_HOME", "");
    let places = surroundings.directory.clone().into_iter().chain(home);
    let files = distinct(places.map(|place| place.join(".gemini/.env")).collect());
    let mut found = Vec::new();
    for path in files {
        match values(Launcher::Gemini, &path, Format::Dotenv) {
            None => {}
            Some(Err(unreadable)) => found.push(unreadable),
            Some(Ok(pairs)) => {
                for (name, value) in pairs.as_object().into_iter().flatten() {
                    let kind = variable(name, value.as_str().unwrap_or_default(), &BASE_URLS, &PROVIDER_KEYS, wiring);
                    found.extend(kind.map(|kind| Conflict::new(Launcher::Gemini, &path, name, kind)));
                }
            }
        }
    }
    found
}
