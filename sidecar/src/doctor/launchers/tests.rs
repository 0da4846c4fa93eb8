//! What is told of a home directory, by launcher.

use std::collections::BTreeMap;
use std::fs;

use super::*;
use crate::doctor::report::Level;

fn look_at(launcher: Launcher, surroundings: &Surroundings, wiring: &Wiring) -> Vec<Finding> {
    describe(launcher, &settings::look(launcher, surroundings, wiring))
}

struct Home(tempfile::TempDir);

impl Home {
    fn with(files: &[(&str, &str)]) -> Self {
        let home = tempfile::tempdir().unwrap();
        for (name, text) in files {
            let path = home.path().join(name);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, text).unwrap();
        }
        Self(home)
    }

    fn look(&self) -> Vec<Finding> {
        self.look_for(Launcher::Claude)
    }

    fn surroundings(&self) -> Surroundings {
        Surroundings {
            home: Some(self.0.path().join("home")),
            directory: Some(self.0.path().join("project")),
            system: self.0.path().to_owned(),
            environment: BTreeMap::new(),
            state: Some(self.0.path().join("state")),
            ..Surroundings::of_this_process()
        }
    }

    fn look_for(&self, launcher: Launcher) -> Vec<Finding> {
        look_at(launcher, &self.surroundings(), &Wiring::new(&"http://127.0.0.1:4000".parse().unwrap(), &[]))
    }
}

#[test]
fn a_settings_file_that_leads_elsewhere_is_a_problem_wherever_it_lies() {
    let text = r#"{"env": {"ANTHROPIC_BASE_URL": "https://api.canary.example", "ANTHROPIC_AUTH_TOKEN": "canary-token-0123456789"}}"#;
    for file in [
        "etc/claude-code/managed-settings.json",
        "home/.claude/settings.json",
        "home/.claude/settings.local.json",
        "project/.claude/settings.json",
        "project/.claude/settings.local.json",
    ] {
        let home = Home::with(&[(file, text)]);
        let findings = home.look();
        assert_eq!((findings[0].level, findings[0].code), (Level::Problem, "claude_redirected"), "{file}");
        assert!(findings[0].what.contains(file) && findings[0].what.contains("env.ANTHROPIC_BASE_URL"));
        assert_eq!((findings[1].code, findings.len()), ("claude_overrides", 2));
        assert!(findings[1].what.ends_with("sets env.ANTHROPIC_AUTH_TOKEN"), "{findings:?}");
        assert!(!format!("{findings:?}").contains("canary"), "{findings:?}");
    }
}

#[test]
fn settings_that_lead_to_the_sidecar_are_the_best_wiring() {
    let text = r#"{"env": {"ANTHROPIC_BASE_URL": "http://localhost:4000", "ANTHROPIC_AUTH_TOKEN": "fleetgate"}, "apiKeyHelper": "echo -"}"#;
    assert_eq!(Home::with(&[("home/.claude/settings.json", text), ("home/.claude.json", "{}")]).look(), []);
}

#[test]
fn other_keys_that_beat_the_shell_are_named() {
    let text =
        r#"{"apiKeyHelper": "cat canary", "env": {"ANTHROPIC_MODEL": "canary", "CLAUDE_CODE_USE_BEDROCK": "1"}}"#;
    let home =
        Home::with(&[("home/.claude/settings.json", text), ("home/.claude.json", r#"{"primaryApiKey": "sk-canary"}"#)]);
    let findings = home.look();
    let codes: Vec<&str> = findings.iter().map(|finding| finding.code).collect();
    assert_eq!(codes, ["claude_redirected", "claude_overrides", "claude_login"]);
    assert!(findings[0].what.contains("env.CLAUDE_CODE_USE_BEDROCK"));
    assert!(findings[1].what.ends_with("sets env.ANTHROPIC_MODEL, apiKeyHelper"), "{findings:?}");
    assert!(!format!("{findings:?}").contains("canary"), "{findings:?}");
}

fn codes(config: &str) -> Vec<&'static str> {
    let home = tempfile::tempdir().unwrap();
    fs::create_dir(home.path().join(".codex")).unwrap();
    fs::write(home.path().join(".codex/config.toml"), config).unwrap();
    let surroundings = Surroundings {
        home: Some(home.path().to_owned()),
        environment: BTreeMap::new(),
        state: None,
        ..Surroundings::of_this_process()
    };
    let findings =
        look_at(Launcher::Codex, &surroundings, &Wiring::new(&"http://127.0.0.1:4000".parse().unwrap(), &[]));
    assert!(!format!("{findings:?}").contains("canary"), "{findings:?}");
    findings.iter().map(|finding| finding.code).collect()
}

#[test]
fn only_a_provider_that_leads_to_the_sidecar_is_fine() {
    let ours = "model_provider = 'f'\n[model_providers.f]\nbase_url = 'http://localhost:4000/v1'\nwire_api = ";
    assert!(codes(&format!("{ours}'responses'")).is_empty());
    assert_eq!(codes(&format!("{ours}'chat'\nexperimental_bearer_token = 'canary'")), ["codex_chat", "codex_token"]);
    assert!(codes("openai_base_url = 'http://127.0.0.1:4000/v1'").is_empty());
    assert_eq!(codes("model = 'gpt-5'"), ["codex_elsewhere"]);
    assert_eq!(
        codes("model_provider = 'x'\n[model_providers.x]\nbase_url = 'https://canary.example/v1'"),
        ["codex_elsewhere"]
    );
    assert_eq!(codes("profile = 'p'\n[profiles.p]\nmodel_provider = 'x'\n"), ["codex_elsewhere"]);
    assert_eq!(codes("a = 1\nb = canary"), ["unreadable"]);
}

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
    let surroundings = Surroundings {
        home: Some(home.path().to_owned()),
        directory: None,
        environment: BTreeMap::new(),
        state: None,
        ..Surroundings::of_this_process()
    };
    let findings =
        look_at(Launcher::Opencode, &surroundings, &Wiring::new(&"http://127.0.0.1:4000".parse().unwrap(), &[]));
    assert_eq!(findings.len(), 1);
    assert!(findings[0].what.ends_with("sets provider.a.options.baseURL, provider.b.options.apiKey"), "{findings:?}");
    assert!(!format!("{findings:?}").contains("canary"));
}

#[test]
fn what_the_other_launchers_files_hold_is_told_by_its_keys() {
    for (launcher, file, text, expected) in [
        (
            Launcher::Gemini,
            ".gemini/.env",
            "GOOGLE_GEMINI_BASE_URL=https://canary.example\nexport GEMINI_API_KEY='AIzacanary0123456789012345'\n",
            ("gemini_elsewhere", "GEMINI_API_KEY, GOOGLE_GEMINI_BASE_URL"),
        ),
        (
            Launcher::Aider,
            ".aider.conf.yml",
            "openai-api-base: https://canary.example/v1\nanthropic-api-key: sk-ant-canary-0123456789\nmodel: x\n",
            ("aider_elsewhere", "openai-api-base, anthropic-api-key"),
        ),
        (
            Launcher::Qwen,
            ".qwen/settings.json",
            r#"{"security": {"auth": {"apiKey": "sk-canary-0123456789012345"}}, "env": {"OPENAI_BASE_URL": "https://canary.example"}}"#,
            ("qwen_elsewhere", "security.auth.apiKey, env.OPENAI_BASE_URL"),
        ),
    ] {
        let home = Home::with(&[(&format!("home/{file}"), text)]);
        let findings = home.look_for(launcher);
        assert_eq!((findings.len(), findings[0].code), (1, expected.0), "{findings:?}");
        assert!(findings[0].what.ends_with(&format!("sets {}", expected.1)), "{findings:?}");
        assert!(!format!("{findings:?}").contains("canary"), "{findings:?}");
    }
}

#[test]
fn a_broken_file_is_named_with_its_line_and_none_of_its_words() {
    let home = tempfile::tempdir().unwrap();
    std::fs::create_dir(home.path().join(".claude")).unwrap();
    std::fs::write(home.path().join(".claude/settings.json"), "{\n\"env\": sk-canary\n}").unwrap();
    let surroundings = Surroundings {
        home: Some(home.path().to_owned()),
        directory: None,
        system: home.path().to_owned(),
        environment: BTreeMap::new(),
        state: None,
        ..Surroundings::of_this_process()
    };
    let wiring = Wiring::new(&"http://127.0.0.1:4000".parse().unwrap(), &[]);
    let findings = look(&surroundings, &wiring);
    assert_eq!((findings.len(), findings[0].code), (1, "unreadable"));
    assert!(findings[0].what.contains("settings.json:2:") && !format!("{findings:?}").contains("canary"));
}

#[test]
fn settings_that_we_wrote_are_no_finding() {
    let home = Home::with(&[("home/.claude/settings.json", "{}"), ("home/.codex/config.toml", "")]);
    let surroundings = home.surroundings();
    let mode = settings::Mode { name: "glm".to_owned(), model: Some("glm".to_owned()), context_tokens: None };
    for launcher in Launcher::ALL {
        let target = settings::Target { launcher, mode: Some(&mode), url: "http://127.0.0.1:4000" };
        settings::configure(&target, None, false, &surroundings).unwrap();
    }
    let findings = look(&surroundings, &Wiring::new(&"http://127.0.0.1:4000".parse().unwrap(), &[]));
    assert_eq!((findings.len(), findings[0].level), (1, Level::Ok), "{findings:?}");
}
