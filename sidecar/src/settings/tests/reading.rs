//! What settings files say that beats the environment.

use super::*;

#[test]
fn what_we_configured_is_no_conflict_until_it_is_changed() {
    let file = ".claude/settings.json";
    let home = Home::with(file, "{}");
    home.configure(Launcher::Claude, Some(&glm())).unwrap();
    let surroundings = home.surroundings();
    let found = look(Launcher::Claude, &surroundings, &surroundings.wiring());
    let models: Vec<&Conflict> = found.iter().filter(|conflict| conflict.overrides() == "ANTHROPIC_MODEL").collect();
    assert!(models.len() == 1 && models[0].is_ours && found.iter().all(|conflict| conflict.is_ours), "{found:?}");
    home.write(file, home.read(file).replace("\"ANTHROPIC_MODEL\": \"glm\"", "\"ANTHROPIC_MODEL\": \"opus\""));
    let found = look(Launcher::Claude, &surroundings, &surroundings.wiring());
    let theirs: Vec<&str> =
        found.iter().filter(|conflict| !conflict.is_ours).map(|conflict| conflict.key.as_str()).collect();
    assert_eq!(theirs, ["env.ANTHROPIC_MODEL"]);
}

#[test]
fn conflicts_are_those_of_an_environment_and_a_directory() {
    let home =
        Home::with("project/.claude/settings.json", r#"{"env": {"ANTHROPIC_BASE_URL": "http://127.0.0.1:4100"}}"#);
    let mut environment = BTreeMap::from([("HOME".to_owned(), home.path("").display().to_string())]);
    let found = conflicts(Launcher::Claude, &environment, &home.path("project"));
    assert_eq!(found.len(), 1, "{found:?}");
    assert_eq!((found[0].kind, found[0].overrides()), (Kind::LeadsAway, "ANTHROPIC_BASE_URL"));
    environment.insert("FLEETGATE_URL".to_owned(), "http://localhost:4100/".to_owned());
    assert_eq!(conflicts(Launcher::Claude, &environment, &home.path("project")), []);
}

#[test]
fn every_place_that_beats_the_shell_is_read() {
    use Kind::{CannotStart, Credential, LeadsAway, Overrides, SavedLogin, Unreadable};
    let away = "https://canary.example/v1";
    let key = "sk-canary-0123456789012345";
    let provider = format!(r#"{{"provider": {{"x": {{"options": {{"baseURL": "{away}"}}}}}}}}"#);
    for (launcher, file, text, conflict, kind) in [
        (
            Launcher::Claude,
            "project/.claude/settings.local.json",
            r#"{"env": {"ANTHROPIC_MODEL": "x"}}"#,
            "env.ANTHROPIC_MODEL",
            Overrides,
        ),
        (Launcher::Claude, ".claude.json", r#"{"primaryApiKey": "x"}"#, "primaryApiKey", SavedLogin),
        (Launcher::Claude, ".claude/settings.json", "{\n{", "", Unreadable { line: 2 }),
        (
            Launcher::Codex,
            ".codex/config.toml",
            "model_provider = 'x'\n[model_providers.x]\nbase_url = 'http://localhost:4000/v1'\nwire_api = 'chat'",
            "model_providers.x.wire_api",
            CannotStart,
        ),
        (
            Launcher::Codex,
            "../system/etc/codex/managed_config.toml",
            "model_provider = 'openai'",
            "model_provider",
            Overrides,
        ),
        (
            Launcher::Claude,
            "../system/etc/claude-code/managed-settings.d/10-fleet.json",
            r#"{"env": {"ANTHROPIC_MODEL": "x"}}"#,
            "env.ANTHROPIC_MODEL",
            Overrides,
        ),
        (Launcher::Opencode, "project/.opencode/opencode.json", &provider, "provider.x.options.baseURL", LeadsAway),
        (
            Launcher::Opencode,
            "../system/etc/opencode/opencode.jsonc",
            &provider,
            "provider.x.options.baseURL",
            LeadsAway,
        ),
        (
            Launcher::Gemini,
            "project/.env",
            &format!("OPENAI_API_KEY={key}\nGEMINI_API_KEY={key}"),
            "GEMINI_API_KEY",
            Credential,
        ),
        (
            Launcher::Gemini,
            ".gemini/settings.json",
            r#"{"security": {"auth": {"selectedType": "oauth-personal"}}}"#,
            "security.auth.selectedType",
            LeadsAway,
        ),
        (Launcher::Aider, "project/.env", &format!("OPENAI_API_BASE={away}"), "OPENAI_API_BASE", LeadsAway),
        (Launcher::Aider, "project/.aider.conf.yml", "set-env:\n  - A=canary\n", "set-env", Overrides),
        (Launcher::Qwen, ".qwen/.env", &format!("DASHSCOPE_API_KEY={key}"), "DASHSCOPE_API_KEY", Credential),
        (
            Launcher::Qwen,
            ".qwen/settings.json",
            &format!(r#"{{"modelProviders": {{"openai": [{{"id": "x", "baseUrl": "{away}"}}]}}}}"#),
            "modelProviders.openai",
            LeadsAway,
        ),
        (
            Launcher::Qwen,
            "../system/etc/qwen-code/settings.json",
            r#"{"security": {"auth": {"selectedType": "qwen-oauth"}}}"#,
            "security.auth.selectedType",
            LeadsAway,
        ),
    ] {
        let home = Home::with(file, text);
        let surroundings = home.surroundings();
        let found = look(launcher, &surroundings, &surroundings.wiring());
        let seen: Vec<(&str, Kind)> = found.iter().map(|found| (found.key.as_str(), found.kind)).collect();
        assert_eq!(seen, [(conflict, kind)], "{launcher:?} {file}");
        assert!(!format!("{found:?}").contains("canary"), "{found:?}");
    }
}

#[test]
fn gemini_reads_the_first_file_of_variables_that_it_finds() {
    let home = Home::with(".gemini/.env", "GOOGLE_GEMINI_BASE_URL=https://elsewhere.example\n");
    let surroundings = home.surroundings();
    let look = || look(Launcher::Gemini, &surroundings, &surroundings.wiring());
    assert_eq!(look().len(), 1);
    home.write("project/.env", "PORT=1\n");
    assert_eq!(look(), []);
}
