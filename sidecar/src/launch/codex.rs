//! Codex obeys no environment variable for its base URL, hence a provider of its own on the command line; later `-c` and `-m` of
//! the caller still win.

use std::fs;

use toml::{Table, Value};

use super::child::Child;
use super::foreign::PLACEHOLDER;
use super::plan::{LaunchError, Plan};

/// Codex reads the placeholder from here. It is no variable that anything else of Fleetgate's reads.
const KEY_VARIABLE: &str = "FLEETGATE_PLACEHOLDER";

pub(super) fn wire(child: &mut Child, plan: &Plan<'_>) -> Result<(), LaunchError> {
    refuse_managed(plan)?;
    child.set(KEY_VARIABLE, PLACEHOLDER);
    let text = |text: &str| Value::from(text).to_string();
    let mut provider = format!(
        "{{name=\"fleetgate\",base_url={},wire_api=\"responses\",env_key=\"{KEY_VARIABLE}\"",
        text(&format!("{}/v1", plan.url))
    );
    if let Some(workload) = &plan.workload {
        provider += &format!(",http_headers={{\"{}\"={}}}", fleetgate_wire::header::WORKLOAD, text(workload));
    }
    provider.push('}');
    child.add(&["-c", "model_provider=\"fleetgate\"", "-c", &format!("model_providers.fleetgate={provider}")]);
    // Telemetry (chatgpt.com) and the list of plugins (github.com) ignore the base URL: they would leave from this machine's
    // own address.
    child.add(&["-c", "analytics.enabled=false", "-c", "features.plugins=false"]);
    if let Some(models) = &plan.models {
        child.add(&["-c", &format!("model={}", text(models.main.as_str()))]);
    }
    if let Some(tokens) = plan.context_tokens {
        child.add(&["-c", &format!("model_context_window={tokens}")]);
    }
    Ok(())
}

fn refuse_managed(plan: &Plan<'_>) -> Result<(), LaunchError> {
    let file = plan.with_lookup(|lookup| lookup.codex_managed());
    let text = fs::read_to_string(&file).unwrap_or_default();
    // Codex itself complains of a file that it cannot read.
    let managed: Table = text.parse().unwrap_or_default();
    let ours = || managed.get("model_providers").is_some_and(|all| all.get("fleetgate").is_some());
    let mut keys = Vec::new();
    if managed.get("model_provider").is_some_and(|id| id.as_str() != Some("fleetgate")) {
        keys.push("model_provider".to_owned());
    }
    if ours() {
        keys.push("model_providers.fleetgate".to_owned());
    }
    if plan.models.is_some() && managed.contains_key("model") {
        keys.push("model".to_owned());
    }
    if keys.is_empty() {
        return Ok(());
    }
    let next = format!("ask the machine's administrator to remove them, or to lead model_provider to {}/v1", plan.url);
    Err(LaunchError::Settings { file, keys, program: "Codex", next })
}
