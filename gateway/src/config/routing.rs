//! How requests find a deployment: aliases, fallbacks, attempts.

use std::collections::BTreeMap;

use super::models::Models;
use super::node::{Node, Place};
use super::report::{Cost, Report};
use super::section::Section;
use super::{Origin, Routing, cooldown};

/// The sections that say something about routing.
pub(super) struct Sections<'a> {
    pub(super) router: Section<'a>,
    pub(super) litellm: Section<'a>,
    pub(super) general: Section<'a>,
}

/// Reads how requests find a deployment.
pub(super) fn read(sections: &Sections<'_>, models: &Models, report: &mut Report) -> Routing {
    let aliases = aliases(&sections.router, report);
    let mut found = fallbacks(&["fallbacks", "default_fallbacks"], sections, report);
    let context_window = fallbacks(&["context_window_fallbacks"], sections, report);
    let content_policy = fallbacks(&["content_policy_fallbacks"], sections, report);
    found.targets.extend(context_window.targets.into_iter().chain(content_policy.targets));
    let max_fallbacks = sections.router.whole("max_fallbacks", report).map(|given| {
        report.setting("router_settings.max_fallbacks", given.value.to_string(), given.origin);
        given.value
    });
    let num_retries = retries(sections, report);
    let routing = Routing {
        aliases,
        fallbacks: found.map,
        context_window_fallbacks: context_window.map,
        content_policy_fallbacks: content_policy.map,
        max_fallbacks,
        num_retries,
        cooldown: cooldown::read(sections, report),
    };
    check_targets(&routing, &found.targets, models, sections, report);
    if let Some(strategy) = sections.router.text("routing_strategy", report)
        && strategy.value != "simple-shuffle"
    {
        let message = "router_settings.routing_strategy is not honoured: deployments are chosen by order and weight";
        report.warn(Cost::Serving, strategy.origin, message);
    }
    routing
}

/// `None` when nobody said anything: LiteLLM would try twice more, which multiplies the clients' own repetitions.
fn retries(sections: &Sections<'_>, report: &mut Report) -> Option<u32> {
    for section in [&sections.router, &sections.litellm, &sections.general] {
        if let Some(given) = section.whole("num_retries", report) {
            report.setting(format!("{}.num_retries", section.path), given.value.to_string(), given.origin);
            return Some(u32::try_from(given.value).unwrap_or(u32::MAX));
        }
    }
    report.setting("router_settings.num_retries", "each deployment once".to_owned(), Origin::Default);
    None
}

fn aliases(router: &Section<'_>, report: &mut Report) -> BTreeMap<String, String> {
    let mut aliases = BTreeMap::new();
    let Some(node) = router.get("model_group_alias") else { return aliases };
    if node.map().is_none() {
        report.error(node.place.origin(), "router_settings.model_group_alias must be a map of aliases and groups");
    }
    for entry in node.map().unwrap_or_default() {
        let group = entry.node.text().or_else(|| entry.node.get("model").and_then(Node::text));
        let path = format!("router_settings.model_group_alias.{}", entry.key);
        match group {
            Some(group) => {
                report.setting(path, group, entry.node.origin());
                aliases.insert(entry.key.clone(), group.to_owned());
            }
            None => report.error(entry.place.origin(), format!("{path} must be a group, or a map with model")),
        }
    }
    aliases
}

/// Fallbacks, and where each target was named.
#[derive(Default)]
struct Fallbacks {
    map: BTreeMap<String, Vec<String>>,
    targets: Vec<(String, Origin)>,
}

/// The router's fallbacks under these keys, or else those of `litellm_settings`, as in LiteLLM.
fn fallbacks(keys: &[&str], sections: &Sections<'_>, report: &mut Report) -> Fallbacks {
    let mut fallbacks = Fallbacks::default();
    let given = |section: &Section<'_>, key| section.get(key).is_some_and(|node| !is_empty(node));
    for key in keys.iter().copied() {
        let (chosen, other) = if given(&sections.router, key) {
            (&sections.router, Some(&sections.litellm))
        } else {
            (&sections.litellm, None)
        };
        if let Some(node) = other.and_then(|other| other.get(key)).filter(|node| !is_empty(node)) {
            let message = format!("litellm_settings.{key} has no effect: router_settings.{key} wins");
            report.warn(Cost::Serving, node.place.origin(), message);
        }
        let Some(node) = chosen.get(key) else { continue };
        let path = format!("{}.{key}", chosen.path);
        if key == "default_fallbacks" {
            add(&mut fallbacks, "*", names(node), &path, &node.place, report);
        } else {
            read_fallbacks(node, &path, &mut fallbacks, report);
        }
    }
    fallbacks
}

fn is_empty(node: &Node) -> bool {
    node.list().is_some_and(<[Node]>::is_empty) || node.map().is_some_and(<[_]>::is_empty)
}

fn names(node: &Node) -> Vec<String> {
    node.texts().into_iter().map(|(name, _)| name.to_owned()).collect()
}

/// The proper shape is a list of one-key maps. What else people write is taken for what it evidently means.
fn read_fallbacks(node: &Node, path: &str, fallbacks: &mut Fallbacks, report: &mut Report) {
    let items = match node.list() {
        Some(items) => items,
        None if node.map().is_some() => {
            warn_of_shape(&node.place, path, report);
            std::slice::from_ref(node)
        }
        None => {
            report.error(node.place.origin(), format!("{path} must be a list of maps such as {{ group: [other] }}"));
            return;
        }
    };
    for item in items {
        let Some(entries) = item.map() else {
            let message = format!(
                "{path} must be a list of maps such as {{ group: [other] }}; for every group use default_fallbacks"
            );
            report.error(item.place.origin(), message);
            continue;
        };
        let pair = |from: &[&str], to: &[&str]| {
            let from = from.iter().find_map(|key| item.get(key)).and_then(Node::text)?;
            Some((from.to_owned(), names(to.iter().find_map(|key| item.get(key))?)))
        };
        let two = pair(
            &["primary_model", "model_name", "model"],
            &["fallback_models", "fallback_model", "fallbacks", "fallback"],
        );
        if let Some((group, targets)) = two {
            warn_of_shape(&item.place, path, report);
            add(fallbacks, &group, targets, path, &item.place, report);
            continue;
        }
        if entries.len() > 1 && node.list().is_some() {
            warn_of_shape(&item.place, path, report);
        }
        for entry in entries {
            add(fallbacks, &entry.key, names(&entry.node), path, &entry.place, report);
        }
    }
}

fn warn_of_shape(place: &Place, path: &str, report: &mut Report) {
    let message = format!("{path} should be a list of maps with one key, {{ group: [other] }}; taken as if it were");
    report.warn(Cost::Serving, place.origin(), message);
}

fn add(fallbacks: &mut Fallbacks, group: &str, targets: Vec<String>, path: &str, place: &Place, report: &mut Report) {
    if targets.is_empty() {
        report.error(place.origin(), format!("{path}: the fallback of {group} must be a name or a list of names"));
        return;
    }
    if fallbacks.map.contains_key(group) {
        let message = format!("{path}: the fallback of {group} is given twice; the first is followed, as in LiteLLM");
        report.warn(Cost::Serving, place.origin(), message);
        return;
    }
    report.setting(format!("{path}.{group}"), targets.join(", "), place.origin());
    fallbacks.targets.extend(targets.iter().map(|target| (target.clone(), place.origin())));
    fallbacks.map.insert(group.to_owned(), targets);
}

/// A fallback that leads to a dropped entry would fail when it is needed most.
fn check_targets(
    routing: &Routing,
    targets: &[(String, Origin)],
    models: &Models,
    sections: &Sections<'_>,
    report: &mut Report,
) {
    let is_served = |name: &str| {
        routing.aliases.contains_key(name)
            || models.deployments.iter().any(|deployment| {
                deployment.model_name == name || deployment.id == name || matches(&deployment.model_name, name)
            })
    };
    for (target, origin) in targets.iter().filter(|(target, _)| !is_served(target)) {
        if models.dropped.contains(target) {
            report.error(origin.clone(), format!("a fallback leads to {target}, whose entry is dropped"));
        } else {
            report.warn(Cost::Serving, origin.clone(), format!("a fallback leads to {target}, which no entry serves"));
        }
    }
    for (alias, group) in &routing.aliases {
        if !is_served(group)
            && let Some(node) = sections.router.get("model_group_alias").and_then(|aliases| aliases.entry(alias))
        {
            report.warn(
                Cost::Serving,
                node.place.origin(),
                format!("the alias {alias} leads to {group}, which no entry serves"),
            );
        }
    }
}

/// Whether a name fits a public name with stars.
fn matches(pattern: &str, name: &str) -> bool {
    match pattern.split_once('*') {
        None => pattern == name,
        Some((before, after)) => name
            .strip_prefix(before)
            .is_some_and(|rest| after.is_empty() || rest.char_indices().any(|(at, _)| matches(after, &rest[at..]))),
    }
}

/// `drop_params`, wherever it stands.
pub(super) fn drop_params(sections: &Sections<'_>, report: &mut Report) -> bool {
    for section in [&sections.litellm, &sections.general, &sections.router] {
        if let Some(given) = section.truth("drop_params", report) {
            report.setting(format!("{}.drop_params", section.path), given.value.to_string(), given.origin);
            return given.value;
        }
    }
    report.setting("litellm_settings.drop_params", "false", Origin::Default);
    false
}

#[cfg(test)]
mod tests {
    #[test]
    fn a_star_stands_for_any_text() {
        for (pattern, name, fits) in [
            ("*", "anything", true),
            ("openrouter/*", "openrouter/a/b", true),
            ("openrouter/*", "openai/a", false),
            ("a*c", "abc", true),
            ("a*c", "abd", false),
        ] {
            assert_eq!(super::matches(pattern, name), fits, "{pattern} {name}");
        }
    }
}
