//! gemini-cli: the `.env` of its directory fills in what the shell does not set.

use super::{CHECK, read};
use crate::doctor::report::Finding;
use crate::doctor::surroundings::{BASE_URLS, PROVIDER_KEYS, Surroundings, Wiring, may_be_provider_key};

pub(super) fn look(surroundings: &Surroundings, wiring: &Wiring) -> Vec<Finding> {
    let places = [&surroundings.directory, &surroundings.home];
    let mut files: Vec<_> = places.into_iter().flatten().map(|place| place.join(".gemini/.env")).collect();
    files.dedup();
    let mut findings = Vec::new();
    for path in files {
        let Some(text) = read(&path) else { continue };
        let names: Vec<&str> = text.lines().filter_map(|line| suspicious(line, wiring)).collect();
        if !names.is_empty() {
            findings.push(
                Finding::warning(CHECK, "gemini_elsewhere", format!("{} sets {}", path.display(), names.join(", ")))
                    .cause("gemini-cli uses these wherever the shell sets no other: calls that do not go through the sidecar, or a provider's own key")
                    .next(format!("${{EDITOR:-vi}} {}  # GOOGLE_GEMINI_BASE_URL=http://localhost:4000, GEMINI_API_KEY=any word", path.display())),
            );
        }
    }
    findings
}

/// The name of a variable that leads elsewhere or holds a key.
fn suspicious<'a>(line: &'a str, wiring: &Wiring) -> Option<&'a str> {
    let line = line.trim();
    let (name, value) = line.strip_prefix("export ").unwrap_or(line).split_once('=')?;
    let (name, value) = (name.trim(), value.trim().trim_matches(['"', '\'']));
    let elsewhere = BASE_URLS.contains(&name) && !value.is_empty() && !wiring.leads_here(value);
    let key = PROVIDER_KEYS.contains(&name) && may_be_provider_key(value);
    (elsewhere || key).then_some(name)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_other_addresses_and_real_keys_are_named() {
        let wiring = Wiring::new(&"http://127.0.0.1:4000".parse().unwrap(), &[]);
        for (line, name) in [
            ("GOOGLE_GEMINI_BASE_URL=https://elsewhere.example", Some("GOOGLE_GEMINI_BASE_URL")),
            ("GOOGLE_GEMINI_BASE_URL=\"http://localhost:4000\"", None),
            ("export GEMINI_API_KEY='AIza0123456789012345678'", Some("GEMINI_API_KEY")),
            ("GEMINI_API_KEY=fleetgate", None),
            ("# GEMINI_API_KEY=AIza0123456789012345678", None),
            ("OTHER=https://elsewhere.example", None),
        ] {
            assert_eq!(suspicious(line, &wiring), name, "{line}");
        }
    }
}
