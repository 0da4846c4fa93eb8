//! The table of model groups, built once from the configuration.

use std::cell::LazyCell;
use std::cmp::Reverse;
use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use foldhash::{HashMap, HashMapExt};

use super::health::{Health, Outcome};
use super::pattern::{Pattern, fill};
use super::{Choice, Complaint, NoRoute, Plan};
use crate::config::{Deployment, Routing};
use crate::metrics::{DeploymentCounts, DeploymentState};

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
    context_window_fallbacks: BTreeMap<String, Vec<String>>,
    content_policy_fallbacks: BTreeMap<String, Vec<String>>,
    max_fallbacks: usize,
    names: Vec<Arc<Deployment>>,
    /// By [`Deployment::index`].
    health: Vec<Health>,
}

/// The deployments that serve one name.
#[derive(Debug, Clone)]
pub struct Group {
    /// The name after aliases.
    pub name: Arc<str>,
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
        let mut members: HashMap<&str, usize> = HashMap::new();
        names.iter().for_each(|deployment| *members.entry(&deployment.model_name).or_default() += 1);
        let now = Instant::now();
        let is_alone = |deployment: &Deployment| members.get(&*deployment.model_name) == Some(&1);
        let health =
            |deployment: &Arc<Deployment>| Health::new(deployment, is_alone(deployment), &routing.cooldown, now);
        let health = names.iter().map(health).collect();
        let ids = names.iter().map(|deployment| (deployment.id.clone(), Arc::clone(deployment))).collect();
        let max_fallbacks =
            routing.max_fallbacks.map_or(MAX_FALLBACKS, |most| usize::try_from(most).unwrap_or(usize::MAX));
        Self {
            groups,
            wildcards,
            ids,
            aliases: routing.aliases.clone(),
            fallbacks: routing.fallbacks.clone(),
            context_window_fallbacks: routing.context_window_fallbacks.clone(),
            content_policy_fallbacks: routing.content_policy_fallbacks.clone(),
            max_fallbacks,
            names,
            health,
        }
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

    /// The group that a name stands for.
    #[must_use]
    pub fn group_name<'n>(&'n self, model: &'n str) -> &'n str {
        self.aliases.get(model).map_or(model, String::as_str)
    }

    /// The group that serves a name, in LiteLLM's order: alias, exact name, wildcard, deployment id, upstream model.
    ///
    /// # Errors
    /// When no entry fits.
    pub fn find(&self, model: &str) -> Result<Group, NoRoute> {
        let name: Arc<str> = self.group_name(model).into();
        let mut choices = self.exact(&name);
        if choices.is_empty() {
            choices = self.matching(&name);
        }
        if choices.is_empty() {
            let by_id = self.ids.get(&*name).into_iter();
            let by_upstream = self.names.iter().filter(|deployment| deployment.model == *name);
            choices = by_id
                .chain(by_upstream)
                .map(|deployment| choice(deployment, deployment.model.clone(), &name))
                .collect();
        }
        if choices.is_empty() {
            return Err(NoRoute::UnknownModel { model: model.to_owned() });
        }
        Ok(Group { name, choices })
    }

    /// Puts a group's deployments in the order of trying (`order`, then a weighted draw), its fallback groups behind it.
    #[must_use]
    pub fn plan(&self, group: Group) -> Plan {
        let mut choices = draw(group.choices);
        let names = named(&self.fallbacks, &group.name).unwrap_or_default();
        let names = &names[..names.len().min(self.max_fallbacks)];
        for (place, target) in names.iter().enumerate() {
            if **target != *group.name
                && !names[..place].contains(target)
                && let Ok(fallback) = self.find(target)
            {
                choices.extend(draw(fallback.choices));
            }
        }
        Plan { choices }
    }

    /// Whether a group has others for such a complaint.
    #[must_use]
    pub fn has_detours(&self, complaint: Complaint, group: &str) -> bool {
        named(self.detours(complaint), group).is_some()
    }

    /// What else may serve a call about which a provider of `group` has complained, without the groups that were tried before.
    #[must_use]
    pub fn detour(&self, complaint: Complaint, group: &str, tried: &[Arc<str>]) -> Plan {
        let names = named(self.detours(complaint), group).unwrap_or_default();
        // The first that was tried is no fallback.
        let room = self.max_fallbacks.saturating_sub(tried.len().saturating_sub(1));
        let untried =
            names.iter().filter(|name| *name != group && !tried.iter().any(|tried| **tried == ***name)).take(room);
        let found = untried.filter_map(|name| self.find(name).ok());
        Plan { choices: found.flat_map(|group| draw(group.choices)).collect() }
    }

    fn detours(&self, complaint: Complaint) -> &BTreeMap<String, Vec<String>> {
        match complaint {
            Complaint::ContextWindow => &self.context_window_fallbacks,
            Complaint::ContentPolicy => &self.content_policy_fallbacks,
        }
    }

    /// Leaves out what is to rest after failures, unless that would be everything: nobody is refused because of failures of others.
    pub fn rest(&self, plan: &mut Plan) {
        let now = LazyCell::new(Instant::now);
        let rests =
            |choice: &Choice| self.health.get(choice.deployment.index).is_some_and(|health| health.is_cool(|| *now));
        if plan.choices.len() > 1 && plan.choices.iter().any(&rests) && !plan.choices.iter().all(&rests) {
            plan.choices.retain(|choice| !rests(choice));
        }
    }

    /// Counts how an attempt at a deployment went, and lets it rest if that was too much. `retry_after` is what the provider asks
    /// for.
    pub fn note(&self, deployment: &Deployment, outcome: Outcome, retry_after: Option<Duration>) {
        let Some(health) = self.health.get(deployment.index) else { return };
        if let Some(rest) = health.note(outcome, retry_after, Instant::now()) {
            let (model, id, seconds) = (&deployment.model_name, &deployment.id, rest.as_secs_f64());
            tracing::warn!(%model, %id, ?outcome, seconds, "a deployment failed too often and is left out for a while");
        }
    }

    /// All deployments in the order of the file, how each is, and what came of its attempts.
    pub fn states(&self) -> impl Iterator<Item = (&Arc<Deployment>, DeploymentState, DeploymentCounts)> {
        let now = Instant::now();
        self.names.iter().zip(&self.health).map(move |(name, health)| (name, health.state(now), health.counts()))
    }

    fn exact(&self, name: &Arc<str>) -> Vec<Choice> {
        let members = self.groups.get(&**name).into_iter().flatten();
        members.map(|deployment| choice(deployment, deployment.model.clone(), name)).collect()
    }

    /// All deployments of the first (longest) pattern that fits.
    fn matching(&self, name: &Arc<str>) -> Vec<Choice> {
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
}

/// The targets of a group, by its name with and without its provider, and else those of every group.
fn named<'f>(fallbacks: &'f BTreeMap<String, Vec<String>>, group: &str) -> Option<&'f [String]> {
    let without_prefix = group.split_once('/').map_or(group, |(_, rest)| rest);
    [group, without_prefix, "*"].iter().find_map(|name| fallbacks.get(*name)).map(Vec::as_slice)
}

fn choice(deployment: &Arc<Deployment>, model: String, group: &Arc<str>) -> Choice {
    Choice { deployment: Arc::clone(deployment), model, group: Arc::clone(group) }
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
