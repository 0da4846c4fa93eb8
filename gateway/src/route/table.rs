//! The table of model groups, built once from the configuration.

use std::cmp::Reverse;
use std::collections::BTreeMap;
use std::sync::Arc;

use foldhash::{HashMap, HashMapExt};

use super::pattern::{Pattern, fill};
use super::{Choice, NoRoute, Plan};
use crate::config::{Deployment, Routing};

/// LiteLLM's limit of fallback groups tried for one request.
const MAX_FALLBACKS: usize = 5;

/// Finds deployments for model names.
#[derive(Debug)]
pub struct Router {
    groups: HashMap<String, Vec<Arc<Deployment>>>,
    /// Longest pattern first.
    wildcards: Vec<(Pattern, Arc<Deployment>)>,
    ids: HashMap<String, Arc<Deployment>>,
    aliases: BTreeMap<String, String>,
    fallbacks: BTreeMap<String, Vec<String>>,
    names: Vec<Arc<Deployment>>,
}

/// The deployments that serve one name.
#[derive(Debug, Clone)]
pub struct Group {
    /// The name after aliases.
    pub name: String,
    /// At least one.
    pub choices: Vec<Choice>,
}

impl Router {
    /// Sorts the deployments into groups.
    #[must_use]
    pub fn new(deployments: &[Deployment], routing: &Routing) -> Self {
        let names: Vec<Arc<Deployment>> = deployments.iter().cloned().map(Arc::new).collect();
        let mut groups: HashMap<String, Vec<Arc<Deployment>>> = HashMap::new();
        let mut wildcards = Vec::new();
        for deployment in &names {
            match Pattern::new(&deployment.model_name) {
                Some(pattern) => wildcards.push((pattern, Arc::clone(deployment))),
                None => groups.entry(deployment.model_name.clone()).or_default().push(Arc::clone(deployment)),
            }
        }
        wildcards.sort_by_key(|(pattern, _)| Reverse(pattern.rank()));
        let ids = names.iter().map(|deployment| (deployment.id.clone(), Arc::clone(deployment))).collect();
        Self { groups, wildcards, ids, aliases: routing.aliases.clone(), fallbacks: routing.fallbacks.clone(), names }
    }

    /// All deployments in the order of the file.
    #[must_use]
    pub fn deployments(&self) -> &[Arc<Deployment>] {
        &self.names
    }

    /// The aliases and what they stand for.
    #[must_use]
    pub fn aliases(&self) -> &BTreeMap<String, String> {
        &self.aliases
    }

    /// The group that serves a name, in LiteLLM's order: alias, exact name, wildcard, deployment id, upstream model.
    ///
    /// # Errors
    /// When no entry fits.
    pub fn find(&self, model: &str) -> Result<Group, NoRoute> {
        let name = self.aliases.get(model).map_or(model, String::as_str);
        let mut choices = self.exact(name);
        if choices.is_empty() {
            choices = self.matching(name);
        }
        if choices.is_empty() {
            let by_id = self.ids.get(name).into_iter();
            let by_upstream = self.names.iter().filter(|deployment| deployment.model == name);
            choices =
                by_id.chain(by_upstream).map(|deployment| choice(deployment, deployment.model.clone(), name)).collect();
        }
        if choices.is_empty() {
            return Err(NoRoute::UnknownModel { model: model.to_owned() });
        }
        Ok(Group { name: name.to_owned(), choices })
    }

    /// Puts a group's deployments in the order of trying (`order`, then a weighted draw), its fallback groups behind it.
    #[must_use]
    pub fn plan(&self, group: Group) -> Plan {
        let mut choices = draw(group.choices);
        let names = self.fallback_names(&group.name);
        let names = &names[..names.len().min(MAX_FALLBACKS)];
        for (place, target) in names.iter().enumerate() {
            if *target != group.name
                && !names[..place].contains(target)
                && let Ok(fallback) = self.find(target)
            {
                choices.extend(draw(fallback.choices));
            }
        }
        Plan { choices }
    }

    fn exact(&self, name: &str) -> Vec<Choice> {
        let members = self.groups.get(name).into_iter().flatten();
        members.map(|deployment| choice(deployment, deployment.model.clone(), name)).collect()
    }

    /// All deployments of the first (longest) pattern that fits.
    fn matching(&self, name: &str) -> Vec<Choice> {
        let mut hits = self.wildcards.iter().filter_map(|(pattern, deployment)| {
            let captures = pattern.captures(name)?;
            Some(choice(deployment, fill(&deployment.model, &captures, name), name))
        });
        let Some(first) = hits.next() else { return Vec::new() };
        let public_name = first.deployment.model_name.clone();
        let mut choices = vec![first];
        choices.extend(hits.filter(|hit| hit.deployment.model_name == public_name));
        choices
    }

    fn fallback_names(&self, group: &str) -> &[String] {
        let without_prefix = group.split_once('/').map_or(group, |(_, rest)| rest);
        [group, without_prefix, "*"].iter().find_map(|name| self.fallbacks.get(*name)).map_or(&[], Vec::as_slice)
    }
}

fn choice(deployment: &Arc<Deployment>, model: String, group: &str) -> Choice {
    Choice { deployment: Arc::clone(deployment), model, group: group.to_owned() }
}

/// Orders by `order`; within a level draws without replacement, each with its weight. One of weight 0 comes last.
fn draw(mut choices: Vec<Choice>) -> Vec<Choice> {
    if choices.len() < 2 {
        return choices;
    }
    // Efraimidis and Spirakis (2006): sorting by u^(1/w) is a weighted draw without replacement.
    #[expect(clippy::cast_precision_loss, reason = "weights are small; a rounded one draws as well")]
    let keyed = |choice: &Choice| fastrand::f64().powf(1.0 / choice.deployment.weight as f64);
    choices.sort_by_cached_key(|choice| (choice.deployment.order, Reverse(keyed(choice).to_bits())));
    choices
}
