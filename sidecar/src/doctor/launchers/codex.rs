//! Codex: only its `config.toml` says where calls go; it ignores `OPENAI_BASE_URL`.

use std::path::PathBuf;

use toml::Table;

use super::{CHECK, read, unreadable};
use crate::doctor::report::Finding;
use crate::doctor::surroundings::{Surroundings, Wiring};

pub(super) fn look(surroundings: &Surroundings, wiring: &Wiring) -> Vec<Finding> {
    let own = surroundings.environment.get("CODEX_HOME").map(PathBuf::from);
    let Some(path) =
        own.or_else(|| Some(surroundings.home.as_ref()?.join(".codex"))).map(|home| home.join("config.toml"))
    else {
        return Vec::new();
    };
    let Some(text) = read(&path) else { return Vec::new() };
    let config: Table = match text.parse() {
        Ok(config) => config,
        Err(error) => {
            let error: toml::de::Error = error;
            let line = error.span().map_or(1, |span| text.get(..span.start).unwrap_or_default().lines().count().max(1));
            return vec![unreadable(&path, line)];
        }
    };
    let file = path.display();
    let edit = format!("${{EDITOR:-vi}} {file}");
    let text_at = |table: &Table, key: &str| table.get(key).and_then(|value| value.as_str()).map(str::to_owned);
    let profile = text_at(&config, "profile").and_then(|name| config.get("profiles")?.get(&name)?.as_table());
    let provider =
        profile.and_then(|profile| text_at(profile, "model_provider")).or_else(|| text_at(&config, "model_provider"));
    let Some(id) = provider.filter(|id| id != "openai") else {
        let base = text_at(&config, "openai_base_url");
        if base.is_some_and(|url| wiring.leads_here(&url)) {
            return Vec::new();
        }
        return vec![
            Finding::warning(CHECK, "codex_elsewhere", format!("{file} names no provider that leads to the sidecar (model_provider, openai_base_url)"))
                .cause("Codex ignores OPENAI_BASE_URL: its calls go to OpenAI directly")
                .next("codex-fleet  # our launcher; or add model_provider = \"fleetgate\" with base_url = \"http://localhost:4000/v1\"")
                .next(edit),
        ];
    };
    let described = config.get("model_providers").and_then(|providers| providers.get(&id)?.as_table());
    let mut findings = Vec::new();
    if !described.is_some_and(|table| text_at(table, "base_url").is_some_and(|url| wiring.leads_here(&url))) {
        findings.push(
            Finding::warning(
                CHECK,
                "codex_elsewhere",
                format!("{file}: model_providers.{id}.base_url does not lead to the sidecar"),
            )
            .cause("Codex ignores OPENAI_BASE_URL: its calls go where this file says")
            .next(edit.clone()),
        );
    }
    if described.is_some_and(|table| text_at(table, "wire_api").as_deref() == Some("chat")) {
        findings.push(
            Finding::warning(CHECK, "codex_chat", format!("{file}: model_providers.{id}.wire_api is \"chat\""))
                .cause("Codex speaks the Responses API only and does not start with this setting")
                .next(format!("sed -i.bak 's/^wire_api *=.*/wire_api = \"responses\"/' {file}")),
        );
    }
    if described.is_some_and(|table| table.contains_key("experimental_bearer_token")) {
        findings.push(
            Finding::warning(
                CHECK,
                "codex_token",
                format!("{file}: model_providers.{id}.experimental_bearer_token holds a credential"),
            )
            .cause("the sidecar needs none; a key in a file is one more to find and revoke")
            .next(edit),
        );
    }
    findings
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;

    fn codes(config: &str) -> Vec<&'static str> {
        let home = tempfile::tempdir().unwrap();
        fs::create_dir(home.path().join(".codex")).unwrap();
        fs::write(home.path().join(".codex/config.toml"), config).unwrap();
        let surroundings = Surroundings {
            home: Some(home.path().to_owned()),
            environment: std::collections::BTreeMap::new(),
            ..Surroundings::of_this_process()
        };
        let findings = look(&surroundings, &Wiring::new(&"http://127.0.0.1:4000".parse().unwrap(), &[]));
        assert!(!format!("{findings:?}").contains("canary"), "{findings:?}");
        findings.iter().map(|finding| finding.code).collect()
    }

    #[test]
    fn only_a_provider_that_leads_to_the_sidecar_is_fine() {
        let ours = "model_provider = 'f'\n[model_providers.f]\nbase_url = 'http://localhost:4000/v1'\nwire_api = ";
        assert!(codes(&format!("{ours}'responses'")).is_empty());
        assert_eq!(
            codes(&format!("{ours}'chat'\nexperimental_bearer_token = 'canary'")),
            ["codex_chat", "codex_token"]
        );
        assert!(codes("openai_base_url = 'http://127.0.0.1:4000/v1'").is_empty());
        assert_eq!(codes("model = 'gpt-5'"), ["codex_elsewhere"]);
        assert_eq!(
            codes("model_provider = 'x'\n[model_providers.x]\nbase_url = 'https://canary.example/v1'"),
            ["codex_elsewhere"]
        );
        assert_eq!(codes("profile = 'p'\n[profiles.p]\nmodel_provider = 'x'\n"), ["codex_elsewhere"]);
        assert_eq!(codes("a = 1\nb = canary"), ["unreadable"]);
    }
}
