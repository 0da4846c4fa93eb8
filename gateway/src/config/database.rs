//! Where the ledger is.

use std::path::{Path, PathBuf};

use super::deployment::is_unexpanded;
use super::postgres::{PostgresUrl, PostgresUrlError};
use super::report::{Cost, Report};
use super::section::{Given, Section};
use super::{Database, Environment, Origin, Overrides, redact};

const FILE_NAME: &str = "ledger.db";

/// What a text says about the database.
enum Place {
    /// One that can be used.
    Usable(Database),
    /// A PostgreSQL address that is not one.
    Broken(PostgresUrlError),
    /// Another kind of server.
    Foreign,
    /// A `${…}` that nobody expands.
    Placeholder,
}

/// Why a text names no database.
#[derive(Debug, thiserror::Error)]
pub enum DatabaseError {
    /// A PostgreSQL address that is not one.
    #[error("the address cannot be used: {0}")]
    Postgres(#[from] PostgresUrlError),
    /// Another kind of server.
    #[error("this kind of database is not supported; give sqlite:PATH or postgres://USER:PASSWORD@HOST:PORT/DATABASE")]
    Foreign,
    /// A `${…}`.
    #[error("it is a ${{…}} that nobody expands")]
    Placeholder,
}

impl Database {
    /// Reads `sqlite:PATH`, a path, or a PostgreSQL address.
    ///
    /// # Errors
    /// When it is none of these.
    pub fn parse(text: &str) -> Result<Self, DatabaseError> {
        match place(text) {
            Place::Usable(database) => Ok(database),
            Place::Broken(cause) => Err(cause.into()),
            Place::Foreign => Err(DatabaseError::Foreign),
            Place::Placeholder => Err(DatabaseError::Placeholder),
        }
    }
}

/// Reads where the ledger is, and where what belongs to this gateway alone is kept. LiteLLM's own database settings are followed
/// unless ours say something else, and answered aloud.
pub(super) fn read(
    overrides: &Overrides,
    own: &Section<'_>,
    general: &Section<'_>,
    environment: &Environment,
    report: &mut Report,
) -> (Database, PathBuf) {
    let chosen = explicit(overrides, own, environment, report);
    let was_explicit = chosen.is_some();
    let litellm = litellm_database(general, environment);
    let chosen = chosen.or_else(|| follow(litellm.as_ref()?, report));
    let directory = state_directory(own, environment, report);
    let needs_directory = !matches!(&chosen, Some(Given { value: Database::Sqlite(_), .. }));
    if needs_directory && directory.value.as_os_str().is_empty() {
        report.error(
            Origin::Default,
            "there is no home directory for the ledger; say --database PATH or fleetgate.state_directory",
        );
    }
    let chosen = chosen
        .unwrap_or_else(|| Given::new(Database::Sqlite(directory.value.join(FILE_NAME)), directory.origin.clone()));
    if let Some(litellm) = litellm {
        answer(&litellm, general, &chosen.value, was_explicit, report);
        warn_of_another(&litellm, environment, report);
    }
    report.setting("fleetgate.database", chosen.value.to_string(), chosen.origin);
    let directory = match &chosen.value {
        Database::Sqlite(file) => Given::new(file.parent().unwrap_or(Path::new("")).to_owned(), Origin::Default),
        Database::Postgres(_) => {
            report.setting(
                "fleetgate.state_directory",
                directory.value.display().to_string(),
                directory.origin.clone(),
            );
            directory
        }
    };
    (chosen.value, directory.value)
}

/// `--database`, `FLEETGATE_DATABASE`, `fleetgate.database`.
fn explicit(
    overrides: &Overrides,
    own: &Section<'_>,
    environment: &Environment,
    report: &mut Report,
) -> Option<Given<Database>> {
    let flag = overrides.database.clone().map(|text| Given::new(text, Origin::CommandLine("--database")));
    let variable = || environment.given("FLEETGATE_DATABASE").map(|(text, origin)| Given::new(text.to_owned(), origin));
    let (given, beside) = match flag.or_else(variable) {
        Some(given) => (given, None),
        None => (own.text("database", report)?, own.get("database").map(|node| node.place.file.clone())),
    };
    match place(&given.value) {
        Place::Usable(Database::Sqlite(path)) => {
            // A path in a file is meant from where the file is.
            let directory = beside.as_deref().and_then(Path::parent).unwrap_or(Path::new(""));
            Some(Given::new(Database::Sqlite(directory.join(path)), given.origin))
        }
        Place::Usable(database) => {
            warn_of_unknown(&database, &given.origin, report);
            Some(Given::new(database, given.origin))
        }
        Place::Placeholder => {
            report.error(given.origin, "the database is a ${…} that nobody expands");
            None
        }
        Place::Broken(cause) => {
            report.error(given.origin, format!("the database's address cannot be used: {cause}"));
            None
        }
        Place::Foreign => {
            report.error(
                given.origin,
                "this kind of database is not supported; give an SQLite file or a postgres:// address",
            );
            None
        }
    }
}

fn place(text: &str) -> Place {
    let text = text.trim();
    let path =
        text.strip_prefix("sqlite://").or_else(|| text.strip_prefix("sqlite:")).or_else(|| text.strip_prefix("file:"));
    match path {
        Some(path) => Place::Usable(Database::Sqlite(PathBuf::from(path.split('?').next().unwrap_or(path)))),
        None if is_unexpanded(text) => Place::Placeholder,
        None if is_postgres(text) => match PostgresUrl::parse(text) {
            Ok(url) => Place::Usable(Database::Postgres(Box::new(url))),
            Err(cause) => Place::Broken(cause),
        },
        None if text.contains("://") => Place::Foreign,
        None => Place::Usable(Database::Sqlite(PathBuf::from(text))),
    }
}

/// LiteLLM takes a URL and nothing else.
fn litellm_place(url: &str) -> Place {
    match place(url) {
        Place::Usable(Database::Sqlite(_))
            if !["sqlite:", "file:"].iter().any(|scheme| url.trim().starts_with(scheme)) =>
        {
            Place::Foreign
        }
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
    place: Place,
    /// What may be shown of its address.
    shown: String,
    origin: Origin,
}

impl LiteLlm {
    fn of_url(name: &'static str, url: &str, origin: Origin) -> Self {
        let shown = if is_postgres(url) { format!(" ({})", redact::url(url)) } else { String::new() };
        Self { name, place: litellm_place(url), shown, origin }
    }
}

fn litellm_database(general: &Section<'_>, environment: &Environment) -> Option<LiteLlm> {
    if let Some(node) = general.get("database_url")
        && let Some(url) = node.text().filter(|url| !url.is_empty())
    {
        return Some(LiteLlm::of_url("general_settings.database_url", url, node.origin()));
    }
    if let Some((url, origin)) = environment.given("DATABASE_URL") {
        return Some(LiteLlm::of_url("DATABASE_URL", url, origin));
    }
    let (host, origin) = environment.given("DATABASE_HOST")?;
    let name = environment.text("DATABASE_NAME")?;
    let text = |name| environment.text(name);
    let parts = PostgresUrl::from_parts(host, name, text("DATABASE_USERNAME"), text("DATABASE_PASSWORD"));
    let place = match parts {
        Ok(mut url) => {
            url.schema = text("DATABASE_SCHEMA").map(str::to_owned);
            Place::Usable(Database::Postgres(Box::new(url)))
        }
        Err(cause) => Place::Broken(cause),
    };
    Some(LiteLlm { name: "DATABASE_HOST with DATABASE_NAME", place, shown: String::new(), origin })
}

/// Takes LiteLLM's database for ours.
fn follow(litellm: &LiteLlm, report: &mut Report) -> Option<Given<Database>> {
    match &litellm.place {
        Place::Usable(database) => {
            warn_of_unknown(database, &litellm.origin, report);
            Some(Given::new(database.clone(), litellm.origin.clone()))
        }
        Place::Broken(cause) => {
            report.error(litellm.origin.clone(), format!("{} cannot be used: {cause}", litellm.name));
            None
        }
        Place::Foreign | Place::Placeholder => None,
    }
}

fn warn_of_unknown(database: &Database, origin: &Origin, report: &mut Report) {
    if let Database::Postgres(url) = database
        && url.unknown > 0
    {
        let message = format!("the database's address has {} parameters that have no effect", url.unknown);
        report.warn(Cost::Style, origin.clone(), message);
    }
}

/// Says loudly when LiteLLM's database is not where the rows go, or when two settings do not agree whether it is on.
fn answer(litellm: &LiteLlm, general: &Section<'_>, chosen: &Database, was_explicit: bool, report: &mut Report) {
    let (name, shown) = (litellm.name, &litellm.shown);
    match &litellm.place {
        Place::Usable(Database::Sqlite(_)) => return,
        Place::Placeholder => {
            let message = format!("{name} is a ${{…}} that nobody expands; rows go to {chosen}");
            report.warn(Cost::Money, litellm.origin.clone(), message);
            return;
        }
        Place::Usable(Database::Postgres(_)) | Place::Broken(_) | Place::Foreign => {}
    }
    let declared = general.node().and_then(|general| general.entry("database_url"));
    let in_file = match declared {
        Some(entry) if name != "general_settings.database_url" => {
            let file = entry.place.origin();
            let says = entry.node.reference.as_ref().map_or_else(
                || "null".to_owned(),
                |reference| format!("os.environ/{}, which is not set", reference.variable),
            );
            format!(" although general_settings.database_url at {file} says {says}")
        }
        _ => String::new(),
    };
    let message = match &litellm.place {
        Place::Usable(theirs) if theirs == chosen => {
            if in_file.is_empty() {
                return;
            }
            format!("{name}{shown} is set: the database is ON{in_file}, as in LiteLLM; rows go to {chosen}")
        }
        Place::Foreign => format!(
            "{name} is set: for LiteLLM the database is ON{in_file}. Fleetgate knows SQLite and PostgreSQL: its rows go to {chosen}{}",
            if was_explicit { "" } else { "; choose another place with --database or fleetgate.database" }
        ),
        _ => format!("{name}{shown} is set: for LiteLLM the database is ON{in_file}. Fleetgate's rows go to {chosen}"),
    };
    report.warn(Cost::Money, litellm.origin.clone(), message);
}

/// The file's address wins over the environment's; whoever set both must know.
fn warn_of_another(litellm: &LiteLlm, environment: &Environment, report: &mut Report) {
    if litellm.name != "general_settings.database_url" {
        return;
    }
    let Some((url, origin)) = environment.given("DATABASE_URL") else { return };
    let same = match (&litellm.place, litellm_place(url)) {
        (Place::Usable(file), Place::Usable(variable)) => *file == variable,
        _ => false,
    };
    if !same {
        let message = format!(
            "DATABASE_URL names another database than general_settings.database_url at {}, which is the one that counts",
            litellm.origin
        );
        report.warn(Cost::Money, origin, message);
    }
}

/// `FLEETGATE_STATE_DIRECTORY`, `fleetgate.state_directory`, systemd's `STATE_DIRECTORY`, or where the system keeps such things.
fn state_directory(own: &Section<'_>, environment: &Environment, report: &mut Report) -> Given<PathBuf> {
    if let Some((directory, origin)) = environment.given("FLEETGATE_STATE_DIRECTORY") {
        return Given::new(PathBuf::from(directory), origin);
    }
    if let Some(given) = own.text("state_directory", report) {
        let beside = own.get("state_directory").and_then(|node| node.place.file.parent().map(Path::to_owned));
        return Given::new(beside.unwrap_or_default().join(given.value), given.origin);
    }
    if let Some((directories, origin)) = environment.given("STATE_DIRECTORY") {
        let first = directories.split(':').next().unwrap_or(directories);
        return Given::new(PathBuf::from(first), origin);
    }
    let directory = directories::ProjectDirs::from("dev", "fleetgate", "fleetgate")
        .map(|project| project.state_dir().unwrap_or_else(|| project.data_local_dir()).to_path_buf());
    Given::new(directory.unwrap_or_default(), Origin::Default)
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
