//! opencode: `provider.NAME.options` of its settings.

use std::path::Path;

use serde_json::Value;

use super::{CHECK, parse_json, read};
use crate::doctor::report::Finding;
use crate::doctor::surroundings::{Surroundings, Wiring, may_be_provider_key};

pub(super) fn look(surroundings: &Surroundings, wiring: &Wiring) -> Vec<Finding> {
    let user = surroundings.home.iter().map(|home| home.join(".config/opencode"));
    let places: Vec<_> = user.chain(surroundings.directory.clone()).collect();
    let files = places.iter().flat_map(|place| ["opencode.json", "opencode.jsonc"].map(|name| place.join(name)));
    files.flat_map(|path| settings(&path, wiring)).collect()
}

fn settings(path: &Path, wiring: &Wiring) -> Vec<Finding> {
    let Some(text) = read(path) else { return Vec::new() };
    let settings = match parse_json(path, &text) {
        Ok(settings) => settings,
        Err(finding) => return vec![finding],
    };
    let providers = settings["provider"].as_object().into_iter().flatten();
    let keys: Vec<String> = providers
        .flat_map(|(name, provider)| {
            let options = &provider["options"];
            // "{env:NAME}" and "{file:PATH}" are looked up when opencode starts.
            let text = |key: &str| options.get(key).and_then(Value::as_str).filter(|value| !value.starts_with('{'));
            let elsewhere = text("baseURL").filter(|url| !wiring.leads_here(url)).map(|_| "baseURL");
            let key = text("apiKey").filter(|key| may_be_provider_key(key)).map(|_| "apiKey");
            elsewhere.into_iter().chain(key).map(move |key| format!("provider.{name}.options.{key}"))
        })
        .collect();
    if keys.is_empty() {
        return Vec::new();
    }
    vec![
        Finding::warning(CHECK, "opencode_elsewhere", format!("{} sets {}", path.display(), keys.join(", ")))
            .cause("opencode takes these from the file, whatever the shell says; such calls do not go through the sidecar or bring a key of their own")
            .next(format!("${{EDITOR:-vi}} {}  # baseURL: http://localhost:4000/v1, apiKey: any word", path.display())),
    ]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn providers_that_lead_elsewhere_or_hold_a_key_are_named() {
        let home = tempfile::tempdir().unwrap();
        let directory = home.path().join(".config/opencode");
        std::fs::create_dir_all(&directory).unwrap();
        let text = r#"{ // mine
            "provider": {
                "a": {"options": {"baseURL": "https://canary.example/v1", "apiKey": "{env:KEY}"}},
                "b": {"options": {"baseURL": "http://localhost:4000/v1", "apiKey": "sk-canary-0123456789012345"}},
                "c": {"options": {"baseURL": "{env:BASE}"}}
            } }"#;
        std::fs::write(directory.join("opencode.jsonc"), text).unwrap();
        let surroundings =
            Surroundings { home: Some(home.path().to_owned()), directory: None, ..Surroundings::of_this_process() };
        let findings = look(&surroundings, &Wiring::new(&"http://127.0.0.1:4000".parse().unwrap(), &[]));
        assert_eq!(findings.len(), 1);
        assert!(
            findings[0].what.ends_with("sets provider.a.options.baseURL, provider.b.options.apiKey"),
            "{findings:?}"
        );
        assert!(!format!("{findings:?}").contains("canary"));
    }
}
