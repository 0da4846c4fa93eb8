//! `os.environ/NAME`: resolved in maps at any depth and in maps within lists, before `environment_variables:` takes effect.

use std::collections::BTreeSet;

use super::Environment;
use super::node::{Node, Reference, Value};
use super::report::{Cost, Report};

const PREFIX: &str = "os.environ/";

/// Replaces every reference below a node. One to a variable that is not set becomes null.
pub(super) fn resolve(root: &mut Node, environment: &Environment, report: &mut Report) {
    let section = root.get("environment_variables").and_then(Node::map).unwrap_or_default();
    let set_later = section.iter().map(|entry| entry.key.clone()).collect();
    Resolver { environment, set_later, report }.visit(root, &mut String::new());
}

struct Resolver<'a> {
    environment: &'a Environment,
    /// The names in `environment_variables:`.
    set_later: BTreeSet<String>,
    report: &'a mut Report,
}

impl Resolver<'_> {
    fn visit(&mut self, node: &mut Node, path: &mut String) {
        let length = path.len();
        match &mut node.value {
            Value::Map(entries) => {
                for entry in entries {
                    if !path.is_empty() {
                        path.push('.');
                    }
                    path.push_str(&entry.key);
                    self.replace(&mut entry.node, path);
                    self.visit(&mut entry.node, path);
                    path.truncate(length);
                }
            }
            Value::List(items) => {
                for (index, item) in items.iter_mut().enumerate() {
                    path.push_str(&format!("[{index}]"));
                    if item.text().is_some_and(|text| text.starts_with(PREFIX)) {
                        let message = format!("{path}: os.environ/ is not replaced in a list of texts, as in LiteLLM");
                        self.report.warn(Cost::Serving, item.place.origin(), message);
                    }
                    self.visit(item, path);
                    path.truncate(length);
                }
            }
            Value::Null | Value::Scalar { .. } => {}
        }
    }

    fn replace(&mut self, node: &mut Node, path: &str) {
        let Some(text) = node.text() else { return };
        let Some(variable) = text.strip_prefix(PREFIX).map(|name| name.trim().to_owned()) else {
            if text.contains(PREFIX) {
                let message =
                    format!("{path}: os.environ/ is replaced at the beginning of a value only, as in LiteLLM");
                self.report.warn(Cost::Serving, node.place.origin(), message);
            }
            return;
        };
        let found = self.environment.given(&variable);
        // The master key and the database have findings of their own, and so have sections that nobody reads.
        if found.is_none() && (path.starts_with("model_list") || path.starts_with("credential_list")) {
            let hint = if self.set_later.contains(&variable) {
                ". environment_variables sets it, but references are resolved before, as in LiteLLM"
            } else {
                ""
            };
            let message = format!("{path} is absent: the variable {variable} is not set{hint}");
            self.report.warn(Cost::Serving, node.place.origin(), message);
        }
        let (value, origin) = match found {
            Some((value, origin)) => {
                // A variable is a text, except for the two words that LiteLLM makes truths of.
                let plain = matches!(value.to_ascii_lowercase().as_str(), "true" | "false");
                (Value::Scalar { text: value.to_owned(), plain }, Some(origin))
            }
            None => (Value::Null, None),
        };
        node.value = value;
        node.reference = Some(Reference { variable, origin });
    }
}
