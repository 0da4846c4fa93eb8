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

/// With a base URL set it starts only where its settings choose a key as login (version 0.61.0), and another login sends calls to
/// Google whatever the base URL.
fn refuse_other_logins(plan: &Plan<'_>) -> Result<(), LaunchError> {
    let files = plan.with_lookup(|lookup| lookup.gemini());
    let own = files.last().cloned().unwrap_or_default();
    let mut chosen = files.into_iter().filter_map(|file| {
        let settings: Value = serde_json::from_str(&fs::read_to_string(&file).ok()?).ok()?;
        let chosen = settings.pointer("/security/auth/selectedType")?.as_str()?.to_owned();
        Some((file, chosen))
    });
    // The strongest is first.
    let (file, chosen) = chosen.next().unwrap_or((own, "no login".to_owned()));
    if chosen == KEY_LOGIN {
        return Ok(());
    }
    let next = format!("write \"{KEY_LOGIN}\" there");
    Err(LaunchError::Settings {
        file,
        keys: vec![format!("{chosen} as security.auth.selectedType")],
        program: "gemini-cli",
        next,
    })
}
