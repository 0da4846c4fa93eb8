//! Budgets that the file sets: LiteLLM's, where it has a place for them, and `fleetgate.budgets` for everything else. What keys, teams
//! and users may spend stands with them, not here.

use std::time::Duration;

use fleetgate_wire::money::NanoDollars;
use fleetgate_wire::period::Period;
use fleetgate_wire::scope::{Scope, ScopeKind};
use jiff::civil::Time;
use jiff::tz::TimeZone;

use super::node::{Entry, Node};
use super::report::{Cost, Report};
use super::routing::Sections;
use super::section::{Given, Section};
use super::{Deployment, Origin, scalar};

/// How long a call waits for money that is reserved but not spent, when nobody says anything.
const WAIT: Duration = Duration::from_secs(30);
/// The shortest rolling window: spending is kept in quarters of an hour.
const SHORTEST_ROLLING_SECONDS: u64 = 900;
/// Hexadecimal digits of a key's hash.
const HASH_DIGITS: usize = 64;
const ENTRY_KEYS: [&str; 5] = ["scope", "max_budget", "soft_budget", "budget_duration", "rolling"];

/// What the file says about budgets.
#[derive(Debug, Clone)]
pub struct BudgetSettings {
    /// The budgets, in no order. Two with the same scope and duration are the stricter one.
    pub budgets: Vec<BudgetEntry>,
    /// Where days, weeks and months begin.
    pub timezone: TimeZone,
    /// At which hour.
    pub reset_time: Time,
    /// How long a call waits for money that is reserved but not spent.
    pub wait: Duration,
    /// The status of a refusal, when it shall not be the one that each dialect's clients understand best.
    pub exceeded_status: Option<u16>,
}

/// One budget.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BudgetEntry {
    /// Whose; `*` in the id makes one budget for each that fits.
    pub scope: Scope,
    /// What may be spent.
    pub max: Option<NanoDollars>,
    /// From where on it warns.
    pub soft: Option<NanoDollars>,
    /// For how long money counts; `None` for ever.
    pub duration: Option<Period>,
    /// It counts that long after it was spent, instead of until the calendar says so.
    pub rolling: bool,
    /// Where it stands.
    pub origin: Origin,
}

/// Reads every budget of the file.
pub(super) fn read(
    sections: &Sections<'_>,
    own: &Section<'_>,
    root: &Node,
    deployments: &[Deployment],
    report: &mut Report,
) -> BudgetSettings {
    let mut budgets = Vec::new();
    // LiteLLM's default of 0 stands for none.
    let is_none = |node: &Node| node.text().and_then(scalar::number) == Some(0.0);
    if !sections.litellm.get("max_budget").is_some_and(is_none) {
        budgets.extend(budget(&sections.litellm, Scope::global(), report));
    }
    let named = [
        (&sections.router, "provider_budget_config", ScopeKind::Provider),
        (&sections.litellm, "tag_budget_config", ScopeKind::Tag),
    ];
    for (section, key, kind) in named {
        budgets.extend(by_name(section, key, kind, report));
    }
    budgets.extend(of_deployments(root, deployments, report));
    budgets.extend(listed(own, report));
    let status = sections.litellm.whole("budget_exceeded_status_code", report);
    BudgetSettings {
        budgets,
        timezone: timezone(sections, own, report),
        reset_time: reset_time(sections, own, report),
        wait: wait(own, report),
        exceeded_status: status.and_then(|given| exceeded_status(given, report)),
    }
}

/// `max_budget` and `budget_duration` of a map, or the names that LiteLLM has for them elsewhere.
fn budget(section: &Section<'_>, scope: Scope, report: &mut Report) -> Option<BudgetEntry> {
    let max = money(section, "max_budget", report).or_else(|| money(section, "budget_limit", report));
    let soft = money(section, "soft_budget", report);
    let duration = period(section, "budget_duration", report).or_else(|| period(section, "time_period", report));
    let rolling = section.truth("rolling", report).is_some_and(|given| given.value);
    let origin = max.as_ref().or(soft.as_ref())?.origin.clone();
    if rolling && duration.is_none_or(|period| period.seconds() < SHORTEST_ROLLING_SECONDS) {
        report.error(origin, format!("{}: a rolling budget needs a budget_duration of 15m or more", section.path));
        return None;
    }
    let (max, soft) = (max.map(|given| given.value), soft.map(|given| given.value));
    let entry = BudgetEntry { scope, max, soft, duration, rolling, origin: origin.clone() };
    report.setting(format!("{}.max_budget", section.path), shown(&entry), origin);
    Some(entry)
}

fn shown(entry: &BudgetEntry) -> String {
    let amount = entry.max.map_or("no cap".to_owned(), |max| max.to_string());
    let soft = entry.soft.map(|soft| format!(", warns at {soft}")).unwrap_or_default();
    let every = entry.duration.map(|period| format!(" for {period}")).unwrap_or_default();
    format!("{}: {amount}{every}{}{soft}", entry.scope, if entry.rolling { " rolling" } else { "" })
}

/// A map of names, each with its budget.
fn by_name(section: &Section<'_>, key: &str, kind: ScopeKind, report: &mut Report) -> Vec<BudgetEntry> {
    let Some(node) = section.get(key) else { return Vec::new() };
    let path = format!("{}.{key}", section.path);
    let Some(entries) = node.map() else {
        report.error(node.place.origin(), format!("{path} must be a map of names, each with its budget"));
        return Vec::new();
    };
    let read = |entry: &Entry| {
        let path = format!("{path}.{}", entry.key);
        let found = budget(&Section::new(&path, Some(&entry.node)), Scope::new(kind, entry.key.as_str()), report);
        if found.is_none() {
            report.warn(
                Cost::Money,
                entry.place.origin(),
                format!("{path} sets no budget_limit, so it limits nothing"),
            );
        }
        found
    };
    entries.iter().filter_map(read).collect()
}

/// `litellm_params.max_budget` of entries. A deployment stands where its entry stands.
fn of_deployments(root: &Node, deployments: &[Deployment], report: &mut Report) -> Vec<BudgetEntry> {
    let entries = root.get("model_list").and_then(Node::list).unwrap_or_default();
    let read = |(position, entry): (usize, &Node)| {
        let origin = entry.place.origin();
        let deployment = deployments.iter().find(|deployment| deployment.origin == origin)?;
        let path = format!("model_list[{position}].litellm_params");
        let params = Section::new(&path, entry.get("litellm_params"));
        budget(&params, Scope::new(ScopeKind::Deployment, deployment.id.as_str()), report)
    };
    entries.iter().enumerate().filter_map(read).collect()
}

/// `fleetgate.budgets`.
fn listed(own: &Section<'_>, report: &mut Report) -> Vec<BudgetEntry> {
    let Some(node) = own.get("budgets") else { return Vec::new() };
    let Some(items) = node.list() else {
        let message = "fleetgate.budgets must be a list of maps such as { scope: \"host:mac\", max_budget: 5, budget_duration: 1d }";
        report.error(node.place.origin(), message);
        return Vec::new();
    };
    let mut budgets = Vec::new();
    for (position, item) in items.iter().enumerate() {
        let path = format!("fleetgate.budgets[{position}]");
        let section = Section::new(&path, Some(item));
        for entry in item.map().unwrap_or_default().iter().filter(|entry| !ENTRY_KEYS.contains(&entry.key.as_str())) {
            let message = format!("{path}.{} is unknown and has no effect", entry.key);
            report.warn(Cost::Money, entry.place.origin(), message);
        }
        let Some(scope) = scope(&section, item, report) else { continue };
        let has_amount = ["max_budget", "soft_budget"].iter().any(|key| section.get(key).is_some());
        if !has_amount {
            report.error(item.place.origin(), format!("{path} needs max_budget or soft_budget, in dollars"));
        }
        budgets.extend(budget(&section, scope, report));
    }
    budgets
}

fn scope(section: &Section<'_>, item: &Node, report: &mut Report) -> Option<Scope> {
    let Some(given) = section.text("scope", report) else {
        report.error(
            item.place.origin(),
            format!("{}.scope is missing: write kind:id, for example host:mac", section.path),
        );
        return None;
    };
    let wrong = match Scope::parse(&given.value) {
        Ok(scope) => match (scope.kind(), scope.id()) {
            (ScopeKind::Global, id) if id != "all" => "everything is global:all".to_owned(),
            (ScopeKind::Key | ScopeKind::KeyModel, id) if !names_hash(id) => {
                "keys are named by their hashes here; give the key its max_budget with /key/update instead".to_owned()
            }
            _ => return Some(scope),
        },
        Err(error) => error.to_string(),
    };
    report.error(given.origin, format!("{}.scope: {wrong}", section.path));
    None
}

fn names_hash(id: &str) -> bool {
    let hash = id.split('/').next().unwrap_or_default();
    id.contains('*') || (hash.len() == HASH_DIGITS && hash.bytes().all(|digit| digit.is_ascii_hexdigit()))
}

fn timezone(sections: &Sections<'_>, own: &Section<'_>, report: &mut Report) -> TimeZone {
    let (path, given) = first("timezone", sections, own, report);
    let zone = given.as_ref().map(|given| TimeZone::get(&given.value));
    let zone = match (zone, &given) {
        (Some(Err(_)), Some(given)) => {
            let message = format!("{path} is no time zone; write one such as Europe/Berlin");
            report.error(given.origin.clone(), message);
            TimeZone::UTC
        }
        (Some(Ok(zone)), _) => zone,
        (None, _) | (_, None) => TimeZone::UTC,
    };
    let origin = given.map_or(Origin::Default, |given| given.origin);
    report.setting(path, zone.iana_name().unwrap_or("UTC"), origin);
    zone
}

fn reset_time(sections: &Sections<'_>, own: &Section<'_>, report: &mut Report) -> Time {
    let (path, given) = first("budget_reset_time", sections, own, report);
    let read = given.as_ref().map(|given| Time::strptime("%H:%M", &given.value));
    if let (Some(Err(_)), Some(given)) = (&read, &given) {
        report.error(given.origin.clone(), format!("{path} must be an hour and a minute such as \"06:00\""));
    }
    let time = read.and_then(Result::ok).unwrap_or(Time::midnight());
    report.setting(path, time.strftime("%H:%M").to_string(), given.map_or(Origin::Default, |given| given.origin));
    time
}

/// Our own setting, or LiteLLM's.
fn first(
    key: &str,
    sections: &Sections<'_>,
    own: &Section<'_>,
    report: &mut Report,
) -> (String, Option<Given<String>>) {
    if let Some(given) = own.text(key, report) {
        return (format!("fleetgate.{key}"), Some(given));
    }
    match sections.litellm.text(key, report) {
        Some(given) => (format!("litellm_settings.{key}"), Some(given)),
        None => (format!("fleetgate.{key}"), None),
    }
}

fn wait(own: &Section<'_>, report: &mut Report) -> Duration {
    let given = own.seconds("budget_wait", report);
    let (wait, origin) = given.map_or((WAIT, Origin::Default), |given| (given.value, given.origin));
    report.setting("fleetgate.budget_wait", wait.as_secs_f64().to_string(), origin);
    wait
}

fn exceeded_status(given: Given<u64>, report: &mut Report) -> Option<u16> {
    const KEY: &str = "litellm_settings.budget_exceeded_status_code";
    match u16::try_from(given.value).ok().filter(|status| (400..600).contains(status)) {
        Some(status) => {
            report.setting(KEY, status.to_string(), given.origin);
            Some(status)
        }
        None => {
            report.error(given.origin, format!("{KEY} must be a status from 400 to 599"));
            None
        }
    }
}

fn money(section: &Section<'_>, key: &str, report: &mut Report) -> Option<Given<NanoDollars>> {
    let given = section.text(key, report)?;
    let dollars = scalar::number(&given.value).filter(|dollars| *dollars >= 0.0);
    let amount = dollars.and_then(NanoDollars::from_dollars);
    if amount.is_none() {
        report.error(given.origin.clone(), format!("{}.{key} must be a number of dollars, 0 or more", section.path));
    }
    amount.map(|amount| Given::new(amount, given.origin))
}

fn period(section: &Section<'_>, key: &str, report: &mut Report) -> Option<Period> {
    let given = section.text(key, report)?;
    match Period::parse(&given.value) {
        Ok(period) => Some(period),
        Err(error) => {
            report.error(given.origin, format!("{}.{key}: {error}", section.path));
            None
        }
    }
}
