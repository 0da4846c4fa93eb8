//! Claude Code: what its settings' `env` block says beats the shell (code.claude.com, "llm-gateway-connect").

use std::path::{Path, PathBuf};

use serde_json::Value;

use super::{Conflict, Kind, distinct, text, values};
use crate::launch::Launcher;
use crate::settings::document::Format;
use crate::settings::surroundings::{Surroundings, Wiring, may_be_provider_key};

/// Each sends calls to a provider's own address.
pub(in crate::settings) const OTHER_PROVIDERS: [&str; 3] =
    ["CLAUDE_CODE_USE_BEDROCK", "CLAUDE_CODE_USE_VERTEX", "CLAUDE_CODE_USE_FOUNDRY"];
const CREDENTIALS: [&str; 3] = ["ANTHROPIC_AUTH_TOKEN", "ANTHROPIC_API_KEY", "CLAUDE_CODE_OAUTH_TOKEN"];
/// What a launcher of ours sets in the shell, and what therefore has no effect when the settings say otherwise.
const MODELS: [&str; 8] = [
    "ANTHROPIC_MODEL",
    "ANTHROPIC_SMALL_FAST_MODEL",
    "ANTHROPIC_DEFAULT_OPUS_MODEL",
    "ANTHROPIC_DEFAULT_SONNET_MODEL",
    "ANTHROPIC_DEFAULT_HAIKU_MODEL",
    "ANTHROPIC_DEFAULT_FABLE_MODEL",
    "CLAUDE_CODE_SUBAGENT_MODEL",
    "ANTHROPIC_CUSTOM_HEADERS",
];
const PROXIES: [&str; 4] = ["HTTP_PROXY", "HTTPS_PROXY", "http_proxy", "https_proxy"];

pub(super) fn look(surroundings: &Surroundings, wiring: &Wiring) -> Vec<Conflict> {
    let mut found: Vec<Conflict> = files(surroundings).iter().flat_map(|path| settings(path, wiring)).collect();
    let login = match surroundings.variable("CLAUDE_CONFIG_DIR") {
        Some(directory) => Some(Path::new(directory).join(".claude.json")),
        None => surroundings.home.as_ref().map(|home| home.join(".claude.json")),
    };
    found.extend(login.and_then(|path| saved_login(&path)));
    found
}

/// In the order in which they beat each other.
fn files(surroundings: &Surroundings) -> Vec<PathBuf> {
    let mut files = surroundings.with_lookup(|lookup| lookup.claude_managed());
    let project = surroundings.directory.as_ref().map(|directory| directory.join(".claude"));
    for place in project.into_iter().chain(surroundings.directory_of("CLAUDE_CONFIG_DIR", ".claude")) {
        files.push(place.join("settings.local.json"));
        files.push(place.join("settings.json"));
    }
    distinct(files)
}

fn settings(path: &Path, wiring: &Wiring) -> Vec<Conflict> {
    let conflict = |key: String, kind| Conflict::new(Launcher::Claude, path, key, kind);
    let settings = match values(Launcher::Claude, path, Format::Json) {
        None => return Vec::new(),
        Some(Ok(settings)) => settings,
        Some(Err(unreadable)) => return vec![unreadable],
    };
    let env = &settings["env"];
    let base = text(env, "ANTHROPIC_BASE_URL");
    let leads_here = base.is_some_and(|url| wiring.leads_here(url));
    let away = OTHER_PROVIDERS.into_iter().filter(|name| is_on(&env[*name]));
    let away = away.chain(base.filter(|_| !leads_here).map(|_| "ANTHROPIC_BASE_URL"));
    let mut found: Vec<Conflict> = away.map(|name| conflict(format!("env.{name}"), Kind::LeadsAway)).collect();
    for name in CREDENTIALS {
        let Some(key) = text(env, name) else { continue };
        if may_be_provider_key(key) {
            found.push(conflict(format!("env.{name}"), Kind::Credential));
        } else if !leads_here {
            found.push(conflict(format!("env.{name}"), Kind::Overrides));
        }
    }
    let beaten = MODELS.into_iter().chain(PROXIES).filter(|name| text(env, name).is_some());
    found.extend(beaten.map(|name| conflict(format!("env.{name}"), Kind::Overrides)));
    // A helper that prints a placeholder cannot be told from one that prints a key without running it.
    if settings.get("apiKeyHelper").is_some() && !leads_here {
        found.push(conflict("apiKeyHelper".to_owned(), Kind::Overrides));
    }
    found
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
fn saved_login(path: &Path) -> Option<Conflict> {
    let saved = values(Launcher::Claude, path, Format::Json)?.ok()?;
    saved.get("primaryApiKey").filter(|key| !key.is_null())?;
    Some(Conflict::new(Launcher::Claude, path, "primaryApiKey", Kind::SavedLogin))
}
