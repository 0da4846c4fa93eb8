//! Limits on calls and tokens: LiteLLM's, which are spread over three sections, and our own list `fleetgate.rates`.
//!
//! An entry's `rpm` and `tpm` are its share of the traffic, as in LiteLLM. They, and `rpd` and `tpd`, are limits where LiteLLM makes
//! them so: with `enforce_model_rate_limits` among `router_settings.optional_pre_call_checks`, or with a usage-based
//! `routing_strategy`. An entry's `max_parallel_requests` always is one.

use fleetgate_wire::scope::{Scope, ScopeKind};

use super::Deployment;
use super::node::Node;
use super::report::{Cost, Report};
use super::routing::Sections;
use super::section::Section;

const ENFORCE: &str = "enforce_model_rate_limits";
const ENTRY_KEYS: &[&str] = &["scope", "rpm", "tpm", "max_parallel", "rpd", "tpd"];

/// The most that one scope may do. What is `None` is not limited; 0 lets nothing pass.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct RateCaps {
    /// Calls in any 60 s.
    pub rpm: Option<u64>,
    /// Tokens in any 60 s.
    pub tpm: Option<u64>,
    /// Calls at once.
    pub max_parallel: Option<u64>,
    /// Calls in a day.
    pub rpd: Option<u64>,
    /// Tokens in a day.
    pub tpd: Option<u64>,
}

impl RateCaps {
    /// Whether nothing is limited.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        *self == Self::default()
    }

    /// Both to the letter: of two limits on the same thing, the lower one.
    #[must_use]
    pub fn tightened_by(self, other: Self) -> Self {
        let lower = |one: Option<u64>, other: Option<u64>| match (one, other) {
            (Some(one), Some(other)) => Some(one.min(other)),
            (one, other) => one.or(other),
        };
        Self {
            rpm: lower(self.rpm, other.rpm),
            tpm: lower(self.tpm, other.tpm),
            max_parallel: lower(self.max_parallel, other.max_parallel),
            rpd: lower(self.rpd, other.rpd),
            tpd: lower(self.tpd, other.tpd),
        }
    }

    /// Whether a day's calls or tokens are limited.
    #[must_use]
    pub fn is_daily(&self) -> bool {
        self.rpd.is_some() || self.tpd.is_some()
    }
}

/// What an entry's parameters say.
pub(super) fn of_entry(params: &Section<'_>, report: &mut Report) -> RateCaps {
    let mut whole = |key| params.whole(key, report).map(|given| given.value);
    RateCaps {
        rpm: whole("rpm"),
        tpm: whole("tpm"),
        max_parallel: whole("max_parallel_requests"),
        rpd: whole("rpd"),
        tpd: whole("tpd"),
    }
}

/// Every limit of the configuration. A scope may be there more than once, and its id may hold `*`.
pub(super) fn read(
    own: &Section<'_>,
    sections: &Sections<'_>,
    deployments: &[Deployment],
    report: &mut Report,
) -> Vec<(Scope, RateCaps)> {
    let mut rates = Vec::new();
    let general = &sections.general;
    for (key, scope) in
        [("max_parallel_requests", Scope::new(ScopeKind::Key, "*")), ("global_max_parallel_requests", Scope::global())]
    {
        if let Some(max) = noted(general, key, report) {
            rates.push((scope, RateCaps { max_parallel: Some(max), ..RateCaps::default() }));
        }
    }
    let by_default = noted(&sections.router, "default_max_parallel_requests", report);
    let enforced = enforces(&sections.router, report);
    for deployment in deployments {
        let stated = if enforced { deployment.rates } else { RateCaps::default() };
        let max_parallel = deployment.rates.max_parallel.or(by_default);
        rates.push((Scope::new(ScopeKind::Deployment, deployment.id.as_str()), RateCaps { max_parallel, ..stated }));
    }
    rates.extend(listed(own, report));
    rates.retain(|(_, caps)| !caps.is_empty());
    rates
}

/// Whether `rpm` and `tpm` of an entry are limits.
fn enforces(router: &Section<'_>, report: &mut Report) -> bool {
    const KEY: &str = "optional_pre_call_checks";
    let mut enforced = router
        .get("routing_strategy")
        .and_then(Node::text)
        .is_some_and(|strategy| strategy.starts_with("usage-based-routing"));
    for (check, place) in router.get(KEY).map(Node::texts).unwrap_or_default() {
        if check == ENFORCE {
            enforced = true;
        } else {
            let message =
                format!("{}.{KEY}: {check} is not honoured: calls are not pinned to a deployment", router.path);
            report.warn(Cost::Serving, place.origin(), message);
        }
    }
    enforced
}

/// A whole number, with a line among the settings.
fn noted(section: &Section<'_>, key: &str, report: &mut Report) -> Option<u64> {
    let given = section.whole(key, report)?;
    report.setting(format!("{}.{key}", section.path), given.value.to_string(), given.origin);
    Some(given.value)
}

/// `fleetgate.rates`.
fn listed(own: &Section<'_>, report: &mut Report) -> Vec<(Scope, RateCaps)> {
    let Some(node) = own.get("rates") else { return Vec::new() };
    let Some(entries) = node.list() else {
        let message = format!("{}.rates must be a list of limits; this is {}", own.path, node.kind());
        report.error(node.place.origin(), message);
        return Vec::new();
    };
    let entries = entries.iter().enumerate();
    entries.filter_map(|(number, entry)| one(&format!("{}.rates[{number}]", own.path), entry, report)).collect()
}

fn one(path: &str, entry: &Node, report: &mut Report) -> Option<(Scope, RateCaps)> {
    let section = Section::new(path, Some(entry));
    for key in entry.map().unwrap_or_default().iter().filter(|key| !ENTRY_KEYS.contains(&key.key.as_str())) {
        // A limit with a slip in its name would be none.
        report.error(key.place.origin(), format!("{path}.{} is unknown; it takes {}", key.key, ENTRY_KEYS.join(", ")));
    }
    let Some(text) = section.text("scope", report) else {
        report.error(entry.place.origin(), format!("{path} needs a scope, for example host:mac, host:* or global:all"));
        return None;
    };
    let scope = match Scope::parse(&text.value) {
        Ok(scope) => scope,
        Err(error) => {
            report.error(text.origin, format!("{path}.scope: {error}"));
            return None;
        }
    };
    let mut number = |key| noted(&section, key, report);
    let caps = RateCaps {
        rpm: number("rpm"),
        tpm: number("tpm"),
        max_parallel: number("max_parallel"),
        rpd: number("rpd"),
        tpd: number("tpd"),
    };
    report.setting(format!("{path}.scope"), scope.to_string(), text.origin);
    if caps.is_empty() {
        report.warn(
            Cost::Money,
            entry.place.origin(),
            format!("{path} limits nothing: give it rpm, tpm, max_parallel, rpd or tpd"),
        );
    }
    Some((scope, caps))
}
