//! What a program is started with: its arguments, and how its environment differs from the caller's.

use std::collections::BTreeMap;
use std::ffi::{OsStr, OsString};
use std::process::Command;

use super::foreign;

/// Variables as a process has them: of any bytes.
pub type Environment = BTreeMap<OsString, OsString>;

/// Why a variable differs from the caller's.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Change {
    /// Set, whatever the caller had.
    Set(OsString),
    /// Set because the caller had nothing there.
    Default(OsString),
    /// Taken out: it would lead around the sidecar.
    Unset,
    /// Taken out: it holds a key that the program does not need.
    Foreign,
}

/// A program that is about to be started.
#[derive(Clone, Debug)]
pub struct Child {
    /// The program, as it was named.
    pub program: OsString,
    /// What Fleetgate puts before the arguments.
    pub added: Vec<OsString>,
    /// The arguments, untouched.
    pub arguments: Vec<OsString>,
    /// How the environment differs, by name.
    pub changes: BTreeMap<String, Change>,
    /// What the person should hear of, one sentence each.
    pub notes: Vec<String>,
}

impl Child {
    /// A program with the caller's environment.
    #[must_use]
    pub fn new(program: &OsStr, arguments: &[OsString]) -> Self {
        Self {
            program: program.to_owned(),
            added: Vec::new(),
            arguments: arguments.to_owned(),
            changes: BTreeMap::new(),
            notes: Vec::new(),
        }
    }

    pub(super) fn set(&mut self, name: &str, value: impl Into<OsString>) {
        self.changes.insert(name.to_owned(), Change::Set(value.into()));
    }

    /// Sets it unless the caller has it.
    pub(super) fn set_default(&mut self, caller: &Environment, name: &str, value: impl Into<OsString>) {
        if caller.get(OsStr::new(name)).is_none_or(|own| own.is_empty()) {
            self.changes.insert(name.to_owned(), Change::Default(value.into()));
        }
    }

    pub(super) fn unset(&mut self, names: &[&str]) {
        self.changes.extend(names.iter().map(|name| ((*name).to_owned(), Change::Unset)));
    }

    pub(super) fn add(&mut self, arguments: &[&str]) {
        self.added.extend(arguments.iter().map(OsString::from));
    }

    /// What a variable will be set to.
    #[must_use]
    pub fn value(&self, name: &str) -> Option<&OsStr> {
        match self.changes.get(name)? {
            Change::Set(value) | Change::Default(value) => Some(value),
            Change::Unset | Change::Foreign => None,
        }
    }

    /// The process to become.
    #[must_use]
    pub fn command(&self) -> Command {
        let mut command = Command::new(&self.program);
        command.args(&self.added).args(&self.arguments);
        for (name, change) in &self.changes {
            match change {
                Change::Set(value) | Change::Default(value) => command.env(name, value),
                Change::Unset | Change::Foreign => command.env_remove(name),
            };
        }
        command
    }

    /// What would be set, taken out and run, for people: one thing a line. No value is the caller's own, except in lists
    /// that were made longer (`NO_PROXY`) and in headers, whose values are left out.
    #[must_use]
    pub fn describe(&self, caller: &Environment) -> String {
        let mut text = String::new();
        for (name, change) in &self.changes {
            let line = match change {
                Change::Set(value) | Change::Default(value) => {
                    format!("set    {name}={}", shown(name, value))
                }
                // What is not there need not be told.
                Change::Unset | Change::Foreign if !caller.contains_key(OsStr::new(name)) => continue,
                Change::Unset => format!("unset  {name}"),
                Change::Foreign => format!("unset  {name}  # a key that is not for this program"),
            };
            text += &line;
            text.push('\n');
        }
        let words = [&self.program].into_iter().chain(&self.added).map(|word| quoted(word));
        let mut run: Vec<String> = words.collect();
        if !self.arguments.is_empty() {
            run.push(self.arguments.iter().map(|word| quoted(word)).collect::<Vec<_>>().join(" "));
        }
        text + "run    " + &run.join(" ") + "\n"
    }
}

fn shown(name: &str, value: &OsStr) -> String {
    let text = value.to_string_lossy();
    if foreign::may_be_secret(name, &text) {
        return "…".to_owned();
    }
    if !name.ends_with("_CUSTOM_HEADERS") {
        return quoted(value);
    }
    let headers = text.split(['\n', ',']).map(|line| {
        let (name, _) = line.split_once(':').unwrap_or((line, ""));
        let is_ours = name.trim().to_ascii_lowercase().starts_with(fleetgate_wire::header::PREFIX);
        if is_ours { line.to_owned() } else { format!("{name}: …") }
    });
    quoted(OsStr::new(&headers.collect::<Vec<_>>().join("\n")))
}

/// As a shell would need it.
fn quoted(word: &OsStr) -> String {
    let text = word.to_string_lossy();
    let is_plain = |c: char| c.is_ascii_alphanumeric() || "-_./:=@,+%".contains(c);
    if !text.is_empty() && text.chars().all(is_plain) {
        return text.into_owned();
    }
    let escaped: String = text.chars().map(|c| if c.is_control() && c != '\n' { '\u{fffd}' } else { c }).collect();
    format!("'{}'", escaped.replace('\'', r"'\''").replace('\n', r"'$'\n''"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_description_shows_no_value_of_the_callers() {
        let caller = Environment::from([("OPENAI_API_KEY".into(), "sk-canary".into())]);
        let mut child = Child::new(OsStr::new("claude"), &["say 'hi'".into()]);
        child.set("MY_TOKEN", "canary");
        child.set("ANTHROPIC_CUSTOM_HEADERS", "x-team: canary\nx-fleetgate-workload: claude-glm");
        child.unset(&["OPENAI_API_KEY", "NOT_THERE"]);
        child.set_default(&caller, "OPENAI_API_KEY", "x");
        child.set_default(&caller, "A", "");
        let text = child.describe(&caller);
        assert_eq!(
            text,
            "set    A=''\nset    ANTHROPIC_CUSTOM_HEADERS='x-team: …'$'\\n''x-fleetgate-workload: claude-glm'\nset    MY_TOKEN=…\nunset  OPENAI_API_KEY\nrun    claude 'say '\\''hi'\\'''\n"
        );
    }

    #[test]
    fn what_the_caller_has_wins_over_a_default_unless_it_is_empty() {
        let caller = Environment::from([("A".into(), "own".into()), ("B".into(), "".into())]);
        let mut child = Child::new(OsStr::new("x"), &[]);
        child.set_default(&caller, "A", "1");
        child.set_default(&caller, "B", "1");
        assert_eq!((child.value("A"), child.value("B")), (None, Some(OsStr::new("1"))));
    }
}
