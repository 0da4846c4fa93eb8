//! Where the ledger is.

use std::path::{Path, PathBuf};

use super::deployment::is_unexpanded;
use super::report::{Cost, Report};
use super::section::{Given, Section};
use super::{Environment, Origin, Overrides, redact};

const FILE_NAME: &str = "ledger.db";

/// What a text says about the database.
enum Place {
    /// An SQLite file.
    File(PathBuf),
    /// PostgreSQL, or another server.
    Server,
    /// A `${…}` that nobody expands.
    Placeholder,
}

/// Reads where the ledger is; LiteLLM's own database settings are answered aloud.
pub(super) fn read(
    overrides: &Overrides,
    own: &Section<'_>,
    general: &Section<'_>,
    environment: &Environment,
    report: &mut Report,
) -> PathBuf {
    let chosen = explicit(overrides, own, environment, report);
    let was_explicit = chosen.is_some();
    let litellm = litellm_database(general, environment);
    let chosen = chosen.or_else(|| {
        let url = litellm.as_ref()?.url.as_deref()?;
        match litellm_place(url) {
            Place::File(path) => Some(Given::new(path, litellm.as_ref()?.origin.clone())),
            Place::Server | Place::Placeholder => None,
        }
    });
    let chosen = chosen.unwrap_or_else(|| default(environment, report));
    if let Some(litellm) = litellm {
        answer(&litellm, general, &chosen.value, was_explicit, report);
    }
    report.setting("fleetgate.database", chosen.value.display().to_string(), chosen.origin);
    chosen.value
}

/// `--database`, `FLEETGATE_DATABASE`, `fleetgate.database`.
fn explicit(
    overrides: &Overrides,
    own: &Section<'_>,
    environment: &Environment,
    report: &mut Report,
) -> Option<Given<PathBuf>> {
    let flag = overrides.database.clone().map(|text| Given::new(text, Origin::CommandLine("--database")));
    let variable = || environment.given("FLEETGATE_DATABASE").map(|(text, origin)| Given::new(text.to_owned(), origin));
    let (given, beside) = match flag.or_else(variable) {
        Some(given) => (given, None),
        None => (own.text("database", report)?, own.get("database").map(|node| node.place.file.clone())),
    };
    match place(&given.value) {
        Place::File(path) => {
            // A path in a file is meant from where the file is.
            let directory = beside.as_deref().and_then(Path::parent).unwrap_or(Path::new(""));
            Some(Given::new(directory.join(path), given.origin))
        }
        Place::Placeholder => {
            report.error(given.origin, "the database is a ${…} that nobody expands");
            None
        }
        Place::Server => {
            let message = format!(
                "{} is not supported by this version; give the path of an SQLite file",
                if is_postgres(&given.value) { "PostgreSQL" } else { "this kind of database" }
            );
            report.error(given.origin, message);
            None
        }
    }
}

fn place(text: &str) -> Place {
    let text = text.trim();
    let path =
        text.strip_prefix("sqlite://").or_else(|| text.strip_prefix("sqlite:")).or_else(|| text.strip_prefix("file:"));
    match path {
        Some(path) => Place::File(PathBuf::from(path.split('?').next().unwrap_or(path))),
        None if is_unexpanded(text) => Place::Placeholder,
        None if text.contains("://") => Place::Server,
        None => Place::File(PathBuf::from(text)),
    }
}

/// LiteLLM takes a URL and nothing else.
fn litellm_place(url: &str) -> Place {
    match place(url) {
        Place::File(_) if !["sqlite:", "file:"].iter().any(|scheme| url.trim().starts_with(scheme)) => Place::Server,
        place => place,
    }
}

fn is_postgres(text: &str) -> bool {
    text.starts_with("postgres://") || text.starts_with("postgresql://")
}

/// What LiteLLM would take as its database.
struct LiteLlm {
    /// How the operator named it.
    name: &'static str,
    url: Option<String>,
    origin: Origin,
}

fn litellm_database(general: &Section<'_>, environment: &Environment) -> Option<LiteLlm> {
    if let Some(node) = general.get("database_url")
        && let Some(url) = node.text().filter(|url| !url.is_empty())
    {
        return Some(LiteLlm {
            name: "general_settings.database_url",
            url: Some(url.to_owned()),
            origin: node.origin(),
        });
    }
    if let Some((url, origin)) = environment.given("DATABASE_URL") {
        return Some(LiteLlm { name: "DATABASE_URL", url: Some(url.to_owned()), origin });
    }
    let (_, origin) = environment.given("DATABASE_HOST")?;
    environment.text("DATABASE_NAME")?;
    Some(LiteLlm { name: "DATABASE_HOST with DATABASE_NAME", url: None, origin })
}

/// Says loudly that the database is on for LiteLLM, and where the rows really go.
fn answer(litellm: &LiteLlm, general: &Section<'_>, path: &Path, was_explicit: bool, report: &mut Report) {
    match litellm.url.as_deref().map_or(Place::Server, litellm_place) {
        Place::File(_) => return,
        Place::Placeholder => {
            let message =
                format!("{} is a ${{…}} that nobody expands; rows go to SQLite at {}", litellm.name, path.display());
            report.warn(Cost::Money, litellm.origin.clone(), message);
            return;
        }
        Place::Server => {}
    }
    let url = litellm
        .url
        .as_deref()
        .filter(|url| is_postgres(url))
        .map(|url| format!(" ({})", redact::url(url)))
        .unwrap_or_default();
    let declared = general.node().and_then(|general| general.entry("database_url"));
    let in_file = match declared {
        Some(entry) if litellm.name != "general_settings.database_url" => {
            let file = entry.place.origin();
            let says = entry.node.reference.as_ref().map_or_else(
                || "null".to_owned(),
                |reference| format!("os.environ/{}, which is not set", reference.variable),
            );
            format!(" although general_settings.database_url at {file} says {says}")
        }
        _ => String::new(),
    };
    let choice = if was_explicit { "" } else { "; choose another place with --database or fleetgate.database" };
    let message = format!(
        "{}{url} is set: for LiteLLM the database is ON{in_file}. Fleetgate does not use PostgreSQL yet: its rows go to SQLite at \
         {}{choice}",
        litellm.name,
        path.display()
    );
    report.warn(Cost::Money, litellm.origin.clone(), message);
}

fn default(environment: &Environment, report: &mut Report) -> Given<PathBuf> {
    if let Some((directories, origin)) = environment.given("STATE_DIRECTORY") {
        let first = directories.split(':').next().unwrap_or(directories);
        return Given::new(Path::new(first).join(FILE_NAME), origin);
    }
    let directory = directories::ProjectDirs::from("dev", "fleetgate", "fleetgate")
        .map(|project| project.state_dir().unwrap_or_else(|| project.data_local_dir()).to_path_buf());
    if directory.is_none() {
        report.error(Origin::Default, "there is no home directory for the ledger; say --database PATH");
    }
    Given::new(directory.unwrap_or_default().join(FILE_NAME), Origin::Default)
}

/// LiteLLM's switches that stop rows. Here they do nothing: a gateway that spends without a row must be impossible.
pub(super) fn refuse_to_forget(general: &Section<'_>, report: &mut Report) {
    for key in ["disable_spend_logs", "disable_spend_updates", "disable_error_logs"] {
        let is_on = general.truth(key, report).is_some_and(|given| given.value);
        if let Some(node) = general.get(key).filter(|_| is_on) {
            let message = format!(
                "general_settings.{key} has no effect: Fleetgate writes a row for every call, always. Rows hold no prompts and no \
                 answers"
            );
            report.warn(Cost::Money, node.place.origin(), message);
        }
    }
}
