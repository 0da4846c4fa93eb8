//! opencode: `OPENCODE_CONFIG_CONTENT` is laid over its files, whole branches of which stay as they are.

use std::fs;

use serde_json::{Map, Value, json};

use super::child::Child;
use super::foreign::PLACEHOLDER;
use super::plan::{LaunchError, Plan};

const CONTENT: &str = "OPENCODE_CONFIG_CONTENT";
pub(super) fn wire(child: &mut Child, plan: &Plan<'_>) -> Result<(), LaunchError> {
    refuse_managed(plan)?;
    let own = plan.caller(CONTENT).and_then(|text| serde_json::from_str(text).ok());
    let mut settings = own.unwrap_or_else(|| json!({}));
    lay_over(&mut settings, ours(plan));
    child.set(CONTENT, settings.to_string());
    // Saved logins: one with a subscription would send calls around any base URL.
    child.set("OPENCODE_AUTH_CONTENT", "{}");
    // The list of models comes with the program; to fetch it anew would leave from this machine's own address.
    child.set("OPENCODE_DISABLE_MODELS_FETCH", "1");
    child.set("OPENCODE_DISABLE_AUTOUPDATE", "1");
    child.set("OPENCODE_DISABLE_SHARE", "1");
    child.unset(&["OPENAI_BASE_URL", "ANTHROPIC_BASE_URL", "OPENCODE_CONSOLE_TOKEN", "OPENCODE_MODELS_URL"]);
    Ok(())
}

fn ours(plan: &Plan<'_>) -> Value {
    let headers: Map<String, Value> =
        plan.workload.iter().map(|name| (fleetgate_wire::header::WORKLOAD.to_string(), json!(name))).collect();
    let options = json!({"baseURL": format!("{}/v1", plan.url), "apiKey": PLACEHOLDER, "headers": headers});
    let mut settings = json!({
        "share": "disabled",
        "autoupdate": false,
        // Others would call providers by themselves.
        "enabled_providers": ["fleetgate", "openai", "anthropic"],
        "disabled_providers": [],
        "provider": {"openai": {"options": options}, "anthropic": {"options": options}},
    });
    if let Some(models) = &plan.models {
        let limit = plan.context_tokens.map(|tokens| json!({"limit": {"context": tokens, "output": tokens / 4}}));
        let about = limit.unwrap_or_else(|| json!({}));
        let listed: Map<String, Value> =
            [&models.main, &models.small].map(|model| (model.as_str().to_owned(), about.clone())).into_iter().collect();
        settings["provider"]["fleetgate"] =
            json!({"npm": "@ai-sdk/openai-compatible", "name": "Fleetgate", "options": options, "models": listed});
        settings["model"] = json!(format!("fleetgate/{}", models.main.as_str()));
        settings["small_model"] = json!(format!("fleetgate/{}", models.small.as_str()));
    }
    settings
}

/// Objects are joined, everything else is replaced.
fn lay_over(old: &mut Value, new: Value) {
    match (old, new) {
        (Value::Object(old), Value::Object(new)) => {
            for (key, value) in new {
                lay_over(old.entry(key).or_insert(Value::Null), value);
            }
        }
        (old, new) => *old = new,
    }
}

fn refuse_managed(plan: &Plan<'_>) -> Result<(), LaunchError> {
    for file in plan.with_lookup(|lookup| lookup.opencode_managed()) {
        let Ok(text) = fs::read_to_string(&file) else { continue };
        // Its comments are not ours to understand: what mentions none of these keys is in nobody's way.
        let keys = ["provider", "enabled_providers", "disabled_providers", "model", "small_model"];
        let keys: Vec<String> =
            keys.into_iter().filter(|key| text.contains(&format!("\"{key}\""))).map(str::to_owned).collect();
        if !keys.is_empty() {
            let next = "it is the administrator's: ask to have them removed".to_owned();
            return Err(LaunchError::Settings { file, keys, program: "opencode", next });
        }
    }
    Ok(())
}
