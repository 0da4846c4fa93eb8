//! Which of several places wins, and what stays hidden.

#![allow(clippy::unwrap_used, reason = "a test may panic")]

use std::ffi::OsString;
use std::fs;

use fleetgate_gateway::config::{Finding, LoadError, Loaded, Overrides, load};
use fleetgate_wire::ExposeSecret;
use proptest::prelude::*;
use tempfile::TempDir;

const KEY: (&str, &str) = ("LITELLM_MASTER_KEY", "sk-long-enough-for-us");

fn variables(pairs: &[(&str, &str)]) -> Vec<(OsString, OsString)> {
    let state = [("STATE_DIRECTORY", "/state:/other")];
    pairs.iter().chain(&state).map(|(name, value)| (name.into(), value.into())).collect()
}

fn folder_with(files: &[(&str, &str)]) -> (TempDir, Overrides) {
    let folder = tempfile::tempdir().unwrap();
    for (name, text) in files {
        fs::write(folder.path().join(name), text).unwrap();
    }
    let overrides = Overrides { config: Some(folder.path().join("config.yaml")), ..Overrides::default() };
    (folder, overrides)
}

fn load_text(text: &str, pairs: &[(&str, &str)]) -> Result<Loaded, LoadError> {
    let (_folder, overrides) = folder_with(&[("config.yaml", text)]);
    load(&overrides, variables(pairs))
}

fn listen(overrides: &Overrides, pairs: &[(&str, &str)]) -> Result<String, String> {
    let shown = |listen: &[std::net::SocketAddr]| listen.iter().map(ToString::to_string).collect::<Vec<_>>().join(" ");
    load(overrides, variables(pairs)).map(|loaded| shown(&loaded.config.listen)).map_err(|error| error.to_string())
}

#[test]
fn no_file_is_fine() {
    let loaded = load(&Overrides::default(), variables(&[KEY])).unwrap();
    assert!(loaded.config.deployments.is_empty());
    assert_eq!(loaded.config.database.to_string(), "/state/ledger.db");
    assert_eq!(loaded.config.listen, ["127.0.0.1:4000".parse().unwrap()]);
}

#[test]
fn the_file_is_found_by_either_variable() {
    let (folder, _) = folder_with(&[("config.yaml", "litellm_settings: { num_retries: 7 }")]);
    let path = folder.path().join("config.yaml");
    for name in ["FLEETGATE_CONFIG", "CONFIG_FILE_PATH"] {
        let loaded = load(&Overrides::default(), variables(&[KEY, (name, path.to_str().unwrap())])).unwrap();
        assert_eq!(loaded.config.routing.num_retries, Some(7), "{name}");
    }
}

#[test]
fn the_process_wins_over_dotenv_and_the_section_over_both() {
    let text = "environment_variables: { THIRD: section }\nmodel_list:\n  - model_name: a\n    litellm_params: { model: x/a, api_key: os.environ/SECOND }";
    let dotenv = "FIRST=file\nexport SECOND='file # all'\r\nTHIRD=file\n";
    let (_folder, overrides) = folder_with(&[("config.yaml", text), (".env", dotenv)]);
    let loaded = load(&overrides, variables(&[KEY, ("FIRST", "process"), ("THIRD", "process")])).unwrap();
    let get = |name: &str| loaded.config.environment.get(name).unwrap().expose_secret().to_owned();
    assert_eq!((get("FIRST"), get("SECOND"), get("THIRD")), ("process".into(), "file # all".into(), "section".into()));
    assert_eq!(loaded.config.deployments[0].api_key.as_ref().unwrap().expose_secret(), "file # all");
    let setting = loaded.config.settings.iter().find(|setting| setting.path.ends_with("api_key")).unwrap();
    assert!(setting.origin.to_string().ends_with(".env:2"), "{}", setting.origin);
}

#[test]
fn listen_addresses_follow_their_order() {
    let (_folder, file) = folder_with(&[("config.yaml", "fleetgate: { listen: 127.0.0.3:3 }")]);
    let host_port = [("HOST", "127.0.0.4"), ("PORT", "4")];
    assert_eq!(listen(&Overrides::default(), &host_port).unwrap(), "127.0.0.4:4");
    assert_eq!(listen(&file, &host_port).unwrap(), "127.0.0.3:3");
    let flags = Overrides { host: Some("127.0.0.2".to_owned()), ..file };
    assert_eq!(listen(&flags, &host_port).unwrap(), "127.0.0.2:4");
    let variable = ("FLEETGATE_LISTEN", "127.0.0.1:1, [::1]:1");
    assert_eq!(listen(&flags, &[host_port[0], variable]).unwrap(), "127.0.0.1:1 [::1]:1");
    let first = Overrides { listen: vec!["10.0.0.1:9".to_owned()], ..flags };
    assert_eq!(listen(&first, &[variable]).unwrap(), "10.0.0.1:9");
}

#[test]
fn listening_everywhere_takes_a_dangerous_word() {
    let everywhere = [("HOST", "0.0.0.0")];
    let error = listen(&Overrides::default(), &everywhere).unwrap_err();
    assert!(error.contains("HOST asks to listen on 0.0.0.0:4000"), "{error}");
    assert!(error.contains("--dangerously-listen-publicly"), "{error}");
    let flag = Overrides { dangerously_listen_publicly: true, ..Overrides::default() };
    assert_eq!(listen(&flag, &everywhere).unwrap(), "0.0.0.0:4000");
    let variable = ("FLEETGATE_DANGEROUSLY_LISTEN_PUBLICLY", "true");
    assert_eq!(listen(&Overrides::default(), &[everywhere[0], variable]).unwrap(), "0.0.0.0:4000");
    // Shells export the machine's name under HOST; that is no wish to listen on it.
    assert_eq!(listen(&Overrides::default(), &[("HOST", "mybox")]).unwrap(), "127.0.0.1:4000");
}

#[test]
fn a_weak_master_key_is_for_loopback_only() {
    let weak = ("LITELLM_MASTER_KEY", "sk-1234");
    assert!(listen(&Overrides::default(), &[weak]).is_ok());
    let mesh = ("FLEETGATE_LISTEN", "100.64.0.1:4000");
    assert!(listen(&Overrides::default(), &[weak, mesh]).unwrap_err().contains("well-known"));
    let permit = ("LITELLM_DANGEROUSLY_PERMIT_WEAK_OR_UNSET_MASTER_KEY", "true");
    assert!(listen(&Overrides::default(), &[weak, mesh, permit]).is_ok());
}

#[test]
fn the_master_key_of_the_environment_stands_in_for_an_absent_one() {
    let loaded = load_text("general_settings: { master_key: os.environ/NOT_SET }", &[KEY]).unwrap();
    assert_eq!(loaded.config.master_key.unwrap().expose_secret(), KEY.1);
    assert!(loaded.findings.iter().any(|finding| finding.message.contains("NOT_SET")));
}

#[test]
fn databases_follow_their_order() {
    let database = |text: &str, pairs: &[(&str, &str)], flag: Option<&str>| {
        let (folder, overrides) = folder_with(&[("config.yaml", text)]);
        let overrides = Overrides { database: flag.map(str::to_owned), ..overrides };
        let found = load(&overrides, variables(pairs)).map_err(|error| error.to_string())?.config.database.to_string();
        Ok::<_, String>(found.strip_prefix(&format!("{}/", folder.path().display())).unwrap_or(&found).to_owned())
    };
    let own = "fleetgate: { database: own.db }\ngeneral_settings: { database_url: 'sqlite:///litellm.db' }";
    let variable = ("FLEETGATE_DATABASE", "sqlite:///variable.db");
    assert_eq!(database(own, &[variable], Some("flag.db")).unwrap(), "flag.db");
    assert_eq!(database(own, &[variable], None).unwrap(), "/variable.db");
    assert_eq!(database(own, &[], None).unwrap(), "own.db");
    assert_eq!(
        database("general_settings: { database_url: 'sqlite:///litellm.db' }", &[], None).unwrap(),
        "/litellm.db"
    );
    assert_eq!(database("{}", &[("DATABASE_URL", "sqlite:/url.db")], None).unwrap(), "/url.db");
    let server = ("DATABASE_URL", "postgresql://u:p@a/b?connection_limit=5&pool_timeout=9");
    assert_eq!(database("{}", &[server], None).unwrap(), "postgres://[redacted]@a:5432/b");
    assert_eq!(database(own, &[server], None).unwrap(), "own.db");
    assert_eq!(database("{}", &[server], Some("postgres://c/d")).unwrap(), "postgres://c:5432/d");
    let parts = [("DATABASE_HOST", "db:5433"), ("DATABASE_NAME", "litellm"), ("DATABASE_PASSWORD", "p:/#")];
    assert_eq!(database("{}", &parts, None).unwrap(), "postgres://[redacted]@db:5433/litellm");
    assert!(database("{}", &[], Some("postgres://a")).unwrap_err().contains("names no database"));
    assert!(database("{}", &[], Some("mysql://a/b")).unwrap_err().contains("not supported"));
    assert_eq!(database("{}", &[("DATABASE_URL", "mysql://a/b")], None).unwrap(), "/state/ledger.db");
}

#[test]
fn two_settings_that_do_not_agree_on_the_database_are_named() {
    let findings = |text: &str, pairs: &[(&str, &str)]| {
        load_text(text, pairs).unwrap().findings.iter().map(ToString::to_string).collect::<Vec<_>>().join("\n")
    };
    let server = ("DATABASE_URL", "postgres://u:canary@a/b");
    let off = findings("general_settings: { database_url: null }", &[KEY, server]);
    assert!(off.contains("the database is ON although general_settings.database_url at"), "{off}");
    let two = findings("general_settings: { database_url: 'postgres://a/other' }", &[KEY, server]);
    assert!(two.contains("DATABASE_URL names another database"), "{two}");
    let elsewhere = findings("fleetgate: { database: own.db }", &[KEY, server]);
    assert!(elsewhere.contains("Fleetgate's rows go to") && elsewhere.contains("own.db"), "{elsewhere}");
    let agreed = findings("{}", &[KEY, server]);
    assert!(!agreed.contains("DATABASE_URL"), "{agreed}");
    assert!(![off, two, elsewhere, agreed].iter().any(|text| text.contains("canary")));
}

#[test]
fn timeouts_follow_their_order() {
    let seconds = |text: &str, pairs: &[(&str, &str)]| load_text(text, pairs).unwrap().config.request_timeout.as_secs();
    let misplaced = "general_settings: { request_timeout: 5 }";
    assert_eq!(seconds("{}", &[]), 6000);
    assert_eq!(seconds(misplaced, &[]), 5);
    assert_eq!(seconds(misplaced, &[("REQUEST_TIMEOUT", "4")]), 4);
    assert_eq!(seconds("litellm_settings: { request_timeout: 3.0 }", &[("REQUEST_TIMEOUT", "4")]), 3);
    assert_eq!(seconds("litellm_settings: { request_timeout: 3 }\nrouter_settings: { timeout: '2' }", &[]), 2);
}

#[test]
fn the_same_entry_keeps_its_id_and_two_keys_make_two_ids() {
    let entry = |key: &str| format!("\n  - {{ model_name: a, litellm_params: {{ model: x/a, api_key: {key} }} }}");
    let ids = |text: &str, pairs: &[(&str, &str)]| -> Vec<String> {
        load_text(text, pairs).unwrap().config.deployments.into_iter().map(|deployment| deployment.id).collect()
    };
    let text = format!("model_list:{}{}{}", entry("os.environ/ONE"), entry("os.environ/TWO"), entry("literal"));
    let before = ids(&text, &[("ONE", "1"), ("TWO", "2")]);
    assert_eq!(before, ids(&text, &[("ONE", "rotated"), ("TWO", "rotated")]));
    assert!(before.iter().all(|id| id.len() == 32));
    assert_eq!(before.iter().collect::<std::collections::BTreeSet<_>>().len(), 3);
}

#[test]
fn aliases_of_aliases_do_not_eat_the_memory() {
    let mut text = "a0: &a0 [x, x, x, x, x, x, x, x, x, x]\n".to_owned();
    for level in 1..12 {
        let previous = format!("*a{}", level - 1);
        text.push_str(&format!("a{level}: &a{level} [{}]\n", vec![previous; 10].join(", ")));
    }
    assert!(load_text(&text, &[]).unwrap_err().to_string().contains("aliases"));
}

fn everything_shown(outcome: Result<Loaded, LoadError>) -> String {
    let (config, findings): (_, Vec<Finding>) = match outcome {
        Ok(Loaded { config, findings }) => (config, findings),
        Err(error) => {
            let text = format!("{error} {error:?}");
            assert!(!text.contains("CANARY"), "{text}");
            (*error.draft, error.findings)
        }
    };
    format!("{findings:?} {config:?}")
}

/// Places for a secret, the shape of the text around it included. `@` becomes the secret.
const PLACES: &[&str] = &[
    "general_settings: { master_key: @ }",
    "general_settings: { master_key: [@] }",
    "general_settings: { master_key: \"@\\q\" }",
    "general_settings: { database_url: 'postgresql://user:@@host/db' }",
    "general_settings: { database_url: @ }",
    "general_settings: { max_parallel_requests: @ }",
    "litellm_settings: { master_key: @, request_timeout: @ }",
    "litellm_settings: { cache_params: { password: @ }, num_retries: @ }",
    "router_settings: { redis_password: @, timeout: @ }",
    "environment_variables: { OPENAI_API_KEY: @, HOST: @ }",
    "environment_variables: @",
    "fleetgate: { listen: @, durability: @, max_request_bytes: @, egress: @ }",
    "fleetgate: { database: 'postgresql://user:@@host/db', egress: { ports: @, dangerously_allow_networks: @ } }",
    "model_list: @",
    "model_list: [@]",
    "model_list: [{ model_name: a, litellm_params: @ }]",
    "model_list: [{ model_name: a, litellm_params: { model: a, api_key: @, api_base: 'http://u:@@host/?k=@' } }]",
    "model_list: [{ model_name: a, litellm_params: { model: a, extra_headers: { a: @ }, extra_body: { b: [@] } } }]",
    "model_list: [{ model_name: a, litellm_params: { model: a, extra_headers: @, weight: @, timeout: @ } }]",
    "model_list: [{ model_name: a, litellm_params: { model: a, aws_secret_access_key: @, my_own: @, user: @ } }]",
    "model_list: [{ model_name: a, litellm_params: { model: a, input_cost_per_token: @, organization: @ } }]",
    "model_list:\n  - model_name: a\n    litellm_params:\n      api_key: @\n     model: a",
    "general_settings:\n  master_key: *@",
    "general_settings:\n  master_key: &@ !@ \"x",
    "general_settings:\n  master_key: %@\n\t@",
    "credential_list: [{ credential_name: a, credential_values: { api_key: @ } }]",
    "@",
    "- @",
    "---\na: @\n---\nb: @",
];

proptest! {
    #![proptest_config(ProptestConfig { cases: 400, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn a_secret_is_never_shown(place in prop::sample::select(PLACES), secret in "CANARY[a-zA-Z0-9+/=.:$#-]{0,20}[a-z0-9]") {
        let shown = everything_shown(load_text(&place.replace('@', &secret).replace(&format!("{secret}{secret}"), &format!("{secret}@")), &[]));
        prop_assert!(!shown.contains("CANARY"), "{place}: {shown}");
    }

    #[test]
    fn a_secret_of_the_environment_is_never_shown(name in prop::sample::select(&[
        "LITELLM_MASTER_KEY", "DATABASE_URL", "FLEETGATE_LISTEN", "HOST", "PORT", "REQUEST_TIMEOUT", "OPENAI_API_KEY",
    ][..]), secret in "CANARY[ -~]{0,20}") {
        let shown = everything_shown(load_text("model_list: []", &[(name, &secret)]));
        prop_assert!(!shown.contains("CANARY"), "{name}: {shown}");
    }

    #[test]
    fn no_text_makes_the_loader_panic(text in "(?s)[ -~\n\t]{0,200}") {
        let _ = load_text(&text, &[]);
    }
}

#[test]
fn what_would_have_kept_keys_from_fallbacks_is_not_waved_through() {
    let text = |switch| format!("general_settings: {{ enforce_fallback_model_access: {switch} }}");
    let refused = load_text(&text(true), &[KEY]).unwrap_err().to_string();
    assert!(refused.contains("enforce_fallback_model_access is not supported"), "{refused}");
    assert!(load_text(&text(false), &[KEY]).is_ok());
}
