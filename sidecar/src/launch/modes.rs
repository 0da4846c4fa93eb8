//! `modes.toml`: the shipped file, and the person's own laid over it.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::{fs, io};

use serde::Deserialize;

use super::launcher::Launcher;
use super::mode::{ModeName, ModeTable, Model, ProgramTable};
use super::program::Program;

const SHIPPED: &str = include_str!("../../../shell/modes.toml");
const SHIPPED_NAME: &str = "shell/modes.toml";
/// Whose tables serve the launchers without a mode.
const NATIVE: &str = "native";

/// All modes of this machine.
#[derive(Debug)]
pub struct Modes {
    modes: BTreeMap<ModeName, Mode>,
    /// The person's own file, whether it exists or not.
    pub own_file: Option<PathBuf>,
    /// Why the person's own file is left aside. The modes are the shipped ones then.
    pub problem: Option<ModesFileError>,
}

/// A mode as it is in force.
#[derive(Debug, Clone)]
pub struct Mode {
    /// Its name.
    pub name: ModeName,
    pub(super) table: ModeTable,
    /// Where it comes from.
    pub origin: Origin,
}

/// Where a mode comes from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Origin {
    /// The file that this program brings.
    Shipped,
    /// The same, with keys of the person's own file laid over it.
    Changed,
    /// The person's own file alone.
    Own,
}

/// Why a `modes.toml` cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum ModesFileError {
    /// It cannot be read.
    #[error("cannot read {path}: {source}")]
    Unreadable {
        /// The file.
        path: PathBuf,
        /// The operating system's reason.
        source: io::Error,
    },
    /// Its form, a key's name or a value. What stands there is not shown: it may be a secret.
    #[error("{path}:{line}: {message}")]
    Invalid {
        /// The file.
        path: PathBuf,
        /// The line, counted from 1.
        line: usize,
        /// What is wrong, and what may stand there.
        message: String,
    },
    /// The shells look for headings and nothing else.
    #[error(
        "{path}: mode {mode} has no line that is exactly [mode.{mode}]; begin its table so, that the shells find it"
    )]
    Heading {
        /// The file.
        path: PathBuf,
        /// The mode.
        mode: ModeName,
    },
}

/// The file as it is written.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct File {
    #[serde(default)]
    mode: BTreeMap<ModeName, ModeTable>,
}

impl Modes {
    /// The shipped modes with the person's own file laid over them. A file that does not exist says nothing; one that cannot be
    /// used is left aside whole, and [`Modes::problem`] says why.
    #[must_use]
    pub fn load(own_file: Option<PathBuf>) -> Self {
        // A test reads the shipped file: it is never broken.
        let shipped = parse(SHIPPED, Path::new(SHIPPED_NAME)).unwrap_or_default();
        let mut modes: BTreeMap<ModeName, Mode> = shipped
            .into_iter()
            .map(|(name, table)| (name.clone(), Mode { name, table, origin: Origin::Shipped }))
            .collect();
        let own = own_file.as_deref().map_or(Ok(BTreeMap::new()), |path| read(path, &modes));
        let (own, problem) = match own {
            Ok(own) => (own, None),
            Err(problem) => (BTreeMap::new(), Some(problem)),
        };
        for (name, table) in own {
            modes
                .entry(name.clone())
                .and_modify(|mode| {
                    mode.origin = Origin::Changed;
                    mode.table.lay_over(table.clone());
                })
                .or_insert(Mode { name, table, origin: Origin::Own });
        }
        Self { modes, own_file, problem }
    }

    /// A mode that is not hidden.
    #[must_use]
    pub fn get(&self, name: &ModeName) -> Option<&Mode> {
        self.modes.get(name).filter(|mode| mode.is_enabled())
    }

    /// Whose tables serve launchers without a mode: `native`, also when its name is hidden.
    #[must_use]
    pub fn without_mode(&self) -> Option<&Mode> {
        self.modes.get(&NATIVE.parse().ok()?)
    }

    /// All of them, hidden ones too, by name.
    pub fn all(&self) -> impl Iterator<Item = &Mode> {
        self.modes.values()
    }
}

impl Mode {
    /// Whether it is not hidden by `enabled = false`.
    #[must_use]
    pub fn is_enabled(&self) -> bool {
        self.table.enabled != Some(false)
    }

    /// What it is, in a few words.
    #[must_use]
    pub fn description(&self) -> &str {
        self.table.description.as_deref().unwrap_or_default()
    }

    /// The launchers that it is for.
    #[must_use]
    pub fn launchers(&self) -> &[Launcher] {
        self.table.launchers.as_deref().unwrap_or(&Launcher::ALL)
    }

    /// Whether it is for this program. Programs that are no launcher may take every mode.
    #[must_use]
    pub fn is_for(&self, program: Program) -> bool {
        match program {
            Program::Known(launcher) => self.launchers().contains(&launcher),
            Program::Plain => true,
        }
    }

    pub(super) fn own_of(&self, program: Program) -> Option<&ProgramTable> {
        self.table.of(program)
    }

    /// The model that a program asks for; none is the program's own choice.
    #[must_use]
    pub fn model(&self, program: Program) -> Option<&Model> {
        self.own_of(program).and_then(|own| own.model.as_ref()).or(self.table.model.as_ref())
    }

    /// The model for titles, summaries and the like.
    #[must_use]
    pub fn small_model(&self, program: Program) -> Option<&Model> {
        let own = self.own_of(program);
        own.and_then(|own| own.small_model.as_ref().or(own.model.as_ref()))
            .or(self.table.small_model.as_ref())
            .or(self.table.model.as_ref())
    }

    /// How much the model can read at once, in tokens.
    #[must_use]
    pub fn context_tokens(&self, program: Program) -> Option<u64> {
        let own = self.own_of(program).and_then(|own| own.context_tokens);
        own.or(self.table.context_tokens).map(std::num::NonZeroU64::get)
    }
}

fn read(path: &Path, shipped: &BTreeMap<ModeName, Mode>) -> Result<BTreeMap<ModeName, ModeTable>, ModesFileError> {
    let text = match fs::read_to_string(path) {
        Ok(text) => text,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(BTreeMap::new()),
        Err(source) => return Err(ModesFileError::Unreadable { path: path.to_owned(), source }),
    };
    let own = parse(&text, path)?;
    let is_found = |name: &ModeName| {
        shipped.contains_key(name) || text.lines().any(|line| line.trim_end() == format!("[mode.{name}]"))
    };
    match own.keys().find(|name| !is_found(name)) {
        Some(mode) => Err(ModesFileError::Heading { path: path.to_owned(), mode: mode.clone() }),
        None => Ok(own),
    }
}

fn parse(text: &str, path: &Path) -> Result<BTreeMap<ModeName, ModeTable>, ModesFileError> {
    let file: Result<File, toml::de::Error> = toml::from_str(text);
    file.map(|file| file.mode).map_err(|error| {
        let before = error.span().and_then(|span| text.get(..span.start)).unwrap_or_default();
        ModesFileError::Invalid {
            path: path.to_owned(),
            line: before.matches('\n').count() + 1,
            message: without_values(error.message()),
        }
    })
}

/// serde names a value of the wrong type (`string "…"`); its type is enough.
fn without_values(message: &str) -> String {
    let Some(rest) = message.strip_prefix("invalid type: ") else { return message.to_owned() };
    let Some((found, expected)) = rest.rsplit_once(", expected ") else { return message.to_owned() };
    let kind = found.split([' ', '"', '`']).next().unwrap_or_default();
    format!("this is a {kind}, and should be {expected}")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn with_own(text: &str) -> Modes {
        let home = tempfile::tempdir().unwrap();
        let path = home.path().join("modes.toml");
        fs::write(&path, text).unwrap();
        Modes::load(Some(path))
    }

    fn mode<'a>(modes: &'a Modes, name: &str) -> &'a Mode {
        modes.get(&name.parse().unwrap()).unwrap()
    }

    #[test]
    fn the_shipped_modes_are_read_and_each_has_the_heading_that_shells_look_for() {
        let shipped = parse(SHIPPED, Path::new(SHIPPED_NAME)).unwrap();
        let names: Vec<&str> = shipped.keys().map(ModeName::as_str).collect();
        assert_eq!(names, ["deepseek", "glm", "kimi", "minimax", "native", "openrouter", "qwen"]);
        for name in names {
            assert!(SHIPPED.lines().any(|line| line == format!("[mode.{name}]")), "{name}");
        }
        let modes = Modes::load(None);
        assert!(modes.problem.is_none() && modes.without_mode().is_some());
        assert!(
            modes.all().all(|mode| mode.origin == Origin::Shipped && !mode.launchers().contains(&Launcher::Gemini))
        );
    }

    #[test]
    fn an_own_file_is_laid_over_the_shipped_one_key_by_key() {
        let modes = with_own(
            "[mode.glm]\nsmall_model = 'air'\n[mode.glm.claude]\nenv = { A = 1, B = true }\n[mode.kimi]\nenabled = false\n[mode.mine]\nmodel = 'm'\n",
        );
        assert!(modes.problem.is_none(), "{:?}", modes.problem);
        let claude = Program::Known(Launcher::Claude);
        let glm = mode(&modes, "glm");
        assert_eq!(glm.origin, Origin::Changed);
        assert_eq!(glm.model(claude).unwrap().as_str(), "glm");
        assert_eq!(glm.small_model(claude).unwrap().as_str(), "air");
        let own = glm.own_of(claude).unwrap();
        let env: Vec<_> = own.env.iter().map(|(name, value)| (name.as_str(), value.as_str())).collect();
        assert_eq!(env, [("A", "1"), ("B", "true")]);
        assert_eq!(own.default_env.len(), 1, "the shipped table stays");
        assert!(modes.get(&"kimi".parse().unwrap()).is_none());
        assert_eq!(mode(&modes, "mine").origin, Origin::Own);
        assert_eq!(mode(&modes, "mine").launchers(), Launcher::ALL);
    }

    #[test]
    fn a_mistake_is_named_with_its_line_and_without_its_value() {
        for (text, line, words) in [
            ("[mode.glm]\nmodle = 'sk-canary'\n", 2, "unknown field `modle`"),
            ("[mode.glm]\n\nmodel = 5\n", 3, "this is a integer, and should be a string"),
            ("[mode.glm]\nenabled = 'sk-canary'\n", 2, "this is a string, and should be a boolean"),
            ("[mode.glm]\nlaunchers = ['claude', 'cursor']\n", 2, "there are claude, codex"),
            ("[mode.glm]\nmodel = 'two words'\n", 2, "one word"),
            ("[mode.glm]\ncontext_tokens = 0\n", 2, "nonzero"),
            ("[mode.GLM]\nmodel = 'x'\n", 1, "a-z, 0-9"),
            ("[mode.fleet]\nmodel = 'x'\n", 1, "without a mode"),
            ("[mode.glm.claude]\nenv = { '1A' = 'x' }\n", 2, "does not begin with a digit"),
            ("[mode.glm.cursor]\n", 1, "unknown field `cursor`"),
            ("[modes.glm]\n", 1, "unknown field `modes`"),
            ("[mode.glm\n", 1, ""),
        ] {
            let modes = with_own(text);
            let said = modes.problem.as_ref().unwrap().to_string();
            assert!(said.contains(&format!("modes.toml:{line}: ")) && said.contains(words), "{text}: {said}");
            assert!(!said.contains("canary"), "{said}");
            assert_eq!(mode(&modes, "glm").origin, Origin::Shipped);
        }
    }

    #[test]
    fn a_new_mode_that_no_shell_would_find_is_a_mistake() {
        for text in ["mode.mine.model = 'x'\n", "[mode]\nmine = { model = 'x' }\n", "[mode.mine.claude]\nmodel = 'x'\n"]
        {
            let said = with_own(text).problem.unwrap().to_string();
            assert!(said.contains("exactly [mode.mine]"), "{said}");
        }
        assert!(with_own("[mode.glm.claude]\nmodel = 'x'\n").problem.is_none());
    }
}
