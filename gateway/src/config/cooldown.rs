//! When a deployment that fails is left out for a while: LiteLLM's `allowed_fails`, `allowed_fails_policy`, `cooldown_time` and
//! `disable_cooldowns`.

use std::collections::BTreeMap;
use std::time::Duration;

use super::node::Node;
use super::report::{Cost, Report};
use super::routing::Sections;
use super::section::{Given, Section};
use super::{Origin, scalar};

/// LiteLLM's own.
const COOLDOWN_TIME: Duration = Duration::from_secs(5);

/// What holds for all deployments.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CooldownSettings {
    /// So many failures in a minute are borne. `None`: half of at least five attempts, as in LiteLLM.
    pub allowed_fails: Option<u64>,
    /// So many failures of one kind in a minute are borne.
    pub policy: FailsPolicy,
    /// How long a deployment is left out.
    pub time: Duration,
    /// `disable_cooldowns`.
    pub is_off: bool,
}

impl Default for CooldownSettings {
    fn default() -> Self {
        Self { allowed_fails: None, policy: FailsPolicy::new(), time: COOLDOWN_TIME, is_off: false }
    }
}

/// What an entry says for itself.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct OwnCooldown {
    /// Overrides [`CooldownSettings::allowed_fails`].
    pub allowed_fails: Option<u64>,
    /// Overrides [`CooldownSettings::policy`], kind by kind.
    pub policy: FailsPolicy,
    /// Overrides [`CooldownSettings::time`], and what a provider asks for.
    pub time: Option<Duration>,
}

/// `allowed_fails_policy`.
pub type FailsPolicy = BTreeMap<FailureKind, u64>;

/// The kinds of failures that LiteLLM's policy tells apart.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum FailureKind {
    /// 400, and what else is the caller's fault.
    BadRequest,
    /// The provider refused the content.
    ContentPolicy,
    /// 401.
    Authentication,
    /// 404.
    NotFound,
    /// 408, 504, and what did not answer in time.
    Timeout,
    /// 429.
    RateLimit,
    /// 500 and its like.
    InternalServer,
    /// 502.
    BadGateway,
    /// 503.
    ServiceUnavailable,
}

impl FailureKind {
    const NAMED: [(&'static str, Self); 9] = [
        ("BadRequestErrorAllowedFails", Self::BadRequest),
        ("ContentPolicyViolationErrorAllowedFails", Self::ContentPolicy),
        ("AuthenticationErrorAllowedFails", Self::Authentication),
        ("NotFoundErrorAllowedFails", Self::NotFound),
        ("TimeoutErrorAllowedFails", Self::Timeout),
        ("RateLimitErrorAllowedFails", Self::RateLimit),
        ("InternalServerErrorAllowedFails", Self::InternalServer),
        ("BadGatewayErrorAllowedFails", Self::BadGateway),
        ("ServiceUnavailableErrorAllowedFails", Self::ServiceUnavailable),
    ];
}

/// Reads what holds for all deployments.
pub(super) fn read(sections: &Sections<'_>, report: &mut Report) -> CooldownSettings {
    let mut settings = CooldownSettings::default();
    let fails = [&sections.router, &sections.litellm].into_iter().find_map(|section| {
        let given = section.whole("allowed_fails", report)?;
        Some((format!("{}.allowed_fails", section.path), given))
    });
    match fails {
        Some((path, given)) => {
            report.setting(path, given.value.to_string(), given.origin);
            settings.allowed_fails = Some(given.value);
        }
        None => report.setting("router_settings.allowed_fails", "half of at least 5 attempts", Origin::Default),
    }
    settings.policy = policy(&sections.router, report);
    let given = time(&sections.router, report);
    let origin = given.as_ref().map_or(Origin::Default, |given| given.origin.clone());
    settings.time = given.map_or(COOLDOWN_TIME, |given| given.value);
    report.setting("router_settings.cooldown_time", settings.time.as_secs_f64().to_string(), origin);
    if let Some(given) = sections.router.truth("disable_cooldowns", report) {
        report.setting("router_settings.disable_cooldowns", given.value.to_string(), given.origin);
        settings.is_off = given.value;
    }
    settings
}

/// Reads what an entry says for itself. LiteLLM looks for the time in both maps, `model_info` first, and for the rest there only.
pub(super) fn of_entry(params: &Section<'_>, info: &Section<'_>, report: &mut Report) -> OwnCooldown {
    let mut own = OwnCooldown::default();
    for section in [params, info] {
        own.time = time(section, report).map(|given| given.value).or(own.time);
        own.allowed_fails = section.whole("allowed_fails", report).map(|given| given.value).or(own.allowed_fails);
        own.policy.extend(policy(section, report));
    }
    own
}

fn policy(section: &Section<'_>, report: &mut Report) -> FailsPolicy {
    let mut policy = FailsPolicy::new();
    let Some(node) = section.get("allowed_fails_policy") else { return policy };
    let path = format!("{}.allowed_fails_policy", section.path);
    let Some(entries) = node.map() else {
        report.error(node.place.origin(), format!("{path} must be a map of kinds of errors and numbers"));
        return policy;
    };
    for entry in entries.iter().filter(|entry| !matches!(entry.node.value, super::node::Value::Null)) {
        let path = format!("{path}.{}", entry.key);
        let Some((_, kind)) = FailureKind::NAMED.iter().find(|(name, _)| *name == entry.key) else {
            let known: Vec<&str> = FailureKind::NAMED.iter().map(|(name, _)| *name).collect();
            let message = format!("{path} is no kind of error that counts; there are {}", known.join(", "));
            report.warn(Cost::Serving, entry.place.origin(), message);
            continue;
        };
        match entry.node.text().and_then(scalar::whole) {
            Some(fails) => {
                report.setting(path, fails.to_string(), entry.node.origin());
                policy.insert(*kind, fails);
            }
            None => report.error(entry.place.origin(), format!("{path} must be a whole number")),
        }
    }
    policy
}

/// Seconds; none at all is a way to say that nothing is left out.
fn time(section: &Section<'_>, report: &mut Report) -> Option<Given<Duration>> {
    let node = section.get("cooldown_time")?;
    let seconds = Node::text(node).and_then(scalar::number);
    let seconds = seconds.and_then(|seconds| Duration::try_from_secs_f64(seconds).ok());
    if seconds.is_none() {
        let message = format!("{}.cooldown_time must be a number of seconds of at least 0", section.path);
        report.error(node.place.origin(), message);
    }
    seconds.map(|seconds| Given::new(seconds, node.origin()))
}
