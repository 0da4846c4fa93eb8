//! Typed reading of one map of the tree: a value of the wrong kind is an error that names its path, never its text.

use std::time::Duration;

use super::Origin;
use super::node::Node;
use super::report::Report;
use super::scalar;

/// A map with its path. A missing one reads as empty.
#[derive(Clone, Copy)]
pub(super) struct Section<'a> {
    pub(super) path: &'a str,
    node: Option<&'a Node>,
}

/// A value and where it came from.
#[derive(Debug, Clone)]
pub(super) struct Given<T> {
    pub(super) value: T,
    pub(super) origin: Origin,
}

impl<T> Given<T> {
    pub(super) fn new(value: T, origin: Origin) -> Self {
        Self { value, origin }
    }
}

impl<'a> Section<'a> {
    pub(super) fn new(path: &'a str, node: Option<&'a Node>) -> Self {
        Self { path, node }
    }

    pub(super) fn get(&self, key: &str) -> Option<&'a Node> {
        self.node?.get(key)
    }

    pub(super) fn node(&self) -> Option<&'a Node> {
        self.node
    }

    /// The text of a key, as it was written.
    pub(super) fn text(&self, key: &str, report: &mut Report) -> Option<Given<String>> {
        self.read(key, "a text", report, |text| Some(text.to_owned()))
    }

    pub(super) fn truth(&self, key: &str, report: &mut Report) -> Option<Given<bool>> {
        self.read(key, "true or false", report, scalar::truth)
    }

    pub(super) fn whole(&self, key: &str, report: &mut Report) -> Option<Given<u64>> {
        self.read(key, "a whole number", report, scalar::whole)
    }

    pub(super) fn seconds(&self, key: &str, report: &mut Report) -> Option<Given<Duration>> {
        self.read(key, "a number of seconds above 0", report, scalar::seconds)
    }

    /// The texts of a list, or a single text.
    pub(super) fn texts(&self, key: &str) -> Vec<String> {
        let texts = self.get(key).map(Node::texts).unwrap_or_default();
        texts.into_iter().map(|(text, _)| text.to_owned()).collect()
    }

    fn read<T>(
        &self,
        key: &str,
        wanted: &str,
        report: &mut Report,
        parse: impl Fn(&str) -> Option<T>,
    ) -> Option<Given<T>> {
        let node = self.get(key)?;
        let parsed = node.text().and_then(parse);
        if parsed.is_none() {
            report.error(node.place.origin(), format!("{}.{key} must be {wanted}", self.path));
        }
        parsed.map(|value| Given::new(value, node.origin()))
    }
}
