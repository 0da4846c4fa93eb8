//! Which keys of which files lead a launcher to the sidecar.

mod aider;
mod claude;
mod codex;
mod gemini;
mod opencode;
mod qwen;

use std::path::{Path, PathBuf};

use serde_json::Value;

use super::document::{Format, Key};
use super::surroundings::Surroundings;
use crate::launch::Launcher;

/// The credential that launchers are given. The sidecar takes it out and puts the host's key in.
pub(super) const PLACEHOLDER: &str = "fleetgate";
/// By which header a call says which launcher and mode it comes from.
const WORKLOAD_HEADER: &str = "x-fleetgate-workload";

/// Lists of what is called directly. Which of the two a program reads differs.
const NO_PROXY: [&str; 2] = ["NO_PROXY", "no_proxy"];
/// Whatever sends a program's calls to a proxy.
pub(super) const PROXIES: [&str; 6] =
    ["HTTPS_PROXY", "https_proxy", "HTTP_PROXY", "http_proxy", "ALL_PROXY", "all_proxy"];

/// What a launcher is flipped onto.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Mode {
    /// Its name: `glm`.
    pub name: String,
    /// The gateway's model group; none leaves the launcher its own models.
    pub model: Option<String>,
    /// The model's context window in tokens.
    pub context_tokens: Option<u64>,
}

/// What a launcher's settings shall say.
#[derive(Debug, Clone, Copy)]
pub struct Target<'a> {
    /// Whose settings.
    pub launcher: Launcher,
    /// The mode; none leaves the launcher its own models.
    pub mode: Option<&'a Mode>,
    /// The sidecar, without `/v1` and without a slash at the end.
    pub url: &'a str,
}

impl Target<'_> {
    /// The model that the mode asks for.
    fn model(&self) -> Option<&str> {
        self.mode?.model.as_deref()
    }

    fn context_tokens(&self) -> Option<u64> {
        self.mode?.context_tokens
    }

    /// As rows of the ledger name these calls: `claude-glm`, and without a mode `claude-fleet`.
    fn workload(&self) -> String {
        format!("{}-{}", self.launcher.name(), self.mode.map_or("fleet", |mode| mode.name.as_str()))
    }

    /// The base address of OpenAI's dialect.
    fn v1(&self) -> String {
        format!("{}/v1", self.url)
    }
}

/// One file and what shall be in it.
#[derive(Debug)]
pub(super) struct Plan {
    pub(super) path: PathBuf,
    pub(super) format: Format,
    pub(super) wishes: Vec<Wish>,
}

/// One key and what shall stand there.
#[derive(Debug)]
pub(super) struct Wish {
    pub(super) key: Key,
    pub(super) want: Want,
}

#[derive(Debug)]
pub(super) enum Want {
    /// This value.
    Be(Value),
    /// This value, unless somebody has chosen one.
    BeUnlessSet(Value),
    /// Nothing: it would lead calls elsewhere, or send a credential along.
    BeAbsent,
    /// One header among those that somebody has set. They stand in one text, with this between them.
    HaveHeader { between: &'static str, workload: String },
    /// The names of loopback among those that somebody has set, or that the environment has. Only where there is a list or a
    /// proxy, in the environment or beside this key: it beats what the launched program would inherit.
    HaveLoopback { inherited: Option<String> },
}

impl Want {
    /// What shall stand there instead of this; none where nothing needs to change.
    pub(super) fn instead_of(&self, now: Option<&Value>) -> Option<Option<Value>> {
        let text = now.and_then(Value::as_str);
        let wanted = match self {
            Self::Be(value) => Some(value.clone()),
            Self::BeUnlessSet(value) => Some(now.unwrap_or(value).clone()),
            Self::BeAbsent => None,
            Self::HaveHeader { between, workload } => Some(with_header(text.unwrap_or_default(), between, workload)),
            Self::HaveLoopback { inherited } => Some(with_loopback(text.or(inherited.as_deref()).unwrap_or_default())),
        };
        (wanted.as_ref() != now).then_some(wanted)
    }
}

fn with_header(headers: &str, between: &str, workload: &str) -> Value {
    let is_ours = |header: &str| {
        let name = header.split(':').next().unwrap_or_default().trim();
        name.eq_ignore_ascii_case(WORKLOAD_HEADER)
    };
    let kept = headers.split(between.trim_end_matches(' ')).map(str::trim);
    let kept = kept.filter(|header| !header.is_empty() && !is_ours(header)).map(str::to_owned);
    let all: Vec<String> = kept.chain([format!("{WORKLOAD_HEADER}: {workload}")]).collect();
    Value::String(all.join(between))
}

fn with_loopback(list: &str) -> Value {
    let mut names: Vec<&str> = list.split(',').map(str::trim).filter(|name| !name.is_empty()).collect();
    if !names.contains(&"*") {
        for name in ["127.0.0.1", "localhost", "::1"] {
            if !names.contains(&name) {
                names.push(name);
            }
        }
    }
    Value::String(names.join(","))
}

/// A list of wishes in the making.
#[derive(Debug, Default)]
struct Wishes(Vec<Wish>);

impl Wishes {
    fn be(&mut self, key: &[&str], value: impl Into<Value>) {
        self.push(key, Want::Be(value.into()));
    }

    fn be_unless_set(&mut self, key: &[&str], value: impl Into<Value>) {
        self.push(key, Want::BeUnlessSet(value.into()));
    }

    fn be_absent(&mut self, key: &[&str]) {
        self.push(key, Want::BeAbsent);
    }

    fn push(&mut self, key: &[&str], want: Want) {
        self.0.push(Wish { key: key.iter().map(|name| (*name).to_owned()).collect(), want });
    }

    /// Calls to the sidecar must not go to a proxy.
    fn spare_loopback(&mut self, below: &[&str], surroundings: &Surroundings) {
        let variable = |name: &&str| surroundings.variable(name);
        let list = NO_PROXY.iter().find_map(variable);
        let inherited = list.or(PROXIES.iter().find_map(variable).map(|_| "")).map(str::to_owned);
        for name in NO_PROXY {
            let key: Vec<&str> = below.iter().copied().chain([name]).collect();
            self.push(&key, Want::HaveLoopback { inherited: inherited.clone() });
        }
    }
}

/// The files of a launcher that belong to this user, and what shall be in them; none where no home directory is known. Of several
/// forms a file that is named gets those keys that fit its own.
pub(super) fn plan(target: &Target<'_>, file: Option<&Path>, surroundings: &Surroundings) -> Option<Vec<Plan>> {
    let plans = match target.launcher {
        Launcher::Claude => vec![claude::plan(target, surroundings)?],
        Launcher::Codex => vec![codex::plan(target, surroundings)?],
        Launcher::Gemini => gemini::plan(target, surroundings)?,
        Launcher::Opencode => vec![opencode::plan(target, surroundings)?],
        Launcher::Aider => vec![aider::plan(target, surroundings)?],
        Launcher::Qwen => vec![qwen::plan(target, surroundings)?],
    };
    let Some(file) = file else { return Some(plans) };
    let path = surroundings.directory.as_ref().map_or_else(|| file.to_owned(), |directory| directory.join(file));
    let format = Format::of(&path);
    let named = plans.into_iter().find(|plan| Some(plan.format) == format);
    Some(named.map(|plan| Plan { path, ..plan }).into_iter().collect())
}
