//! gemini-cli: the address in the `.env` of its directory, the way of authentication in its `settings.json`
//! (google-gemini/gemini-cli, `docs/reference/configuration.md`, and its `findEnvFile`).

use super::{PLACEHOLDER, Plan, Target, Want, Wishes};
use crate::settings::document::Format;
use crate::settings::surroundings::Surroundings;

pub(super) fn plan(target: &Target<'_>, surroundings: &Surroundings) -> Option<Vec<Plan>> {
    let directory = surroundings.directory_of("GEMINI_CLI_HOME", "")?.join(".gemini");
    let mut variables = Wishes::default();
    variables.be(&["GOOGLE_GEMINI_BASE_URL"], target.url);
    variables.be(&["GEMINI_API_KEY"], PLACEHOLDER);
    let headers = Want::HaveHeader { between: ", ", workload: target.workload() };
    variables.push(&["GEMINI_CLI_CUSTOM_HEADERS"], headers);
    // Each of them leads to another service, or brings a credential of its own.
    for name in ["GOOGLE_API_KEY", "GOOGLE_GENAI_USE_VERTEXAI", "GOOGLE_GENAI_USE_GCA", "GOOGLE_VERTEX_BASE_URL"] {
        variables.be_absent(&[name]);
    }
    let mut settings = Wishes::default();
    settings.be(&["security", "auth", "selectedType"], "gemini-api-key");
    if let Some(model) = target.model() {
        settings.be(&["model", "name"], model);
        variables.be_absent(&["GEMINI_MODEL"]);
    }
    // Its telemetry ignores the base URL.
    settings.be_unless_set(&["privacy", "usageStatisticsEnabled"], false);
    variables.spare_loopback(&[], surroundings);
    Some(vec![
        Plan { path: directory.join(".env"), format: Format::Dotenv, wishes: variables.0 },
        Plan { path: directory.join("settings.json"), format: Format::Json, wishes: settings.0 },
    ])
}
