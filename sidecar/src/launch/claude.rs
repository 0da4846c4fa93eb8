//! Claude Code. Everything here was tried with version 2.1.330: its settings files beat the environment, `--settings` beats the
//! person's and the project's files, and an administrator's beat that.

use std::collections::BTreeMap;
use std::ffi::OsStr;
use std::fs;
use std::path::{Path, PathBuf};

use serde_json::{Map, Value, json};

use super::child::{Change, Child};
use super::foreign::PLACEHOLDER;
use super::plan::{LaunchError, Plan};
use super::{headers, no_proxy};

const BASE_URL: &str = "ANTHROPIC_BASE_URL";
const HEADERS: &str = "ANTHROPIC_CUSTOM_HEADERS";
const HELPER: &str = "apiKeyHelper";
const PROGRAM: &str = "Claude Code";

/// Each asks for a model: whatever it is called in Claude Code, the mode's model answers.
const MODELS: [&str; 5] = [
    "ANTHROPIC_MODEL",
    "ANTHROPIC_DEFAULT_OPUS_MODEL",
    "ANTHROPIC_DEFAULT_SONNET_MODEL",
    "ANTHROPIC_DEFAULT_FABLE_MODEL",
    "CLAUDE_CODE_SUBAGENT_MODEL",
];
const SMALL_MODEL: &str = "ANTHROPIC_DEFAULT_HAIKU_MODEL";
/// Its old name; left over, it would win over the mode.
const OLD_SMALL_MODEL: &str = "ANTHROPIC_SMALL_FAST_MODEL";

/// They would send a credential beside the placeholder, or leave the base URL aside.
const AROUND: [&str; 19] = [
    "ANTHROPIC_API_KEY",
    "ANTHROPIC_API_HOST",
    "ANTHROPIC_IDENTITY_TOKEN_FILE",
    "ANTHROPIC_PROFILE",
    "ANTHROPIC_UNIX_SOCKET",
    "CLAUDE_CODE_API_KEY_FILE_DESCRIPTOR",
    "CLAUDE_CODE_GATEWAY_TOKEN",
    "CLAUDE_CODE_GATEWAY_TOKEN_FILE_DESCRIPTOR",
    "CLAUDE_CODE_OAUTH_REFRESH_TOKEN",
    "CLAUDE_CODE_OAUTH_TOKEN",
    "CLAUDE_CODE_OAUTH_TOKEN_FILE_DESCRIPTOR",
    "CLAUDE_CODE_PROVIDER_MANAGED_BY_HOST",
    "CLAUDE_CODE_USE_ANTHROPIC_AWS",
    "CLAUDE_CODE_USE_ANTHROPIC_GOOGLE_CLOUD",
    "CLAUDE_CODE_USE_BEDROCK",
    "CLAUDE_CODE_USE_FOUNDRY",
    "CLAUDE_CODE_USE_GATEWAY",
    "CLAUDE_CODE_USE_MANTLE",
    "CLAUDE_CODE_USE_VERTEX",
];

pub(super) fn wire(child: &mut Child, plan: &Plan<'_>) {
    child.unset(&AROUND);
    child.set("ANTHROPIC_AUTH_TOKEN", PLACEHOLDER);
    child.set(BASE_URL, plan.url.as_str());
    // Telemetry and update checks ignore the base URL and would leave from this machine's own address.
    child.set("CLAUDE_CODE_DISABLE_NONESSENTIAL_TRAFFIC", "1");
    if let Some(models) = &plan.models {
        for name in MODELS {
            child.set(name, models.main.as_str());
        }
        child.set(SMALL_MODEL, models.small.as_str());
        child.unset(&[OLD_SMALL_MODEL]);
    }
    if let Some(tokens) = plan.context_tokens {
        // It assumes a million tokens for models that it does not know, and would compact a session long after it was refused.
        child.set_default(plan.caller, "CLAUDE_CODE_MAX_CONTEXT_TOKENS", tokens.to_string());
    }
    if let Some(workload) = &plan.workload {
        child.set(HEADERS, headers::with_workload(plan.caller(HEADERS).unwrap_or_default(), '\n', workload));
    }
}

/// Finds what settings files set otherwise, and sets it once more where it wins.
///
/// # Errors
/// When an administrator's file sets it, or the person gives `--settings` of their own, of which there can be only one.
pub(super) fn override_settings(child: &mut Child, plan: &Plan<'_>) -> Result<(), LaunchError> {
    for file in plan.with_lookup(|lookup| lookup.claude_managed()) {
        if let Some(keys) = read(&file).map(|settings| Clash::find(child, plan, &settings)).filter(|c| !c.is_empty()) {
            let next = "it is the administrator's: ask to have them removed".to_owned();
            return Err(LaunchError::Settings { file, keys: keys.names(), program: PROGRAM, next });
        }
    }
    let typed = typed_settings(plan);
    let mut clash = Clash::default();
    for file in personal(plan) {
        let Some(found) = read(&file).map(|settings| Clash::find(child, plan, &settings)) else { continue };
        if typed.is_some() && !found.is_empty() {
            let next = "Fleetgate would override them by --settings, which Claude Code takes once: remove these keys, or your own --settings";
            return Err(LaunchError::Settings { file, keys: found.names(), program: PROGRAM, next: next.to_owned() });
        }
        if !found.is_empty() {
            child.notes.push(format!("{} sets {}; overridden for this run", file.display(), found.names().join(", ")));
        }
        clash.lay_over(found);
    }
    if let Some((file, settings)) = typed {
        let found = Clash::find(child, plan, &settings);
        if !found.is_empty() {
            let next = "take these keys out of what you give as --settings".to_owned();
            return Err(LaunchError::Settings { file, keys: found.names(), program: PROGRAM, next });
        }
    }
    clash.settle(child, plan);
    Ok(())
}

/// What settings say that this run must not obey.
#[derive(Debug, Default)]
struct Clash {
    /// Variables, and what they have to be.
    env: BTreeMap<String, String>,
    /// It runs beside any token of the environment, and its key is sent too.
    has_helper: bool,
    /// Headers of the file hide those of the environment. They may be wanted, and may be secret: they stay.
    has_headers: bool,
}

impl Clash {
    fn find(child: &Child, plan: &Plan<'_>, settings: &Value) -> Self {
        let mut clash = Self { has_helper: is_text(settings.get(HELPER)), ..Self::default() };
        for (name, value) in settings.get("env").and_then(Value::as_object).into_iter().flatten() {
            let value = match value {
                Value::String(text) => text.clone(),
                other => other.to_string(),
            };
            match child.changes.get(name) {
                Some(_) if name == HEADERS => clash.has_headers = !value.trim().is_empty(),
                Some(Change::Set(_)) if name.eq_ignore_ascii_case("NO_PROXY") => {
                    let wanted = no_proxy::extended(&value, &plan.url);
                    if wanted != value {
                        clash.env.insert(name.clone(), wanted);
                    }
                }
                Some(Change::Set(wanted)) if OsStr::new(&value) != wanted => {
                    clash.env.insert(name.clone(), wanted.to_string_lossy().into_owned());
                }
                Some(Change::Unset) if !value.is_empty() => {
                    clash.env.insert(name.clone(), String::new());
                }
                _ => {}
            }
        }
        clash
    }

    fn is_empty(&self) -> bool {
        self.env.is_empty() && !self.has_helper && !self.has_headers
    }

    fn names(&self) -> Vec<String> {
        let mut names: Vec<String> = self.env.keys().map(|name| format!("env.{name}")).collect();
        names.extend(self.has_headers.then(|| format!("env.{HEADERS}")));
        names.extend(self.has_helper.then(|| HELPER.to_owned()));
        names
    }

    fn lay_over(&mut self, other: Self) {
        self.env.extend(other.env);
        self.has_helper |= other.has_helper;
        self.has_headers |= other.has_headers;
    }

    fn settle(mut self, child: &mut Child, plan: &Plan<'_>) {
        if self.has_headers {
            // The name travels in the address instead of a header.
            let base = plan.base();
            self.env.entry(BASE_URL.to_owned()).and_modify(|url| url.clone_from(&base));
            child.set(BASE_URL, base);
        }
        let mut settings = Map::new();
        if !self.env.is_empty() {
            settings.insert("env".to_owned(), json!(self.env));
        }
        if self.has_helper {
            // Not null: that leaves the helper in force.
            settings.insert(HELPER.to_owned(), json!(""));
        }
        if !settings.is_empty() {
            child.add(&["--settings", &Value::Object(settings).to_string()]);
        }
    }
}

fn is_text(value: Option<&Value>) -> bool {
    value.and_then(Value::as_str).is_some_and(|text| !text.is_empty())
}

/// A settings file; none where Claude Code ignores it too (it does so where the form is broken or has comments).
fn read(path: &Path) -> Option<Value> {
    serde_json::from_str(&fs::read_to_string(path).ok()?).ok()
}

/// The person's and the project's, the weakest first. Claude Code looks for a project where it is started; directories above
/// are read as well, because to override too much does no harm.
fn personal(plan: &Plan<'_>) -> Vec<PathBuf> {
    let mut files: Vec<PathBuf> =
        plan.directory("CLAUDE_CONFIG_DIR", ".claude").map(|own| own.join("settings.json")).into_iter().collect();
    let mut projects: Vec<&Path> = plan.above().collect();
    projects.reverse();
    for project in projects {
        for name in ["settings.json", "settings.local.json"] {
            let file = project.join(".claude").join(name);
            if !files.contains(&file) {
                files.push(file);
            }
        }
    }
    files
}

/// `--settings` of the person's own: where it stands and what it says.
fn typed_settings(plan: &Plan<'_>) -> Option<(PathBuf, Value)> {
    let mut words = plan.arguments.iter().take_while(|word| *word != "--");
    let mut last = None;
    while let Some(word) = words.next() {
        let Some(text) = word.to_str() else { continue };
        if text == "--settings" {
            last = words.next().map(|value| value.to_string_lossy().into_owned());
        } else if let Some(value) = text.strip_prefix("--settings=") {
            last = Some(value.to_owned());
        }
    }
    let value = last?;
    if value.trim_start().starts_with('{') {
        return Some((PathBuf::from("--settings"), serde_json::from_str(&value).unwrap_or_default()));
    }
    let file = plan.places.directory.clone().unwrap_or_default().join(value);
    let settings = read(&file).unwrap_or_default();
    Some((file, settings))
}
