//! `config check` and `config show`: what is wrong with a file, and what the running process really does.

use std::fs;
use std::path::Path;

use fleetgate_tests::gateway::Config;
use fleetgate_tests::process::{Finished, Program};
use fleetgate_tests::{Gateway, MASTER_KEY, Upstream};
use serde_json::{Value, json};
use tempfile::TempDir;

/// As a user of LiteLLM has it.
const SEED: &str = r#"model_list:
  - model_name: "openrouter/*"
    litellm_params: { model: "openrouter/*", api_key: os.environ/OPENROUTER_API_KEY }
  - model_name: gpt-4.1-mini
    litellm_params:
      model: azure/gpt-4.1-mini
      api_base: https://YOUR-RESOURCE.openai.azure.com
      api_key: os.environ/AZURE_OPENAI_KEY
      api_version: "2025-01-01-preview"
  - model_name: deepseek-v31
    litellm_params:
      model: azure_ai/deepseek-v31
      api_base: https://YOUR-REGION.api.cognitive.microsoft.com/models
      api_version: "2024-05-01-preview"
      api_key: os.environ/AZURE_FOUNDRY_KEY
  - model_name: gemini-flash-lite-latest
    litellm_params: { model: gemini/gemini-2.5-flash-lite, api_key: os.environ/GEMINI_API_KEY }
litellm_settings: { drop_params: true, request_timeout: 600 }
general_settings: { master_key: os.environ/LITELLM_MASTER_KEY, database_url: null, disable_spend_logs: true }
"#;

const VARIABLES: [(&str, &str); 5] = [
    ("OPENROUTER_API_KEY", "secret-canary-1"),
    ("AZURE_OPENAI_KEY", "secret-canary-2"),
    ("AZURE_FOUNDRY_KEY", "secret-canary-3"),
    ("GEMINI_API_KEY", "secret-canary-4"),
    ("LITELLM_MASTER_KEY", MASTER_KEY),
];

async fn check(dir: &TempDir, text: &str) -> Finished {
    let file = dir.path().join("config.yaml");
    fs::write(&file, text).unwrap_or_else(|error| panic!("{}: {error}", file.display()));
    gateway(dir.path(), &["config", "check", "--config", &file.display().to_string()]).await
}

async fn gateway(home: &Path, arguments: &[&str]) -> Finished {
    let variables = VARIABLES.map(|(name, value)| (name.to_owned(), value.to_owned())).into();
    Program::new("fleetgate-gateway", home).args(arguments.iter().copied()).envs(&variables).run().await
}

fn directory() -> TempDir {
    TempDir::new().unwrap_or_else(|error| panic!("a temporary directory: {error}"))
}

#[tokio::test]
async fn the_seed_configuration_passes() {
    let checked = check(&directory(), SEED).await;
    assert!(checked.status.success(), "{}", checked.said());
    assert!(!checked.said().contains("secret-canary"), "{}", checked.said());
}

#[tokio::test]
async fn what_the_seed_says_and_we_do_not_do_is_named_with_its_line() {
    let checked = check(&directory(), SEED).await;
    let said = checked.said();
    // The line that once turned the ledger off at a restart. Ours cannot be turned off, and says so.
    let line = SEED.lines().position(|line| line.contains("disable_spend_logs")).map_or(0, |at| at + 1);
    assert!(said.lines().any(|l| l.contains("disable_spend_logs") && l.contains(&format!(":{line}"))), "{said}");
}

#[tokio::test]
async fn a_broken_file_fails_and_names_the_line() {
    let dir = directory();
    let broken = "model_list:\n  - model_name: a\n    litellm_params: { model: openai/a, api_key: x\n";
    let checked = check(&dir, broken).await;
    assert!(!checked.status.success(), "{}", checked.said());
    assert!(checked.said().contains("config.yaml:"), "{}", checked.said());
}

#[tokio::test]
async fn a_value_of_the_wrong_kind_fails_and_names_the_line() {
    let text = "model_list: []\nlitellm_settings:\n  request_timeout: soon\n";
    let checked = check(&directory(), text).await;
    assert!(!checked.status.success(), "{}", checked.said());
    let said = checked.said();
    assert!(said.contains("config.yaml:3") && said.contains("request_timeout"), "{said}");
}

#[tokio::test]
async fn a_file_that_is_not_there_fails() {
    let dir = directory();
    let missing = dir.path().join("nothing.yaml").display().to_string();
    let checked = gateway(dir.path(), &["config", "check", "--config", &missing]).await;
    assert!(!checked.status.success() && checked.said().contains("nothing.yaml"), "{}", checked.said());
}

#[tokio::test]
async fn a_misspelt_setting_is_noticed() {
    let text = format!("{SEED}fleetgate: {{ durabilty: power }}\n");
    let checked = check(&directory(), &text).await;
    assert!(checked.said().contains("durabilty"), "{}", checked.said());
}

#[tokio::test]
async fn shown_values_have_their_origins_and_no_secret() {
    let dir = directory();
    check(&dir, SEED).await;
    let file = dir.path().join("config.yaml").display().to_string();
    let shown = gateway(dir.path(), &["config", "show", "--origin", "--config", &file]).await;
    assert!(shown.status.success(), "{}", shown.said());
    let line = SEED.lines().position(|line| line.contains("request_timeout")).map_or(0, |at| at + 1);
    let said = &shown.stdout;
    let value = said.lines().find(|line| line.contains("request_timeout")).unwrap_or_default();
    assert!(value.contains("600") && value.contains(&format!("config.yaml:{line}")), "{said}");
    assert!(!said.contains("secret-canary") && !said.contains(MASTER_KEY), "{said}");
}

#[tokio::test]
async fn the_running_process_tells_each_live_value_and_its_origin() {
    let upstream = Upstream::start().await;
    let gw = Gateway::start(|c| {
        c.model("gpt-x", &upstream).set("litellm_settings", "request_timeout", json!(77)).env("SECRET", "canary-in-env")
    })
    .await;
    let config = gw.admin_get("/api/config").await;
    let text = config.to_string();
    let file = fs::read_to_string(gw.config_file()).unwrap_or_default();
    let line = file.lines().position(|line| line.contains("request_timeout")).map_or(0, |at| at + 1);
    let timeout = setting(&config, "litellm_settings.request_timeout").to_string();
    assert!(timeout.contains("77") && timeout.contains(&format!("config.yaml:{line}")), "{timeout} in {text}");
    for secret in [MASTER_KEY, "canary-in-env", fleetgate_tests::upstream::PROVIDER_KEY] {
        assert!(!text.contains(secret), "{text}");
    }
    assert!(text.contains("command line") || text.contains("--listen"), "the command line is an origin: {text}");
}

/// The object that says something of this path, wherever it stands in the answer.
fn setting<'a>(value: &'a Value, path: &str) -> &'a Value {
    match value {
        Value::Object(members) if members.get("path").is_some_and(|found| found == path) => value,
        Value::Object(members) => {
            members.values().map(|member| setting(member, path)).find(|found| !found.is_null()).unwrap_or(&Value::Null)
        }
        Value::Array(items) => {
            items.iter().map(|item| setting(item, path)).find(|found| !found.is_null()).unwrap_or(&Value::Null)
        }
        _ => &Value::Null,
    }
}

#[tokio::test]
async fn a_well_known_master_key_is_refused_where_others_can_reach_it_and_marked_on_loopback() {
    let weak = |c: Config| c.env("LITELLM_MASTER_KEY", "sk-1234");
    let refused = Gateway::refuses(|c| weak(c).listen("10.255.255.1:4000")).await;
    assert!(!refused.status.success(), "{}", refused.said());
    let permit = "LITELLM_DANGEROUSLY_PERMIT_WEAK_OR_UNSET_MASTER_KEY";
    assert!(refused.said().contains("master key") && refused.said().contains(permit), "{}", refused.said());
    let marked = Gateway::start(weak).await;
    assert!(marked.stderr().contains("warning: the master key"), "{}", marked.stderr());
}

#[tokio::test]
async fn without_a_master_key_nobody_is_the_administrator() {
    let gw = Gateway::start(|c| c.env("LITELLM_MASTER_KEY", "")).await;
    assert!(gw.stderr().contains("there is no master key"), "{}", gw.stderr());
    for key in [MASTER_KEY, "", "sk-"] {
        let refused = gw.get("/key/list").bearer(key).send().await;
        assert_eq!(refused.status, 401, "{key:?}: {}", refused.text());
    }
}
