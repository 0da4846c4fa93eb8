//! One mode: which model a program asks the gateway for, and what else it needs for that.

use std::collections::BTreeMap;
use std::fmt;
use std::num::NonZeroU64;
use std::str::FromStr;

use serde::{Deserialize, Deserializer, Serialize, de};

use super::launcher::Launcher;
use super::program::Program;

/// Together with a launcher's name it stays a short name of a command and of a workload.
const LONGEST_NAME: usize = 40;
/// `claude-fleet` is Claude Code without a mode.
const RESERVED: &str = "fleet";

/// A mode's name: `[a-z0-9][a-z0-9-]*`, so that it can be part of a command's name in every shell.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String")]
pub struct ModeName(String);

/// Why a text names no mode.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ModeNameError {
    /// A character, or none at all.
    #[error(
        "{0:?} is no name of a mode: take up to {LONGEST_NAME} of a-z, 0-9 and -, beginning with a letter or digit"
    )]
    Form(String),
    /// It would take the place of the launchers without a mode.
    #[error("no mode can be named {RESERVED:?}: claude-{RESERVED} and its like are the launchers without a mode")]
    Reserved,
}

impl FromStr for ModeName {
    type Err = ModeNameError;

    fn from_str(text: &str) -> Result<Self, ModeNameError> {
        let is_word = text.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-');
        if text.is_empty() || text.len() > LONGEST_NAME || text.starts_with('-') || !is_word {
            return Err(ModeNameError::Form(text.chars().take(LONGEST_NAME).collect()));
        }
        if text == RESERVED {
            return Err(ModeNameError::Reserved);
        }
        Ok(Self(text.to_owned()))
    }
}

impl TryFrom<String> for ModeName {
    type Error = ModeNameError;

    fn try_from(text: String) -> Result<Self, ModeNameError> {
        text.parse()
    }
}

impl ModeName {
    /// The name's text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// The variable that replaces the mode's model: `FLEETGATE_MODEL_GLM`, with `_` for `-`.
    #[must_use]
    pub fn variable(&self) -> String {
        format!("FLEETGATE_MODEL_{}", self.0.to_ascii_uppercase().replace('-', "_"))
    }
}

impl fmt::Display for ModeName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// What a mode's table holds. Each key may be absent: then it says nothing.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct ModeTable {
    #[serde(skip_serializing_if = "Option::is_none")]
    pub enabled: Option<bool>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub description: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub model: Option<Model>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub small_model: Option<Model>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub context_tokens: Option<NonZeroU64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub launchers: Option<Vec<Launcher>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub claude: Option<ProgramTable>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub codex: Option<ProgramTable>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub gemini: Option<ProgramTable>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub opencode: Option<ProgramTable>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub aider: Option<ProgramTable>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub qwen: Option<ProgramTable>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub plain: Option<ProgramTable>,
}

/// What only one program needs in a mode.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct ProgramTable {
    #[serde(skip_serializing_if = "Option::is_none")]
    pub model: Option<Model>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub small_model: Option<Model>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub context_tokens: Option<NonZeroU64>,
    /// Set whatever the caller has.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub env: BTreeMap<VariableName, VariableValue>,
    /// Set where the caller has nothing.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub default_env: BTreeMap<VariableName, VariableValue>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub unset: Option<Vec<VariableName>>,
    /// Put before what the person typed.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub args: Option<Vec<String>>,
}

impl ModeTable {
    /// Lays another table over this one, key by key.
    pub(super) fn lay_over(&mut self, other: Self) {
        replace(&mut self.enabled, other.enabled);
        replace(&mut self.description, other.description);
        replace(&mut self.model, other.model);
        replace(&mut self.small_model, other.small_model);
        replace(&mut self.context_tokens, other.context_tokens);
        replace(&mut self.launchers, other.launchers);
        lay(&mut self.claude, other.claude);
        lay(&mut self.codex, other.codex);
        lay(&mut self.gemini, other.gemini);
        lay(&mut self.opencode, other.opencode);
        lay(&mut self.aider, other.aider);
        lay(&mut self.qwen, other.qwen);
        lay(&mut self.plain, other.plain);
    }

    /// What it says for one program only.
    pub(super) fn of(&self, program: Program) -> Option<&ProgramTable> {
        match program {
            Program::Known(Launcher::Claude) => self.claude.as_ref(),
            Program::Known(Launcher::Codex) => self.codex.as_ref(),
            Program::Known(Launcher::Gemini) => self.gemini.as_ref(),
            Program::Known(Launcher::Opencode) => self.opencode.as_ref(),
            Program::Known(Launcher::Aider) => self.aider.as_ref(),
            Program::Known(Launcher::Qwen) => self.qwen.as_ref(),
            Program::Plain => self.plain.as_ref(),
        }
    }
}

fn replace<T>(old: &mut Option<T>, new: Option<T>) {
    if new.is_some() {
        *old = new;
    }
}

fn lay(old: &mut Option<ProgramTable>, new: Option<ProgramTable>) {
    let Some(new) = new else { return };
    let old = old.get_or_insert_default();
    replace(&mut old.model, new.model);
    replace(&mut old.small_model, new.small_model);
    replace(&mut old.context_tokens, new.context_tokens);
    replace(&mut old.unset, new.unset);
    replace(&mut old.args, new.args);
    old.env.extend(new.env);
    old.default_env.extend(new.default_env);
}

/// A model's name as the gateway is asked for it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "String")]
pub struct Model(String);

/// A text that names no model.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "a model's name is one word without blanks and control characters, such as \"glm\" or \"openrouter/z-ai/glm-5\""
)]
pub struct ModelError;

impl TryFrom<String> for Model {
    type Error = ModelError;

    fn try_from(text: String) -> Result<Self, ModelError> {
        let bad = text.is_empty() || text.contains(|c: char| c.is_whitespace() || c.is_control());
        if bad { Err(ModelError) } else { Ok(Self(text)) }
    }
}

impl Model {
    /// The name's text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

/// The name of an environment variable.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(try_from = "String")]
pub(super) struct VariableName(String);

#[derive(Debug, thiserror::Error)]
#[error("the name of a variable is made of A-Z, a-z, 0-9 and _, and does not begin with a digit")]
pub(super) struct VariableNameError;

impl TryFrom<String> for VariableName {
    type Error = VariableNameError;

    fn try_from(text: String) -> Result<Self, VariableNameError> {
        let is_name = text.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'_');
        let digit_first = text.bytes().next().is_none_or(|b| b.is_ascii_digit());
        if is_name && !digit_first { Ok(Self(text)) } else { Err(VariableNameError) }
    }
}

impl VariableName {
    pub(super) fn as_str(&self) -> &str {
        &self.0
    }
}

/// What a variable is set to. Numbers and truth values may be written without quotes.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub(super) struct VariableValue(String);

impl VariableValue {
    pub(super) fn as_str(&self) -> &str {
        &self.0
    }
}

impl<'de> Deserialize<'de> for VariableValue {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Visitor;
        impl de::Visitor<'_> for Visitor {
            type Value = VariableValue;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a text, a whole number or true or false")
            }

            fn visit_str<E: de::Error>(self, text: &str) -> Result<VariableValue, E> {
                if text.contains('\0') {
                    return Err(E::custom("a variable cannot hold the character NUL"));
                }
                Ok(VariableValue(text.to_owned()))
            }

            fn visit_i64<E>(self, number: i64) -> Result<VariableValue, E> {
                Ok(VariableValue(number.to_string()))
            }

            fn visit_bool<E>(self, yes: bool) -> Result<VariableValue, E> {
                Ok(VariableValue(yes.to_string()))
            }
        }
        deserializer.deserialize_any(Visitor)
    }
}

impl<'de> Deserialize<'de> for Launcher {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        String::deserialize(deserializer)?.parse().map_err(de::Error::custom)
    }
}

impl Serialize for Launcher {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(self.name())
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn names_fit_into_a_commands_name() {
        for good in ["glm", "4o", "glm-5-air"] {
            assert!(good.parse::<ModeName>().is_ok(), "{good}");
        }
        let long = "x".repeat(41);
        for bad in ["", "-glm", "GLM", "glm_5", "a b", "a.b", "fleet", "gl\u{e9}", &long] {
            assert!(bad.parse::<ModeName>().is_err(), "{bad}");
        }
        assert_eq!("glm-5-air".parse::<ModeName>().unwrap().variable(), "FLEETGATE_MODEL_GLM_5_AIR");
    }

    proptest! {
        #[test]
        fn any_name_that_is_taken_is_a_bare_key_of_toml(text in "\\PC{0,50}") {
            if let Ok(name) = text.parse::<ModeName>() {
                let heading = format!("[mode.{name}]\nmodel = 'x'");
                prop_assert!(heading.parse::<toml::Table>().is_ok());
            }
        }
    }
}
