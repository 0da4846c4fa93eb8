//! From what was typed to what is started.

use std::ffi::{OsStr, OsString};
use std::path::{Path, PathBuf};

use super::child::{Child, Environment};
use super::launcher::Launcher;
use super::mode::{Model, ModelError};
use super::modes::Mode;
use super::places::Lookup;
use super::program::Program;
use super::url::{SidecarUrl, SidecarUrlError};
use super::{aider, claude, codex, foreign, gemini, headers, no_proxy, opencode, plain, qwen};

/// What a person wants to start.
#[derive(Debug)]
pub struct Request<'a> {
    /// The mode that was named.
    pub mode: Option<&'a Mode>,
    /// Whose tables serve where none was.
    pub without_mode: Option<&'a Mode>,
    /// The launcher that was named, where the command's name does not say it.
    pub launcher: Option<Launcher>,
    /// The program.
    pub command: &'a OsStr,
    /// Its arguments.
    pub arguments: &'a [OsString],
    /// Whether other https calls go through the sidecar too.
    pub proxy: bool,
    /// The caller's variables.
    pub caller: &'a Environment,
    /// Where settings of programs lie.
    pub places: Places,
}

/// Where programs look for their settings.
#[derive(Clone, Debug)]
pub struct Places {
    /// The person's home.
    pub home: Option<PathBuf>,
    /// The directory in which the program starts.
    pub directory: Option<PathBuf>,
    /// `/`, below which the machine's administrator keeps settings.
    pub system: PathBuf,
}

/// Why a program is not started.
#[derive(Debug, thiserror::Error)]
pub enum LaunchError {
    /// `FLEETGATE_URL`.
    #[error(transparent)]
    Url(#[from] SidecarUrlError),
    /// `FLEETGATE_MODEL_…`.
    #[error("{variable}: {source}")]
    Model {
        /// The variable.
        variable: String,
        /// What is wrong.
        source: ModelError,
    },
    /// The pair does not work, or the person does not want it.
    #[error("{subject} is not for {launcher}: {why}")]
    NotFor {
        /// `mode glm`, or what runs without a mode.
        subject: String,
        /// The launcher's name.
        launcher: &'static str,
        /// Why, and what to do.
        why: String,
    },
    /// A settings file beats everything that can be set from outside.
    #[error("{} sets {}, which {program} obeys whatever it is started with; {next}", .file.display(), .keys.join(", "))]
    Settings {
        /// The file.
        file: PathBuf,
        /// What in it is in the way.
        keys: Vec<String>,
        /// The program.
        program: &'static str,
        /// What to do.
        next: String,
    },
}

/// What each launcher's file works with.
#[derive(Debug)]
pub(super) struct Plan<'a> {
    pub url: SidecarUrl,
    /// The name in the ledger; none where the sidecar finds a better one by itself.
    pub workload: Option<String>,
    pub models: Option<Models>,
    pub context_tokens: Option<u64>,
    pub caller: &'a Environment,
    pub arguments: &'a [OsString],
    pub places: &'a Places,
}

/// What a mode asks the gateway for.
#[derive(Debug)]
pub(super) struct Models {
    pub main: Model,
    pub small: Model,
}

impl Plan<'_> {
    /// The address of calls in which the workload's name is no header.
    pub(super) fn base(&self) -> String {
        self.url.with_workload(self.workload.as_deref())
    }

    pub(super) fn caller(&self, name: &str) -> Option<&str> {
        self.caller.get(OsStr::new(name))?.to_str().filter(|value| !value.is_empty())
    }

    /// A path that a variable names, else one below the home.
    pub(super) fn directory(&self, variable: &str, below_home: &str) -> Option<PathBuf> {
        let named = self.caller.get(OsStr::new(variable)).filter(|value| !value.is_empty()).map(PathBuf::from);
        named.or_else(|| Some(self.places.home.as_ref()?.join(below_home)))
    }

    /// What this machine has of settings, by the caller's variables.
    pub(super) fn with_lookup<T>(&self, read: impl FnOnce(&Lookup<'_>) -> T) -> T {
        let variable =
            |name: &str| self.caller.get(OsStr::new(name)).filter(|value| !value.is_empty()).map(PathBuf::from);
        read(&Lookup {
            home: self.places.home.as_deref(),
            directory: self.places.directory.as_deref(),
            system: &self.places.system,
            variable: &variable,
        })
    }

    /// The directory in which the program starts, and those above it.
    pub(super) fn above(&self) -> impl Iterator<Item = &Path> {
        self.places.directory.iter().flat_map(|directory| directory.ancestors())
    }
}

/// Works out how a program is started.
///
/// # Errors
/// When it cannot be led through the sidecar, or its mode is not for it.
pub fn prepare(request: &Request<'_>) -> Result<Child, LaunchError> {
    let program = Program::find(request.launcher, request.command);
    let mode = request.mode.or(request.without_mode);
    if let (Some(mode), Program::Known(launcher)) = (mode, program) {
        refuse_wrong_pair(request, mode, launcher)?;
    }
    let plan = Plan {
        url: url(request.caller)?,
        workload: workload(request, program),
        models: models(request, mode, program)?,
        context_tokens: mode.and_then(|mode| mode.context_tokens(program)),
        caller: request.caller,
        arguments: request.arguments,
        places: &request.places,
    };
    let mut child = Child::new(request.command, request.arguments);
    foreign::take_out(&mut child, plan.caller);
    headers::take_out_credentials(&mut child, plan.caller);
    no_proxy::set(&mut child, plan.caller, &plan.url);
    if request.proxy {
        no_proxy::tunnel(&mut child, &plan.url);
    }
    match program {
        Program::Known(Launcher::Claude) => claude::wire(&mut child, &plan),
        Program::Known(Launcher::Codex) => codex::wire(&mut child, &plan)?,
        Program::Known(Launcher::Gemini) => gemini::wire(&mut child, &plan)?,
        Program::Known(Launcher::Opencode) => opencode::wire(&mut child, &plan)?,
        Program::Known(Launcher::Aider) => aider::wire(&mut child, &plan),
        Program::Known(Launcher::Qwen) => qwen::wire(&mut child, &plan)?,
        Program::Plain => plain::wire(&mut child, &plan),
    }
    if let Some(mode) = mode {
        add_own(&mut child, mode, program, plan.caller);
    }
    if program == Program::Known(Launcher::Claude) {
        // Last, because whatever was set above may be beaten by a file.
        claude::override_settings(&mut child, &plan)?;
    }
    Ok(child)
}

fn url(caller: &Environment) -> Result<SidecarUrl, SidecarUrlError> {
    match caller.get(OsStr::new("FLEETGATE_URL")).filter(|url| !url.is_empty()) {
        Some(url) => url.to_str().ok_or(SidecarUrlError)?.parse(),
        None => Ok(SidecarUrl::default()),
    }
}

/// `claude-glm`; `claude-fleet` without a mode. A plain program without a mode is best named by the sidecar, which sees the script.
fn workload(request: &Request<'_>, program: Program) -> Option<String> {
    let name = match program {
        Program::Known(launcher) => launcher.name().to_owned(),
        Program::Plain => {
            let file = Path::new(request.command).file_name().unwrap_or_default().to_string_lossy();
            request.mode?;
            // It becomes a part of a path.
            file.chars()
                .map(|c| if c.is_ascii_alphanumeric() || "._-".contains(c) { c } else { '_' })
                .take(60)
                .collect()
        }
    };
    Some(format!("{name}-{}", request.mode.map_or("fleet", |mode| mode.name.as_str())))
}

fn models(request: &Request<'_>, mode: Option<&Mode>, program: Program) -> Result<Option<Models>, LaunchError> {
    let variable = match (request.mode, program) {
        (Some(mode), _) => Some(mode.name.variable()),
        (None, Program::Known(Launcher::Codex)) => Some("FLEETGATE_MODEL_CODEX".to_owned()),
        (None, _) => None,
    };
    if let Some(variable) = variable
        && let Some(name) = request.caller.get(OsStr::new(&variable)).filter(|name| !name.is_empty())
    {
        let model = name.to_str().map_or(Err(ModelError), |name| Model::try_from(name.to_owned()));
        let main = model.map_err(|source| LaunchError::Model { variable, source })?;
        return Ok(Some(Models { small: main.clone(), main }));
    }
    let Some(mode) = mode else { return Ok(None) };
    let Some(main) = mode.model(program).cloned() else { return Ok(None) };
    let small = mode.small_model(program).unwrap_or(&main).clone();
    Ok(Some(Models { main, small }))
}

fn refuse_wrong_pair(request: &Request<'_>, mode: &Mode, launcher: Launcher) -> Result<(), LaunchError> {
    if mode.is_for(Program::Known(launcher)) {
        return Ok(());
    }
    let name = &mode.name;
    let subject = match request.mode {
        Some(mode) => format!("mode {}", mode.name),
        None => format!("running without a mode (its tables are those of mode {name})"),
    };
    let listed = mode.launchers().iter().map(|launcher| launcher.name()).collect::<Vec<_>>().join(", ");
    let allow = format!(
        "to try all the same, name it in `launchers` of [mode.{name}] in your modes.toml (fleetgate modes says where it lies)"
    );
    let why = match launcher {
        Launcher::Gemini => format!(
            "gemini-cli speaks Google's own dialect, which the gateway does not speak yet and translates into no other; {allow}"
        ),
        _ => format!("its `launchers` are {listed}; {allow}"),
    };
    Err(LaunchError::NotFor { subject, launcher: launcher.name(), why })
}

/// What the mode's own table for this program says.
fn add_own(child: &mut Child, mode: &Mode, program: Program, caller: &Environment) {
    let Some(own) = mode.own_of(program) else { return };
    for (name, value) in &own.default_env {
        child.set_default(caller, name.as_str(), value.as_str());
    }
    for (name, value) in &own.env {
        child.set(name.as_str(), value.as_str());
    }
    for name in own.unset.iter().flatten() {
        child.unset(&[name.as_str()]);
    }
    child.added.extend(own.args.iter().flatten().map(OsString::from));
}
