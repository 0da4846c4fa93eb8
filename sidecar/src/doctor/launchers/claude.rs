//! Claude Code: what its settings' `env` block says beats the shell (code.claude.com, "llm-gateway-connect").

use std::path::{Path, PathBuf};

use serde_json::Value;

use super::{CHECK, parse_json, read};
use crate::doctor::report::Finding;
use crate::doctor::surroundings::{Surroundings, Wiring, may_be_provider_key};

/// Each sends calls to a provider's own address.
const OTHER_PROVIDERS: [&str; 3] = ["CLAUDE_CODE_USE_BEDROCK", "CLAUDE_CODE_USE_VERTEX", "CLAUDE_CODE_USE_FOUNDRY"];
const CREDENTIALS: [&str; 2] = ["ANTHROPIC_AUTH_TOKEN", "ANTHROPIC_API_KEY"];
/// What a launcher of ours sets in the shell, and what therefore has no effect when the settings say otherwise.
const MODELS: [&str; 7] = [
    "ANTHROPIC_MODEL",
    "ANTHROPIC_SMALL_FAST_MODEL",
    "ANTHROPIC_DEFAULT_OPUS_MODEL",
    "ANTHROPIC_DEFAULT_SONNET_MODEL",
    "ANTHROPIC_DEFAULT_HAIKU_MODEL",
    "CLAUDE_CODE_SUBAGENT_MODEL",
    "ANTHROPIC_CUSTOM_HEADERS",
];
const PROXIES: [&str; 4] = ["HTTP_PROXY", "HTTPS_PROXY", "http_proxy", "https_proxy"];

pub(super) fn look(surroundings: &Surroundings, wiring: &Wiring) -> Vec<Finding> {
    let mut findings: Vec<Finding> = files(surroundings).iter().flat_map(|path| settings(path, wiring)).collect();
    findings.extend(surroundings.home.as_ref().and_then(|home| login(&home.join(".claude.json"))));
    findings
}

/// In the order in which they beat each other.
fn files(surroundings: &Surroundings) -> Vec<PathBuf> {
    let managed =
        ["etc/claude-code/managed-settings.json", "Library/Application Support/ClaudeCode/managed-settings.json"];
    let mut files: Vec<PathBuf> = managed.iter().map(|path| surroundings.system.join(path)).collect();
    for place in [&surroundings.directory, &surroundings.home].into_iter().flatten() {
        files.push(place.join(".claude/settings.local.json"));
        files.push(place.join(".claude/settings.json"));
    }
    // Who stands in the home directory has one set of files, not two.
    let mut seen = std::collections::HashSet::new();
    files.retain(|path| seen.insert(path.clone()));
    files
}

fn settings(path: &Path, wiring: &Wiring) -> Vec<Finding> {
    let Some(text) = read(path) else { return Vec::new() };
    let settings = match parse_json(path, &text) {
        Ok(settings) => settings,
        Err(finding) => return vec![finding],
    };
    let env = &settings["env"];
    let value = |name: &str| env[name].as_str().filter(|value| !value.is_empty());
    let base = value("ANTHROPIC_BASE_URL");
    let leads_here = base.is_some_and(|url| wiring.leads_here(url));
    let mut away: Vec<&str> = OTHER_PROVIDERS.into_iter().filter(|name| is_on(&env[*name])).collect();
    away.extend(base.filter(|_| !leads_here).map(|_| "ANTHROPIC_BASE_URL"));
    let mut findings = Vec::new();
    if !away.is_empty() {
        findings.push(
            Finding::problem(CHECK, "claude_redirected", format!("{} sets {}, which leads Claude Code around the sidecar", path.display(), named(&away)))
                .cause("a settings file beats the shell: aliases and launchers that set the same variable have no effect, and say nothing")
                .next(format!("${{EDITOR:-vi}} {}  # remove {} (or point it at http://localhost:4000)", path.display(), named(&away))),
        );
    }
    let mut beaten: Vec<&str> = CREDENTIALS
        .into_iter()
        .filter(|name| value(name).is_some_and(|key| !leads_here || may_be_provider_key(key)))
        .collect();
    beaten.extend(MODELS.into_iter().chain(PROXIES).filter(|name| value(name).is_some()));
    let mut beaten: Vec<String> = beaten.into_iter().map(|name| format!("env.{name}")).collect();
    // A helper that prints a placeholder cannot be told from one that prints a key without running it.
    beaten.extend(settings.get("apiKeyHelper").filter(|_| !leads_here).map(|_| "apiKeyHelper".to_owned()));
    if !beaten.is_empty() {
        findings.push(
            Finding::warning(CHECK, "claude_overrides", format!("{} sets {}", path.display(), beaten.join(", ")))
                .cause("these beat what the shell and our launchers set: another key, model or proxy than meant may be used")
                .next(format!("${{EDITOR:-vi}} {}", path.display())),
        );
    }
    findings
}

fn named(names: &[&str]) -> String {
    names.iter().map(|name| format!("env.{name}")).collect::<Vec<_>>().join(" and ")
}

fn is_on(value: &Value) -> bool {
    match value {
        Value::String(text) => !matches!(text.as_str(), "" | "0" | "false"),
        Value::Bool(on) => *on,
        Value::Number(number) => number.as_i64() != Some(0),
        _ => false,
    }
}

/// A key of an earlier login stands beside the token of the environment, and Claude Code complains of both.
fn login(path: &Path) -> Option<Finding> {
    let saved = parse_json(path, &read(path)?).ok()?;
    saved.get("primaryApiKey").filter(|key| !key.is_null())?;
    Some(
        Finding::warning(CHECK, "claude_login", format!("{} holds primaryApiKey", path.display()))
            .cause("a saved key of an earlier login: \"Auth conflict\" beside ANTHROPIC_AUTH_TOKEN, and used wherever no token is set")
            .next("claude /logout"),
    )
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;
    use crate::doctor::report::Level;

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
            let surroundings = Surroundings {
                home: Some(self.0.path().join("home")),
                directory: Some(self.0.path().join("project")),
                system: self.0.path().to_owned(),
                ..Surroundings::of_this_process()
            };
            look(&surroundings, &Wiring::new(&"http://127.0.0.1:4000".parse().unwrap(), &[]))
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
        let home = Home::with(&[
            ("home/.claude/settings.json", text),
            ("home/.claude.json", r#"{"primaryApiKey": "sk-canary"}"#),
        ]);
        let findings = home.look();
        let codes: Vec<&str> = findings.iter().map(|finding| finding.code).collect();
        assert_eq!(codes, ["claude_redirected", "claude_overrides", "claude_login"]);
        assert!(findings[0].what.contains("env.CLAUDE_CODE_USE_BEDROCK"));
        assert!(findings[1].what.ends_with("sets env.ANTHROPIC_MODEL, apiKeyHelper"), "{findings:?}");
        assert!(!format!("{findings:?}").contains("canary"), "{findings:?}");
    }
}
