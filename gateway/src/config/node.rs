//! A YAML file as a tree in which every key and every value knows its line.

use std::path::Path;
use std::sync::Arc;

use super::Origin;

/// Where a node stands.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Place {
    pub(super) file: Arc<Path>,
    pub(super) line: usize,
}

impl Place {
    pub(super) fn origin(&self) -> Origin {
        Origin::File { file: self.file.to_path_buf(), line: self.line }
    }
}

/// A value and where it stands. It has no `Debug`: most of the secrets pass through here.
#[derive(Clone)]
pub(super) struct Node {
    pub(super) value: Value,
    pub(super) place: Place,
    /// The variable that `os.environ/NAME` stood for.
    pub(super) reference: Option<Reference>,
}

/// The variable behind a value.
#[derive(Debug, Clone)]
pub(super) struct Reference {
    pub(super) variable: String,
    /// Where the variable was set; `None` when it is not set.
    pub(super) origin: Option<Origin>,
}

/// What a node holds. A scalar keeps its text: `2024-10-21`, `1.10` and `qwen3:8b` are what their reader takes them for.
#[derive(Clone)]
pub(super) enum Value {
    Null,
    Scalar { text: String, plain: bool },
    List(Vec<Node>),
    Map(Vec<Entry>),
}

/// One key of a map.
#[derive(Clone)]
pub(super) struct Entry {
    pub(super) key: String,
    pub(super) place: Place,
    pub(super) node: Node,
}

impl Node {
    pub(super) fn new(value: Value, place: Place) -> Self {
        Self { value, place, reference: None }
    }

    /// Where the value came from: the variable's origin for `os.environ/NAME`, otherwise the line.
    pub(super) fn origin(&self) -> Origin {
        self.reference.as_ref().and_then(|reference| reference.origin.clone()).unwrap_or_else(|| self.place.origin())
    }

    pub(super) fn is_null(&self) -> bool {
        matches!(self.value, Value::Null)
    }

    pub(super) fn text(&self) -> Option<&str> {
        match &self.value {
            Value::Scalar { text, .. } => Some(text),
            _ => None,
        }
    }

    pub(super) fn list(&self) -> Option<&[Node]> {
        match &self.value {
            Value::List(items) => Some(items),
            _ => None,
        }
    }

    pub(super) fn map(&self) -> Option<&[Entry]> {
        match &self.value {
            Value::Map(entries) => Some(entries),
            _ => None,
        }
    }

    /// The value of a key; `None` where this is no map, where the key is missing, and where its value is null.
    pub(super) fn get(&self, key: &str) -> Option<&Node> {
        self.entry(key).map(|entry| &entry.node).filter(|node| !node.is_null())
    }

    /// A key with its value, which may be null.
    pub(super) fn entry(&self, key: &str) -> Option<&Entry> {
        self.map()?.iter().find(|entry| entry.key == key)
    }

    /// A text, or each text of a list.
    pub(super) fn texts(&self) -> Vec<(&str, &Place)> {
        match &self.value {
            Value::Scalar { text, .. } => vec![(text, &self.place)],
            Value::List(items) => items.iter().filter_map(|item| item.text().map(|text| (text, &item.place))).collect(),
            _ => Vec::new(),
        }
    }

    /// What kind of value this is, for messages.
    pub(super) fn kind(&self) -> &'static str {
        match self.value {
            Value::Null => "null",
            Value::Scalar { .. } => "a text",
            Value::List(_) => "a list",
            Value::Map(_) => "a map",
        }
    }

    /// How many nodes there are below and including this one.
    pub(super) fn size(&self) -> usize {
        match &self.value {
            Value::Null | Value::Scalar { .. } => 1,
            Value::List(items) => 1 + items.iter().map(Self::size).sum::<usize>(),
            Value::Map(entries) => 1 + entries.iter().map(|entry| entry.node.size()).sum::<usize>(),
        }
    }
}
