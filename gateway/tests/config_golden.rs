//! Each file under `golden/config` is loaded, and what the gateway makes of it is compared with what a person has reviewed.

#![allow(clippy::unwrap_used, reason = "a test may panic")]

use std::ffi::OsString;
use std::fmt::Write as _;
use std::fs;
use std::path::{Path, PathBuf};

use fleetgate_gateway::config::{Config, Finding, LoadError, Loaded, Overrides, load};

const FOLDER: &str = "tests/golden/config";

/// The variables of a fixture's first line, and a place for the ledger.
fn environment(text: &str) -> Vec<(OsString, OsString)> {
    let first = text.lines().next().and_then(|line| line.strip_prefix("# environment: ")).unwrap_or_default();
    let pairs = first.split(' ').filter_map(|pair| pair.split_once('='));
    pairs.chain([("STATE_DIRECTORY", "/var/lib/fleetgate")]).map(|(name, value)| (name.into(), value.into())).collect()
}

fn render(outcome: &str, findings: &[Finding], config: &Config) -> String {
    let mut text = format!("{outcome}\n\n");
    for finding in findings {
        writeln!(text, "{finding}").unwrap();
    }
    text.push('\n');
    for setting in &config.settings {
        writeln!(text, "{} = {}  # {}", setting.path, setting.value, setting.origin).unwrap();
    }
    text.push('\n');
    for deployment in &config.deployments {
        writeln!(
            text,
            "{} {} -> {} weight {} defaults {:?} drop {:?}",
            deployment.id,
            deployment.model_name,
            deployment.model,
            deployment.weight,
            deployment.defaults.keys().collect::<Vec<_>>(),
            deployment.additional_drop_params,
        )
        .unwrap();
    }
    text
}

fn load_fixture(path: &Path) -> String {
    let overrides = Overrides { config: Some(path.to_path_buf()), ..Overrides::default() };
    match load(&overrides, environment(&fs::read_to_string(path).unwrap())) {
        Ok(Loaded { config, findings }) => render("starts", &findings, &config),
        Err(LoadError { findings, draft }) => render("refused", &findings, &draft),
    }
}

#[test]
fn every_fixture_loads_as_reviewed_and_shows_no_secret() {
    let mut paths: Vec<PathBuf> = fs::read_dir(FOLDER).unwrap().map(|entry| entry.unwrap().path()).collect();
    paths.retain(|path| path.extension().is_some_and(|extension| extension == "yaml"));
    paths.sort();
    assert!(paths.len() >= 12);
    insta::with_settings!({ snapshot_path => "golden/config/snapshots", prepend_module_to_snapshot => false, omit_expression => true }, {
        for path in paths {
            let shown = load_fixture(&path);
            assert!(!shown.contains("canary-secret"), "{} shows a secret:\n{shown}", path.display());
            insta::assert_snapshot!(path.file_stem().unwrap().to_str().unwrap(), shown);
        }
    });
}
