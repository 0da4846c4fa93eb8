//! gemini-cli, which speaks Google's dialect. Where a mode lists it, it is led to the sidecar; what answers is the gateway's affair.

use std::fs;

use serde_json::Value;

use super::child::Child;
use super::foreign::PLACEHOLDER;
use super::headers;
use super::plan::{LaunchError, Plan};

const HEADERS: &str = "GEMINI_CLI_CUSTOM_HEADERS";
const KEY_LOGIN: &str = "gemini-api-key";

pub(super) fn wire(child: &mut Child, plan: &Plan<'_>) -> Result<(), LaunchError> {
    refuse_other_logins(plan)?;
    child.set("GOOGLE_GEMINI_BASE_URL", plan.url.as_str());
    child.set("GEMINI_API_KEY", PLACEHOLDER);
    child.set("GEMINI_DEFAULT_AUTH_TYPE", KEY_LOGIN);
    child.unset(&[
        "GOOGLE_API_KEY",
        "GOOGLE_CLOUD_ACCESS_TOKEN",
        "GOOGLE_GENAI_USE_GCA",
        "GOOGLE_GENAI_USE_VERTEXAI",
        "GOOGLE_VERTEX_BASE_URL",
        "GEMINI_CLI_USE_COMPUTE_ADC",
        "CODE_ASSIST_ENDPOINT",
    ]);
    if let Some(workload) = &plan.workload {
        child.set(HEADERS, headers::with_workload(plan.caller(HEADERS).unwrap_or_default(), ',', workload));
    }
    if let Some(models) = &plan.models {
        child.set("GEMINI_MODEL", models.main.as_str());
    }
    Ok(())
}

/// A login that its settings name sends calls to Google, whatever the base URL.
fn refuse_other_logins(plan: &Plan<'_>) -> Result<(), LaunchError> {
    let mut files = vec![plan.places.system.join("etc/gemini-cli/settings.json")];
    files.extend(
        [&plan.places.home, &plan.places.directory].into_iter().flatten().map(|at| at.join(".gemini/settings.json")),
    );
    for file in files {
        let Ok(text) = fs::read_to_string(&file) else { continue };
        let Ok(settings) = serde_json::from_str::<Value>(&text) else { continue };
        let chosen = settings.pointer("/security/auth/selectedType").and_then(Value::as_str);
        if chosen.is_some_and(|chosen| chosen != KEY_LOGIN) {
            let next = format!("set it to \"{KEY_LOGIN}\", or remove it");
            let keys = vec!["security.auth.selectedType".to_owned()];
            return Err(LaunchError::Settings { file, keys, program: "gemini-cli", next });
        }
    }
    Ok(())
}
