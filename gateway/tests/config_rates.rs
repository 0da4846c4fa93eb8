//! Which limits on calls and tokens a configuration sets, and what it must not say.

#![allow(clippy::unwrap_used, reason = "a test may panic")]

use std::fs;

use fleetgate_gateway::config::{Config, Overrides, RateCaps, load};

fn read(text: &str) -> Result<(Config, String), String> {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("config.yaml");
    fs::write(&path, text).unwrap();
    let overrides = Overrides { config: Some(path), ..Overrides::default() };
    let environment = [("LITELLM_MASTER_KEY", "sk-long-enough-for-us"), ("STATE_DIRECTORY", "/state")];
    let loaded = load(&overrides, environment.map(|(name, value)| (name.into(), value.into())));
    let loaded = loaded.map_err(|error| error.to_string())?;
    let findings = loaded.findings.iter().map(|finding| format!("{finding}\n")).collect();
    Ok((loaded.config, findings))
}

/// `scope rpm tpm max_parallel`, one a line.
fn rates(text: &str) -> Vec<String> {
    let (config, _) = read(text).unwrap();
    let shown = |number: Option<u64>| number.map_or("-".to_owned(), |number| number.to_string());
    let line = |caps: &RateCaps| [caps.rpm, caps.tpm, caps.max_parallel].map(shown).join(" ");
    config.rates.iter().map(|(scope, caps)| format!("{scope} {}", line(caps))).collect()
}

const MODELS: &str = "
model_list:
  - model_name: a
    litellm_params: { model: openai/a, api_key: k, rpm: 60, tpm: 1000, max_parallel_requests: 3 }
    model_info: { id: one }
  - model_name: a
    litellm_params: { model: openai/a, api_key: k, rpm: 10 }
    model_info: { id: two }
";

#[test]
fn rpm_of_an_entry_is_its_share_until_it_is_said_to_be_a_limit() {
    assert_eq!(rates(MODELS), ["deployment:one - - 3"]);
    for settings in
        ["optional_pre_call_checks: [enforce_model_rate_limits]", "routing_strategy: usage-based-routing-v2"]
    {
        let text = format!("{MODELS}\nrouter_settings: {{ {settings} }}");
        assert_eq!(rates(&text), ["deployment:one 60 1000 3", "deployment:two 10 - -"], "{settings}");
    }
    let text = format!("{MODELS}\nrouter_settings: {{ default_max_parallel_requests: 9 }}");
    assert_eq!(rates(&text), ["deployment:one - - 3", "deployment:two - - 9"]);
    assert_eq!(read(MODELS).unwrap().0.deployments[0].weight, 60);
}

#[test]
fn other_checks_are_named_as_missing() {
    let text = "router_settings: { optional_pre_call_checks: [enforce_model_rate_limits, prompt_caching] }";
    let findings = read(text).unwrap().1;
    assert!(findings.contains("prompt_caching is not honoured"), "{findings}");
    assert!(!findings.contains("enforce_model_rate_limits"), "{findings}");
}

#[test]
fn litellms_limits_on_calls_at_once_are_per_key_and_for_all() {
    let text = "general_settings: { max_parallel_requests: 4, global_max_parallel_requests: 50 }";
    assert_eq!(rates(text), ["key:* - - 4", "global:all - - 50"]);
}

#[test]
fn our_own_list_takes_every_kind_of_scope() {
    let text = "
fleetgate:
  rates:
    - { scope: 'host:*', rpm: 60, tpm: 100_000 }
    - { scope: workload:ci, max_parallel: 2 }
";
    assert_eq!(rates(text), ["host:* 60 100000 -", "workload:ci - - 2"]);
}

#[test]
fn a_slip_in_a_limit_is_an_error_and_never_no_limit() {
    for (entry, message) in [
        ("{ scope: hosts:mac, rpm: 1 }", "fleetgate.rates[0].scope: \"hosts\" is no kind of scope"),
        ("{ rpm: 1 }", "fleetgate.rates[0] needs a scope"),
        ("{ scope: host:mac, rpm: fast }", "fleetgate.rates[0].rpm must be a whole number"),
        (
            "{ scope: host:mac, rpm_limit: 5 }",
            "fleetgate.rates[0].rpm_limit is unknown; it takes scope, rpm, tpm, max_parallel",
        ),
    ] {
        let error = read(&format!("fleetgate:\n  rates:\n    - {entry}")).unwrap_err();
        assert!(error.contains(message), "{entry}: {error}");
    }
    assert!(read("fleetgate: { rates: { scope: host:mac } }").unwrap_err().contains("must be a list"));
    assert!(read("fleetgate: { rates: [{ scope: host:mac }] }").unwrap().1.contains("limits nothing"));
}
