//! `backup`: everything that the gateway keeps, in one file, while it runs.

use std::io::Write;
use std::path::{Path, PathBuf};

use anyhow::{Context, bail};
use fleetgate_wire::money::NanoDollars;
use jiff::Timestamp;

use crate::config::{Config, Database, Environment, LoadError, Overrides, Severity, config_file, files, load};
use crate::ledger::{ExtraFile, Manifest, back_up};

/// Files beside a configuration that hold what it refers to.
const BESIDE: [&str; 2] = [".env", "gateway.env"];

/// Writes a backup and says what is in it.
///
/// # Errors
/// When the configuration has errors, a part cannot be read, or the file cannot be written.
pub(super) fn run(
    overrides: &Overrides,
    to: Option<&Path>,
    with_config: bool,
    out: &mut impl Write,
) -> anyhow::Result<()> {
    let (config, file) = configuration(overrides)?;
    let target = target(to, Timestamp::now());
    let extra = match &file {
        Some(file) if with_config => configuration_files(file)?,
        None if with_config => bail!("--with-config: there is no configuration file; name it with --config"),
        _ => Vec::new(),
    };
    let manifest = back_up(&config.database, &config.state_directory, &extra, &target)?;
    let bytes = std::fs::metadata(&target).map(|found| found.len()).unwrap_or_default();
    writeln!(out, "{}: {bytes} bytes, mode 0600, written and read again", target.display())?;
    describe(&manifest, out)?;
    if let Database::Postgres(url) = &config.database {
        writeln!(out, "The rows themselves are on {url}. Dump them now, after this:")?;
        let user = url.user.as_ref().map(|user| format!(" --username={user}")).unwrap_or_default();
        let schema = url.schema.as_ref().map(|schema| format!(" --schema={schema}")).unwrap_or_default();
        let place = format!("--host={} --port={}{user}{schema} {}", url.host, url.port, url.database);
        writeln!(out, "  pg_dump --format=custom --file={}.dump {place}", target.display())?;
    }
    match file {
        _ if with_config => writeln!(out, "It holds the configuration with its secrets: keep it where those may be.")?,
        Some(file) => {
            writeln!(out, "The configuration is not in it ({}); --with-config adds it.", file.display())?;
        }
        None => {}
    }
    Ok(())
}

/// What the gateway would load; a backup of a configuration that cannot be loaded might be that of another ledger.
pub(super) fn configuration(overrides: &Overrides) -> anyhow::Result<(Config, Option<PathBuf>)> {
    let file = config_file(overrides, &Environment::from_process(std::env::vars_os())).map(|(file, _)| file);
    match load(overrides, std::env::vars_os()) {
        Ok(loaded) => Ok((loaded.config, file)),
        Err(LoadError { findings, .. }) => {
            let errors = findings.iter().filter(|finding| finding.severity == Severity::Error);
            let errors: Vec<_> = errors.map(ToString::to_string).collect();
            bail!("the configuration has errors:\n{}", errors.join("\n"))
        }
    }
}

/// The content of a backup, for people.
pub(super) fn describe(manifest: &Manifest, out: &mut impl Write) -> std::io::Result<()> {
    writeln!(out, "Every call that was answered before {} has its row in it.", manifest.taken_at)?;
    let journal = &manifest.journal;
    if let Some(ledger) = &manifest.ledger {
        let cost = NanoDollars(ledger.cost_nanousd) + NanoDollars(journal.cost_nanousd);
        writeln!(
            out,
            "rows:      {} ({} of them in the journal), ${:.6}",
            ledger.rows + journal.rows,
            journal.rows,
            cost.dollars()
        )?;
        writeln!(out, "keys:      {}", ledger.keys)?;
        writeln!(out, "entities:  {}", ledger.entities)?;
    } else {
        writeln!(out, "journal:   {} rows, which the server may have already", journal.rows)?;
    }
    writeln!(out, "under way: {} calls; they become rows 'interrupted'", journal.open_calls)?;
    let config = manifest.files.iter().filter_map(|file| file.origin.as_deref()).collect::<Vec<_>>();
    if !config.is_empty() {
        writeln!(out, "config:    {}", config.join(", "))?;
    }
    Ok(())
}

/// The file to write: a name of its own in a folder, or the one that was given.
fn target(to: Option<&Path>, now: Timestamp) -> PathBuf {
    let name = format!("fleetgate-{}.tar.zst", now.strftime("%Y%m%dT%H%M%SZ"));
    match to {
        None => PathBuf::from(name),
        Some(folder) if folder.is_dir() => folder.join(name),
        Some(file) => file.to_owned(),
    }
}

/// The configuration with its includes and the variables beside it. What lies below its folder keeps its place there.
fn configuration_files(file: &Path) -> anyhow::Result<Vec<ExtraFile>> {
    let main = std::fs::canonicalize(file).with_context(|| format!("cannot read {}", file.display()))?;
    let folder = main.parent().unwrap_or(Path::new("/")).to_owned();
    let mut found = files(file);
    found.extend(BESIDE.map(|name| folder.join(name)).into_iter().filter(|path| path.exists()));
    let extra = found.into_iter().enumerate().map(|(number, path)| {
        let name = match path.strip_prefix(&folder) {
            Ok(below) => below.display().to_string(),
            Err(_) => format!("elsewhere/{number}-{}", path.file_name().unwrap_or_default().to_string_lossy()),
        };
        ExtraFile { name, path }
    });
    Ok(extra.collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_folder_gets_a_file_named_by_the_time() {
        let folder = tempfile::tempdir().unwrap();
        let name = "fleetgate-19700101T000000Z.tar.zst";
        assert_eq!(target(Some(folder.path()), Timestamp::UNIX_EPOCH), folder.path().join(name));
        assert_eq!(target(None, Timestamp::UNIX_EPOCH), Path::new(name));
        assert_eq!(target(Some(Path::new("a/b.zst")), Timestamp::UNIX_EPOCH), Path::new("a/b.zst"));
    }

    #[test]
    fn a_configuration_is_taken_with_its_includes_and_variables() {
        let folder = tempfile::tempdir().unwrap();
        let config = folder.path().join("etc");
        std::fs::create_dir_all(config.join("parts")).unwrap();
        std::fs::write(config.join("config.yaml"), "include: [parts/models.yaml, ../other.yaml]\n").unwrap();
        std::fs::write(config.join("parts/models.yaml"), "model_list: []\n").unwrap();
        std::fs::write(folder.path().join("other.yaml"), "litellm_settings: {}\n").unwrap();
        std::fs::write(config.join("gateway.env"), "LITELLM_MASTER_KEY=sk-x\n").unwrap();
        let mut names: Vec<_> = configuration_files(&config.join("config.yaml")).unwrap();
        names.sort_by(|one, other| one.name.cmp(&other.name));
        let names: Vec<_> = names.iter().map(|file| file.name.as_str()).collect();
        let number = names[1].trim_start_matches("elsewhere/").trim_end_matches("-other.yaml");
        assert!(number.parse::<usize>().is_ok(), "{names:?}");
        assert_eq!([names[0], names[2], names[3]], ["config.yaml", "gateway.env", "parts/models.yaml"]);
    }
}
