//! Which names a caller may reach: by the most specific rule for him, of its patterns the closest, and of two as close the refusal.

use fleetgate_wire::authority::Host;
use fleetgate_wire::domain::Closeness;

use crate::auth::Caller;
use crate::config::{EgressMode, EgressRule};

/// Who asks for a tunnel, as rules name callers.
#[derive(Debug, Clone, Copy, Default)]
pub struct Asker<'a> {
    /// The key's name.
    pub key: &'a str,
    /// The host's label, where there is one.
    pub host: Option<&'a str>,
    /// The workload.
    pub workload: &'a str,
}

impl<'a> Asker<'a> {
    /// A caller as rules see him.
    #[must_use]
    pub fn of(caller: &'a Caller) -> Self {
        let host = caller.host.label().map(fleetgate_wire::host::HostLabel::as_str);
        Self { key: caller.key.alias(), host, workload: caller.workload.as_str() }
    }
}

/// What the rules say of a destination.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Reason {
    /// Nothing.
    NoRule,
    /// A pattern allows it.
    Allowed,
    /// A pattern refuses it.
    Denied,
    /// There is a list of what this caller may reach, and it is not on it.
    NotAllowed,
    /// The same for an address instead of a name, which no pattern but `*` can allow.
    Literal,
}

impl Reason {
    /// The word for rows, log lines and `x-fleetgate-reason`.
    #[must_use]
    pub fn word(self) -> &'static str {
        match self {
            Self::NoRule => "no_rule",
            Self::Allowed => "domain_allowed",
            Self::Denied => "domain_denied",
            Self::NotAllowed => "domain_not_allowed",
            Self::Literal => "address_literal",
        }
    }

    fn refuses(self) -> bool {
        matches!(self, Self::Denied | Self::NotAllowed | Self::Literal)
    }
}

/// What was decided on a destination, why, and by which rule.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Decision {
    /// Why.
    pub reason: Reason,
    /// The rule and its pattern.
    pub rule: Option<String>,
    /// The proxy on the way there, where it is not reached directly.
    pub next_proxy: Option<String>,
    mode: EgressMode,
}

impl Decision {
    /// Whether there must be no tunnel.
    #[must_use]
    pub fn is_refusal(&self) -> bool {
        self.reason.refuses() && self.mode == EgressMode::Enforce
    }

    /// Whether there would be no tunnel if the rules were enforced.
    #[must_use]
    pub fn is_reported(&self) -> bool {
        self.reason.refuses() && self.mode == EgressMode::Report
    }

    /// The decision in a sentence.
    #[must_use]
    pub fn message(&self, destination: &str) -> String {
        let rule = self.rule.as_deref().unwrap_or_default();
        match self.reason {
            Reason::NoRule => format!("no rule speaks of {destination}"),
            Reason::Allowed => format!("{destination} is allowed by {rule}"),
            Reason::Denied => format!("{destination} is refused by {rule}"),
            Reason::NotAllowed => format!("{destination} is not in what {rule} allows this caller"),
            Reason::Literal => format!(
                "{destination} is an address, and {rule} allows this caller names only; ask for the destination by its name"
            ),
        }
    }
}

/// The rules in force.
#[derive(Debug, Clone, Default)]
pub struct Policy {
    mode: EgressMode,
    rules: Vec<EgressRule>,
}

impl Policy {
    /// These rules, in this mode.
    #[must_use]
    pub fn new(mode: EgressMode, rules: Vec<EgressRule>) -> Self {
        Self { mode, rules }
    }

    /// Decides.
    #[must_use]
    pub fn decide(&self, asker: &Asker<'_>, host: &Host) -> Decision {
        let decision = |reason, rule| Decision { reason, rule, next_proxy: None, mode: self.mode };
        if self.mode == EgressMode::Open {
            return decision(Reason::NoRule, None);
        }
        // The greatest wins: the rule's own specificity, the pattern's, and the refusal last.
        let mut best: Option<((u8, Closeness, bool), String)> = None;
        let mut listed: Option<&EgressRule> = None;
        for rule in self.rules.iter().filter(|rule| is_for(rule, asker)) {
            if !rule.allow.is_empty() && listed.is_none_or(|known| specificity(known) < specificity(rule)) {
                listed = Some(rule);
            }
            let allow = rule.allow.iter().map(|pattern| (pattern, false));
            let deny = rule.deny.iter().map(|pattern| (pattern, true));
            for (pattern, refuses) in allow.chain(deny).filter(|(pattern, _)| pattern.matches(host)) {
                let rank = (specificity(rule), pattern.closeness(), refuses);
                if best.as_ref().is_none_or(|(known, _)| *known < rank) {
                    let word = if refuses { "deny" } else { "allow" };
                    best = Some((rank, format!("{}.{word} \"{pattern}\"", rule.path)));
                }
            }
        }
        match (best, listed) {
            (Some(((_, _, true), rule)), _) => decision(Reason::Denied, Some(rule)),
            (Some((_, rule)), _) => decision(Reason::Allowed, Some(rule)),
            (None, None) => decision(Reason::NoRule, None),
            (None, Some(rule)) => {
                let is_name = matches!(host, Host::Name(_));
                let reason = if is_name { Reason::NotAllowed } else { Reason::Literal };
                decision(reason, Some(format!("{}.allow", rule.path)))
            }
        }
    }
}

fn is_for(rule: &EgressRule, asker: &Asker<'_>) -> bool {
    rule.key.as_deref().is_none_or(|key| key == asker.key)
        && rule.host.as_ref().is_none_or(|host| asker.host == Some(host.as_str()))
        && rule.workload.as_ref().is_none_or(|workload| workload.as_str() == asker.workload)
}

/// A key is one credential, a host may have several, a workload may run on all hosts.
fn specificity(rule: &EgressRule) -> u8 {
    u8::from(rule.key.is_some()) << 2 | u8::from(rule.host.is_some()) << 1 | u8::from(rule.workload.is_some())
}

#[cfg(test)]
mod tests {
    use fleetgate_wire::authority::Authority;
    use fleetgate_wire::domain::DomainPattern;
    use fleetgate_wire::host::HostLabel;
    use fleetgate_wire::workload::Workload;

    use super::*;

    fn rule(who: [&str; 3], allow: &[&str], deny: &[&str]) -> EgressRule {
        let patterns = |texts: &[&str]| texts.iter().map(|text| DomainPattern::parse(text).unwrap()).collect();
        let [key, host, workload] = who.map(|name| Some(name).filter(|name| !name.is_empty()));
        EgressRule {
            path: "r".into(),
            key: key.map(str::to_owned),
            host: host.map(|name| HostLabel::parse(name).unwrap()),
            workload: workload.map(|name| Workload::parse(name).unwrap()),
            allow: patterns(allow),
            deny: patterns(deny),
        }
    }

    const MAC: Asker<'_> = Asker { key: "vk-mac", host: Some("mac"), workload: "hermes" };
    const OTHER: Asker<'_> = Asker { key: "vk-x", host: None, workload: "curl" };

    fn decide(rules: &[EgressRule], asker: &Asker<'_>, host: &str) -> Reason {
        let policy = Policy::new(EgressMode::Enforce, rules.to_vec());
        let decision = policy.decide(asker, Authority::parse(&format!("{host}:443")).unwrap().host());
        assert_eq!(decision.is_refusal(), decision.reason.refuses());
        decision.reason
    }

    #[test]
    fn without_rules_every_name_and_address_passes() {
        assert_eq!(decide(&[], &MAC, "example.com"), Reason::NoRule);
        assert_eq!(decide(&[rule([""; 3], &[], &["evil.com"])], &MAC, "1.2.3.4"), Reason::NoRule);
    }

    #[test]
    fn a_list_of_what_is_allowed_refuses_the_rest_and_every_address() {
        let rules = [rule([""; 3], &[".example.com"], &[])];
        assert_eq!(decide(&rules, &MAC, "a.example.com."), Reason::Allowed);
        assert_eq!(decide(&rules, &MAC, "example.org"), Reason::NotAllowed);
        assert_eq!(decide(&rules, &MAC, "evilexample.com"), Reason::NotAllowed);
        assert_eq!(decide(&rules, &MAC, "1.2.3.4"), Reason::Literal);
        assert_eq!(decide(&rules, &MAC, "[2606:4700::1]"), Reason::Literal);
    }

    #[test]
    fn the_closest_pattern_wins_and_of_two_as_close_the_refusal() {
        let rules = [rule([""; 3], &[".example.com", "b.example.com"], &["*.example.com", "b.example.com", "*"])];
        assert_eq!(decide(&rules, &MAC, "example.com"), Reason::Allowed);
        assert_eq!(decide(&rules, &MAC, "a.example.com"), Reason::Denied);
        assert_eq!(decide(&rules, &MAC, "b.example.com"), Reason::Denied);
        assert_eq!(decide(&rules, &MAC, "example.org"), Reason::Denied);
    }

    #[test]
    fn a_rule_for_a_key_comes_before_a_hosts_a_workloads_and_everyones() {
        let everyone = rule([""; 3], &[], &["example.com"]);
        let workload = rule(["", "", "hermes"], &["example.com"], &[]);
        let host = rule(["", "mac", ""], &[], &["*"]);
        let key = rule(["vk-mac", "", ""], &[".com"], &[]);
        let all = [everyone, workload, host, key];
        let reasons = (1..=4).map(|count| decide(&all[..count], &MAC, "example.com"));
        assert_eq!(reasons.collect::<Vec<_>>(), [Reason::Denied, Reason::Allowed, Reason::Denied, Reason::Allowed]);
        assert_eq!(decide(&all, &OTHER, "example.com"), Reason::Denied);
        assert_eq!(decide(&all, &OTHER, "example.org"), Reason::NoRule, "another's list is not this caller's");
    }

    #[test]
    fn a_report_passes_and_says_what_it_would_have_refused() {
        let rules = vec![rule([""; 3], &[], &["*"])];
        let host = Authority::parse("example.com:443").unwrap();
        let report = Policy::new(EgressMode::Report, rules.clone()).decide(&MAC, host.host());
        assert!(!report.is_refusal() && report.is_reported() && report.reason == Reason::Denied, "{report:?}");
        let open = Policy::new(EgressMode::Open, rules).decide(&MAC, host.host());
        assert!(!open.is_refusal() && !open.is_reported(), "{open:?}");
    }
}
