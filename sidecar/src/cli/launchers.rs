//! `fleetgate launchers`

use std::fmt::Write;
use std::path::PathBuf;
use std::time::{Duration, UNIX_EPOCH};

use clap::{Args, Subcommand};
use serde_json::{Value, json};

use super::run::{find, own_modes};
use super::table::Table;
use super::{CliError, print};
use crate::forward::GatewayUrl;
use crate::launch::{Launcher, Mode, ModeName, Modes, Program};
use crate::settings::{self, Change, Configured, Conflict, Kind, Outcome, State, Surroundings, Target, Unconfigured};

/// The form of the JSON. A new field leaves it as it is; a changed or lost one raises it.
const FORM: u32 = 1;
/// The last second that can be shown as a date: the end of the year 9999.
const LATEST: u64 = 253_402_300_799;
#[derive(Debug, Args)]
#[command(args_conflicts_with_subcommands = true)]
pub(super) struct LaunchersArgs {
    #[command(subcommand)]
    command: Option<Command>,
    /// As one JSON object
    #[arg(long)]
    json: bool,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Write the launcher's own settings, for editors, desktop programs and background agents that no shell starts
    Configure(ConfigureArgs),
    /// Take back what `configure` wrote, and nothing else
    Unconfigure(FileArgs),
}

#[derive(Debug, Args)]
struct ConfigureArgs {
    #[command(flatten)]
    file: FileArgs,
    /// What to flip it onto: glm, kimi …; without it, it keeps its own models
    #[arg(long, value_name = "MODE")]
    mode: Option<ModeName>,
    /// The sidecar
    #[arg(long, env = "FLEETGATE_URL", value_name = "URL", default_value = settings::DEFAULT_SIDECAR)]
    url: GatewayUrl,
}

#[derive(Debug, Args)]
struct FileArgs {
    /// claude, codex, gemini, opencode, aider or qwen
    launcher: Launcher,
    /// Another file than the user's own, for example a project's
    #[arg(long, value_name = "FILE")]
    file: Option<PathBuf>,
    /// Only say what would be done
    #[arg(long)]
    dry_run: bool,
}

/// What a mode asks of this launcher.
fn mode(name: ModeName, launcher: Launcher) -> Result<settings::Mode, CliError> {
    let modes = Modes::load(own_modes());
    let mode = find(&modes, name)?;
    let program = Program::Known(launcher);
    if !mode.is_for(program) {
        return Err(CliError::NotForLauncher { mode: mode.name.as_str().to_owned(), launcher: launcher.name() });
    }
    Ok(settings::Mode {
        name: mode.name.as_str().to_owned(),
        model: mode.model(program).map(|model| model.as_str().to_owned()),
        context_tokens: mode.context_tokens(program),
    })
}

/// The modes that this launcher can be flipped onto, or any can.
fn mode_names(launcher: Option<Launcher>) -> Vec<String> {
    let modes = Modes::load(own_modes());
    let is_for = |mode: &&Mode| launcher.is_none_or(|launcher| mode.is_for(Program::Known(launcher)));
    let usable = modes.all().filter(|mode| mode.is_enabled()).filter(is_for);
    usable.map(|mode| mode.name.as_str().to_owned()).collect()
}

pub(super) fn run(args: LaunchersArgs) -> Result<(), CliError> {
    let surroundings = Surroundings::of_this_process();
    let text = match args.command {
        None => list(&surroundings, args.json)?,
        Some(Command::Configure(args)) => configure(&args, &surroundings)?,
        Some(Command::Unconfigure(args)) => unconfigure(&args, &surroundings)?,
    };
    Ok(print(&text)?)
}

fn list(surroundings: &Surroundings, as_json: bool) -> Result<String, CliError> {
    let look = |launcher: &Launcher| settings::state(*launcher, surroundings);
    let states: Vec<State> = Launcher::ALL.iter().map(look).collect::<Result<_, _>>()?;
    if as_json {
        let launchers: Vec<Value> = states.iter().map(as_value).collect();
        return Ok(json!({"form": FORM, "launchers": launchers}).to_string() + "\n");
    }
    let mut table = Table::new(["launcher", "version", "command", "settings"]);
    let mut notes = String::new();
    for state in &states {
        let name = state.launcher.name();
        let version = state.installed.as_ref().map_or("-", |found| found.version.as_deref().unwrap_or("?"));
        let command = state.installed.as_ref().map(|found| found.path.display().to_string());
        let command = command.unwrap_or_else(|| "not installed".to_owned());
        table.push([name.to_owned(), version.to_owned(), command, summary(state)]);
        for line in details(state) {
            let _ = writeln!(notes, "{name}: {}", line.replace(char::is_control, "?"));
        }
    }
    let notes = if notes.is_empty() { notes } else { format!("\n{notes}") };
    Ok(format!("{table}{notes}\nmodes: {}\n", mode_names(None).join(", ")))
}

/// One word or two for the table.
fn summary(state: &State) -> String {
    let leads_away = state.conflicts.iter().any(|conflict| conflict.kind == Kind::LeadsAway);
    let mode = state.configured.iter().find(|file| !file.is_gone).map(|file| file.mode.as_deref());
    match mode {
        _ if leads_away => "lead elsewhere".to_owned(),
        Some(Some(mode)) => format!("configured for {mode}"),
        Some(None) => "configured".to_owned(),
        None if state.conflicts.is_empty() => "-".to_owned(),
        None => "beat the shell".to_owned(),
    }
}

fn details(state: &State) -> Vec<String> {
    let configured = state.configured.iter().map(|file| {
        let path = file.file.display();
        let since = httpdate::fmt_http_date(UNIX_EPOCH + Duration::from_secs(file.since.min(LATEST)));
        // `Mon, 23 Nov 2026 06:10:41 GMT`: day and minute are enough for people.
        let since = since.get(5..22).unwrap_or(&since).to_owned();
        match file.changed_since.as_slice() {
            _ if file.is_gone => format!("{path} was configured on {since} and is gone"),
            [] => format!("{path} is configured since {since}"),
            keys => format!("{path} is configured since {since}, but for {}", keys.join(", ")),
        }
    });
    configured.chain(state.conflicts.iter().map(describe)).collect()
}

/// What a key of a settings file does, in words.
fn describe(conflict: &Conflict) -> String {
    let (file, key) = (conflict.file.display(), &conflict.key);
    match conflict.kind {
        Kind::LeadsAway => format!("{file}: {key} leads around the sidecar"),
        Kind::Credential => format!("{file}: {key} may hold a provider's own key"),
        Kind::Overrides => format!("{file}: {key} beats the shell"),
        Kind::SavedLogin => format!("{file}: {key} is left of an earlier login"),
        Kind::CannotStart => format!("{file}: {key} keeps it from starting"),
        Kind::Unreadable { line } => format!("{file}:{line}: cannot be read"),
    }
}

fn as_value(state: &State) -> Value {
    let installed = state.installed.as_ref().map(|found| json!({"path": found.path, "version": found.version}));
    let configured = state.configured.iter().map(|file| {
        let (is_gone, changed) = (file.is_gone, &file.changed_since);
        json!({"file": file.file, "mode": file.mode, "since": file.since, "is_gone": is_gone, "changed_since": changed})
    });
    let conflicts = state.conflicts.iter().map(|conflict| {
        let (kind, line) = match conflict.kind {
            Kind::LeadsAway => ("leads_away", None),
            Kind::Credential => ("credential", None),
            Kind::Overrides => ("overrides", None),
            Kind::SavedLogin => ("saved_login", None),
            Kind::CannotStart => ("cannot_start", None),
            Kind::Unreadable { line } => ("unreadable", Some(line)),
        };
        json!({"file": conflict.file, "key": conflict.key, "kind": kind, "line": line})
    });
    json!({
        "launcher": state.launcher.name(),
        "installed": installed,
        "configured": configured.collect::<Vec<_>>(),
        "conflicts": conflicts.collect::<Vec<_>>(),
        "modes": mode_names(Some(state.launcher)),
    })
}

fn configure(args: &ConfigureArgs, surroundings: &Surroundings) -> Result<String, CliError> {
    let FileArgs { launcher, file, dry_run } = &args.file;
    let url = args.url.to_string();
    let mode = args.mode.clone().map(|name| mode(name, *launcher)).transpose()?;
    let target = Target { launcher: *launcher, mode: mode.as_ref(), url: url.trim_end_matches('/') };
    let done = settings::configure(&target, file.as_deref(), *dry_run, surroundings)?;
    let mut text: String = done.iter().map(|done| tell(done, *dry_run)).collect();
    if *dry_run {
        return Ok(text + "nothing was written\n");
    }
    if done.iter().any(|done| !done.keys.is_empty()) {
        let _ = writeln!(text, "take it back with: fleetgate launchers unconfigure {}", launcher.name());
    }
    let is_ours = |file: &PathBuf| done.iter().any(|done| done.file == *file);
    for conflict in settings::beaten(&target, surroundings) {
        // In the file itself, another key beats the shell and not what was written.
        if conflict.kind != Kind::Overrides || !is_ours(&conflict.file) || conflict.key == "apiKeyHelper" {
            let _ = writeln!(text, "note: {}", describe(&conflict));
        }
    }
    Ok(text)
}

fn tell(done: &Configured, dry_run: bool) -> String {
    let file = done.file.display();
    if done.keys.is_empty() {
        return format!("{file} is as it shall be; nothing was changed\n");
    }
    let mut text = if done.is_new { format!("{file} (new)\n") } else { format!("{file}\n") };
    for (key, change) in &done.keys {
        let word = match change {
            Change::Added => "add",
            Change::Replaced => "replace",
            Change::Removed => "remove",
        };
        let _ = writeln!(text, "  {word:<8} {key}");
    }
    for key in &done.taken_over {
        let _ = writeln!(text, "  {key} had been changed since it was configured");
    }
    if let Some(backup) = done.backup.as_ref().filter(|_| !dry_run) {
        let _ = writeln!(text, "as it was: {}", backup.display());
    }
    text
}

fn unconfigure(args: &FileArgs, surroundings: &Surroundings) -> Result<String, CliError> {
    let done = settings::unconfigure(args.launcher, args.file.as_deref(), args.dry_run, surroundings)?;
    if done.is_empty() {
        return Ok(format!("nothing of {} is configured; nothing was changed\n", args.launcher.name()));
    }
    let text: String = done.iter().map(tell_back).collect();
    Ok(if args.dry_run { text + "nothing was written\n" } else { text })
}

fn tell_back(done: &Unconfigured) -> String {
    let file = done.file.display();
    let mut text = match done.outcome {
        Outcome::AsItWas => format!("{file} is as it was\n"),
        Outcome::KeysTakenBack => format!("{file} holds nothing of ours any more; other changes stay\n"),
        Outcome::Removed => format!("{file} was ours and is removed\n"),
        Outcome::Gone => format!("{file} was removed by somebody else\n"),
    };
    for key in &done.left {
        let _ = writeln!(text, "  {key} was changed since, and stays");
    }
    if let Some(backup) = &done.backup {
        let _ = writeln!(text, "as it was before: {}", backup.display());
    }
    text
}
