//! qwen-code: `OpenAI`'s dialect. Its command line beats its settings and `.env` files, but for `modelProviders`.

use std::ffi::OsStr;
use std::fs;

use serde_json::Value;

use super::child::Child;
use super::foreign::PLACEHOLDER;
use super::plan::{LaunchError, Plan};

/// Its commands take none of the options, and call no model (version 0.24.4). `serve` does, and obeys the variables.
const COMMANDS: [&str; 10] =
    ["auth", "board", "channel", "extensions", "hooks", "mcp", "sandbox", "serve", "sessions", "update"];

pub(super) fn wire(child: &mut Child, plan: &Plan<'_>) -> Result<(), LaunchError> {
    refuse_own_providers(plan)?;
    // It takes no header from outside.
    let base = format!("{}/v1", plan.base());
    child.set("OPENAI_BASE_URL", &base);
    child.set("OPENAI_API_KEY", PLACEHOLDER);
    // They go to Alibaba from this machine's own address.
    child.set("QWEN_USAGE_STATISTICS_ENABLED", "false");
    child.unset(&["QWEN_DEFAULT_AUTH_TYPE", "ANTHROPIC_BASE_URL", "GOOGLE_GEMINI_BASE_URL"]);
    if let Some(models) = &plan.models {
        child.set("OPENAI_MODEL", models.main.as_str());
    }
    if plan.arguments.first().is_some_and(|first| COMMANDS.iter().any(|command| first == OsStr::new(command))) {
        return Ok(());
    }
    child.add(&["--auth-type", "openai", "--openai-base-url", &base, "--openai-api-key", PLACEHOLDER]);
    if let Some(models) = &plan.models {
        child.add(&["--model", models.main.as_str()]);
    }
    Ok(())
}

/// A model that is described in its settings brings an address of its own, and that one wins.
fn refuse_own_providers(plan: &Plan<'_>) -> Result<(), LaunchError> {
    for file in plan.with_lookup(|lookup| lookup.qwen()) {
        let text = fs::read_to_string(&file).unwrap_or_default();
        let settings: Value = serde_json::from_str(&text).unwrap_or_default();
        let described = settings.pointer("/modelProviders/openai").and_then(Value::as_array);
        if described.is_some_and(|models| !models.is_empty()) {
            let keys = vec!["modelProviders.openai".to_owned()];
            let next = format!("remove it, or lead its baseUrl to {}/v1 and start qwen by itself", plan.url);
            return Err(LaunchError::Settings { file, keys, program: "qwen-code", next });
        }
    }
    Ok(())
}
