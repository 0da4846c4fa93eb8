//! Reads everything once, in the order that precedence asks for, and reports every problem at once.

use std::ffi::OsString;
use std::path::{Path, PathBuf};

use super::listen::Listen;
use super::node::{Node, Place, Value};
use super::report::Report;
use super::routing::Sections;
use super::section::Section;
use super::{
    Config, Environment, Finding, Origin, Severity, budgets, catalogue, database, egress, fleetgate, hooks, include,
    listen, master_key, mesh, models, otel, rates, reference, review, routing, timeouts,
};

/// What the command line said. Each has a twin in the environment, which [`load`] looks up itself.
#[derive(Debug, Clone, Default)]
pub struct Overrides {
    /// `--config`; else `FLEETGATE_CONFIG`, else LiteLLM's `CONFIG_FILE_PATH`.
    pub config: Option<PathBuf>,
    /// `--listen`, as written; else `FLEETGATE_LISTEN` with commas.
    pub listen: Vec<String>,
    /// `--host`; else `HOST`.
    pub host: Option<String>,
    /// `--port`; else `PORT`.
    pub port: Option<u16>,
    /// `--database`; else `FLEETGATE_DATABASE`.
    pub database: Option<String>,
    /// `--dangerously-listen-publicly`; else `FLEETGATE_DANGEROUSLY_LISTEN_PUBLICLY`.
    pub dangerously_listen_publicly: bool,
}

/// A configuration that the gateway can start with.
#[derive(Debug)]
pub struct Loaded {
    /// What is in force.
    pub config: Config,
    /// What the operator should know, dearest first.
    pub findings: Vec<Finding>,
}

/// A configuration that the gateway must not start with.
#[derive(Debug, thiserror::Error)]
#[error("{}", summary(findings))]
pub struct LoadError {
    /// Every problem, errors first.
    pub findings: Vec<Finding>,
    /// What could be made of it: good enough to show, and to find the running process by.
    pub draft: Box<Config>,
}

fn summary(findings: &[Finding]) -> String {
    let errors = findings.iter().filter(|finding| finding.severity == Severity::Error);
    errors.map(Finding::to_string).collect::<Vec<_>>().join("\n")
}

/// The file that will be read, if any, and who named it.
#[must_use]
pub fn config_file(overrides: &Overrides, environment: &Environment) -> Option<(PathBuf, Origin)> {
    if let Some(path) = &overrides.config {
        return Some((path.clone(), Origin::CommandLine("--config")));
    }
    let named = |name| environment.given(name).map(|(path, origin)| (PathBuf::from(path), origin));
    named("FLEETGATE_CONFIG").or_else(|| named("CONFIG_FILE_PATH"))
}

/// Reads the configuration. The environment is given, never looked up.
///
/// # Errors
/// Every problem at once when the gateway must not start with this configuration.
pub fn load(
    overrides: &Overrides,
    process_environment: impl IntoIterator<Item = (OsString, OsString)>,
) -> Result<Loaded, LoadError> {
    let mut report = Report::default();
    let mut environment = Environment::from_process(process_environment);
    let file = config_file(overrides, &environment);
    let root = file.as_ref().and_then(|(path, origin)| {
        environment.add_dotenv(&path.with_file_name(".env"), &mut report);
        report.setting("config", path.display().to_string(), origin.clone());
        include::read(path, &mut report)
    });
    let from = file.as_ref().map_or(Origin::Default, |(path, _)| Origin::File { file: path.clone(), line: 1 });
    let was_read = root.is_some() || file.is_none();
    let root = root.unwrap_or_else(|| nothing(file.as_ref().map(|(path, _)| path.as_path())));
    let mut built = Report::default();
    let config = build(overrides, root, environment, &from, &mut built);
    // That an unreadable file sets no key and no models goes without saying.
    report.append(built, was_read);

    let (findings, settings) = report.finish();
    let config = Config { settings, ..config };
    if findings.iter().any(|finding| finding.severity == Severity::Error) {
        return Err(LoadError { findings, draft: Box::new(config) });
    }
    Ok(Loaded { config, findings })
}

/// A configuration that says nothing.
fn nothing(file: Option<&Path>) -> Node {
    Node::new(Value::Map(Vec::new()), Place { file: file.unwrap_or(Path::new("")).into(), line: 1 })
}

fn build(
    overrides: &Overrides,
    mut root: Node,
    mut environment: Environment,
    from: &Origin,
    report: &mut Report,
) -> Config {
    // References see the environment that the process was started with, and so do the listeners.
    reference::resolve(&mut root, &environment, report);
    let own = Section::new("fleetgate", root.get("fleetgate"));
    let Listen { addresses: listen, mesh: mesh_door } = listen::read(overrides, &own, &environment, report);
    hooks::check(&root, &environment, report);
    if let Some(section) = root.get("environment_variables") {
        environment.apply_section(section, report);
    }
    review::review(&root, report);

    let sections = Sections {
        router: Section::new("router_settings", root.get("router_settings")),
        litellm: Section::new("litellm_settings", root.get("litellm_settings")),
        general: Section::new("general_settings", root.get("general_settings")),
    };
    let is_reachable = mesh_door.is_some() || !listen.iter().all(|address| address.ip().to_canonical().is_loopback());
    let master_key = master_key::read(&sections.general, &sections.litellm, &environment, is_reachable, from, report);
    let (database, state_directory) = database::read(overrides, &own, &sections.general, &environment, report);
    database::refuse_to_forget(&sections.general, report);
    let lease_ttl = fleetgate::lease_ttl(&own, report);
    let durability = fleetgate::durability(&own, report);
    let max_request_bytes = fleetgate::max_request_bytes(&own, report);
    let egress_settings = egress::read(&own, report);
    let forward_proxy = egress::read_forward_proxy(overrides, &own, &environment, &listen, report);
    let mesh = mesh::read(&own, report);
    let metrics_open = fleetgate::metrics_open(&own, &sections.litellm, report);
    let otel = otel::read(&own, &sections.litellm, &environment, report);
    let catalogue = catalogue::read(&own, &environment, &state_directory, report);
    let price_adjustments = catalogue::adjustments(&sections.litellm, report);
    let drop_params = routing::drop_params(&sections, report);
    let timeouts = timeouts::read(&sections, &environment, report);
    let models = models::read(&root, report);
    let routing = routing::read(&sections, &models, report);
    let rates = rates::read(&own, &sections, &models.deployments, report);
    let budgets = budgets::read(&sections, &own, &root, &models.deployments, report);
    models::explain_absence(&root, &models, from, report);
    Config {
        listen,
        mesh_door,
        master_key,
        database,
        state_directory,
        lease_ttl,
        durability,
        counts_unknown: fleetgate::counts_unknown(&own, report),
        block_unpriced: fleetgate::block_unpriced(&sections.litellm, report),
        on_client_gone: fleetgate::on_client_gone(&own, report),
        deployments: models.deployments,
        routing,
        rates,
        drop_params,
        request_timeout: timeouts.request,
        stream_timeout: timeouts.stream,
        max_request_bytes,
        budgets,
        egress: egress_settings,
        forward_proxy,
        mesh,
        metrics_open,
        otel,
        catalogue,
        price_adjustments,
        environment,
        settings: Vec::new(),
    }
}
