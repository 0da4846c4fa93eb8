//! From the path of a configuration to one tree, `include` applied: lists are joined, any other key is the included file's.

use std::collections::BTreeSet;
use std::fs;
use std::io::ErrorKind;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::Origin;
use super::node::{Entry, Node, Value};
use super::report::{Cost, Report};
use super::yaml;

/// Reads a configuration with everything that it includes. What cannot be read is reported; `None` when nothing is left.
pub(super) fn read(path: &Path, report: &mut Report) -> Option<Node> {
    let mut seen = BTreeSet::new();
    read_one(path, &start_of(path), &mut seen, report)
}

/// The files that make up a configuration: itself and what it includes, as far as they can be read.
#[must_use]
pub fn files(path: &Path) -> Vec<PathBuf> {
    let mut seen = BTreeSet::new();
    drop(read_one(path, &start_of(path), &mut seen, &mut Report::default()));
    seen.into_iter().collect()
}

fn start_of(path: &Path) -> Origin {
    Origin::File { file: path.to_path_buf(), line: 1 }
}

fn read_one(path: &Path, asked_at: &Origin, seen: &mut BTreeSet<PathBuf>, report: &mut Report) -> Option<Node> {
    let bytes = match fs::read(path) {
        Ok(bytes) => bytes,
        Err(error) if error.kind() == ErrorKind::NotFound => {
            report.error(asked_at.clone(), format!("there is no file {}", path.display()));
            return None;
        }
        Err(error) => {
            report.error(asked_at.clone(), format!("cannot read {}: {error}", path.display()));
            return None;
        }
    };
    if !seen.insert(fs::canonicalize(path).unwrap_or_else(|_| path.to_path_buf())) {
        return None;
    }
    let Ok(text) = String::from_utf8(bytes) else {
        report.error(start_of(path), "this is no text in UTF-8");
        return None;
    };
    match yaml::parse(&text, &Arc::from(path), report) {
        Ok(Some(root)) if is_configuration(&root, report) => Some(apply_includes(root, path, seen, report)),
        Ok(Some(_)) => None,
        Ok(None) => {
            report.warn(Cost::Serving, start_of(path), "the file is empty: there are no models");
            None
        }
        Err(error) => {
            let origin = Origin::File { file: path.to_path_buf(), line: error.line };
            report.error(origin, format!("cannot read this as YAML: {error}"));
            None
        }
    }
}

/// Names the files that people give by mistake.
fn is_configuration(root: &Node, report: &mut Report) -> bool {
    let message = if root.map().is_none() {
        format!("a configuration is a map with model_list and other sections; this is {}", root.kind())
    } else if let (Some(_), Some(kind)) = (root.get("apiVersion"), root.get("kind")) {
        let kind = kind.text().filter(|kind| kind.chars().all(char::is_alphanumeric)).unwrap_or("object");
        format!(
            "this is a Kubernetes manifest ({kind}); the configuration is inside it, usually under a ConfigMap's data"
        )
    } else if root.get("services").is_some() && root.get("model_list").is_none() {
        "this is a Docker Compose file; the configuration is the file that it mounts or names with --config".to_owned()
    } else if root.get("proxy_config").is_some() && root.get("model_list").is_none() {
        "this is a values file of LiteLLM's Helm chart; the configuration is what stands under proxy_config".to_owned()
    } else {
        return true;
    };
    report.error(root.place.origin(), message);
    false
}

fn apply_includes(mut root: Node, path: &Path, seen: &mut BTreeSet<PathBuf>, report: &mut Report) -> Node {
    let Value::Map(entries) = &mut root.value else { return root };
    let Some(at) = entries.iter().position(|entry| entry.key == "include") else { return root };
    let include = entries.remove(at);
    if matches!(include.node.value, Value::Map(_)) {
        report.error(include.place.origin(), "include takes a list of files");
    }
    let directory = path.parent().unwrap_or(Path::new(""));
    for (name, place) in include.node.texts() {
        if let Some(included) = read_one(&directory.join(name), &place.origin(), seen, report)
            && let Value::Map(added) = included.value
        {
            for entry in added {
                join(entries, entry);
            }
        }
    }
    root
}

fn join(entries: &mut Vec<Entry>, added: Entry) {
    let Some(own) = entries.iter_mut().find(|own| own.key == added.key) else {
        entries.push(added);
        return;
    };
    match (&mut own.node.value, added.node.value) {
        (Value::List(own), Value::List(added)) => own.extend(added),
        (_, value) => {
            own.place = added.place;
            own.node = Node { value, place: added.node.place, reference: added.node.reference };
        }
    }
}
