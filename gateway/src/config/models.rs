//! `model_list`: its entries become deployments. An entry that says too little is dropped with a warning, as in LiteLLM.

use std::collections::BTreeSet;

use super::deployment::{self, Surroundings};
use super::node::Node;
use super::report::{Cost, Report};
use super::section::Section;
use super::{Deployment, Origin};

/// Keys of an entry; anything else is a mistake in the indentation more often than not.
const ENTRY_KEYS: &[&str] = &["model_name", "litellm_params", "model_info"];

/// The deployments, and the public names of entries that were dropped.
#[derive(Debug, Default)]
pub(super) struct Models {
    pub(super) deployments: Vec<Deployment>,
    pub(super) dropped: BTreeSet<String>,
}

/// Reads `model_list`.
pub(super) fn read(root: &Node, report: &mut Report) -> Models {
    let mut models = Models::default();
    let Some(list) = root.get("model_list") else { return models };
    let Some(entries) = list.list() else {
        report.error(list.place.origin(), format!("model_list must be a list of entries; this is {}", list.kind()));
        return models;
    };
    let around = Surroundings {
        credentials: root.get("credential_list").and_then(Node::list).unwrap_or_default(),
        weight_scale: if entries.iter().any(has_fractional_weight) { 1000.0 } else { 1.0 },
    };
    for (position, entry) in entries.iter().enumerate() {
        let path = format!("model_list[{position}]");
        match read_entry(entry, &path, models.deployments.len(), &around, report) {
            Ok(deployment) => models.deployments.push(deployment),
            Err(name) => models.dropped.extend(name),
        }
    }
    if models.deployments.is_empty() && !entries.is_empty() {
        report.error(list.place.origin(), "no entry of model_list can be used");
    }
    separate_ids(&mut models.deployments, report);
    warn_of_mixed_weights(entries, report);
    models
}

fn has_fractional_weight(entry: &Node) -> bool {
    let weight = entry.get("litellm_params").and_then(|params| params.get("weight")).and_then(Node::text);
    weight.and_then(super::scalar::number).is_some_and(|weight| weight.fract() != 0.0)
}

/// One entry; its name, if it has one, when it has to be dropped.
fn read_entry(
    entry: &Node,
    path: &str,
    index: usize,
    around: &Surroundings<'_>,
    report: &mut Report,
) -> Result<Deployment, Option<String>> {
    let name = entry.get("model_name").and_then(Node::text).map(str::to_owned);
    let missing = if entry.map().is_none() {
        Some("is no map".to_owned())
    } else if name.is_none() {
        Some("has no model_name".to_owned())
    } else if entry.get("litellm_params").and_then(|params| params.get("model")).and_then(Node::text).is_none() {
        Some("has no litellm_params.model".to_owned())
    } else if entry.get("blocked").and_then(Node::text).and_then(super::scalar::truth) == Some(true) {
        Some("is blocked".to_owned())
    } else {
        None
    };
    if let Some(missing) = missing {
        let label = name.as_deref().map(|name| format!(" ({name})")).unwrap_or_default();
        report.warn(Cost::Serving, entry.place.origin(), format!("{path}{label} {missing}, so it is dropped"));
        return Err(name);
    }
    for key in entry.map().unwrap_or_default() {
        if !ENTRY_KEYS.contains(&key.key.as_str()) && key.key != "blocked" {
            let message = format!("{path}.{} has no effect; did you mean {path}.litellm_params.{}?", key.key, key.key);
            report.warn(Cost::Serving, key.place.origin(), message);
        }
    }
    deployment::read(entry, path, index, around, report).ok_or(name)
}

/// Two entries with one id could not be told apart in the ledger.
fn separate_ids(deployments: &mut [Deployment], report: &mut Report) {
    let mut seen = BTreeSet::new();
    for deployment in deployments {
        if seen.insert(deployment.id.clone()) {
            continue;
        }
        if deployment.model_info.contains_key("id") {
            let message =
                format!("{}: model_info.id is taken by an earlier entry; a number is added", deployment.model_name);
            report.warn(Cost::Money, deployment.origin.clone(), message);
        }
        let base = deployment.id.clone();
        let mut number = 2;
        while !seen.insert(format!("{base}-{number}")) {
            number += 1;
        }
        deployment.id = format!("{base}-{number}");
    }
}

/// A group in which one entry has a weight and another a rate would be shared out by numbers that mean different things.
fn warn_of_mixed_weights(entries: &[Node], report: &mut Report) {
    let kind_of = |entry: &Node| {
        let params = entry.get("litellm_params")?;
        ["weight", "rpm", "tpm"].into_iter().find(|key| params.get(key).is_some())
    };
    let mut groups: Vec<(&str, Option<&str>)> = Vec::new();
    for entry in entries {
        let Some(name) = entry.get("model_name").and_then(Node::text) else { continue };
        let kind = kind_of(entry);
        match groups.iter().find(|(group, _)| *group == name) {
            Some((_, first)) if *first != kind => {
                let message = format!("the entries of {name} take their shares from different keys (weight, rpm, tpm)");
                report.warn(Cost::Serving, entry.place.origin(), message);
            }
            Some(_) => {}
            None => groups.push((name, kind)),
        }
    }
}

/// Says where models come from when the file has none.
pub(super) fn explain_absence(root: &Node, models: &Models, origin: &Origin, report: &mut Report) {
    if !models.deployments.is_empty() || !models.dropped.is_empty() {
        return;
    }
    let general = Section::new("general_settings", root.get("general_settings"));
    let stored = general.get("store_model_in_db");
    let message = if stored.and_then(Node::text).and_then(super::scalar::truth) == Some(true) {
        "there are no models: model_list is empty, and store_model_in_db points at LiteLLM's database, which Fleetgate does not \
         read. Write the models into model_list"
    } else {
        "there are no models: only tunnels are served"
    };
    report.warn(Cost::Serving, stored.map_or_else(|| origin.clone(), |node| node.place.origin()), message);
}
