//! A settings file as something that is changed in place: comments, order, line ends and unknown keys stay as they are.

mod dotenv;
mod json;
mod toml;
mod yaml;

use std::path::Path;

use serde_json::Value;

/// Where a setting stands: names from the outermost table inwards.
pub(super) type Key = Vec<String>;

/// How a file is written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Format {
    /// JSON, with comments and trailing commas where its tool allows them.
    Json,
    /// TOML.
    Toml,
    /// `NAME=value` lines, as dotenv reads them.
    Dotenv,
    /// YAML with a plain mapping at its top.
    Yaml,
}

impl Format {
    /// By the file's name.
    pub(super) fn of(path: &Path) -> Option<Self> {
        let name = path.file_name()?.to_str()?;
        match name.rsplit_once('.')?.1 {
            "json" | "jsonc" => Some(Self::Json),
            "toml" => Some(Self::Toml),
            "yml" | "yaml" => Some(Self::Yaml),
            "env" => Some(Self::Dotenv),
            _ => None,
        }
    }
}

/// Why a file is left as it is. No variant holds a word of the file but names of keys.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum DocumentError {
    /// Its form is broken.
    #[error("line {line}: its form is broken ({why})")]
    Malformed {
        /// Counted from 1.
        line: usize,
        /// What the parser missed.
        why: String,
    },
    /// Which of the two counts is the tool's secret.
    #[error("{key} is set twice; remove one of the two")]
    Twice {
        /// The key.
        key: String,
    },
    /// Something stands where a table should.
    #[error("{key} is no table")]
    NotATable {
        /// The key.
        key: String,
    },
    /// It is valid, but no line of it can be changed without knowing all of it.
    #[error("line {line}: {why}")]
    Unsafe {
        /// Counted from 1.
        line: usize,
        /// What is in the way.
        why: &'static str,
    },
}

/// A file that can be changed key by key.
trait Document {
    /// The value at a key.
    fn get(&self, key: &[String]) -> Result<Option<Value>, DocumentError>;
    /// Sets a key, and makes the tables around it where they are missing.
    fn set(&mut self, key: &[String], value: &Value) -> Result<(), DocumentError>;
    /// Takes a key away, whatever it holds. A comment inside keeps an empty table in its place.
    fn remove(&mut self, key: &[String]) -> Result<(), DocumentError>;
    /// Everything, as a tool reads it.
    fn value(&self) -> Value;
    /// The file's text.
    fn text(&self) -> String;
    /// Whether nothing is in it that anybody wrote, not even a comment.
    fn is_bare(&self) -> bool;
}

/// A settings file's text in its form, to be changed key by key.
pub struct Settings {
    document: Box<dyn Document>,
    has_mark: bool,
}

impl std::fmt::Debug for Settings {
    /// A settings file may hold secrets.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Settings")
    }
}

/// What some editors put before a text.
const BYTE_ORDER_MARK: char = '\u{feff}';

impl Settings {
    /// Reads a text. An empty one has no keys.
    ///
    /// # Errors
    /// When its form is broken, or cannot be kept.
    pub fn parse(format: Format, text: &str) -> Result<Self, DocumentError> {
        let inner = text.strip_prefix(BYTE_ORDER_MARK);
        let has_mark = inner.is_some();
        let inner = inner.unwrap_or(text);
        let document: Box<dyn Document> = match format {
            Format::Json => Box::new(json::Json::parse(inner)?),
            Format::Toml => Box::new(toml::Toml::parse(inner)?),
            Format::Dotenv => Box::new(dotenv::Dotenv::parse(inner)?),
            Format::Yaml => Box::new(yaml::Yaml::parse(inner)?),
        };
        let settings = Self { document, has_mark };
        if settings.text() != text {
            let why = "it cannot be written back as it is (mixed line ends?)";
            return Err(DocumentError::Unsafe { line: 1, why });
        }
        Ok(settings)
    }

    /// The value at a key.
    ///
    /// # Errors
    /// When the key stands there twice, or inside something that is no table.
    pub fn get(&self, key: &[String]) -> Result<Option<Value>, DocumentError> {
        self.document.get(key)
    }

    /// Sets a key.
    ///
    /// # Errors
    /// When it cannot be set without breaking something else.
    pub fn set(&mut self, key: &[String], value: &Value) -> Result<(), DocumentError> {
        self.document.set(key, value)
    }

    /// Takes a key away.
    ///
    /// # Errors
    /// As [`Settings::set`].
    pub fn remove(&mut self, key: &[String]) -> Result<(), DocumentError> {
        self.document.remove(key)
    }

    /// Everything, as a tool reads it.
    #[must_use]
    pub fn value(&self) -> Value {
        self.document.value()
    }

    /// The text.
    #[must_use]
    pub fn text(&self) -> String {
        let mark = if self.has_mark { String::from(BYTE_ORDER_MARK) } else { String::new() };
        mark + &self.document.text()
    }

    /// Whether nobody wrote anything into it.
    #[must_use]
    pub fn is_bare(&self) -> bool {
        self.document.is_bare()
    }
}

/// A key as people write it.
pub(super) fn dotted(key: &[String]) -> String {
    key.join(".")
}

/// The line, counted from 1, in which a place of the text lies.
fn line_at(text: &str, place: usize) -> usize {
    text.as_bytes().iter().take(place).filter(|byte| **byte == b'\n').count() + 1
}

#[cfg(test)]
mod tests;
